/**
 * The payload scanner: checks JSON text and finds where its values lie, without parsing them, so that a payload can be stored
 * and forwarded byte for byte (I6).
 *
 * It accepts what `JSON.parse` accepts (RFC 8259, no BOM) with two more refusals: nesting deeper than a limit (I8), and `\u`
 * escapes of unpaired surrogates, which many JSON readers cannot represent. Bytes from 0x80 on pass inside strings as they are,
 * so callers check first that the text is UTF-8 (the server with `isUtf8` of `node:buffer`; this file stays browser-safe).
 */

import {
	byteAt,
	CLOSE_ARRAY,
	CLOSE_OBJECT,
	COMMA,
	findName,
	isTooDeep,
	malformed,
	OPEN_ARRAY,
	OPEN_OBJECT,
	placeOf,
	skipColon,
	skipKey,
	skipSpace,
	skipValue,
	tooDeep,
} from './json-grammar.ts';

/** A value's bytes, from `start` up to but not including `end`, without surrounding whitespace. */
export interface ByteRange {
	readonly start: number;
	readonly end: number;
}

/**
 * Why a text was refused. `at` is an index into the scanned bytes; for `malformed` of the first byte that cannot stand there,
 * of the end when the text is cut short, or of the backslash of an unpaired surrogate escape; for `too_deep` of the bracket
 * that opens one level too many.
 */
export type ScanFailure =
	| { readonly status: 'malformed'; readonly at: number }
	| { readonly status: 'too_deep'; readonly at: number };

/** What {@link scanJson} and {@link scanDocument} found. */
export type ValueScan = { readonly status: 'ok'; readonly valueStart: number; readonly valueEnd: number } | ScanFailure;

/** What an {@link ObjectScanner} found: in the order of its names the range of each member's value, undefined when absent. */
export type ObjectScan<Names extends readonly string[]> =
	| { readonly status: 'ok'; readonly members: { readonly [I in keyof Names]: ByteRange | undefined } }
	| { readonly status: 'not_object' }
	| ScanFailure;

/** Scans one JSON document in `bytes` from `start` up to `end`; made by {@link objectScanner}. */
export type ObjectScanner<Names extends readonly string[]> = (
	bytes: Uint8Array,
	start: number,
	end: number,
	depthMax: number,
) => ObjectScan<Names>;

/** What {@link scanArray} found. `too_many`: more elements than allowed; what comes after them was not looked at. */
export type ArrayScan =
	| { readonly status: 'ok'; readonly elements: readonly ByteRange[] }
	| { readonly status: 'not_array' }
	| { readonly status: 'too_many' }
	| ScanFailure;

/** Bounds on {@link scanArray}. */
export interface ArrayLimits {
	/** Levels of nesting, the array itself being the first. */
	readonly depthMax: number;
	readonly elementsMax: number;
}

/**
 * Finds the JSON value at `start`, or after the whitespace there. What follows the value is not looked at.
 *
 * @param depthMax levels of nesting allowed; a value without brackets needs 0, `[[]]` needs 2
 * @throws RangeError when `start` and `end` do not lie within `bytes`, as every scan here does
 */
export function scanJson(bytes: Uint8Array, start: number, end: number, depthMax: number): ValueScan {
	requireRange(bytes, start, end);
	const valueStart = skipSpace(bytes, start, end);
	const valueEnd = skipValue(bytes, valueStart, end, depthMax);
	return valueEnd < 0 ? failureOf(valueEnd) : { status: 'ok', valueStart, valueEnd };
}

/** Checks one whole JSON document: as {@link scanJson}, but only whitespace may follow the value. */
export function scanDocument(bytes: Uint8Array, start: number, end: number, depthMax: number): ValueScan {
	const scan = scanJson(bytes, start, end, depthMax);
	if (scan.status !== 'ok') return scan;
	const rest = skipSpace(bytes, scan.valueEnd, end);
	return rest < end ? failureOf(malformed(rest)) : scan;
}

