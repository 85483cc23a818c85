/**
 * The grammar of JSON over UTF-8 bytes: the inner part of the payload scanner (json-scan.ts), which has the contract.
 *
 * Each `skip…` function takes the index of the first byte of its part, which may be `end`, and returns the index after the
 * part. A position is a number ≥ 0, a failure or a pause one < 0 ({@link failureKindOf}, {@link isPaused}), so that the hot path
 * allocates nothing.
 */

const TAB = 0x09;
const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
export const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const LETTER_E = 0x65;
const LETTER_F = 0x66;
const LETTER_N = 0x6e;
const LETTER_T = 0x74;
const LETTER_U = 0x75;
export const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const NO_BYTE = -1;
const SURROGATES = 0xd800;
const LOW_SURROGATES = 0xdc00;
const SURROGATES_END = 0xe000;
const LEVELS_PER_WORD = 32;

/** 1 for the bytes that end a run of plain string bytes: the quote, the backslash and the control bytes. */
const STRING_STOPS = Uint8Array.from({ length: 256 }, (_, byte) =>
	byte < SPACE || byte === QUOTE || byte === BACKSLASH ? 1 : 0,
);

/** By its letter, the character that a one-letter escape stands for; 0 when there is no such escape. */
const ESCAPED = new Uint8Array(256);
for (const pair of ['""', '\\\\', '//', 'b\b', 'f\f', 'n\n', 'r\r', 't\t']) ESCAPED[pair.charCodeAt(0)] = pair.charCodeAt(1);

/** By its character, the value of a hexadecimal digit; -1 when it is none. */
const HEX_DIGITS = Int8Array.from({ length: 256 }, (_, byte) =>
	'0123456789abcdef'.indexOf(String.fromCharCode(byte).toLowerCase()),
);

/** What a negative position says, in its lowest two bits. */
const MALFORMED = 0;
const TOO_DEEP = 1;
const UNPAIRED_SURROGATE = 2;
const PAUSED = 3;

/** The failure `malformed` at an index. */
export function malformed(at: number): number {
	return -1 - (4 * at + MALFORMED);
}

/** The failure `too_deep` at an index. */
function tooDeep(at: number): number {
	return -1 - (4 * at + TOO_DEEP);
}

function unpairedSurrogate(at: number): number {
	return -1 - (4 * at + UNPAIRED_SURROGATE);
}

function paused(at: number): number {
	return -1 - (4 * at + PAUSED);
}

/** Whether a negative position is no failure: {@link skipValue} has paused there. */
export function isPaused(position: number): boolean {
	return ((-1 - position) & 3) === PAUSED;
}

/** What a failure is. */
export function failureKindOf(failure: number): 'malformed' | 'too_deep' | 'unpaired_surrogate' {
	const kind = (-1 - failure) & 3;
	if (kind === TOO_DEEP) return 'too_deep';
	return kind === UNPAIRED_SURROGATE ? 'unpaired_surrogate' : 'malformed';
}

/** The index that a negative position is about. */
export function placeOf(position: number): number {
	return (-1 - position) >> 2;
}

/** The byte at an index, -1 at the end. */
export function byteAt(bytes: Uint8Array, at: number, end: number): number {
	return at < end ? (bytes[at] as number) : NO_BYTE;
}

/** The whitespace of JSON, of which there may be none. */
export function skipSpace(bytes: Uint8Array, at: number, end: number): number {
	let i = at;
	while (i < end) {
		const byte = bytes[i] as number;
		if (byte > SPACE || (byte !== SPACE && byte !== LINE_FEED && byte !== CARRIAGE_RETURN && byte !== TAB)) break;
		i++;
	}
	return i;
}

/** What comes next within a value. In the order of the tests that follow. */
const NEXT_VALUE = 0;
const NEXT_NAME = 1;
const NEXT_COLON = 2;
/** A comma or a closing bracket. */
const NEXT_SEPARATOR = 3;
/** The first value of an array, or its end. */
const NEXT_ELEMENT = 4;
/** The first name of an object, or its end. */
const NEXT_MEMBER = 5;
/** The rest of a string that is a value, or a name. */
const IN_STRING = 6;
const IN_NAME = 7;

/** Where a long value has been paused, to go on from there. */
export interface ValueWalk {
	/** The index from which on it pauses again. */
	pauseAt: number;
	next: number;
	depth: number;
	kinds: number;
	outer: number[] | null;
}

/** A walk over a value from its beginning. */
export function startWalk(): ValueWalk {
	return { pauseAt: 0, next: NEXT_VALUE, depth: 0, kinds: 0, outer: null };
}

/** Hears of the members or elements of the outermost object or array. */
export interface PartListener {
	/** For {@link skipValue}: where the name or the value under way begins. */
	partStart: number;
	/** The name of a member: its text, already checked, lies from `start` to `end`. */
	onName(bytes: Uint8Array, start: number, end: number): void;
	/** The value of a member, or an element. False pauses the scan, for good. */
	onValue(start: number, end: number): boolean;
}

