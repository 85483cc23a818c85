/**
 * Client frames (PROTOCOL.md, "WebSocket"): one JSON object per text frame, told apart by `type`. A frame is scanned once; what a command
 * uses of it is parsed by the command, and nothing else.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { type ByteRange, type ObjectScan, objectScanner, type ScanFailure } from '@pulsar-relay/protocol/json-scan';
import { STEP_BYTES, type Steps } from '../../limits/turns.ts';
import { afterMark, parseShort } from '../http/json-body.ts';

const MEMBERS = [
	'type',
	'ref',
	'topic',
	'payload',
	'ttl',
	'metadata',
	'idempotency_key',
	'topics',
	'offset',
	'since',
	'message_id',
	'token',
] as const;

/** What client frames have members for. */
export type FrameMember = (typeof MEMBERS)[number];

type Ranges = readonly (ByteRange | undefined)[];

/** A client frame, checked as JSON but for its members. */
export class ClientFrame {
	readonly type: string;
	/** The JSON text of `ref`, to be repeated in the answer as it came; undefined when absent. */
	readonly ref: string | undefined;
	/** The frame as it came. */
	readonly bytes: Buffer;
	readonly #ranges: Ranges;

	constructor(bytes: Buffer, ranges: Ranges) {
		const [typeRange, refRange] = ranges;
		this.type = typeOf(bytes, typeRange);
		this.ref = refRange === undefined ? undefined : refOf(bytes, refRange);
		this.bytes = bytes;
		this.#ranges = ranges;
	}

	/** Where the value of a member lies. */
	member(name: FrameMember): ByteRange | undefined {
		return this.#ranges[MEMBERS.indexOf(name)];
	}

	/** The value of a member that is short when it is right; undefined when absent. */
	value(name: FrameMember, bytesMax: number): unknown {
		const range = this.member(name);
		return range === undefined ? undefined : parseShort(this.bytes, range, bytesMax);
	}
}

const scanFrame = objectScanner(MEMBERS);
const REF_LENGTH_MAX = 128;
/** Each character may be written as an escape of six. */
const REF_TEXT_BYTES_MAX = 6 * REF_LENGTH_MAX + 2;
const TYPE_TEXT_BYTES_MAX = 64;

/** Largest frames; of `publish` the largest message is the limit. */
export const TOPIC_FRAME_BYTES_MAX = 1024 * 1024;
const OTHER_FRAME_BYTES_MAX = 32 * 1024;

/**
 * Reads a client frame, which must be UTF-8, in one go: for short ones. Throws `invalid_json`, `payload_too_deep`, `unknown_frame`, or
 * `payload_too_large` for a frame that is larger than those of its type may be.
 */
export function parseFrame(bytes: Buffer, depthMax: number): ClientFrame {
	// The frame around a payload is a level of its own: over HTTP a payload may nest just as deep.
	return frameFrom(scanFrame(bytes, afterMark(bytes, 0), bytes.byteLength, depthMax + 1), bytes, depthMax);
}

/** As {@link parseFrame}, in steps, and only as far as to a type whose frames are never as large. */
export function* readFrame(bytes: Buffer, depthMax: number): Steps<ClientFrame> {
	const start = afterMark(bytes, 0);
	const scan = scanFrame.inSteps(bytes, start, bytes.byteLength, depthMax + 1);
	for (let until = start + STEP_BYTES; ; until += STEP_BYTES) {
		const result = scan.advance(until);
		if (result !== null) return frameFrom(result, bytes, depthMax);
		if (scan.found[0] !== undefined) typeOf(bytes, scan.found[0]);
		yield;
	}
}

function frameFrom(scan: ObjectScan<typeof MEMBERS>, bytes: Buffer, depthMax: number): ClientFrame {
	if (scan.status === 'not_object') throw new RelayError('invalid_json', 'the frame is not a JSON object');
	if (scan.status !== 'ok') throw frameError(scan, depthMax);
	return new ClientFrame(bytes, scan.members);
}

/** The type of a frame, which is as large as such a frame may be. */
function typeOf(bytes: Buffer, range: ByteRange | undefined): string {
	// A frame without a type is a subscribe: the earlier server's first frame may leave it out.
	const type = range === undefined ? 'subscribe' : parseShort(bytes, range, TYPE_TEXT_BYTES_MAX);
	if (type === 'publish') return type;
	const bytesMax = type === 'subscribe' || type === 'unsubscribe' ? TOPIC_FRAME_BYTES_MAX : OTHER_FRAME_BYTES_MAX;
	if (bytes.byteLength > bytesMax) {
		throw new RelayError('payload_too_large', `a frame of this type is at most ${bytesMax} bytes`);
	}
	if (typeof type !== 'string') throw new RelayError('unknown_frame', 'the frame type is not a string');
	return type;
}

function frameError({ status, at }: ScanFailure, depthMax: number): RelayError {
	if (status === 'too_deep') return new RelayError('payload_too_deep', `the frame nests deeper than ${depthMax} levels`);
	if (status === 'malformed') return new RelayError('invalid_json', `the frame is not JSON, from byte ${at} on`);
	return new RelayError('invalid_json', `the frame escapes an unpaired surrogate (half of a character) at byte ${at}`);
}

/** What the answer repeats; undefined when it is nothing that is repeated. */
function refOf(bytes: Buffer, { start, end }: ByteRange): string | undefined {
	if (end - start > REF_TEXT_BYTES_MAX) return undefined;
	const text = bytes.toString('utf8', start, end);
	const value: unknown = JSON.parse(text);
	if (typeof value === 'number') return text.length <= REF_LENGTH_MAX ? text : undefined;
	return typeof value === 'string' && value.length <= REF_LENGTH_MAX ? text : undefined;
}
