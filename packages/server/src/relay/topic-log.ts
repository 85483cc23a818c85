/**
 * A topic as this node sees it: where its log stands, its newest blocks, and who waits for more. Pure state; the hub moves it.
 */

import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { HotBlock } from './hot-block.ts';
import { Ring } from './hot-tier.ts';
import { rangesAfter, Slice, type SliceLimits } from './slice.ts';
import type { Subscription } from './subscription.ts';

/** Something that wants to know, once, that a topic has moved or is gone. */
export interface Waiter {
	wake(): void;
	topicDeleted(topic: TopicLog): void;
}

export class TopicLog {
	readonly name: string;
	readonly ring: Ring;
	/** The newest message the store has announced. */
	tip: MessageId;
	/**
	 * The newest message offered to subscribers: `tip` less the fresh blocks. Whoever catches up reads to here and no further,
	 * and is then exactly where the next tick goes on; that is the whole seam between backlog and live (I4).
	 */
	offered: MessageId;
	/** The newest message that trimming or deletion removed. */
	floor: MessageId;
	/** Blocks announced since the last tick. */
	fresh: HotBlock[] = [];
	/** Subscriptions that have been sent everything up to `offered` and whose sockets keep up. */
	readonly live: Subscription[] = [];
	/** Every subscription to the topic, in whatever state. */
	readonly subscriptions = new Set<Subscription>();
	readonly waiters = new Set<Waiter>();
	/** Sessions and polls that follow the topic or are about to; the topic is not forgotten before they are gone. */
	followers = 0;
	/** Whether the store must announce the topic; announcements of an unwatched topic only warm the hot tier. */
	watched = false;
	/** The watch call under way. */
	opening: Promise<void> | null = null;
	#lastSlice: {
		readonly slice: Slice;
		readonly after: MessageId;
		readonly until: MessageId;
		readonly limits: SliceLimits;
	} | null = null;

	constructor(name: string, tip: MessageId, floor: MessageId) {
		this.name = name;
		this.tip = tip;
		this.offered = tip;
		this.floor = floor;
		this.ring = new Ring(tip);
	}

	/** Whether everything after `cursor` that has been offered is in memory. */
	covers(cursor: MessageId): boolean {
		return compareMessageIds(cursor, this.ring.floor) >= 0;
	}

	/** The next messages after a covered cursor, as far as they have been offered; null when there are none. */
	sliceAfter(cursor: MessageId, limits: SliceLimits, nowMs: number): Slice | null {
		const last = this.#lastSlice;
		// Subscribers that lag in step ask for the same slice one after the other: they share one, and its encodings.
		if (
			last !== null &&
			last.limits === limits &&
			compareMessageIds(last.after, cursor) === 0 &&
			compareMessageIds(last.until, this.offered) === 0
		) {
			return last.slice;
		}
		const ranges = rangesAfter(this.ring.blocks, this.ring.indexAfter(cursor), cursor, this.offered, limits);
		if (ranges.length === 0) return null;
		const slice = new Slice(this.name, ranges, nowMs);
		this.#lastSlice = { slice, after: cursor, until: this.offered, limits };
		return slice;
	}

	/** Lets go of the shared slice, so that it does not outlive the burst it was made for. */
	forgetSlice(): void {
		this.#lastSlice = null;
	}
}