/**
 * Any value. Fails with `too_deep` at the bracket that opens a level beyond `depthMax`.
 *
 * @param walk null scans the value in one go. Else the scan pauses at `walk.pauseAt` or a few bytes later ({@link isPaused}), and goes
 * on when it is called again with the same walk and the place of the pause; only a number is never paused in.
 */
export function skipValue(
	bytes: Uint8Array,
	at: number,
	end: number,
	depthMax: number,
	walk: ValueWalk | null = null,
	parts: PartListener | null = null,
): number {
	let i = at;
	let depth = 0;
	// What the open brackets are, innermost in the lowest bit, 1 = object: 32 levels here, those further out in `outer`. Not
	// recursion, so that depth costs no call stack; not an array, so that common payloads allocate nothing.
	let kinds = 0;
	let outer: number[] | null = null;
	let next = NEXT_VALUE;
	let stop = end;
	if (walk !== null) {
		({ depth, kinds, outer, next } = walk);
		if (walk.pauseAt < end) stop = walk.pauseAt;
	}
	for (;;) {
		if (next < IN_STRING) i = skipSpace(bytes, i, stop);
		if (i >= stop && stop < end && walk !== null) {
			walk.next = next;
			walk.depth = depth;
			walk.kinds = kinds;
			walk.outer = outer;
			return paused(i);
		}
		const byte = byteAt(bytes, i, end);
		if (next === NEXT_ELEMENT) next = byte === CLOSE_ARRAY ? NEXT_SEPARATOR : NEXT_VALUE;
		else if (next === NEXT_MEMBER) next = byte === CLOSE_OBJECT ? NEXT_SEPARATOR : NEXT_NAME;
		if (parts !== null && depth === 1 && (next === NEXT_VALUE || next === NEXT_NAME)) parts.partStart = i;
		if (next === NEXT_VALUE) {
			if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
				if (depth >= depthMax) return tooDeep(i);
				if (depth > 0 && depth % LEVELS_PER_WORD === 0) {
					outer ??= [];
					outer.push(kinds);
				}
				depth++;
				kinds = (kinds << 1) | (byte === OPEN_OBJECT ? 1 : 0);
				i++;
				next = byte === OPEN_OBJECT ? NEXT_MEMBER : NEXT_ELEMENT;
				continue;
			}
			i = byte === QUOTE ? skipString(bytes, i + 1, end, stop) : skipScalar(bytes, i, end, byte);
			next = i < 0 ? IN_STRING : NEXT_SEPARATOR;
		} else if (next === NEXT_SEPARATOR) {
			const inObject = (kinds & 1) === 1;
			if (byte === COMMA) next = inObject ? NEXT_NAME : NEXT_VALUE;
			else if (byte !== (inObject ? CLOSE_OBJECT : CLOSE_ARRAY)) return malformed(i);
			else {
				depth--;
				kinds = depth % LEVELS_PER_WORD === 0 ? (outer?.pop() ?? 0) : kinds >> 1;
			}
			i++;
		} else if (next === NEXT_NAME) {
			i = byte === QUOTE ? skipString(bytes, i + 1, end, stop) : malformed(i);
			next = i < 0 ? IN_NAME : NEXT_COLON;
		} else if (next === NEXT_COLON) {
			if (byte !== COLON) return malformed(i);
			i++;
			next = NEXT_VALUE;
			continue;
		} else {
			i = skipString(bytes, i, end, stop);
			if (i >= 0) next = next === IN_NAME ? NEXT_COLON : NEXT_SEPARATOR;
		}
		if (i < 0) {
			if (!isPaused(i)) return i;
			i = placeOf(i);
		} else if (next === NEXT_SEPARATOR) {
			// A value has ended.
			if (depth === 0) return i;
			if (parts !== null && depth === 1 && !parts.onValue(parts.partStart, i)) return paused(i);
		} else if (next === NEXT_COLON) {
			if (parts !== null && depth === 1) parts.onName(bytes, parts.partStart + 1, i - 1);
			if (i < stop && bytes[i] === COLON) {
				i++;
				next = NEXT_VALUE;
			}
		}
	}
}

function skipScalar(bytes: Uint8Array, at: number, end: number, first: number): number {
	if (first === MINUS || (first >= ZERO && first <= NINE)) return skipNumber(bytes, at, end);
	if (first === LETTER_T) return skipLiteral(bytes, at, end, 'true');
	if (first === LETTER_F) return skipLiteral(bytes, at, end, 'false');
	if (first === LETTER_N) return skipLiteral(bytes, at, end, 'null');
	return malformed(at);
}

