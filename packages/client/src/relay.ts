/** The client: one object for a relay, over which any number of reads and publishes go. */

import { type Clock, systemClock } from './clock.ts';
import type { CursorStore } from './cursor-store.ts';
import { RelayError } from './errors.ts';
import { elementSpans, memberSpans } from './json-spans.ts';
import { TRANSPORTS } from './ladder.ts';
import { Lane, type OpenLink, type Subscription } from './lane.ts';
import type { Link, LinkEnd, TransportKind } from './links/link.ts';
import { openPollLink } from './links/poll-link.ts';
import { openSseLink } from './links/sse-link.ts';
import { WebSocketLink } from './links/websocket-link.ts';
import { Message } from './message.ts';
import { type Published, Publisher, type PublishOptions, type RawJson } from './publisher.ts';
import { type Following, Read, type ReadHost, type ReadOptions } from './read.ts';
import { Requests, upgradeRefusalOf } from './requests.ts';
import { type Observable, type RelayStatus, StatusValue } from './status.ts';
import { type TokenOption, TokenSource } from './token-source.ts';
import { listenForWaking } from './wake.ts';

export interface ConnectOptions {
	readonly token?: TokenOption;
	/** In the order in which they are tried. Default: `ws`, `sse`, `poll`. */
	readonly transports?: readonly TransportKind[];
	/** Where reads that have a `name` keep their cursors. Default: nowhere. */
	readonly cursors?: CursorStore;
	/** Called when cursors could not be loaded or saved: storage that is full or forbidden. Reading goes on. */
	readonly onCursorError?: (error: unknown) => void;
	/** What a page does while it is hidden: `keep` (default) stays connected, `pause` disconnects and catches up when it is shown. */
	readonly hidden?: 'keep' | 'pause';
	/** For tests. */
	readonly clock?: Clock;
}

export interface HistoryOptions {
	/** `asc` (default) begins with the oldest message that is kept, `desc` with the newest. */
	readonly order?: 'asc' | 'desc';
	/** Begins after this id, in that order. */
	readonly after?: string;
	/** Messages at most. Default: all. */
	readonly limit?: number;
	readonly signal?: AbortSignal;
}

/** What {@link Relay.follow} may be given besides: as a read, and where errors go. */
export interface FollowOptions extends Omit<ReadOptions, 'signal'> {
	/** Called with what ended it: a failed read, or what the handler threw. Default: the error is thrown where nobody catches it. */
	readonly onError?: (error: unknown) => void;
}

const PAGE_MESSAGES_MAX = 100;
const SAVE_INTERVAL_MS = 1000;

/**
 * Makes a client for the relay at `url` (`http://` or `https://`, with a path where a proxy adds one). Connects when something is read. Throws a
 * {@link RelayError} `invalid_argument` for a URL or options that cannot work.
 */
export function connect(url: string | URL, options: ConnectOptions = {}): Relay {
	return new Relay(url, options);
}

export class Relay {
	readonly #options: ConnectOptions;
	readonly #clock: Clock;
	readonly #tokens: TokenSource;
	readonly #requests: Requests;
	readonly #publisher: Publisher;
	readonly #status = new StatusValue();
	readonly #lanes: Lane[] = [];
	readonly #kinds: readonly TransportKind[];
	#stopListening: (() => void) | null = null;
	readonly #unsaved = new Map<string, string>();
	#cancelSave: (() => void) | null = null;
	#closed: RelayError | null = null;

