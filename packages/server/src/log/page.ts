/** Pages: the blocks that one read of the log gives, cut to its limits. */

import { type Block, sliceBlock, sliceBytes } from './block.ts';

/** Bounds on one read. At least one message is returned when there is one, also when it alone is over `bytesMax`. */
export interface ReadLimits {
	readonly messagesMax: number;
	/** Packed bytes. */
	readonly bytesMax: number;
}

/** The blocks of one page, taken one after the other from either end until the limits are reached. */
export class PageBuilder {
	readonly blocks: Block[] = [];
	#messagesLeft: number;
	#bytesLeft: number;

	constructor(limits: ReadLimits) {
		this.#messagesLeft = Math.max(1, limits.messagesMax);
		this.#bytesLeft = limits.bytesMax;
	}

	/**
	 * Takes the messages `from` up to, not including, `to`, or as many of them as still fit: the first ones, or, backwards, the
	 * last. The very first message taken always fits.
	 *
	 * @returns whether all were taken, so that the page has room for more
	 */
	take(block: Block, from: number, to: number, backwards: boolean): boolean {
		const wanted = Math.min(to - from, this.#messagesLeft);
		const bytesOf = (count: number) => (backwards ? sliceBytes(block, to - count, to) : sliceBytes(block, from, from + count));
		const leastCount = this.blocks.length === 0 ? Math.min(1, wanted) : 0;
		const count = Math.max(leastCount, countWithin(wanted, this.#bytesLeft, bytesOf));
		if (count > 0) {
			const slice = backwards ? sliceBlock(block, to - count, to) : sliceBlock(block, from, from + count);
			this.blocks.push(slice);
			this.#messagesLeft -= count;
			this.#bytesLeft -= slice.packed.byteLength;
		}
		return count === to - from;
	}
}

/** The largest count from 0 to `countMax` whose bytes are within `bytesMax`. `bytesOf` grows with the count, from 1. */
export function countWithin(countMax: number, bytesMax: number, bytesOf: (count: number) => number): number {
	if (countMax > 0 && bytesOf(countMax) <= bytesMax) return countMax;
	let low = 0;
	let high = countMax;
	while (low < high) {
		const middle = (low + high + 1) >>> 1;
		if (bytesOf(middle) <= bytesMax) low = middle;
		else high = middle - 1;
	}
	return low;
}
