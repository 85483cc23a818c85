/**
 * Client frames (PROTOCOL.md, "WebSocket"): one JSON object per text frame, told apart by `type`.
 */

import { isUtf8 } from 'node:buffer';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { objectScanner } from '@pulsar-relay/protocol/json-scan';

/** A client frame, checked as JSON but for its fields. */
export interface ClientFrame {
	readonly type: string;
	/** What the client put in `ref`, to be repeated in the answer; undefined when absent. */
	readonly ref: string | number | undefined;
	/** The raw value of `idempotency_key`, undefined when absent; only a publish has use for it. */
	readonly idempotencyKey: unknown;
	/** The frame as it came. */
	readonly bytes: Buffer;
	/** The frame's members; parsed when first asked for, since a publish never is. */
	fields(): Readonly<Record<string, unknown>>;
}

const scanFrame = objectScanner(['type', 'ref', 'idempotency_key']);
const REF_LENGTH_MAX = 128;

/** Reads a client frame. Throws `invalid_json`, `payload_too_deep` or `unknown_frame`. */
export function readFrame(bytes: Buffer, depthMax: number): ClientFrame {
	if (!isUtf8(bytes)) throw new RelayError('invalid_json', 'the frame is not UTF-8');
	// The frame around a payload is a level of its own: over HTTP a payload may nest just as deep.
	const scan = scanFrame(bytes, 0, bytes.byteLength, depthMax + 1);
	if (scan.status === 'too_deep') throw new RelayError('payload_too_deep', `the frame nests deeper than ${depthMax} levels`);
	if (scan.status === 'malformed') throw new RelayError('invalid_json', `the frame is not JSON, from byte ${scan.at} on`);
	if (scan.status === 'not_object') throw new RelayError('invalid_json', 'the frame is not a JSON object');
	const [typeRange, refRange, keyRange] = scan.members;
	// A frame without a type is a subscribe: the earlier server's first frame may leave it out.
	const type: unknown = typeRange === undefined ? 'subscribe' : parse(bytes, typeRange);
	if (typeof type !== 'string') throw new RelayError('unknown_frame', 'the frame type is not a string');
	const ref: unknown = refRange === undefined ? undefined : parse(bytes, refRange);
	return {
		type,
		ref: isRef(ref) ? ref : undefined,
		idempotencyKey: keyRange === undefined ? undefined : parse(bytes, keyRange),
		bytes,
		fields: () => JSON.parse(bytes.toString()) as Readonly<Record<string, unknown>>,
	};
}

function parse(bytes: Buffer, range: { readonly start: number; readonly end: number }): unknown {
	return JSON.parse(bytes.toString('utf8', range.start, range.end));
}

function isRef(value: unknown): value is string | number {
	return typeof value === 'number' || (typeof value === 'string' && value.length <= REF_LENGTH_MAX);
}
