/**
 * What the payload scanner is to say: the word of `JSON.parse`, and the two refusals beyond it.
 */

import assert from 'node:assert/strict';
import type { ByteRange } from '../src/json-scan.ts';

/** Levels of nesting that no text of the tests exceeds but those about nesting. */
export const DEPTH_MAX = 200;
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** The bytes as text, a BOM kept, as a JSON reader sees them. */
export function decode(bytes: Uint8Array): string {
	return decoder.decode(bytes);
}

/** The text in a range. */
export function textOf(bytes: Uint8Array, range: ByteRange): string {
	return decode(bytes.subarray(range.start, range.end));
}

/** What `JSON.parse` says: the value, in an array to tell it from none. */
export function parsed(text: string): readonly [unknown] | undefined {
	try {
		return [JSON.parse(text)];
	} catch (error) {
		assert.ok(error instanceof SyntaxError);
		return undefined;
	}
}

/** Whether a well-formed JSON text has a `\u` escape of half a surrogate pair. */
function hasUnpairedSurrogate(text: string): boolean {
	const escapes = text.replace(/\\[^u]/g, '__');
	return /\\ud[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..)\\ud[c-f]/i.test(escapes);
}

/** Whether the scanner is to accept what these bytes say. */
export function acceptable(bytes: Uint8Array): boolean {
	const text = decode(bytes);
	return parsed(text) !== undefined && !hasUnpairedSurrogate(text);
}
