/**
 * A subscriber of a fault run. It comes and goes at random, changes transport and relay each time, and resumes from the cursors of what
 * it has received.
 */

import assert from 'node:assert/strict';
import {
	type From,
	type Reader,
	type Received,
	sse,
	type TransportUnderTest,
	transports,
	websocket,
} from '../support/readers.ts';
import type { Trace, TraceItem } from './history.ts';

export interface SubscriberOptions {
	readonly name: string;
	readonly urls: readonly string[];
	readonly topics: readonly string[];
	/** Where it begins the first time. */
	readonly start: 'earliest' | 'last';
}

/** Transports that say where they began before they give the first message. */
const BEGINNING: readonly TransportUnderTest[] = [websocket, sse];
const STAY_MIN_MS = 300;
const STAY_MAX_MS = 4000;
const AWAY_MAX_MS = 500;
/** Before trying another relay. */
const RETRY_MS = 50;
/** Longer than a relay may take to begin, or to refuse. */
const HANGS_MS = 20_000;

export class Subscriber {
	/** Connections that ended without being left, by transport. */
	readonly broken: string[] = [];
	readonly #options: SubscriberOptions;
	readonly #items: ReadonlyMap<string, TraceItem[]>;
	/** Null until it has begun for the first time. */
	#starts: Readonly<Record<string, string>> | null = null;
	readonly #cursors = new Map<string, string>();
	#reader: Reader | null = null;
	/** How much of the reader's is in the trace. */
	#taken = 0;
	/** Set while it is to be away. */
	#absence: { readonly go: () => void; readonly back: Promise<void>; readonly comeBack: () => void } | null = null;
	#mode: 'roaming' | 'staying' | 'stopping' = 'roaming';
	#wake: () => void = () => {};
	#running: Promise<void> = Promise.resolve();

	constructor(options: SubscriberOptions) {
		this.#options = options;
		this.#items = new Map(options.topics.map((topic) => [topic, []]));
	}

	get topics(): readonly string[] {
		return this.#options.topics;
	}

	start(): void {
		this.#running = this.#run();
		// Told by `stop`.
		this.#running.catch(() => {});
	}

	/** From now on it is away, until it is called. Resolves when it has gone. */
	async leave(): Promise<void> {
		const { promise: back, resolve: comeBack } = Promise.withResolvers<void>();
		const { promise: gone, resolve: go } = Promise.withResolvers<void>();
		this.#absence = { go, back, comeBack };
		this.#wake();
		await gone;
	}

	comeBack(): void {
		this.#absence?.comeBack();
	}

	/** From now on it is there. */
	stay(): void {
		this.#mode = 'staying';
		this.#wake();
	}

	async stop(): Promise<void> {
		this.#mode = 'stopping';
		this.comeBack();
		this.#wake();
		await this.#running;
	}

	/** The id up to which it has what the topic holds. */
	position(topic: string): string | undefined {
		this.#take();
		return this.#cursors.get(topic);
	}

	/** What it received; complete once stopped. */
	get traces(): readonly Trace[] {
		return [...this.#items].map(([topic, items]) => ({
			subscriber: this.#options.name,
			topic,
			start: this.#starts?.[topic] ?? '0-0',
			items,
		}));
	}

	async #run(): Promise<void> {
		while (this.#mode !== 'stopping') {
			if (this.#absence !== null) {
				this.#absence.go();
				await this.#absence.back;
				this.#absence = null;
			}
			const transport = pick(this.#starts === null ? BEGINNING : transports);
			const reader = await this.#open(transport);
			if (reader === null) {
				await this.#waitFor(RETRY_MS);
				continue;
			}
			this.#begin(reader);
			const left = Promise.withResolvers<'left'>();
			this.#wake = () => (this.#mode === 'stopping' || this.#absence !== null) && left.resolve('left');
			this.#wake();
			const timer = setTimeout(() => this.#mode === 'roaming' && left.resolve('left'), random(STAY_MIN_MS, STAY_MAX_MS));
			const why = await Promise.race([left.promise, reader.ended.then(() => 'broken' as const)]);
			clearTimeout(timer);
			if (why === 'broken') this.broken.push(transport.name);
			// How a connection ended that is over does not matter.
			await reader.close().catch(() => {});
			this.#take();
			this.#reader = null;
			if (why === 'left' && this.#mode === 'roaming' && this.#absence === null) await this.#waitFor(random(0, AWAY_MAX_MS));
		}
	}

	/** Null when the relay refuses or is not there. */
	async #open(transport: TransportUnderTest): Promise<Reader | null> {
		const from: From = this.#starts === null ? this.#options.start : Object.fromEntries(this.#cursors);
		let timer: NodeJS.Timeout | undefined;
		const hangs = new Promise<never>((_, reject) => {
			timer = setTimeout(() => reject(new assert.AssertionError({ message: `${transport.name}: opening hangs` })), HANGS_MS);
		});
		try {
			return await Promise.race([transport.open(pick(this.#options.urls), this.#options.topics, from), hangs]);
		} catch (error) {
			if (error instanceof assert.AssertionError && error.message.includes('hangs')) throw error;
			return null;
		} finally {
			clearTimeout(timer);
		}
	}

	#begin(reader: Reader): void {
		if (this.#starts === null) {
			const zero = Object.fromEntries(this.topics.map((topic) => [topic, '0-0']));
			this.#starts = this.#options.start === 'earliest' ? zero : { ...reader.cursors };
			for (const [topic, cursor] of Object.entries(this.#starts)) this.#cursors.set(topic, cursor);
		}
		this.#reader = reader;
		this.#taken = 0;
	}

	/** Moves what the reader has received into the traces. */
	#take(): void {
		const reader = this.#reader;
		if (reader === null) return;
		for (; this.#taken < reader.received.length; this.#taken++) {
			const item: Received | undefined = reader.received[this.#taken];
			const atMs = reader.receivedAtMs[this.#taken] ?? 0;
			assert(item !== undefined && item.kind !== 'deleted', 'no topic is deleted in these runs');
			const items = this.#items.get(item.topic);
			assert(items !== undefined, `${item.topic} was not asked for`);
			if (item.kind === 'message') items.push({ kind: 'message', id: item.id, payload: item.payload });
			else items.push({ kind: 'gap', reason: item.reason, from: item.from, to: item.to, atMs });
			this.#cursors.set(item.topic, item.kind === 'message' ? item.id : item.to);
		}
	}

	/** Waits, unless it is called. */
	async #waitFor(ms: number): Promise<void> {
		await new Promise<void>((resolve) => {
			const timer = setTimeout(resolve, ms);
			this.#wake = () => {
				clearTimeout(timer);
				resolve();
			};
		});
	}
}

function pick<T>(some: readonly T[]): T {
	const one = some[Math.floor(Math.random() * some.length)];
	assert(one !== undefined);
	return one;
}

function random(min: number, max: number): number {
	return min + Math.random() * (max - min);
}
