/** How long dead workers wait. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backOffMs } from '../../../src/workers/back-off.ts';

const BACK_OFF = { minMs: 100, maxMs: 10_000 };

test('the wait doubles with each death in a row, up to the longest', () => {
	const waits = [1, 2, 3, 7, 8, 9, 5000].map((deaths) => backOffMs(deaths, BACK_OFF, 0));
	assert.deepEqual(waits, [100, 200, 400, 6400, 10_000, 10_000, 10_000]);
});

test('chance takes away up to a half, also of the longest', () => {
	assert.deepEqual([backOffMs(1, BACK_OFF, 0.5), backOffMs(1, BACK_OFF, 1), backOffMs(20, BACK_OFF, 1)], [75, 50, 5000]);
});
