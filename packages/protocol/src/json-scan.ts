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
	failureKindOf,
	findName,
	isPaused,
	malformed,
	OPEN_ARRAY,
	OPEN_OBJECT,
	type PartListener,
	placeOf,
	skipSpace,
	skipValue,
	startWalk,
	type ValueWalk,
} from './json-grammar.ts';

/** A value's bytes, from `start` up to but not including `end`, without surrounding whitespace. */
export interface ByteRange {
	readonly start: number;
	readonly end: number;
}

/**
 * Why a text was refused. `at` is an index into the scanned bytes; for `malformed` of the first byte that cannot stand there, or
 * of the end when the text is cut short; for `unpaired_surrogate` of the backslash of the escape; for `too_deep` of the bracket that
 * opens one level too many.
 */
export interface ScanFailure {
	readonly status: 'malformed' | 'too_deep' | 'unpaired_surrogate';
	readonly at: number;
}

/** What {@link scanJson} and {@link scanDocument} found. */
export type ValueScan = { readonly status: 'ok'; readonly valueStart: number; readonly valueEnd: number } | ScanFailure;

/** What an {@link ObjectScanner} found: in the order of its names the range of each member's value, undefined when absent. */
export type ObjectScan<Names extends readonly string[]> =
	| { readonly status: 'ok'; readonly members: { readonly [I in keyof Names]: ByteRange | undefined } }
	| { readonly status: 'not_object' }
	| ScanFailure;

/** What {@link scanArray} found. `too_many`: more elements than allowed; what comes after them was not looked at. */
export type ArrayScan =
	| { readonly status: 'ok'; readonly elements: readonly ByteRange[] }
	| { readonly status: 'not_array' }
	| { readonly status: 'too_many' }
	| ScanFailure;

/** A scan of a document that may be too long for one turn of an event loop. */
export interface SteppedScan<Result> {
	/**
	 * Goes on up to about an index of the bytes. Returns the result once the whole document was looked at, null before it. Only a
	 * number is never paused in, however long it is.
	 */
	advance(until: number): Result | null;
}

/** Scans one JSON document in `bytes` from `start` up to `end`; made by {@link objectScanner}. */
export interface ObjectScanner<Names extends readonly string[]> {
	(bytes: Uint8Array, start: number, end: number, depthMax: number): ObjectScan<Names>;
	/** The same in steps. `found` has the values that were met so far, in the order of the names. */
	inSteps(
		bytes: Uint8Array,
		start: number,
		end: number,
		depthMax: number,
	): SteppedScan<ObjectScan<Names>> & { readonly found: readonly (ByteRange | undefined)[] };
}

/** What {@link scanMembersInSteps} found: names, with their quotes, and values. `too_many`: as of {@link ArrayScan}. */
export type MembersScan =
	| { readonly status: 'ok'; readonly members: readonly { readonly name: ByteRange; readonly value: ByteRange }[] }
	| { readonly status: 'not_object' }
	| { readonly status: 'too_many' }
	| ScanFailure;

/** Bounds on {@link scanArray} and {@link scanMembersInSteps}. */
export interface ArrayLimits {
	/** Levels of nesting, the array or object itself being the first. */
	readonly depthMax: number;
	/** Elements, or members. */
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
	const inSteps = (bytes: Uint8Array, start: number, end: number, depthMax: number) =>
		new ObjectSteps(new MemberFinder(names), new DocumentSteps(bytes, start, end, depthMax));
	const scan = (bytes: Uint8Array, start: number, end: number, depthMax: number): ObjectScan<Names> => {
		requireRange(bytes, start, end);
		const at = skipSpace(bytes, start, end);
		const isObject = byteAt(bytes, at, end) === OPEN_OBJECT;
		const finder = new MemberFinder(names);
		const valueEnd = skipValue(bytes, at, end, depthMax, null, isObject ? finder : null);
		if (valueEnd < 0) return failureOf(valueEnd);
		const rest = skipSpace(bytes, valueEnd, end);
		if (rest < end) return failureOf(malformed(rest));
		return isObject ? { status: 'ok', members: finder.members } : { status: 'not_object' };
	};
	return Object.assign(scan, { inSteps });
}

/** Splits a JSON document that is an array into the ranges of its elements, in order. */
export function scanArray(bytes: Uint8Array, start: number, end: number, limits: ArrayLimits): ArrayScan {
	return inOneStep(scanArrayInSteps(bytes, start, end, limits), end);
}

/** The same in steps. */
export function scanArrayInSteps(bytes: Uint8Array, start: number, end: number, limits: ArrayLimits): SteppedScan<ArrayScan> {
	return new ArraySteps(limits.elementsMax, new DocumentSteps(bytes, start, end, limits.depthMax));
}

/** Splits a JSON document that is an object into the ranges of all its members, in order, in steps. */
export function scanMembersInSteps(bytes: Uint8Array, start: number, end: number, limits: ArrayLimits): SteppedScan<MembersScan> {
	return new MembersSteps(limits.elementsMax, new DocumentSteps(bytes, start, end, limits.depthMax));
}

function inOneStep<Result>(scan: SteppedScan<Result>, end: number): Result {
	const result = scan.advance(end);
	if (result === null) throw new Error('a scan has paused at the end of its document');
	return result;
}

/** Steps through a document, whatever it is. */
class DocumentSteps {
	readonly #bytes: Uint8Array;
	readonly #end: number;
	readonly #depthMax: number;
	#at: number;
	#next: 'space' | 'value' | 'rest' = 'space';
	/** Null when the value is scanned in one go. */
	#walk: ValueWalk | null = null;
	/** The first byte of the value, once it is known. */
	first = 0;

