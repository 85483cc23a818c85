/** Whose idempotency keys are, and to which number those with more are cut down. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { holderOf, levelOf } from '../../../src/log/key-holders.ts';

test('the holder of a key is what stands before its first slash', () => {
	for (const [key, holder] of [
		['account/key', 'account'],
		['account/key-id/a/b', 'account'],
		['anonymous/x', 'anonymous'],
		['/x', ''],
		['none', ''],
	] as const) {
		assert.equal(holderOf(key), holder, key);
	}
});

test('whoever has less than the level keeps all, and together they have no more than may be', () => {
	fc.assert(
		fc.property(fc.array(fc.nat(1000), { minLength: 1, maxLength: 20 }), fc.nat(5000), (counts, max) => {
			const level = levelOf(counts, max);
			const after = counts.map((count) => Math.min(count, level));
			const total = (list: readonly number[]) => list.reduce((sum, count) => sum + count, 0);
			if (total(counts) <= max) assert.equal(level, Number.POSITIVE_INFINITY);
			else {
				assert(total(after) <= max);
				assert(total(counts.map((count) => Math.min(count, level + 1))) > max, 'the level is the highest');
			}
		}),
	);
});