	/** Use {@link connect}. */
	constructor(url: string | URL, options: ConnectOptions) {
		this.#options = options;
		this.#clock = options.clock ?? systemClock;
		this.#kinds = options.transports ?? TRANSPORTS;
		if (this.#kinds.length === 0)
			throw new RelayError('invalid_argument', 'transports is empty: name at least one of ws, sse and poll');
		this.#tokens = new TokenSource(options.token, this.#clock);
		this.#requests = new Requests(baseUrlOf(url), this.#tokens);
		this.#publisher = new Publisher(this.#requests, this.#clock);
	}

	/** What the connection is doing. */
	get status(): Observable<RelayStatus> {
		return this.#status;
	}

	/**
	 * Stores a message; resolves once the relay has it on disk. Repeats the request until it is answered. `value` is anything that
	 * `JSON.stringify` takes, or a {@link RawJson}.
	 */
	publish(topic: string, value: unknown | RawJson, options?: PublishOptions): Promise<Published> {
		return this.#publisher.publish(topic, value, options);
	}

	/**
	 * Reads topics: `for await (const message of relay.read('jobs'))`. Each message once, in the order of its topic, over any loss of
	 * connection. Ends with `break`, with the signal, or by throwing what makes it useless to go on.
	 */
	read(topics: string | readonly string[], options: ReadOptions = {}): AsyncIterableIterator<Message> {
		return new Read(this.#readHost, typeof topics === 'string' ? [topics] : topics, options);
	}

	/** Calls the handler with each message, one after the other. Returns what ends it. */
	follow(
		topics: string | readonly string[],
		handler: (message: Message) => void | Promise<void>,
		{ onError = rethrow, ...options }: FollowOptions = {},
	): () => void {
		const stop = new AbortController();
		const messages = this.read(topics, { ...options, signal: stop.signal });
		const run = async () => {
			for await (const message of messages) await handler(message);
		};
		run().catch(onError);
		return () => stop.abort();
	}

	/** The messages that a topic keeps, page by page as they are asked for. Ends with the last one that is there. */
	async *history(
		topic: string,
		{ order = 'asc', after, limit = Number.POSITIVE_INFINITY, signal }: HistoryOptions = {},
	): AsyncGenerator<Message> {
		let cursor = after ?? null;
		for (let left = limit; left > 0; ) {
			const query = new URLSearchParams({ order, limit: `${Math.min(left, PAGE_MESSAGES_MAX)}` });
			if (cursor !== null) query.set('cursor', cursor);
			const path = `/api/v1/topics/${encodeURIComponent(topic)}/messages?${query}`;
			const text = await this.#requests.text(path, signal === undefined ? {} : { signal });
			const members = memberSpans(text);
			for (const { start, end } of elementSpans(text, members.get('messages')?.start ?? text.length)) {
				left--;
				yield new Message(text.slice(start, end));
			}
			const next = members.get('next_cursor');
			cursor = next === undefined ? null : (JSON.parse(text.slice(next.start, next.end)) as string | null);
			if (cursor === null) return;
		}
	}

	/** Ends every read and what waits to be published, and saves the cursors. */
	async close(): Promise<void> {
		if (this.#closed !== null) return;
		this.#closed = new RelayError('closed', 'the client was closed');
		for (const lane of this.#lanes) lane.close(this.#closed);
		this.#publisher.close(this.#closed);
		this.#stopListening?.();
		this.#cancelSave?.();
		await this.#save();
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.close();
	}

	get #readHost(): ReadHost {
		return {
			follow: (subscriptions) => this.#follow(subscriptions),
			savedCursors: (name, topics) => this.#load(name, topics),
			saveCursor: (name, topic, id) => this.#saveLater(name, topic, id),
		};
	}

	/** Spreads subscriptions over lanes: a connection follows a topic once, so that a second read of it has one of its own. */
	#follow(subscriptions: readonly Subscription[]): Following {
		if (this.#closed !== null) throw this.#closed;
		const byLane = new Map<Lane, Subscription[]>();
		for (const subscription of subscriptions) {
			const lane = this.#lanes.find((each) => !each.follows(subscription.topic)) ?? this.#addLane();
			byLane.set(lane, [...(byLane.get(lane) ?? []), subscription]);
		}
		this.#stopListening ??= this.#listen();
		for (const [lane, each] of byLane) lane.add(each);
		const onEach = (run: (lane: Lane, each: readonly Subscription[]) => void) => {
			for (const [lane, each] of byLane) run(lane, each);
		};
		return {
			pause: () => onEach((lane, each) => lane.pause(each)),
			resume: () => onEach((lane, each) => lane.resume(each)),
			stop: () => {
				onEach((lane, each) => lane.remove(each));
				if (!this.#lanes.every((lane) => lane.empty)) return;
				this.#stopListening?.();
				this.#stopListening = null;
			},
		};
	}

	#addLane(): Lane {
		const first = this.#lanes.length === 0;
		const lane = new Lane({
			clock: this.#clock,
			tokens: this.#tokens,
			kinds: this.#kinds,
			openLink: this.#openLink,
			// They share the way to the relay: what the first one meets, the others meet.
			onStatus: first ? (status) => this.#status.set(status) : () => {},
		});
		this.#lanes.push(lane);
		return lane;
	}

	#listen(): () => void {
		return listenForWaking(this.#clock, {
			woke: () => {
				for (const lane of this.#lanes) lane.wake();
			},
			online: () => {
				for (const lane of this.#lanes) lane.online();
			},
			hidden: (hidden) => {
				if (this.#options.hidden === 'pause') for (const lane of this.#lanes) lane.hide(hidden);
			},
		});
	}

	readonly #openLink: OpenLink = (kind, options): Link => {
		switch (kind) {
			case 'ws':
				return new WebSocketLink({
					...options,
					url: `${this.#requests.baseUrl.replace(/^http/, 'ws')}/ws`,
					whyRefused: () => this.#whyRefused(),
				});
			case 'sse':
				return openSseLink(this.#requests, options);
			case 'poll':
				return openPollLink(this.#requests, options);
		}
	};

	/** A browser does not tell why a WebSocket was refused: `GET /ws` answers with what an upgrade would meet (PROTOCOL.md, "WebSocket"). */
	async #whyRefused(): Promise<LinkEnd> {
		const { baseUrl } = this.#requests;
		const token = await this.#tokens.get().catch(() => null);
		try {
			const response = await fetch(`${baseUrl}/ws`, {
				cache: 'no-store',
				headers: token === null ? {} : { authorization: `Bearer ${token}` },
			});
			const error = await upgradeRefusalOf(response);
			// Something else may have its hands on this path alone: the other transports show whether there is a relay.
			if (error !== null && (error.code !== 'not_a_relay' || this.#kinds.length === 1)) return { kind: 'refused', error };
			return {
				kind: 'lost',
				error: new RelayError('unreachable', 'WebSockets do not get through to the relay', { cause: error }),
			};
		} catch (cause) {
			return { kind: 'unreachable', error: new RelayError('unreachable', `no answer from ${baseUrl}`, { cause }) };
		}
	}

	async #load(name: string | undefined, topics: readonly string[]): Promise<ReadonlyMap<string, string>> {
		const { cursors, onCursorError } = this.#options;
		if (name === undefined || cursors === undefined) return new Map();
		try {
			const saved = await cursors.load(topics.map((topic) => nameOf(name, topic)));
			return new Map(
				topics.flatMap((topic) => (saved.has(nameOf(name, topic)) ? [[topic, saved.get(nameOf(name, topic)) ?? 'last']] : [])),
			);
		} catch (error) {
			onCursorError?.(error);
			return new Map();
		}
	}

	#saveLater(name: string | undefined, topic: string, id: string): void {
		if (name === undefined || this.#options.cursors === undefined) return;
		this.#unsaved.set(nameOf(name, topic), id);
		this.#cancelSave ??= this.#clock.after(SAVE_INTERVAL_MS, () => {
			this.#cancelSave = null;
			void this.#save();
		});
	}

	async #save(): Promise<void> {
		const cursors = new Map(this.#unsaved);
		this.#unsaved.clear();
		if (cursors.size === 0) return;
		try {
			await this.#options.cursors?.save(cursors);
		} catch (error) {
			this.#options.onCursorError?.(error);
		}
	}
}

/** Neither part can contain a line feed that matters: topic names have none. */
function nameOf(name: string, topic: string): string {
	return `${name}\n${topic}`;
}

function baseUrlOf(url: string | URL): string {
	const parsed = URL.parse(url);
	if (parsed === null || !/^https?:$/.test(parsed.protocol)) {
		throw new RelayError('invalid_argument', `"${url}" is no http:// or https:// URL`);
	}
	if (parsed.username !== '' || parsed.password !== '') {
		throw new RelayError('invalid_argument', 'the URL has a password in it: pass credentials as `token`');
	}
	return `${parsed.origin}${parsed.pathname.replace(/\/+$/, '')}`;
}

function rethrow(error: unknown): void {
	queueMicrotask(() => {
		throw error;
	});
}
