/**
 * Packing: messages on their way into the log, cut into runs small enough for a block. A run has no ids yet; with the first
 * one it is a block.
 */

import { messageBytes, type NewMessage, packMessages, readBlock } from './block.ts';

/**
 * Most messages in a block. Every read and trim takes whole blocks, so the block bounds what a reader of one message pays; from
 * 256 on, larger blocks hardly cost less per message.
 */
const BLOCK_MESSAGES_MAX = 1024;
/** Most payload and metadata bytes in a block, unless a single message is larger. */
const BLOCK_BYTES_MAX = 1024 * 1024;

/** A packed run of messages that has no ids yet. Its bytes have an ArrayBuffer of their own. */
export interface PackedRun {
	readonly count: number;
	readonly packed: Uint8Array;
}

/**
 * Packs messages, at least one, in order. A buffer per run, not one for all: the hot tier keeps a block for minutes, and with a
 * shared buffer it would hold the memory of every other block in it, unaccounted.
 */
export function packRuns(messages: readonly NewMessage[]): PackedRun[] {
	const runs: PackedRun[] = [];
	let start = 0;
	let bytes = 0;
	for (let i = 0; i < messages.length; i++) {
		const size = messageBytes(messages[i] as NewMessage);
		if (i > start && (i - start === BLOCK_MESSAGES_MAX || bytes + size > BLOCK_BYTES_MAX)) {
			runs.push(packRun(messages.slice(start, i)));
			start = i;
			bytes = 0;
		}
		bytes += size;
	}
	runs.push(packRun(start === 0 ? messages : messages.slice(start)));
	return runs;
}

/** The messages of a packed run for which `wanted` holds, packed anew; null when there are none. */
export function pickFromRun(run: PackedRun, wanted: (index: number) => boolean): PackedRun | null {
	const reader = readBlock(run.packed);
	const picked: NewMessage[] = [];
	for (let i = 0; i < run.count; i++) {
		if (!wanted(i)) continue;
		const metadata = reader.metadata(i);
		picked.push({
			payload: reader.payload(i),
			metadata: metadata.byteLength === 0 ? null : metadata,
			expiresAtMs: reader.expiresAtMs(i),
		});
	}
	if (picked.length === run.count) return run;
	return picked.length === 0 ? null : packRun(picked);
}

function packRun(messages: readonly NewMessage[]): PackedRun {
	return { count: messages.length, packed: packMessages(messages) };
}