/**
 * Makes a scanner of whole JSON documents that are objects, which finds the values of the members called `names`. As in
 * `JSON.parse`, keys count as what their escapes stand for and the last of several equal keys wins. Other members are checked
 * and passed over. The document's own object is the first level of `depthMax`.
 *
 * @throws RangeError when a name is not ASCII: names are compared to the bytes one by one
 */
export function objectScanner<const Names extends readonly string[]>(names: Names): ObjectScanner<Names> {
	for (const name of names) {
		if (!/^[\x20-\x7e]*$/.test(name)) throw new RangeError(`member name ${JSON.stringify(name)} is not ASCII`);
	}
	return (bytes, start, end, depthMax) => {
		requireRange(bytes, start, end);
		let i = skipSpace(bytes, start, end);
		if (byteAt(bytes, i, end) !== OPEN_OBJECT) {
			const scan = scanDocument(bytes, i, end, depthMax);
			return scan.status === 'ok' ? { status: 'not_object' } : scan;
		}
		if (depthMax < 1) return failureOf(tooDeep(i));
		const members = names.map((): ByteRange | undefined => undefined);
		i = skipSpace(bytes, i + 1, end);
		let more = byteAt(bytes, i, end) !== CLOSE_OBJECT;
		while (more) {
			const keyStart = i + 1;
			i = skipKey(bytes, i, end);
			if (i < 0) return failureOf(i);
			const slot = findName(names, bytes, keyStart, i - 1);
			const valueStart = skipColon(bytes, i, end);
			if (valueStart < 0) return failureOf(valueStart);
			i = skipValue(bytes, valueStart, end, depthMax - 1);
			if (i < 0) return failureOf(i);
			if (slot >= 0) members[slot] = { start: valueStart, end: i };
			i = skipSpace(bytes, i, end);
			more = byteAt(bytes, i, end) === COMMA;
			if (more) i = skipSpace(bytes, i + 1, end);
		}
		if (byteAt(bytes, i, end) !== CLOSE_OBJECT) return failureOf(malformed(i));
		const rest = skipSpace(bytes, i + 1, end);
		if (rest < end) return failureOf(malformed(rest));
		return { status: 'ok', members: members as { [I in keyof Names]: ByteRange | undefined } };
	};
}

/** Splits a JSON document that is an array into the ranges of its elements, in order. */
export function scanArray(bytes: Uint8Array, start: number, end: number, limits: ArrayLimits): ArrayScan {
	requireRange(bytes, start, end);
	const { depthMax, elementsMax } = limits;
	let i = skipSpace(bytes, start, end);
	if (byteAt(bytes, i, end) !== OPEN_ARRAY) {
		const scan = scanDocument(bytes, i, end, depthMax);
		return scan.status === 'ok' ? { status: 'not_array' } : scan;
	}
	if (depthMax < 1) return failureOf(tooDeep(i));
	const elements: ByteRange[] = [];
	i = skipSpace(bytes, i + 1, end);
	let more = byteAt(bytes, i, end) !== CLOSE_ARRAY;
	while (more) {
		if (elements.length >= elementsMax) return { status: 'too_many' };
		const elementStart = i;
		i = skipValue(bytes, elementStart, end, depthMax - 1);
		if (i < 0) return failureOf(i);
		elements.push({ start: elementStart, end: i });
		i = skipSpace(bytes, i, end);
		more = byteAt(bytes, i, end) === COMMA;
		if (more) i = skipSpace(bytes, i + 1, end);
	}
	if (byteAt(bytes, i, end) !== CLOSE_ARRAY) return failureOf(malformed(i));
	const rest = skipSpace(bytes, i + 1, end);
	return rest < end ? failureOf(malformed(rest)) : { status: 'ok', elements };
}

function requireRange(bytes: Uint8Array, start: number, end: number): void {
	if (!(start >= 0 && start <= end && end <= bytes.length)) {
		throw new RangeError(`range ${start} to ${end} is not within ${bytes.length} bytes`);
	}
}

function failureOf(failure: number): ScanFailure {
	return { status: isTooDeep(failure) ? 'too_deep' : 'malformed', at: placeOf(failure) };
}
