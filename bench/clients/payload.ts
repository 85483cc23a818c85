/**
 * The payloads that are published: a JSON object of a given size, with a time of sending that can be written and read in place.
 */

/** Digits of the time: microseconds on the machine's monotonic clock plus {@link BASE}, which keeps their number the same. */
const TIME_DIGITS = 16;
const BASE = 1e15;
const KEY = '"sent":';

/** A payload of at least 40 bytes. */
export function payloadOf(bytes: number): string {
	const head = `{${KEY}${BASE},"filler":"`;
	return `${head}${'x'.repeat(Math.max(0, bytes - head.length - 2))}"}`;
}

/** Where the time's digits are in bytes that contain a payload; -1 when there are none. */
export function timeOffset(bytes: Buffer, from = 0): number {
	const at = bytes.indexOf(KEY, from, 'latin1');
	return at < 0 ? -1 : at + KEY.length;
}

/** Writes the time, in ms, at {@link timeOffset}. */
export function writeTime(bytes: Buffer, offset: number, ms: number): void {
	bytes.write(String(BASE + Math.round(ms * 1000)), offset, TIME_DIGITS, 'latin1');
}

/** Reads the time, in ms; NaN when it is not there. */
export function readTime(bytes: Buffer): number {
	const offset = timeOffset(bytes);
	return offset < 0 ? Number.NaN : (Number(bytes.toString('latin1', offset, offset + TIME_DIGITS)) - BASE) / 1000;
}
