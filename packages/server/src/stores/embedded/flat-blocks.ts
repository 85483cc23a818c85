/** The way of a page's blocks from the reader's thread to the main thread. */

import type { Block } from '../../log/block.ts';
import type { FlatBlocks } from './messages.ts';

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