	constructor(bytes: Uint8Array, start: number, end: number, depthMax: number) {
		requireRange(bytes, start, end);
		this.#bytes = bytes;
		this.#at = start;
		this.#end = end;
		this.#depthMax = depthMax;
	}

	/**
	 * @param open the bracket that makes `parts` hear of what is in it
	 */
	advance(until: number, open: number, parts: PartListener): 'paused' | 'ok' | ScanFailure {
		const end = this.#end;
		const stop = Math.min(until, end);
		if (this.#next === 'space') {
			this.#at = skipSpace(this.#bytes, this.#at, stop);
			if (this.#at >= stop && stop < end) return 'paused';
			this.first = byteAt(this.#bytes, this.#at, end);
			this.#next = 'value';
		}
		if (this.#next === 'value') {
			if (stop < end) this.#walk ??= startWalk();
			if (this.#walk !== null) this.#walk.pauseAt = stop;
			const listener = this.first === open ? parts : null;
			const at = skipValue(this.#bytes, this.#at, end, this.#depthMax, this.#walk, listener);
			if (at < 0 && !isPaused(at)) return failureOf(at);
			this.#at = at < 0 ? placeOf(at) : at;
			if (at < 0) return 'paused';
			this.#next = 'rest';
		}
		this.#at = skipSpace(this.#bytes, this.#at, stop);
		if (this.#at >= end) return 'ok';
		return this.#at >= stop ? 'paused' : failureOf(malformed(this.#at));
	}
}

/** Notes where the values of the members called `names` lie. */
class MemberFinder<Names extends readonly string[]> implements PartListener {
	partStart = 0;
	readonly found: (ByteRange | undefined)[];
	readonly #names: Names;
	/** Of the member under way; -1 when it is none of the names. */
	#slot = -1;

	constructor(names: Names) {
		this.#names = names;
		this.found = names.map((): ByteRange | undefined => undefined);
	}

	get members(): { readonly [I in keyof Names]: ByteRange | undefined } {
		return this.found as { [I in keyof Names]: ByteRange | undefined };
	}

	onName(bytes: Uint8Array, start: number, end: number): void {
		this.#slot = findName(this.#names, bytes, start, end);
	}

	onValue(start: number, end: number): boolean {
		if (this.#slot >= 0) this.found[this.#slot] = { start, end };
		return true;
	}
}

class ObjectSteps<Names extends readonly string[]> implements SteppedScan<ObjectScan<Names>> {
	readonly #finder: MemberFinder<Names>;
	readonly #document: DocumentSteps;

	constructor(finder: MemberFinder<Names>, document: DocumentSteps) {
		this.#finder = finder;
		this.#document = document;
	}

	get found(): readonly (ByteRange | undefined)[] {
		return this.#finder.found;
	}

	advance(until: number): ObjectScan<Names> | null {
		const result = this.#document.advance(until, OPEN_OBJECT, this.#finder);
		if (result === 'paused') return null;
		if (result !== 'ok') return result;
		if (this.#document.first !== OPEN_OBJECT) return { status: 'not_object' };
		return { status: 'ok', members: this.#finder.members };
	}
}

class ArraySteps implements SteppedScan<ArrayScan>, PartListener {
	partStart = 0;
	readonly #elements: ByteRange[] = [];
	readonly #elementsMax: number;
	readonly #document: DocumentSteps;
	#tooMany = false;

	constructor(elementsMax: number, document: DocumentSteps) {
		this.#elementsMax = elementsMax;
		this.#document = document;
	}

	advance(until: number): ArrayScan | null {
		const result = this.#document.advance(until, OPEN_ARRAY, this);
		if (this.#tooMany) return { status: 'too_many' };
		if (result === 'paused') return null;
		if (result !== 'ok') return result;
		return this.#document.first === OPEN_ARRAY ? { status: 'ok', elements: this.#elements } : { status: 'not_array' };
	}

	onName(): void {}

	onValue(start: number, end: number): boolean {
		this.#tooMany = this.#elements.length >= this.#elementsMax;
		if (!this.#tooMany) this.#elements.push({ start, end });
		return !this.#tooMany;
	}
}

class MembersSteps implements SteppedScan<MembersScan>, PartListener {
	partStart = 0;
	readonly #members: { name: ByteRange; value: ByteRange }[] = [];
	readonly #membersMax: number;
	readonly #document: DocumentSteps;
	#name: ByteRange = { start: 0, end: 0 };
	#tooMany = false;

	constructor(membersMax: number, document: DocumentSteps) {
		this.#membersMax = membersMax;
		this.#document = document;
	}

	advance(until: number): MembersScan | null {
		const result = this.#document.advance(until, OPEN_OBJECT, this);
		if (this.#tooMany) return { status: 'too_many' };
		if (result === 'paused') return null;
		if (result !== 'ok') return result;
		return this.#document.first === OPEN_OBJECT ? { status: 'ok', members: this.#members } : { status: 'not_object' };
	}

	onName(_bytes: Uint8Array, start: number, end: number): void {
		this.#name = { start: start - 1, end: end + 1 };
	}

	onValue(start: number, end: number): boolean {
		this.#tooMany = this.#members.length >= this.#membersMax;
		if (!this.#tooMany) this.#members.push({ name: this.#name, value: { start, end } });
		return !this.#tooMany;
	}
}

function requireRange(bytes: Uint8Array, start: number, end: number): void {
	if (!(start >= 0 && start <= end && end <= bytes.length)) {
		throw new RangeError(`range ${start} to ${end} is not within ${bytes.length} bytes`);
	}
}

function failureOf(failure: number): ScanFailure {
	return { status: failureKindOf(failure), at: placeOf(failure) };
}
