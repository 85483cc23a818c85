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

/** The newest blocks of one topic. They cover exactly the messages after `floor` and up to the last block's end. */
export class Ring {
	readonly blocks: HotBlock[] = [];
	/** Blocks before this index have left; the array is cut now and then rather than shifted each time. */
	head = 0;
	messages = 0;
	bytes = 0;
	/** The message before the first block: a cursor at or above it can be served from here. */
	floor: MessageId;

	constructor(floor: MessageId) {
		this.floor = floor;
	}

	get empty(): boolean {
		return this.head === this.blocks.length;
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

interface Arrival {
	readonly ring: Ring;
	readonly block: HotBlock;
	readonly atMs: number;
}

/** Cut consumed heads off arrays once this many slots are dead and they are half of the array. */
const DEAD_SLOTS_MAX = 1024;

export class HotTier {
	readonly #limits: HotTierLimits;
	/** Every block in order of arrival, over all topics: the order in which age and the byte budget evict. */
	readonly #arrivals: Arrival[] = [];
	#head = 0;
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
		ring.blocks.push(block);
		ring.messages += block.count;
		ring.bytes += block.costBytes;
		this.#bytes += block.costBytes;
		this.#arrivals.push({ ring, block, atMs: nowMs });
		while (ring.messages > this.#limits.messagesPerTopicMax && !ring.empty) this.#evictOldest(ring);
		while (this.#bytes > this.#limits.bytesMax && this.#evictFirstArrival()) {
			// evicts one block per round
		}
	}

	/** Evicts what is older than the retention. Called every second or so, by monotonic time. */
	expire(nowMs: number): void {
		const before = nowMs - this.#limits.retentionMs;
		while (this.#head < this.#arrivals.length && (this.#arrivals[this.#head] as Arrival).atMs <= before)
			this.#evictFirstArrival();
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

	#evictFirstArrival(): boolean {
		const arrival = this.#arrivals[this.#head];
		if (arrival === undefined) return false;
		this.#head++;
		if (this.#head > DEAD_SLOTS_MAX && this.#head * 2 > this.#arrivals.length) {
			this.#arrivals.splice(0, this.#head);
			this.#head = 0;
		}
		// The block may have left already, by its topic's own limit; a ring is in order of arrival too.
		if (arrival.ring.blocks[arrival.ring.head] === arrival.block) this.#evictOldest(arrival.ring);
		return true;
	}

	#evictOldest(ring: Ring): void {
		const block = ring.blocks[ring.head] as HotBlock;
		ring.head++;
		ring.messages -= block.count;
		ring.bytes -= block.costBytes;
		ring.floor = block.last;
		this.#bytes -= block.costBytes;
		if (ring.empty) {
			ring.blocks.length = 0;
			ring.head = 0;
		} else if (ring.head > DEAD_SLOTS_MAX && ring.head * 2 > ring.blocks.length) {
			ring.blocks.splice(0, ring.head);
			ring.head = 0;
		}
	}
}
