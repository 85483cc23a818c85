/**
 * The ids of imported messages. The store gives ids by its clock, so a store that is given this clock gives a message the id it had,
 * wherever its rule allows that: clients go on from the cursors they have kept. Where it does not, because the earlier server had
 * removed what came before in the same millisecond, the message gets a later id, never an earlier one: a client may then be given
 * a message again, and misses none.
 */

import { compareMessageIds, type MessageId, nextMessageId } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../ports/clock.ts';

/** A clock whose time of day can be that of what is being imported. */
export class ImportClock implements Clock {
	readonly #clock: Clock;
	/** Null = it is now. */
	#atMs: number | null = null;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** Runs something at another time; one such thing after the other. */
	async at<Result>(atMs: number, run: () => Promise<Result>): Promise<Result> {
		this.#atMs = atMs;
		try {
			return await run();
		} finally {
			this.#atMs = null;
		}
	}

	nowMs(): number {
		return this.#atMs ?? this.#clock.nowMs();
	}

	monotonicMs(): number {
		return this.#clock.monotonicMs();
	}

	after(delayMs: number, run: () => void): () => void {
		return this.#clock.after(delayMs, run);
	}

	soon(run: () => void): void {
		this.#clock.soon(run);
	}
}

/** What time it must be for a message, in a topic that stands at `tip`, to get the id it had or the next later one; and that id. */
export function planId(tip: MessageId, had: MessageId): { readonly atMs: number; readonly id: MessageId } {
	const id = nextMessageId(tip, had.ms);
	if (compareMessageIds(id, had) >= 0) return { atMs: had.ms, id };
	return { atMs: had.ms + 1, id: nextMessageId(tip, had.ms + 1) };
}
