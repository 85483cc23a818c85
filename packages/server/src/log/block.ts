/**
 * A block: a run of messages of one topic with consecutive ids, their bytes packed into one buffer. It is the unit in which
 * the log is appended, stored, read, kept hot and encoded, so that no step allocates per message (docs/adr/0001).
 *
 * Packed form, in the machine's byte order (all platforms that Node supports are little-endian):
 *   u32 count · u32 flags · count × (u32 payload end, u32 metadata end) · [count × f64 expiry, when flag 1] · bytes
 * Ends count from the start of the bytes; an entry's payload begins where the entry before it ended.
 */

import type { MessageId } from '@pulsar-relay/protocol/message-id';

/** A message on its way into the log. */
export interface NewMessage {
	/** The payload's JSON text in UTF-8, exactly as it was sent (I6). */
	readonly payload: Uint8Array;
	/** The metadata's JSON object in UTF-8, or null when none was given. */
	readonly metadata: Uint8Array | null;
	/** Unix time in ms from which the message is no longer delivered; 0 = never. */
	readonly expiresAtMs: number;
}

/** Messages `<ms>-<n>` … `<ms>-<n + count - 1>`. */
export interface Block {
	readonly ms: number;
	readonly n: number;
	readonly count: number;
	readonly packed: Uint8Array;
}

const HEADER_BYTES = 8;
const FLAG_EXPIRES = 1;

/** Payload and metadata bytes of a message. */
export function messageBytes(message: NewMessage): number {
	return message.payload.byteLength + (message.metadata === null ? 0 : message.metadata.byteLength);
}

/** Packs messages into a buffer of their own, which the view fills. */
export function packMessages(messages: readonly NewMessage[]): Uint8Array {
	const count = messages.length;
	const expires = messages.some((message) => message.expiresAtMs !== 0);
	const tableEnd = HEADER_BYTES + 8 * count;
	const head = tableEnd + (expires ? 8 * count : 0);
	let size = head;
	for (const message of messages) size += messageBytes(message);
	const target = new ArrayBuffer(size);
	const words = new Uint32Array(target, 0, 2 + 2 * count);
	words[0] = count;
	words[1] = expires ? FLAG_EXPIRES : 0;
	if (expires) {
		const expiries = new Float64Array(target, tableEnd, count);
		for (let i = 0; i < count; i++) expiries[i] = messages[i]?.expiresAtMs ?? 0;
	}
	const bytes = new Uint8Array(target, head);
	let end = 0;
	for (let i = 0; i < count; i++) {
		const message = messages[i] as NewMessage;
		bytes.set(message.payload, end);
		end += message.payload.byteLength;
		words[2 + 2 * i] = end;
		if (message.metadata !== null) {
			bytes.set(message.metadata, end);
			end += message.metadata.byteLength;
		}
		words[3 + 2 * i] = end;
	}
	return new Uint8Array(target);
}

/** Reads a packed run; made once per use of a block, not kept. */
export interface BlockReader {
	readonly count: number;
	payload(index: number): Uint8Array;
	/** Empty when the message has none. */
	metadata(index: number): Uint8Array;
	/** Unix ms, 0 = never. */
	expiresAtMs(index: number): number;
	/** Whether any message of the block can expire. */
	readonly expires: boolean;
}

/** Where the parts of a packed run lie. */
interface Layout {
	readonly aligned: Uint8Array;
	readonly count: number;
	/** Two per message: where its payload and where its metadata ends, counted from `base`. */
	readonly ends: Uint32Array;
	readonly expiries: Float64Array | null;
	/** Where the bytes begin. */
	readonly base: number;
}

function layoutOf(packed: Uint8Array): Layout {
	// A copy by constructor: `slice` of a Node Buffer would be a view, as unaligned as its source.
	const aligned = packed.byteOffset % 8 === 0 ? packed : new Uint8Array(packed);
	const { buffer, byteOffset } = aligned;
	const head = new Uint32Array(buffer, byteOffset, 2);
	const count = head[0] as number;
	const expires = ((head[1] as number) & FLAG_EXPIRES) !== 0;
	const tableEnd = HEADER_BYTES + 8 * count;
	return {
		aligned,
		count,
		ends: new Uint32Array(buffer, byteOffset + HEADER_BYTES, 2 * count),
		expiries: expires ? new Float64Array(buffer, byteOffset + tableEnd, count) : null,
		base: tableEnd + (expires ? 8 * count : 0),
	};
}

/** Opens a packed run for reading. The views it returns share the block's memory. */
export function readBlock(packed: Uint8Array): BlockReader {
	const { aligned, count, ends, expiries, base } = layoutOf(packed);
	const endAt = (slot: number) => base + (slot < 0 ? 0 : (ends[slot] as number));
	return {
		count,
		expires: expiries !== null,
		payload: (index) => aligned.subarray(endAt(2 * index - 1), endAt(2 * index)),
		metadata: (index) => aligned.subarray(endAt(2 * index), endAt(2 * index + 1)),
		expiresAtMs: (index) => expiries?.[index] ?? 0,
	};
}

/** The id of a block's message at `index`. */
export function idAt(block: Block, index: number): MessageId {
	return { ms: block.ms, n: block.n + index };
}

/** The id of a block's last message. */
export function lastIdOf(block: Block): MessageId {
	return { ms: block.ms, n: block.n + block.count - 1 };
}

/** The index of the first message of the block after `id`: 0 when all are, `count` when none is. */
export function firstIndexAfter({ ms, n, count }: Omit<Block, 'packed'>, id: MessageId): number {
	if (ms !== id.ms) return ms > id.ms ? 0 : count;
	return Math.min(count, Math.max(0, id.n - n + 1));
}

/** The packed bytes of the block that {@link sliceBlock} makes of the same range. */
export function sliceBytes(block: Block, from: number, to: number): number {
	const { ends, expiries } = layoutOf(block.packed);
	const start = from === 0 ? 0 : (ends[2 * from - 1] as number);
	return HEADER_BYTES + (to - from) * (expiries === null ? 8 : 16) + (ends[2 * to - 1] as number) - start;
}

/**
 * The messages at `from` up to, not including, `to` as a block of their own: the block itself when that is all of it, else a
 * copy, so that a short slice does not keep a long block in memory.
 *
 * @param from at least 0 and below `to`
 * @param to at most the block's count
 */
export function sliceBlock(block: Block, from: number, to: number): Block {
	if (from === 0 && to === block.count) return block;
	const { aligned, ends, expiries, base } = layoutOf(block.packed);
	const count = to - from;
	const start = from === 0 ? 0 : (ends[2 * from - 1] as number);
	const target = new ArrayBuffer(sliceBytes(block, from, to));
	const words = new Uint32Array(target, 0, 2 + 2 * count);
	words[0] = count;
	words[1] = expiries === null ? 0 : FLAG_EXPIRES;
	for (let i = 0; i < 2 * count; i++) words[2 + i] = (ends[2 * from + i] as number) - start;
	let head = HEADER_BYTES + 8 * count;
	if (expiries !== null) {
		new Float64Array(target, head, count).set(expiries.subarray(from, to));
		head += 8 * count;
	}
	new Uint8Array(target, head).set(aligned.subarray(base + start, base + (ends[2 * to - 1] as number)));
	return { ms: block.ms, n: block.n + from, count, packed: new Uint8Array(target) };
}
