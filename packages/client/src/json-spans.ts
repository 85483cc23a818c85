/**
 * Where the parts of a JSON text lie, without parsing them: a payload must stay the text that was published (I6), and
 * `JSON.parse` would round 9007199254740993. The text is known to be well-formed: the relay has checked it.
 */

/** `text[start … end)`. */
export interface Span {
	readonly start: number;
	readonly end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COMMA = 0x2c;

/** The values of an object's members by their names; of a name that comes twice, the last. */
export function memberSpans(text: string, at = 0): ReadonlyMap<string, Span> {
	const spans = new Map<string, Span>();
	let next = skipSpace(text, skipSpace(text, at) + 1);
	while (text.charCodeAt(next) === QUOTE) {
		const nameEnd = skipString(text, next);
		const start = skipSpace(text, skipSpace(text, nameEnd) + 1);
		const end = skipValue(text, start);
		spans.set(JSON.parse(text.slice(next, nameEnd)) as string, { start, end });
		next = skipComma(text, end);
	}
	return spans;
}

/** The elements of an array. */
export function elementSpans(text: string, at = 0): readonly Span[] {
	const spans: Span[] = [];
	let start = skipSpace(text, skipSpace(text, at) + 1);
	while (start < text.length && text.charCodeAt(start) !== CLOSE_BRACKET) {
		const end = skipValue(text, start);
		spans.push({ start, end });
		start = skipComma(text, end);
	}
	return spans;
}

function skipComma(text: string, at: number): number {
	const comma = skipSpace(text, at);
	return text.charCodeAt(comma) === COMMA ? skipSpace(text, comma + 1) : comma;
}

function skipSpace(text: string, at: number): number {
	let next = at;
	while (text.charCodeAt(next) <= 0x20) next++;
	return next;
}

/** @param at at the opening quote */
function skipString(text: string, at: number): number {
	let quote = text.indexOf('"', at + 1);
	while (quote >= 0) {
		let backslashes = 0;
		while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH) backslashes++;
		if (backslashes % 2 === 0) return quote + 1;
		quote = text.indexOf('"', quote + 1);
	}
	return text.length;
}

function skipValue(text: string, at: number): number {
	let depth = 0;
	for (let next = at; next < text.length; ) {
		const code = text.charCodeAt(next);
		if (code === QUOTE) next = skipString(text, next);
		else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
			depth++;
			next++;
		} else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
			if (depth === 0) return trimmedEnd(text, next);
			depth--;
			next++;
		} else if (code === COMMA && depth === 0) return trimmedEnd(text, next);
		else {
			next++;
			continue;
		}
		if (depth === 0) return next;
	}
	return text.length;
}

/** The end of a number or word before `at`. */
function trimmedEnd(text: string, at: number): number {
	let end = at;
	while (text.charCodeAt(end - 1) <= 0x20) end--;
	return end;
}
