/**
 * The order of writes. Calls take effect in the order in which they were made, one turn at a time; appends that wait together are one
 * turn, each topic's in one piece, and so are watches. One turn is under way, so the slower the server, the more messages
 * share a round trip, and with `appendfsync always` an fsync: group commit.
 */

import type { MessageId } from '@pulsar-relay/protocol/message-id';
import { messageBytes } from '../../log/block.ts';
import type { Clock } from '../../ports/clock.ts';
import type { AppendEntry, AppendOutcome, WatchedPosition } from '../../ports/store.ts';

/** A turn of appends is closed at so many messages or bytes, unless a single call is larger. */
const TURN_MESSAGES_MAX = 16_384;
const TURN_BYTES_MAX = 8 * 1024 * 1024;
/** Topics in one turn of watches. */
const TURN_WATCHES_MAX = 500;

interface Settle<Result> {
	readonly resolve: (result: Result) => void;
	readonly reject: (error: Error) => void;
}

export interface AppendCall extends Settle<readonly AppendOutcome[]> {
	readonly entries: readonly AppendEntry[];
}

export interface WatchCall extends Settle<WatchedPosition> {
	readonly topic: string;
	readonly seen: MessageId;
}

export type Turn =
	| { readonly kind: 'append'; readonly topics: Map<string, AppendCall[]>; messages: number; bytes: number }
	| { readonly kind: 'watch'; readonly calls: WatchCall[] }
	| { readonly kind: 'control'; readonly run: () => Promise<void>; readonly reject: (error: Error) => void };

export interface TurnsOptions {
	readonly clock: Clock;
	/** Does a turn. Never rejects: what went wrong goes to the calls. */
	readonly take: (turn: Turn) => Promise<void>;
}

export class Turns {
	readonly #options: TurnsOptions;
	#waiting: Turn[] = [];
	#underWay = false;
	#due = false;
	readonly #idleWaiters: (() => void)[] = [];

	constructor(options: TurnsOptions) {
		this.#options = options;
	}

	append(topic: string, entries: readonly AppendEntry[]): Promise<readonly AppendOutcome[]> {
		let bytes = 0;
		for (const entry of entries) bytes += messageBytes(entry);
		let turn = this.#waiting.at(-1);
		if (turn?.kind !== 'append' || turn.messages + entries.length > TURN_MESSAGES_MAX || turn.bytes + bytes > TURN_BYTES_MAX) {
			turn = { kind: 'append', topics: new Map(), messages: 0, bytes: 0 };
			this.#queue(turn);
		}
		turn.messages += entries.length;
		turn.bytes += bytes;
		const { topics } = turn;
		return new Promise((resolve, reject) => {
			const call = { entries, resolve, reject };
			const calls = topics.get(topic);
			if (calls === undefined) topics.set(topic, [call]);
			else calls.push(call);
		});
	}

	watch(topic: string, seen: MessageId): Promise<WatchedPosition> {
		let turn = this.#waiting.at(-1);
		if (turn?.kind !== 'watch' || turn.calls.length >= TURN_WATCHES_MAX) {
			turn = { kind: 'watch', calls: [] };
			this.#queue(turn);
		}
		const { calls } = turn;
		return new Promise((resolve, reject) => {
			calls.push({ topic, seen, resolve, reject });
		});
	}

	control<Result>(run: () => Promise<Result>): Promise<Result> {
		return new Promise((resolve, reject) => {
			this.#queue({ kind: 'control', run: () => run().then(resolve, reject), reject });
		});
	}

	/** Refuses what waits, for a store that has just failed; what is under way ends by itself. */
	refuse(error: () => Error): void {
		for (const turn of this.#waiting.splice(0)) rejectTurn(turn, error());
	}

	/** Resolves when nothing waits and nothing is under way. */
	idle(): Promise<void> {
		return new Promise((resolve) => {
			this.#idleWaiters.push(resolve);
			this.#checkIdle();
		});
	}

	#queue(turn: Turn): void {
		this.#waiting.push(turn);
		if (this.#due || this.#underWay) return;
		this.#due = true;
		// Once the input at hand has been taken in, so that what arrived together shares a turn.
		this.#options.clock.soon(() => {
			this.#due = false;
			this.#next();
		});
	}

	#next(): void {
		const turn = this.#waiting.shift();
		this.#underWay = turn !== undefined;
		if (turn === undefined) this.#checkIdle();
		else void this.#options.take(turn).then(() => this.#next());
	}

	#checkIdle(): void {
		if (this.#waiting.length > 0 || this.#underWay) return;
		for (const resolve of this.#idleWaiters.splice(0)) resolve();
	}
}

export function rejectTurn(turn: Turn, error: Error): void {
	switch (turn.kind) {
		case 'append':
			for (const calls of turn.topics.values()) for (const call of calls) call.reject(error);
			return;
		case 'watch':
			for (const call of turn.calls) call.reject(error);
			return;
		case 'control':
			turn.reject(error);
	}
}
