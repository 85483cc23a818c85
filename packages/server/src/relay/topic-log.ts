/**
 * A topic as this node sees it: where its log stands, its newest blocks, and who waits for more. Pure state; the hub moves it.
 */

import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import { type Loss, lossAt, meetsLoss, NO_LOSSES, nextLossAfter } from '../log/losses.ts';
import type { Sink } from '../ports/sink.ts';
import type { HotBlock } from './hot-block.ts';
import { Ring } from './hot-tier.ts';
import { type BlockRange, rangesAfter, Slice, type SliceLimits } from './slice.ts';

/** A subscription as the hub sees it: somebody at the end of a topic's log, or on the way there. */
export interface Subscriber {
	readonly sink: Sink;
	/** The place in the topic's live set, which the topic keeps up to date. */
	liveIndex: number;
	/** The name by which it follows the topic: the topic's own, or with the owner in front. */
	readonly shown: string;
	/** Its socket is full, or the node missed an announcement: from here on it reads by itself, from `cursor`. */
	fellBehind(cursor: MessageId): void;
	/** Reads on after {@link fellBehind} when the socket was not the reason. */
	readOn(): void;
	/** The topic is gone, and with it the subscription. */
	topicDeleted(): void;
	/**
	 * The store has lost messages. Who is live has been sent everything up to `reached`. `given`: what is lost could be read before, so that
	 * who is beyond it has been given it.
	 */
	logRewound(reached: MessageId, given: boolean): void;
}

/** Something that wants to know, once, that a topic has moved or is gone. */
export interface Waiter {
	wake(): void;
	topicDeleted(topic: TopicLog): void;
	/** As that of a {@link Subscriber}. */
	logRewound(topic: TopicLog, given: boolean): void;
}

interface SharedSlice {
	readonly slice: Slice;
	readonly after: MessageId;
	/** What was offered when it was made. */
	readonly until: MessageId;
	readonly limits: SliceLimits;
	readonly nowMs: number;
}

/** Slices that a topic keeps for those who ask for the same again. */
const SHARED_SLICES_MAX = 4;

/** The name of a topic as its owner knows it: in the store an owner's topics have the owner in front, `<owner>/<name>`. */
export function ownNameOf(name: string): string {
	return name.slice(name.indexOf('/') + 1);
}

export class TopicLog {
	/** As in the store. */
	readonly name: string;
	/** As its owner knows it; its messages are encoded under this name. */
	readonly shown: string;
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
	/** What the store has lost of the log. */
	losses: readonly Loss[] = NO_LOSSES;
	/** Blocks announced since the last tick. */
	fresh: HotBlock[] = [];
	/** Subscriptions that have been sent everything up to `offered` and whose sockets keep up. */
	readonly live: Subscriber[] = [];
	/** Every subscription to the topic, in whatever state. */
	readonly subscribers = new Set<Subscriber>();
	readonly waiters = new Set<Waiter>();
	/** Sessions and polls that follow the topic or are about to; the topic is not forgotten before they are gone. */
	followers = 0;
	/** How often the store was found to have lost messages: whoever begins meanwhile has to find its place again. */
	rewinds = 0;
	/** Whether the store must announce the topic; announcements of an unwatched topic only warm the hot tier. */
	watched = false;
	/** The watch call under way. */
	opening: Promise<void> | null = null;
	/** The slices made last, newest first. */
	#shared: SharedSlice[] = [];

	constructor(name: string, tip: MessageId, floor: MessageId) {
		this.name = name;
		this.shown = ownNameOf(name);
		this.tip = tip;
		this.offered = tip;
		this.floor = floor;
		this.ring = new Ring(tip);
	}

	/** Whether everything after `cursor` that has been offered is in memory. */
	covers(cursor: MessageId): boolean {
		return compareMessageIds(cursor, this.ring.floor) >= 0;
	}

