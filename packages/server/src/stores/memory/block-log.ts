/**
 * The log of one topic in memory: blocks in id order, the tip and the floor. Trimming cuts at the message: a block that
 * retention covers in part is packed anew without its oldest messages, so that what is kept is always whole blocks above the
 * floor and the byte count is exact.
 */

import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, firstIndexAfter, idAt, lastIdOf, sliceBlock, sliceBytes } from '../../log/block.ts';
import type { ReadLimits } from '../../ports/store.ts';

/** What retention keeps: messages from `sinceMs` on, the newest `messagesMax` of them, as many as fit `bytesMax`. */
export interface Kept {
	readonly sinceMs: number;
	readonly messagesMax: number;
	readonly bytesMax: number;
}

/** What one trimming of a topic did. */
export interface Trimmed {
	readonly messages: number;
	/** Blocks removed or cut. */
	readonly blocks: number;
	/** Whether `blocksMax` ended it before retention was met. */
	readonly more: boolean;
}

export class BlockLog {
	readonly #blocks: Block[] = [];
	#tip: MessageId;
	#floor: MessageId;
	#messages = 0;
	#bytes = 0;

	/** @param start where the topic's former incarnation ended: ids continue there and all before it is gone (I1) */
	constructor(start: MessageId) {
		this.#tip = start;
		this.#floor = start;
	}

	get tip(): MessageId {
		return this.#tip;
	}

	get floor(): MessageId {
		return this.#floor;
	}

	/** Messages kept. */
	get messages(): number {
		return this.#messages;
	}

	/** Packed bytes kept. */
	get bytes(): number {
		return this.#bytes;
	}

	/** Adds a block, whose ids all lie above the tip. */
	push(block: Block): void {
		this.#blocks.push(block);
		this.#tip = lastIdOf(block);
		this.#messages += block.count;
		this.#bytes += block.packed.byteLength;
	}

	/** The messages after `after`, oldest first, cut at the limits. */
	read(after: MessageId, limits: ReadLimits): Block[] {
		const take = roomOf(limits);
		const page: Block[] = [];
		for (let i = this.#firstBlockAfter(after); i < this.#blocks.length; i++) {
			const block = this.#blocks[i] as Block;
			const from = firstIndexAfter(block, after);
			const to = from + take(block.count - from, (count) => sliceBytes(block, from, from + count));
			if (to > from) page.push(sliceBlock(block, from, to));
			if (to < block.count) break;
		}
		return page;
	}

	/** The newest messages before `before` (null = before the end), cut at the limits; blocks are oldest first. */
	readBefore(before: MessageId | null, limits: ReadLimits): Block[] {
		const take = roomOf(limits);
		const page: Block[] = [];
		const last = before === null ? this.#tip : { ms: before.ms, n: before.n - 1 };
		for (let i = Math.min(this.#firstBlockAfter(last), this.#blocks.length - 1); i >= 0; i--) {
			const block = this.#blocks[i] as Block;
			const to = firstIndexAfter(block, last);
			const from = to - take(to, (count) => sliceBytes(block, to - count, to));
			if (to > from) page.push(sliceBlock(block, from, to));
			if (from > 0) break;
		}
		return page.reverse();
	}

	/** Removes what `kept` does not cover, oldest first, from at most `blocksMax` blocks. */
	trim(kept: Kept, blocksMax: number): Trimmed {
		let whole = 0;
		let messages = 0;
		let blocks = 0;
		let more = false;
		for (;;) {
			const oldest = this.#blocks[whole];
			const count = oldest === undefined ? 0 : this.#uncovered(oldest, kept);
			if (oldest === undefined || count === 0) break;
			if (blocks >= blocksMax) {
				more = true;
				break;
			}
			blocks++;
			messages += count;
			this.#messages -= count;
			this.#bytes -= oldest.packed.byteLength;
			this.#floor = idAt(oldest, count - 1);
			if (count === oldest.count) {
				whole++;
			} else {
				const rest = sliceBlock(oldest, count, oldest.count);
				this.#blocks[whole] = rest;
				this.#bytes += rest.packed.byteLength;
			}
		}
		this.#blocks.splice(0, whole);
		return { messages, blocks, more };
	}

	/** How many messages of the oldest block `kept` does not cover. All messages of a block are of one age. */
	#uncovered(oldest: Block, kept: Kept): number {
		if (oldest.ms < kept.sinceMs) return oldest.count;
		const overCount = this.#messages - kept.messagesMax;
		const overBytes = this.#bytes - kept.bytesMax;
		const bytesLeft = oldest.packed.byteLength - overBytes;
		const fitting =
			overBytes <= 0
				? oldest.count
				: countWithin(oldest.count, bytesLeft, (count) => sliceBytes(oldest, oldest.count - count, oldest.count));
		return Math.min(oldest.count, Math.max(0, overCount, oldest.count - fitting));
	}

	/** The index of the first block with a message after `id`; the number of blocks when there is none. */
	#firstBlockAfter(id: MessageId): number {
		let low = 0;
		let high = this.#blocks.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if (compareMessageIds(lastIdOf(this.#blocks[middle] as Block), id) > 0) high = middle;
			else low = middle + 1;
		}
		return low;
	}
}

/**
 * The limits of one read as a function that says how many of the next `count` messages still fit and takes them off. The very
 * first message always fits. Bytes are packed bytes.
 */
function roomOf(limits: ReadLimits): (count: number, bytesOf: (count: number) => number) => number {
	let messages = Math.max(1, limits.messagesMax);
	let bytes = limits.bytesMax;
	let taken = 0;
	return (count, bytesOf) => {
		const wanted = Math.min(count, messages);
		const fitting = Math.max(countWithin(wanted, bytes, bytesOf), taken === 0 ? Math.min(1, wanted) : 0);
		if (fitting === 0) return 0;
		messages -= fitting;
		bytes -= bytesOf(fitting);
		taken += fitting;
		return fitting;
	};
}

/** The largest count from 0 to `countMax` whose bytes are within `bytesMax`. `bytesOf` grows with the count. */
function countWithin(countMax: number, bytesMax: number, bytesOf: (count: number) => number): number {
	let low = 0;
	let high = countMax;
	while (low < high) {
		const middle = (low + high + 1) >>> 1;
		if (bytesOf(middle) <= bytesMax) low = middle;
		else high = middle - 1;
	}
	return low;
}
