/** The payload scanner's grammar, against `JSON.parse` as the oracle. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { objectScanner, scanArray, scanDocument, scanJson } from '../src/json-scan.ts';
import { space, valueText } from './json-arbitraries.ts';
import { ACCEPTED, REFUSED, UNPAIRED } from './json-cases.ts';
import { acceptable, DEPTH_MAX, decode, parsed } from './json-oracle.ts';

function scanText(text: string, depthMax = DEPTH_MAX) {
	const bytes = Buffer.from(text);
	return scanDocument(bytes, 0, bytes.length, depthMax);
}

describe('scanDocument', () => {
	for (const [about, text] of ACCEPTED) {
		it(`accepts ${about}`, () => {
			assert.notEqual(parsed(text), undefined);
			const bytes = Buffer.from(text);
			const valueStart = bytes.findIndex((byte) => !' \t\r\n'.includes(String.fromCharCode(byte)));
			assert.deepEqual(scanDocument(bytes, 0, bytes.length, DEPTH_MAX), {
				status: 'ok',
				valueStart,
				valueEnd: valueStart + Buffer.byteLength(text.trim()),
			});
		});
	}

	for (const [about, text] of REFUSED) {
		it(`refuses ${about}`, () => {
			assert.equal(parsed(text), undefined);
			assert.equal(scanText(text).status, 'malformed');
		});
	}

	for (const [about, text] of UNPAIRED) {
		it(`refuses ${about}, at its escape`, () => {
			assert.notEqual(parsed(text), undefined);
			const scan = scanText(text);
			assert.equal(scan.status, 'unpaired_surrogate');
			assert.match(text.slice(scan.status === 'unpaired_surrogate' ? scan.at : 0), /^\\ud[89a-f]/i);
		});
	}

	it('has a table of at least 120 cases, each once', () => {
		const texts = [...ACCEPTED, ...REFUSED, ...UNPAIRED].map(([, text]) => text);
		assert.ok(texts.length >= 120);
		assert.equal(new Set(texts).size, texts.length);
	});

	it('reads nothing outside its range', () => {
		for (const [about, text] of [...ACCEPTED, ...REFUSED, ...UNPAIRED]) {
			const alone = scanText(text);
			// Each neighbour would change the verdict on some rows if it were read.
			for (const neighbour of ['1', '"', ' ', ']', '}', 'e5', '\\udc00"']) {
				const bytes = Buffer.from(neighbour + text + neighbour);
				const shift = neighbour.length;
				const scan = scanDocument(bytes, shift, bytes.length - shift, DEPTH_MAX);
				const moved =
					alone.status === 'ok'
						? { ...alone, valueStart: alone.valueStart + shift, valueEnd: alone.valueEnd + shift }
						: { ...alone, at: alone.at + shift };
				assert.deepEqual(scan, moved, `${about}, beside ${neighbour}`);
			}
		}
	});

	it('judges every beginning of every case as JSON.parse does', () => {
		for (const [about, text] of [...ACCEPTED, ...REFUSED, ...UNPAIRED]) {
			const bytes = Buffer.from(text);
			for (let end = 0; end < Math.min(bytes.length, 500); end++) {
				const accepted = scanDocument(bytes, 0, end, DEPTH_MAX).status === 'ok';
				assert.equal(accepted, acceptable(bytes.subarray(0, end)), `${about}, the first ${end} bytes`);
			}
		}
	});

	it('names the byte that cannot stand there', () => {
		const places: readonly (readonly [text: string, at: number])[] = [
			['', 0],
			['  ', 2],
			['[1,]', 3],
			['{"a" 0}', 5],
			['nulx', 3],
			['01', 1],
			['1.x', 2],
			['1e+', 3],
			['"a\nb"', 2],
			['"\\x"', 2],
			['"\\u00g0"', 5],
			['"\\ud83d', 7],
			['"\\ud83d\\', 8],
			['"\\ud83d"', 1],
			['[}', 1],
			['{} x', 3],
			['"é"x', 4],
		];
		for (const [text, at] of places) {
			const status = text === '"\\ud83d"' ? 'unpaired_surrogate' : 'malformed';
			assert.deepEqual(scanText(text), { status, at }, text);
		}
	});

	it('judges every byte in every kind of place as JSON.parse does', () => {
		for (const [before, after] of [
			['[', ']'],
			['[1', ']'],
			['["', '"]'],
			['["\\', '"]'],
			['["\\u00', '0"]'],
			['{"a"', ':0}'],
			['{"a":', '0}'],
			['-', '.5'],
			['1.5e', '1'],
		] as const) {
			for (let byte = 0; byte <= 0xff; byte++) {
				const bytes = Buffer.concat([Buffer.from(before), Uint8Array.of(byte), Buffer.from(after)]);
				const accepted = scanDocument(bytes, 0, bytes.length, DEPTH_MAX).status === 'ok';
				assert.equal(accepted, acceptable(bytes), `byte ${byte} in ${before} ${after}`);
			}
		}
	});

	it('passes bytes from 0x80 on inside strings and nowhere else', () => {
		for (let byte = 0x80; byte <= 0xff; byte++) {
			assert.equal(scanDocument(Uint8Array.of(0x22, byte, 0x22), 0, 3, DEPTH_MAX).status, 'ok');
			assert.deepEqual(scanDocument(Uint8Array.of(0x5b, byte, 0x5d), 0, 3, DEPTH_MAX), { status: 'malformed', at: 1 });
		}
	});

	it('accepts any JSON text, whatever its whitespace', () => {
		fc.assert(
			fc.property(space, valueText, space, (before, text, after) => {
				assert.deepEqual(scanText(before + text + after), {
					status: 'ok',
					valueStart: before.length,
					valueEnd: before.length + Buffer.byteLength(text),
				});
			}),
			{ numRuns: 2_000 },
		);
	});

	const byte = fc.oneof(
		fc.constantFrom(...Buffer.from('{}[],:"\\/bfnrtu0123456789.eE+-dD89cC \t\n\r\'a')),
		fc.integer({ min: 0, max: 255 }),
	);
	const change = fc.record({ place: fc.nat(), removed: fc.constantFrom(0, 1), inserted: fc.array(byte, { maxLength: 1 }) });

	it('judges damaged JSON texts as JSON.parse does', () => {
		fc.assert(
			fc.property(valueText, fc.array(change, { minLength: 1, maxLength: 3 }), (text, changes) => {
				const damaged = [...Buffer.from(text)];
				for (const { place, removed, inserted } of changes) damaged.splice(place % (damaged.length + 1), removed, ...inserted);
				const bytes = Uint8Array.from(damaged);
				const scan = scanDocument(bytes, 0, bytes.length, DEPTH_MAX);
				assert.equal(scan.status === 'ok', acceptable(bytes), decode(bytes));
				// The place it names is the first that fails: what comes before can still become JSON.
				if (scan.status !== 'malformed') return;
				const before = scanDocument(bytes, 0, scan.at, DEPTH_MAX);
				assert.ok(before.status === 'ok' || before.at === scan.at, decode(bytes));
			}),
			{ numRuns: 20_000 },
		);
	});

	it('judges byte salad as JSON.parse does', () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 12 }), fc.array(byte, { maxLength: 12 }), (any, likely) => {
				for (const bytes of [any, Uint8Array.from(likely)]) {
					assert.equal(scanDocument(bytes, 0, bytes.length, DEPTH_MAX).status === 'ok', acceptable(bytes), decode(bytes));
				}
			}),
			{ numRuns: 20_000 },
		);
	});
});

describe('nesting', () => {
	it('is counted in open brackets', () => {
		assert.equal(scanText('0', 0).status, 'ok');
		assert.deepEqual(scanText(' []', 0), { status: 'too_deep', at: 1 });
		assert.equal(scanText('[[],{}]', 2).status, 'ok');
		assert.deepEqual(scanText('[[],{"a":[]}]', 2), { status: 'too_deep', at: 9 });
	});

	it('of 100,000 and 1,000,000 levels is refused at the first level beyond the limit', () => {
		for (const levels of [100_000, 1_000_000]) {
			for (const [open, at] of [
				['[', 64],
				['{"a":', 64 * 5],
				['[{"a":', 32 * 6],
			] as const) {
				const bytes = Buffer.from(open.repeat(levels));
				assert.deepEqual(scanDocument(bytes, 0, bytes.length, 64), { status: 'too_deep', at });
			}
		}
	});

	it('of 1,000,000 levels can be read when the limit allows it', () => {
		const levels = 1_000_000;
		assert.equal(scanText('['.repeat(levels) + ']'.repeat(levels), levels).status, 'ok');
		assert.deepEqual(scanText('['.repeat(levels), levels), { status: 'malformed', at: levels });
	});

	it('matches every bracket with its own kind, to any depth', () => {
		fc.assert(
			fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 150 }), fc.nat(), (objects, wrong) => {
				const opening = objects.map((object) => (object ? '{"a":' : '[')).join('');
				const closing = objects.map((object) => (object ? '}' : ']')).reverse();
				assert.equal(scanText(`${opening}0${closing.join('')}`).status, 'ok');
				const place = wrong % closing.length;
				closing[place] = closing[place] === '}' ? ']' : '}';
				assert.deepEqual(scanText(`${opening}0${closing.join('')}`), { status: 'malformed', at: opening.length + 1 + place });
			}),
		);
	});
});

describe('scanJson', () => {
	it('stops after the value, whatever follows', () => {
		const bytes = Buffer.from(' {"a":1} ] 12,x');
		assert.deepEqual(scanJson(bytes, 0, bytes.length, 1), { status: 'ok', valueStart: 1, valueEnd: 8 });
		assert.deepEqual(scanJson(bytes, 10, bytes.length, 1), { status: 'ok', valueStart: 11, valueEnd: 13 });
		assert.deepEqual(scanJson(bytes, 8, bytes.length, 1), { status: 'malformed', at: 9 });
	});
});

describe('a range outside the bytes', () => {
	it('is a defect of the caller', () => {
		const bytes = Buffer.from('{}');
		const ranges: readonly (readonly [start: number, end: number])[] = [
			[0, 3],
			[-1, 2],
			[2, 1],
			[Number.NaN, 2],
			[0, Number.NaN],
		];
		for (const [start, end] of ranges) {
			assert.throws(() => scanJson(bytes, start, end, 1), RangeError);
			assert.throws(() => scanDocument(bytes, start, end, 1), RangeError);
			assert.throws(() => objectScanner(['a'])(bytes, start, end, 1), RangeError);
			assert.throws(() => scanArray(bytes, start, end, { depthMax: 1, elementsMax: 1 }), RangeError);
		}
	});
});
