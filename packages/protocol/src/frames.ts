/**
 * WebSocket frames (PROTOCOL.md, "WebSocket"): the server's control frames as text, and message frames as ready bytes.
 *
 * The JSON object of a message is the same on every transport; it is encoded here once, a block at a time, each object behind
 * the WebSocket header of its own text frame, so that live delivery writes the bytes as they are (I7) and the other
 * transports cut the objects out.
 */

import { formatMessageId, type MessageId } from './message-id.ts';

/** Why a subscriber cannot be given exactly what follows its cursor (I4). */
export type GapReason = 'trimmed' | 'ahead' | 'unknown' | 'deleted';

/** A hole in what a subscriber is given, told before what follows. */
export interface Gap {
	readonly topic: string;
	/**
	 * `trimmed`: messages after the cursor are no longer kept. `ahead`: the cursor is beyond the log's end, which lost its
	 * tail or is another log. `unknown`: the cursor could not be understood. `deleted`: the topic was deleted meanwhile.
	 */
	readonly reason: GapReason;
	/** The cursor as it was, null when it could not be understood. */
	readonly from: MessageId | null;
	/** Delivery goes on after this id. */
	readonly to: MessageId;
}

/** The messages to encode: consecutive ids from `<ms>-<n>`. */
export interface FrameSource {
	readonly topic: string;
	readonly ms: number;
	readonly n: number;
	readonly count: number;
	payload(index: number): Uint8Array;
	/** Empty when the message has none. */
	metadata(index: number): Uint8Array;
}

/** Message frames back to back. Frame i is `bytes[ends[i-1] … ends[i])`, its JSON object `bytes[starts[i] … ends[i])`. */
export interface MessageFrames {
	readonly bytes: Uint8Array;
	readonly starts: Uint32Array;
	readonly ends: Uint32Array;
}

const text = new TextEncoder();
const NO_METADATA = text.encode('{}');
const METADATA_KEY = text.encode(',"metadata":');
const FIN_TEXT = 0x81;
const CLOSE_BRACE = 0x7d;

/** The `timestamp` of a message: the time in its id, as ISO 8601 in UTC. */
export function timestampOf(ms: number): string {
	// The largest time a Date can hold; an id beyond it can only have been written into the log by hand.
	return new Date(Math.min(ms, 8.64e15)).toISOString();
}

/** Encodes a run of messages as WebSocket text frames, unmasked, one frame each. */
export function encodeMessageFrames(source: FrameSource): MessageFrames {
	const { count } = source;
	// The ids of a run share their millisecond, so all but the number is the same text for the whole run.
	const head = text.encode(`{"type":"message","message_id":"${source.ms}-`);
	const middle = text.encode(`","topic":"${source.topic}","timestamp":"${timestampOf(source.ms)}","payload":`);
	const starts = new Uint32Array(count);
	const ends = new Uint32Array(count);
	let end = 0;
	for (let i = 0; i < count; i++) {
		const metadataBytes = source.metadata(i).byteLength || NO_METADATA.byteLength;
		const digits = digitsOf(source.n + i);
		const length =
			head.byteLength + digits + middle.byteLength + source.payload(i).byteLength + METADATA_KEY.byteLength + metadataBytes + 1;
		starts[i] = end + headerBytes(length);
		end = (starts[i] as number) + length;
		ends[i] = end;
	}
	const bytes = new Uint8Array(end);
	for (let i = 0; i < count; i++) {
		const payload = source.payload(i);
		const metadata = source.metadata(i);
		let at = starts[i] as number;
		writeHeader(bytes, i === 0 ? 0 : (ends[i - 1] as number), (ends[i] as number) - at);
		bytes.set(head, at);
		at = writeDigits(bytes, at + head.byteLength, source.n + i);
		bytes.set(middle, at);
		at += middle.byteLength;
		bytes.set(payload, at);
		at += payload.byteLength;
		bytes.set(METADATA_KEY, at);
		at += METADATA_KEY.byteLength;
		bytes.set(metadata.byteLength === 0 ? NO_METADATA : metadata, at);
		bytes[(ends[i] as number) - 1] = CLOSE_BRACE;
	}
	return { bytes, starts, ends };
}

/**
 * The frames of a run of messages under another topic name: for those who follow the topic by another name than its owner does.
 *
 * @param from the name in the frames
 */
export function renameFrames(
	frames: MessageFrames,
	from: string,
	to: string,
	first: Pick<FrameSource, 'ms' | 'n'>,
): MessageFrames {
	const count = frames.starts.length;
	const starts = new Uint32Array(count);
	const ends = new Uint32Array(count);
	const name = text.encode(to);
	const growth = name.byteLength - from.length;
	let end = 0;
	for (let i = 0; i < count; i++) {
		const length = (frames.ends[i] as number) - (frames.starts[i] as number) + growth;
		starts[i] = end + headerBytes(length);
		end = (starts[i] as number) + length;
		ends[i] = end;
	}
	const bytes = new Uint8Array(end);
	const headLength = `{"type":"message","message_id":"${first.ms}-`.length;
	for (let i = 0; i < count; i++) {
		const object = frames.bytes.subarray(frames.starts[i], frames.ends[i]);
		const at = starts[i] as number;
		writeHeader(bytes, i === 0 ? 0 : (ends[i - 1] as number), (ends[i] as number) - at);
		const nameAt = headLength + digitsOf(first.n + i) + '","topic":"'.length;
		bytes.set(object.subarray(0, nameAt), at);
		bytes.set(name, at + nameAt);
		bytes.set(object.subarray(nameAt + from.length), at + nameAt + name.byteLength);
	}
	return { bytes, starts, ends };
}

/** One unmasked WebSocket text frame around `content`. */
export function encodeTextFrame(content: string): Uint8Array {
	const body = text.encode(content);
	const start = headerBytes(body.byteLength);
	const frame = new Uint8Array(start + body.byteLength);
	writeHeader(frame, 0, body.byteLength);
	frame.set(body, start);
	return frame;
}

/** The `gap` object, on every transport. */
export function gapObject(gap: Gap): { topic: string; reason: GapReason; from: string | null; to: string } {
	return {
		topic: gap.topic,
		reason: gap.reason,
		from: gap.from === null ? null : formatMessageId(gap.from),
		to: formatMessageId(gap.to),
	};
}

function headerBytes(length: number): number {
	if (length < 126) return 2;
	return length < 65_536 ? 4 : 10;
}

function writeHeader(target: Uint8Array, at: number, length: number): void {
	target[at] = FIN_TEXT;
	if (length < 126) {
		target[at + 1] = length;
	} else if (length < 65_536) {
		target[at + 1] = 126;
		target[at + 2] = length >>> 8;
		target[at + 3] = length & 0xff;
	} else {
		target[at + 1] = 127;
		// Message frames stay below 4 GiB: the upper half of the 64-bit length is zero.
		target[at + 6] = length >>> 24;
		target[at + 7] = (length >>> 16) & 0xff;
		target[at + 8] = (length >>> 8) & 0xff;
		target[at + 9] = length & 0xff;
	}
}

function digitsOf(value: number): number {
	let digits = 1;
	for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
	return digits;
}

function writeDigits(target: Uint8Array, at: number, value: number): number {
	const end = at + digitsOf(value);
	let rest = value;
	for (let i = end - 1; i >= at; i--) {
		const quotient = Math.floor(rest / 10);
		target[i] = 48 + (rest - quotient * 10);
		rest = quotient;
	}
	return end;
}