function skipLiteral(bytes: Uint8Array, at: number, end: number, literal: string): number {
	for (let k = 0; k < literal.length; k++) {
		if (byteAt(bytes, at + k, end) !== literal.charCodeAt(k)) return malformed(at + k);
	}
	return at + literal.length;
}

function skipNumber(bytes: Uint8Array, at: number, end: number): number {
	let i = bytes[at] === MINUS ? at + 1 : at;
	i = byteAt(bytes, i, end) === ZERO ? i + 1 : skipDigits(bytes, i, end);
	if (i >= 0 && byteAt(bytes, i, end) === DOT) i = skipDigits(bytes, i + 1, end);
	if (i >= 0 && (byteAt(bytes, i, end) | 0x20) === LETTER_E) {
		const sign = byteAt(bytes, i + 1, end);
		i = skipDigits(bytes, sign === PLUS || sign === MINUS ? i + 2 : i + 1, end);
	}
	return i;
}

function skipDigits(bytes: Uint8Array, at: number, end: number): number {
	let i = at;
	while (i < end) {
		const byte = bytes[i] as number;
		if (byte < ZERO || byte > NINE) break;
		i++;
	}
	return i === at ? malformed(at) : i;
}

/** The rest of a string after its opening quote, or after where it has been paused. Pauses at `stop` when that is before the end. */
function skipString(bytes: Uint8Array, at: number, end: number, stop: number): number {
	let i = at;
	for (;;) {
		i = skipPlain(bytes, i, stop);
		if (i >= stop && stop < end) return paused(i);
		const byte = byteAt(bytes, i, end);
		if (byte === QUOTE) return i + 1;
		if (byte !== BACKSLASH) return malformed(i);
		i = skipEscape(bytes, i, end);
		if (i < 0) return i;
	}
}

/**
 * String bytes that need no second look, of which there may be none. A payload may be megabytes of them: a function of its own
 * because V8 compiles the loop to 1.2 GB/s so, and to 0.7 GB/s when it opens the body of the loop above (Node 26); unrolling
 * it gains nothing there and costs short strings 20 %.
 */
function skipPlain(bytes: Uint8Array, at: number, end: number): number {
	let i = at;
	while (i < end && STRING_STOPS[bytes[i] as number] === 0) i++;
	return i;
}

function skipEscape(bytes: Uint8Array, at: number, end: number): number {
	const letter = byteAt(bytes, at + 1, end);
	if (letter !== LETTER_U) return letter !== NO_BYTE && ESCAPED[letter] !== 0 ? at + 2 : malformed(at + 1);
	const unit = readHex(bytes, at + 2, end);
	if (unit < SURROGATES || unit >= SURROGATES_END) return unit < 0 ? unit : at + 6;
	if (unit >= LOW_SURROGATES) return unpairedSurrogate(at);
	for (let ahead = 6; ahead < 8; ahead++) {
		const byte = byteAt(bytes, at + ahead, end);
		if (byte === NO_BYTE) return malformed(end);
		if (byte !== (ahead === 6 ? BACKSLASH : LETTER_U)) return unpairedSurrogate(at);
	}
	const low = readHex(bytes, at + 8, end);
	if (low < 0) return low;
	return low >= LOW_SURROGATES && low < SURROGATES_END ? at + 12 : unpairedSurrogate(at);
}

/** The value of four hexadecimal digits, or a failure. */
function readHex(bytes: Uint8Array, at: number, end: number): number {
	let value = 0;
	for (let i = at; i < at + 4; i++) {
		const byte = byteAt(bytes, i, end);
		const digit = byte === NO_BYTE ? -1 : (HEX_DIGITS[byte] as number);
		if (digit < 0) return malformed(i);
		value = value * 16 + digit;
	}
	return value;
}

/** Which of the names the key is whose text, already checked, lies from `start` to `end`; -1 when none. */
export function findName(names: readonly string[], bytes: Uint8Array, start: number, end: number): number {
	const first = byteAt(bytes, start, end);
	for (let slot = 0; slot < names.length; slot++) {
		const name = names[slot] as string;
		// Nearly every name differs in its first letter, unless the key begins with an escape.
		if (first !== BACKSLASH && first !== NO_BYTE && first !== name.charCodeAt(0)) continue;
		if (isName(name, bytes, start, end)) return slot;
	}
	return -1;
}

function isName(name: string, bytes: Uint8Array, start: number, end: number): boolean {
	let i = start;
	for (let k = 0; k < name.length; k++) {
		if (i >= end) return false;
		let unit = bytes[i] as number;
		if (unit !== BACKSLASH) i++;
		else if (bytes[i + 1] === LETTER_U) {
			unit = readHex(bytes, i + 2, end);
			i += 6;
		} else {
			unit = ESCAPED[bytes[i + 1] as number] as number;
			i += 2;
		}
		if (unit !== name.charCodeAt(k)) return false;
	}
	return i === end;
}
