/** JSON bodies as values, for the routes whose bodies are not payloads. Payloads are never parsed (I6): see publication.ts. */

import { isUtf8 } from 'node:buffer';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { type ByteRange, type ScanFailure, type SteppedScan, scanDocument } from '@pulsar-relay/protocol/json-scan';
import { STEP_BYTES, type Steps } from '../../limits/turns.ts';

const QUOTE = 0x22;
const OPEN_ARRAY = 0x5b;
const OPEN_OBJECT = 0x7b;
/** Stands for a text that is too long for its field, whatever the field. */
const LONG_TEXT = 'x'.repeat(4096);

/** The error for a text that the scanner refused and that began at `start`. */
export function scanError(failure: ScanFailure, start: number, depthMax: number): RelayError {
	if (failure.status === 'too_deep') return new RelayError('payload_too_deep', `the JSON nests deeper than ${depthMax} levels`);
	const at = failure.at - start;
	const unpaired = failure.status === 'unpaired_surrogate';
	const message = unpaired
		? `the JSON escapes an unpaired surrogate (half of a character) at byte ${at}`
		: `not well-formed JSON at byte ${at}`;
	const msg = unpaired ? 'JSON decode error: unpaired surrogate' : 'JSON decode error';
	return new RelayError('invalid_json', message, { problems: [{ type: 'json_invalid', loc: ['body', at], msg }] });
}

/** The error for bytes that are not UTF-8. */
export function encodingError(): RelayError {
	return new RelayError('invalid_json', 'the text is not UTF-8', {
		problems: [{ type: 'json_invalid', loc: ['body'], msg: 'JSON decode error: not UTF-8' }],
	});
}

/** The index after a byte order mark, which may stand at the beginning of a text, else `start`. */
export function afterMark(bytes: Uint8Array, start: number): number {
	const marked = bytes[start] === 0xef && bytes[start + 1] === 0xbb && bytes[start + 2] === 0xbf;
	return marked ? start + 3 : start;
}

/** Whether `bytes[start … end)` is UTF-8. */
export function* isUtf8InSteps(bytes: Uint8Array, start: number, end: number): Steps<boolean> {
	for (let from = start; from < end; ) {
		let to = Math.min(end, from + STEP_BYTES * 4);
		// Not in the middle of a character, of which there are at most three bytes after the first.
		for (let back = 0; back < 3 && to < end && isContinuation(bytes[to] as number); back++) to--;
		if (!isUtf8(bytes.subarray(from, to))) return false;
		from = to;
		if (from < end) yield;
	}
	return true;
}

function isContinuation(byte: number): boolean {
	return (byte & 0xc0) === 0x80;
}

/** Brings a scan to its end. */
export function* scanInSteps<Result>(scan: SteppedScan<Result>, start: number): Steps<Result> {
	for (let until = start + STEP_BYTES; ; until += STEP_BYTES) {
		const result = scan.advance(until);
		if (result !== null) return result;
		yield;
	}
}

/**
 * The value of a member of well-formed JSON that is short when it is right. Of a longer one nothing is parsed: it is
 * taken for any value of its type that is too long.
 */
export function parseShort(bytes: Buffer, { start, end }: ByteRange, bytesMax: number): unknown {
	if (end - start <= bytesMax) return JSON.parse(bytes.toString('utf8', start, end));
	const first = bytes[start];
	if (first === QUOTE) return LONG_TEXT;
	if (first === OPEN_OBJECT) return {};
	return first === OPEN_ARRAY ? [] : Number.MAX_VALUE;
}

/**
 * Parses a body. A key `__proto__` becomes a property like any other, of that object only. Its last step is as long as the body, which
 * is why these bodies are small.
 *
 * Throws `invalid_json` or `payload_too_deep`.
 */
export function* parseJsonBody(body: Buffer, depthMax: number): Steps<unknown> {
	yield* checkJsonBody(body, depthMax);
	return JSON.parse(body.toString('utf8', afterMark(body, 0)));
}

/** Throws what {@link parseJsonBody} throws, and parses nothing. */
export function* checkJsonBody(body: Buffer, depthMax: number): Steps<void> {
	if (!(yield* isUtf8InSteps(body, 0, body.byteLength))) throw encodingError();
	const start = afterMark(body, 0);
	const scan = scanDocument(body, start, body.byteLength, depthMax);
	if (scan.status !== 'ok') throw scanError(scan, start, depthMax);
}
