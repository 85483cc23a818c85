/**
 * The log of one topic in memory: blocks in id order, the tip and the floor. Trimming cuts at the message: a block that
 * retention covers in part is packed anew without its oldest messages, so that what is kept is always whole blocks above the
 * floor and the byte count is exact.
 */

import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, firstIndexAfter, idAt, lastIdOf, sliceBlock, sliceBytes } from '../../log/block.ts';
import { countWithin, PageBuilder, type ReadLimits } from '../../log/page.ts';

/** What retention keeps: messages from `sinceMs` on and after the id `after`, the newest `messagesMax` of them, as many as fit `bytesMax`. */
export interface Kept {
	readonly after: MessageId;
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
		const page = new PageBuilder(limits);
		for (let i = this.#firstBlockAfter(after); i < this.#blocks.length; i++) {
			const block = this.#blocks[i] as Block;
			if (!page.take(block, firstIndexAfter(block, after), block.count, false)) break;
		}
		return page.blocks;
	}

	/** The newest messages before `before` (null = before the end), cut at the limits; blocks are oldest first. */
	readBefore(before: MessageId | null, limits: ReadLimits): Block[] {
		const page = new PageBuilder(limits);
		const last = before === null ? this.#tip : { ms: before.ms, n: before.n - 1 };
		for (let i = Math.min(this.#firstBlockAfter(last), this.#blocks.length - 1); i >= 0; i--) {
			const block = this.#blocks[i] as Block;
			if (!page.take(block, 0, firstIndexAfter(block, last), true)) break;
		}
		return page.blocks.reverse();
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
		if (oldest.ms < kept.sinceMs || compareMessageIds(lastIdOf(oldest), kept.after) <= 0) return oldest.count;
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
