/** Pages: cutting blocks to the limits of one read, and their way from the reader's thread to the main thread. */

import { type Block, sliceBlock, sliceBytes } from '../../log/block.ts';
import type { ReadLimits } from '../../ports/store.ts';
import type { FlatBlocks } from './messages.ts';

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

const HEAD_FIELDS = 4;

/** Lays blocks side by side in buffers that can be transferred. Takes the bytes of a lone block without a copy. */
export function flattenBlocks(blocks: readonly Block[]): FlatBlocks {
	const heads = new Float64Array(HEAD_FIELDS * blocks.length);
	let total = 0;
	blocks.forEach(({ ms, n, count, packed }, i) => {
		heads.set([ms, n, count, packed.byteLength], HEAD_FIELDS * i);
		total += aligned(packed.byteLength);
	});
	const [only] = blocks;
	// What SQLite or a slice returned fills its buffer, and starts at its start.
	if (blocks.length === 1 && only !== undefined) return { heads, bytes: only.packed.buffer as ArrayBuffer };
	const bytes = new ArrayBuffer(total);
	const target = new Uint8Array(bytes);
	let start = 0;
	for (const { packed } of blocks) {
		target.set(packed, start);
		start += aligned(packed.byteLength);
	}
	return { heads, bytes };
}

/** The blocks that {@link flattenBlocks} laid out, sharing its buffer. */
export function unflattenBlocks({ heads, bytes }: FlatBlocks): Block[] {
	const blocks: Block[] = [];
	let start = 0;
	for (let i = 0; i < heads.length; i += HEAD_FIELDS) {
		const [ms = 0, n = 0, count = 0, length = 0] = heads.subarray(i, i + HEAD_FIELDS);
		blocks.push({ ms, n, count, packed: new Uint8Array(bytes, start, length) });
		start += aligned(length);
	}
	return blocks;
}

function aligned(bytes: number): number {
	return (bytes + 7) & ~7;
}
