/** The texts of records: names, ranges of names, stored records and announcements, of any id, and of anything that is none. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { lexRange, parseChange, parseRecord, recordName } from '../../../src/stores/valkey/record-text.ts';

const id = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 });

test('a range has the names of a kind that begin with a prefix and come after an id, and no others', () => {
	const ids = ['a', 'a/', 'a/1', 'a0', 'é', '\uffff', '\u{1f600}'];
	fc.assert(
		fc.property(
			fc.oneof(id, fc.constantFrom(...ids)),
			fc.oneof(fc.constant(''), id, fc.constantFrom(...ids)),
			fc.oneof(fc.constant(null), id, fc.constantFrom(...ids)),
			fc.constantFrom('thing', 'thin', 'things'),
			(candidate, prefix, after, kind) => {
				const [min, max] = lexRange('thing', prefix, after);
				const name = Buffer.from(recordName(kind, candidate));
				const fromMin = Buffer.compare(name, min.subarray(1));
				const within = (min[0] === 0x5b ? fromMin >= 0 : fromMin > 0) && Buffer.compare(name, max.subarray(1)) < 0;
				const isAfter = after === null || Buffer.compare(Buffer.from(candidate), Buffer.from(after)) > 0;
				assert.equal(within, kind === 'thing' && candidate.startsWith(prefix) && isAfter);
			},
		),
		{ numRuns: 2000 },
	);
});

test('a stored record is read back, whatever its id and value', () => {
	fc.assert(
		fc.property(id, fc.dictionary(id, fc.jsonValue()), fc.option(fc.nat()), (one, object, expiresAtMs) => {
			const text = JSON.stringify(object);
			const stored = `1750000000000001 ${expiresAtMs ?? '-'} ${text}`;
			assert.deepEqual(parseRecord(recordName('thing', one), Buffer.from(stored)), {
				id: one,
				value: JSON.parse(text) as unknown,
				version: 1_750_000_000_000_001,
				expiresAtMs,
			});
		}),
	);
	assert.equal(parseRecord('thing/a', null), undefined);
});

test('an announcement is read back; anything else is none, and throws nothing', () => {
	fc.assert(
		fc.property(fc.array(id), (ids) => {
			const changed = ids.map((one) => ['thing', one] as const);
			const message = Buffer.from(`10 20 ${JSON.stringify(changed)}`);
			assert.deepEqual(parseChange(message), { previous: 10, version: 20, changed });
		}),
	);
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 40 }), fc.constantFrom('', '1 2 ', '1 2 ['), (bytes, start) => {
			const change = parseChange(Buffer.concat([Buffer.from(start), bytes]));
			assert(change === undefined || change.changed.every((pair) => pair.length === 2));
		}),
		{ numRuns: 2000 },
	);
	for (const text of ['1 2 [["thing"]]', '1 2 [["thing","a","b"]]', '1 2 [[]]', '1 2 null', '1 2', '-1 2 []']) {
		assert.equal(parseChange(Buffer.from(text)), undefined, text);
	}
});
