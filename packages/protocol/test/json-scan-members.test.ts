/** The ranges that the payload scanner finds, against `JSON.parse` as the oracle. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { objectScanner, scanArray, scanDocument } from '../src/json-scan.ts';
import { arrayText, type MemberText, objectText, space, stringText, valueText, writingOf } from './json-arbitraries.ts';
import { ACCEPTED, REFUSED, UNPAIRED } from './json-cases.ts';
import { acceptable, DEPTH_MAX, textOf } from './json-oracle.ts';

const NAMES = ['topic', 'payload', 'ttl', '__proto__'] as const;
const scanEnvelope = objectScanner(NAMES);

describe('an object scanner', () => {
	const envelope = fc
		.array(
			fc.tuple(
				fc.oneof(
					fc.constantFrom(...NAMES).chain(writingOf),
					stringText,
					fc.constantFrom('"topi"', '"topics"', '"\\u0074opi"', '"\\topic"'),
				),
				valueText,
			),
			{ maxLength: 8 },
		)
		.chain((members: readonly MemberText[]) => fc.tuple(fc.constant(members), objectText(members), space, space));

	it('finds the last value of each name exactly as it was written', () => {
		fc.assert(
			fc.property(envelope, fc.nat({ max: 9 }), ([members, text, before, after], shift) => {
				const document = before + text + after;
				const bytes = Buffer.from('x'.repeat(shift) + document + 'x'.repeat(shift));
				const scan = scanEnvelope(bytes, shift, bytes.length - shift, DEPTH_MAX);
				assert.equal(scan.status, 'ok');
				const value = JSON.parse(document);
				NAMES.forEach((name, slot) => {
					const written = members.findLast(([key]) => JSON.parse(key) === name)?.[1];
					const range = scan.status === 'ok' ? scan.members[slot] : undefined;
					assert.equal(range && textOf(bytes, range), written);
					assert.equal(range !== undefined, Object.hasOwn(value, name));
					if (range !== undefined) assert.deepEqual(JSON.parse(textOf(bytes, range)), value[name]);
				});
			}),
			{ numRuns: 3_000 },
		);
	});

	it('takes keys for what their escapes stand for', () => {
		const scan = objectScanner(['title', 'a/b', '"\\', '']);
		const slotOf = (key: string) => {
			const bytes = Buffer.from(`{${key}:0}`);
			const result = scan(bytes, 0, bytes.length, 1);
			return result.status === 'ok' ? result.members.findIndex((range) => range !== undefined) : result.status;
		};
		assert.equal(slotOf('"title"'), 0);
		assert.equal(slotOf('"\\u0074\\u0069\\u0074\\u006C\\u006c"'), -1);
		assert.equal(slotOf('"\\u0074\\u0069\\u0074\\u006C\\u0065"'), 0);
		assert.equal(slotOf('"\\title"'), -1, 'a tab and "itle"');
		assert.equal(slotOf('"a/b"'), 1);
		assert.equal(slotOf('"a\\/b"'), 1);
		assert.equal(slotOf('"\\"\\\\"'), 2);
		assert.equal(slotOf('"\\u0022\\u005c"'), 2);
		assert.equal(slotOf('""'), 3);
		assert.equal(slotOf('"\\u0000"'), -1);
	});

	it('agrees with scanDocument on every case', () => {
		for (const [about, text] of [...ACCEPTED, ...REFUSED, ...UNPAIRED]) {
			const bytes = Buffer.from(text);
			const document = scanDocument(bytes, 0, bytes.length, DEPTH_MAX);
			const scan = scanEnvelope(bytes, 0, bytes.length, DEPTH_MAX);
			if (document.status !== 'ok') assert.deepEqual(scan, document, about);
			else assert.equal(scan.status, bytes[document.valueStart] === 0x7b ? 'ok' : 'not_object', about);
		}
	});

	it('finds every accepted case as a member, and refuses every other in the place of one', () => {
		for (const [about, text] of ACCEPTED) {
			const bytes = Buffer.from(`{"payload":${text}, "ttl":1}`);
			const scan = scanEnvelope(bytes, 0, bytes.length, DEPTH_MAX);
			assert.equal(scan.status, 'ok', about);
			const range = scan.status === 'ok' ? scan.members[1] : undefined;
			assert.equal(range && textOf(bytes, range), text.trim(), about);
		}
		for (const [about, text] of [...REFUSED, ...UNPAIRED]) {
			const whole = `{"payload":${text},"ttl":1}`;
			const bytes = Buffer.from(whole);
			assert.equal(scanEnvelope(bytes, 0, bytes.length, DEPTH_MAX).status === 'ok', acceptable(bytes), about);
		}
	});

	it('counts the document as the first level of nesting', () => {
		const bytes = Buffer.from('{"payload":[{}]}');
		assert.equal(scanEnvelope(bytes, 0, bytes.length, 3).status, 'ok');
		assert.deepEqual(scanEnvelope(bytes, 0, bytes.length, 2), { status: 'too_deep', at: 12 });
		assert.deepEqual(scanEnvelope(bytes, 0, bytes.length, 0), { status: 'too_deep', at: 0 });
	});

	it('keeps nothing from one call to the next', () => {
		const full = Buffer.from('{"topic":1,"payload":2,"ttl":3,"__proto__":4}');
		const first = scanEnvelope(full, 0, full.length, 1);
		const kept = structuredClone(first);
		assert.deepEqual(scanEnvelope(Buffer.from('{}'), 0, 2, 1), {
			status: 'ok',
			members: [undefined, undefined, undefined, undefined],
		});
		assert.deepEqual(first, kept);
	});

	it('cannot be made for a name that is not ASCII', () => {
		assert.throws(() => objectScanner(['größe']), RangeError);
	});
});

describe('scanArray', () => {
	const limits = { depthMax: DEPTH_MAX, elementsMax: 100 };

	it('finds every element exactly as it was written', () => {
		const elements = fc.array(valueText, { maxLength: 8 });
		const document = elements.chain((texts) => fc.tuple(fc.constant(texts), arrayText(fc.constant(texts)), space, space));
		fc.assert(
			fc.property(document, ([texts, text, before, after]) => {
				const bytes = Buffer.from(before + text + after);
				const scan = scanArray(bytes, 0, bytes.length, limits);
				assert.equal(scan.status, 'ok');
				assert.deepEqual(scan.status === 'ok' && scan.elements.map((range) => textOf(bytes, range)), texts);
			}),
			{ numRuns: 2_000 },
		);
	});

	it('agrees with scanDocument on every case that is short enough', () => {
		for (const [about, text] of [...ACCEPTED, ...REFUSED, ...UNPAIRED]) {
			const bytes = Buffer.from(text);
			const document = scanDocument(bytes, 0, bytes.length, DEPTH_MAX);
			const scan = scanArray(bytes, 0, bytes.length, { ...limits, elementsMax: 5_000 });
			if (document.status !== 'ok') assert.deepEqual(scan, document, about);
			else assert.equal(scan.status, bytes[document.valueStart] === 0x5b ? 'ok' : 'not_array', about);
		}
	});

	it('stops at the first element too many', () => {
		const bytes = Buffer.from('[1,2,3]');
		assert.equal(scanArray(bytes, 0, bytes.length, { depthMax: 1, elementsMax: 3 }).status, 'ok');
		assert.deepEqual(scanArray(bytes, 0, bytes.length, { depthMax: 1, elementsMax: 2 }), { status: 'too_many' });
		assert.equal(scanArray(Buffer.from('[]'), 0, 2, { depthMax: 1, elementsMax: 0 }).status, 'ok');
	});

	it('counts the array as the first level of nesting', () => {
		const bytes = Buffer.from('[0,[{}]]');
		assert.equal(scanArray(bytes, 0, bytes.length, { depthMax: 3, elementsMax: 2 }).status, 'ok');
		assert.deepEqual(scanArray(bytes, 0, bytes.length, { depthMax: 2, elementsMax: 2 }), { status: 'too_deep', at: 4 });
		assert.deepEqual(scanArray(bytes, 0, bytes.length, { depthMax: 0, elementsMax: 2 }), { status: 'too_deep', at: 0 });
	});
});
