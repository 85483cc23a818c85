/**
 * The hot tier: the newest blocks of each topic in memory, so that live delivery and recent resumes never touch the store.
 * Bounded by age, by messages per topic and by one byte budget over all topics, oldest arrival first (I8). Pages read from the
 * store never enter it: a subscriber that reads old messages does not push the new ones out.
 */

import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { HotBlock } from './hot-block.ts';

export interface HotTierLimits {
	readonly retentionMs: number;
	/** Over all topics, encoded messages and bookkeeping included. */
	readonly bytesMax: number;
	readonly messagesPerTopicMax: number;
}

/** A block's place among all that are held, in order of arrival: a list, as a block may leave from the middle of it. */
interface Arrival {
	readonly ring: Ring;
	readonly atMs: number;
	older: Arrival | null;
	newer: Arrival | null;
}

/** The newest blocks of one topic. They cover exactly the messages after `floor` and up to the last block's end. */
export class Ring {
	/** Blocks before `head` have left and are null; the array is cut now and then rather than shifted each time. */
	readonly blocks: (HotBlock | null)[] = [];
	/** The arrival of each block, place for place. */
	readonly arrivals: (Arrival | null)[] = [];
	head = 0;
	messages = 0;
	/** The message before the first block: a cursor at or above it can be served from here. */
	floor: MessageId;

	constructor(floor: MessageId) {
		this.floor = floor;
	}

	get empty(): boolean {
		return this.head === this.blocks.length;
	}

	/** Whether a message of this id is in one of the blocks, or is the one before the first. */
	has(id: MessageId): boolean {
		const at = this.indexAfter(id);
		const last = at > this.head ? (this.blocks[at - 1] as HotBlock).last : this.floor;
		if (compareMessageIds(id, last) === 0 || compareMessageIds(id, this.floor) === 0) return true;
		const block = this.blocks[at];
		return block != null && block.ms === id.ms && block.n <= id.n;
	}

	/** The index in `blocks` of the first block that ends after `id`; `blocks.length` when none does. */
	indexAfter(id: MessageId): number {
		let low = this.head;
		let high = this.blocks.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			const block = this.blocks[middle] as HotBlock;
			if (compareMessageIds(block.last, id) > 0) high = middle;
			else low = middle + 1;
		}
		return low;
	}
}

/** Dead slots are cut off a ring once they are this many and half of it. */
const DEAD_SLOTS_MAX = 1024;

export class HotTier {
	readonly #limits: HotTierLimits;
	/** The ends of the order of arrival, over all topics: the order in which age and the byte budget evict. */
	#oldest: Arrival | null = null;
	#newest: Arrival | null = null;
	#bytes = 0;

	constructor(limits: HotTierLimits) {
		this.#limits = limits;
	}

	/** Bytes held, over all topics. */
	get bytes(): number {
		return this.#bytes;
	}

	/** Adds a topic's newest block and evicts what is over the limits; the block itself may be what has to leave. */
	add(ring: Ring, block: HotBlock, nowMs: number): void {
		const arrival: Arrival = { ring, atMs: nowMs, older: this.#newest, newer: null };
		if (this.#newest === null) this.#oldest = arrival;
		else this.#newest.newer = arrival;
		this.#newest = arrival;
		ring.blocks.push(block);
		ring.arrivals.push(arrival);
		ring.messages += block.count;
		this.#bytes += block.costBytes;
		while (ring.messages > this.#limits.messagesPerTopicMax && !ring.empty) this.#evictOldest(ring);
		while (this.#bytes > this.#limits.bytesMax && this.#oldest !== null) this.#evictOldest(this.#oldest.ring);
	}

	/** Evicts what is older than the retention. Called every second or so, by monotonic time. */
	expire(nowMs: number): void {
		const before = nowMs - this.#limits.retentionMs;
		while (this.#oldest !== null && this.#oldest.atMs <= before) this.#evictOldest(this.#oldest.ring);
	}

	/** Empties a ring that goes on after `floor`. */
	reset(ring: Ring, floor: MessageId): void {
		while (!ring.empty) this.#evictOldest(ring);
		ring.floor = floor;
	}

	/** Drops what the log no longer has (I3). A block that the floor cuts through stays; readers look at the topic's floor. */
	trim(ring: Ring, floor: MessageId): void {
		while (!ring.empty && compareMessageIds((ring.blocks[ring.head] as HotBlock).last, floor) <= 0) this.#evictOldest(ring);
	}

	/** Evicts a ring's first block. The oldest arrival of all is the first block of its ring: a ring is in order of arrival too. */
	#evictOldest(ring: Ring): void {
		const block = ring.blocks[ring.head] as HotBlock;
		this.#unlink(ring.arrivals[ring.head] as Arrival);
		// Nothing may go on holding the block, or more would be in memory than the budget counts (I8).
		ring.blocks[ring.head] = null;
		ring.arrivals[ring.head] = null;
		ring.head++;
		ring.messages -= block.count;
		ring.floor = block.last;
		this.#bytes -= block.costBytes;
		if (!ring.empty && (ring.head <= DEAD_SLOTS_MAX || ring.head * 2 <= ring.blocks.length)) return;
		ring.blocks.splice(0, ring.head);
		ring.arrivals.splice(0, ring.head);
		ring.head = 0;
	}

	#unlink(arrival: Arrival): void {
		const { older, newer } = arrival;
		if (older === null) this.#oldest = newer;
		else older.newer = newer;
		if (newer === null) this.#newest = older;
		else newer.older = older;
		// A dead entry that points at a live one would make the collector take that for old before its time.
		arrival.newer = null;
	}
}