	/** The loss that a reader at `cursor` has to be told of before anything else; undefined when there is none. */
	lossAt(cursor: MessageId): Loss | undefined {
		return lossAt(this.losses, cursor);
	}

	/** Whether a reader that goes on from `cursor` is told of a loss on its way. */
	meetsLoss(cursor: MessageId): boolean {
		return meetsLoss(this.losses, cursor);
	}

	/** The loss that a reader at `cursor` comes to next; undefined when there is none. */
	nextLossAfter(cursor: MessageId): Loss | undefined {
		return nextLossAfter(this.losses, cursor);
	}

	/** Where a reader at `cursor` has to pause: the end of what was offered, or the next loss. */
	endAfter(cursor: MessageId): MessageId {
		const end = this.nextLossAfter(cursor)?.after;
		return end !== undefined && compareMessageIds(end, this.offered) < 0 ? end : this.offered;
	}

	/** Where the next messages after a covered cursor lie, as far as they have been offered. */
	rangesAfter(cursor: MessageId, limits: SliceLimits): BlockRange[] {
		return rangesAfter(this.ring.blocks, this.ring.indexAfter(cursor), cursor, this.endAfter(cursor), limits);
	}

	/**
	 * The next messages after a covered cursor, as far as they have been offered; null when there are none. Subscribers that fell
	 * behind in the same tick ask for the same slices one after the other: they share them, and their encodings (I7).
	 */
	sliceAfter(cursor: MessageId, limits: SliceLimits, nowMs: number): Slice | null {
		return this.#sharedAfter(cursor, limits, nowMs) ?? this.#share(this.rangesAfter(cursor, limits), cursor, limits, nowMs);
	}

	/** As {@link sliceAfter}, from the page that the store gave for the cursor: a crowd that resumes from one place shares it, too. */
	sliceOfPage(page: readonly HotBlock[], cursor: MessageId, limits: SliceLimits, nowMs: number): Slice | null {
		const shared = this.#sharedAfter(cursor, limits, nowMs);
		return shared ?? this.#share(rangesAfter(page, 0, cursor, this.endAfter(cursor), limits), cursor, limits, nowMs);
	}

	#sharedAfter(cursor: MessageId, limits: SliceLimits, nowMs: number): Slice | null {
		for (const { slice, after, until, limits: sharedLimits, nowMs: madeMs } of this.#shared) {
			if (compareMessageIds(after, cursor) !== 0 || sharedLimits !== limits) continue;
			if (slice.expires && madeMs !== nowMs) continue;
			// What ends before the end of what was offered then has been cut by the limits, and would be again.
			if (compareMessageIds(until, this.offered) === 0 || compareMessageIds(slice.last, until) < 0) return slice;
		}
		return null;
	}

	#share(ranges: readonly BlockRange[], after: MessageId, limits: SliceLimits, nowMs: number): Slice | null {
		if (ranges.length === 0) return null;
		const slice = new Slice(this.shown, ranges, nowMs);
		this.#shared.unshift({ slice, after, until: this.offered, limits, nowMs });
		if (this.#shared.length > SHARED_SLICES_MAX) this.#shared.pop();
		return slice;
	}

	/** Puts a subscriber whose cursor is `offered` into the live set. */
	addLive(subscriber: Subscriber): void {
		subscriber.liveIndex = this.live.length;
		this.live.push(subscriber);
	}

	/** Takes a subscriber out of the live set; the last of the set takes its place. */
	removeLive(subscriber: Subscriber): void {
		const last = this.live.pop();
		if (last !== undefined && last !== subscriber) {
			this.live[subscriber.liveIndex] = last;
			last.liveIndex = subscriber.liveIndex;
		}
		subscriber.liveIndex = -1;
	}

	/** Lets go of the shared slices, so that they do not outlive the burst they were made for. */
	forgetSlices(): void {
		if (this.#shared.length > 0) this.#shared = [];
	}
}
