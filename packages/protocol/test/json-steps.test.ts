/** Scans in steps: whatever the steps, they find what a scan in one go finds, and no step goes far beyond its end. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { objectScanner, type SteppedScan, scanArray, scanArrayInSteps } from '../src/json-scan.ts';
import { space, valueText } from './json-arbitraries.ts';
import { ACCEPTED, REFUSED, UNPAIRED } from './json-cases.ts';
import { DEPTH_MAX } from './json-oracle.ts';

const scanEnvelope = objectScanner(['a', 'payload', '']);

function inSteps<Result>(scan: SteppedScan<Result>, bytes: number): Result {
	for (let until = bytes; ; until += bytes) {
		const result = scan.advance(until);
		if (result !== null) return result;
	}
}

function agrees(text: string, stepBytes: number): void {
	const bytes = Buffer.from(text);
	const { length } = bytes;
	const object = scanEnvelope(bytes, 0, length, DEPTH_MAX);
	assert.deepEqual(inSteps(scanEnvelope.inSteps(bytes, 0, length, DEPTH_MAX), stepBytes), object, text);
	const limits = { depthMax: DEPTH_MAX, elementsMax: 3 };
	const array = scanArray(bytes, 0, length, limits);
	assert.deepEqual(inSteps(scanArrayInSteps(bytes, 0, length, limits), stepBytes), array, text);
}

describe('a scan in steps', () => {
	it('agrees with a scan in one go on every case, in steps of one byte and of a few', () => {
		for (const [, text] of [...ACCEPTED, ...REFUSED, ...UNPAIRED]) {
			if (text.length > 1000) continue;
			for (const stepBytes of [1, 2, 3, 7]) {
				agrees(text, stepBytes);
				agrees(` {"payload" : ${text} , "b":0, "a":${text}} `, stepBytes);
			}
		}
	});

	it('agrees with a scan in one go on any text, whole or cut short', () => {
		fc.assert(
			fc.property(valueText, space, fc.integer({ min: 1, max: 9 }), fc.nat(), (value, gap, stepBytes, cut) => {
				const text = `${gap}{${gap}"x":[${value}],"payload"${gap}:${value}${gap}}${gap}`;
				agrees(text, stepBytes);
				agrees(`[${value},${value}]`, stepBytes);
				agrees(text.slice(0, cut % text.length), stepBytes);
			}),
		);
	});

	const long = 100_000;
	for (const [about, text] of [
		['a long string', `{"payload":"${'x'.repeat(long)}"}`],
		['a long string of escapes', `{"payload":"${'\\u00e9'.repeat(long / 6)}"}`],
		['a long name', `{"${'x'.repeat(long)}":1}`],
		['whitespace', `${' '.repeat(long)}{${' '.repeat(long)}"a"${' '.repeat(long)}:1}${' '.repeat(long)}`],
		['many members', `{${'"x":1,'.repeat(long / 6)}"a":1}`],
		['many elements', `{"payload":[${'0,'.repeat(long / 2)}0]}`],
		['an array that is no object', `[${'[],'.repeat(long / 3)}0]`],
	] as const) {
		it(`pauses in ${about}`, () => {
			const bytes = Buffer.from(text);
			let steps = 1;
			const scan = scanEnvelope.inSteps(bytes, 0, bytes.length, DEPTH_MAX);
			for (let until = 1000; scan.advance(until) === null; until += 1000) steps++;
			assert.ok(steps >= Math.floor(bytes.length / 1000) - 1, `${steps} steps`);
		});
	}

	it('has the members that it has met', () => {
		const bytes = Buffer.from(`{"a":"early","payload":"${'x'.repeat(1000)}"}`);
		const scan = scanEnvelope.inSteps(bytes, 0, bytes.length, DEPTH_MAX);
		assert.equal(scan.advance(100), null);
		assert.deepEqual(scan.found, [{ start: 5, end: 12 }, undefined, undefined]);
	});
});
