/** Token buckets: what they give, when they are full again, and that there are only so many. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TokenBuckets } from '../../../src/limits/token-buckets.ts';
import { createFakeClock } from '../../support/clock.ts';

const PER_MINUTE = 60;

function create({ perMinute = PER_MINUTE, bucketsMax = 1000 } = {}) {
	const clock = createFakeClock();
	return { clock, buckets: new TokenBuckets({ clock, perMinute, bucketsMax }) };
}

test('a minute of tokens may be taken at once, and then as many as come', () => {
	const { clock, buckets } = create();
	for (let i = 1; i <= 60; i++) assert.equal(buckets.take('a').remaining, 60 - i);
	assert.deepEqual(buckets.take('a'), { allowed: false, perMinute: 60, remaining: 0, resetS: 60, retryAfterMs: 1000 });
	clock.advance(999);
	assert.equal(buckets.take('a').allowed, false);
	clock.advance(1);
	assert.deepEqual(buckets.take('a'), { allowed: true, perMinute: 60, remaining: 0, resetS: 60, retryAfterMs: 0 });
	assert.equal(buckets.take('b').remaining, 59, 'every key has its own');
});

test('what is refused costs nothing', () => {
	const { clock, buckets } = create();
	buckets.take('a', 60);
	for (let i = 0; i < 1000; i++) assert.equal(buckets.take('a').allowed, false);
	clock.advance(1000);
	assert.equal(buckets.take('a').allowed, true);
});

test('more than a bucket holds is given by a full one, and owed', () => {
	const { clock, buckets } = create();
	assert.deepEqual(buckets.take('a', 150), { allowed: true, perMinute: 60, remaining: 0, resetS: 150, retryAfterMs: 0 });
	assert.equal(buckets.take('a').retryAfterMs, 91_000);
	clock.advance(91_000);
	assert.equal(buckets.take('a').allowed, true);
});

test('over any time it gives no more than a full bucket and what came meanwhile', () => {
	const step = fc.record({ ms: fc.integer({ min: 0, max: 20_000 }), cost: fc.integer({ min: 1, max: 60 }) });
	fc.assert(
		fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
			const { clock, buckets } = create();
			let given = 0;
			let elapsedMs = 0;
			for (const { ms, cost } of steps) {
				clock.advance(ms);
				elapsedMs += ms;
				if (buckets.take('a', cost).allowed) given += cost;
				assert(given <= PER_MINUTE + (elapsedMs * PER_MINUTE) / 60_000 + 1e-6);
			}
		}),
	);
});

test('a flood of keys takes no more than the buckets there may be, and idle ones go', () => {
	const { clock, buckets } = create({ bucketsMax: 1000 });
	for (let i = 0; i < 100_000; i++) buckets.take(`address ${i}`);
	assert(buckets.size <= 1000, String(buckets.size));
	clock.advance(120_000);
	buckets.take('one');
	clock.advance(120_000);
	buckets.take('two');
	assert.equal(buckets.size, 2);
	assert(buckets.untold(1_000_000).length <= 1000);
});

test('a bucket in use is not forgotten, however many come and go', () => {
	const { clock, buckets } = create({ bucketsMax: 100 });
	for (let i = 0; i < 60; i++) buckets.take('a');
	for (let i = 0; i < 10_000; i++) {
		buckets.take(`address ${i}`);
		assert.equal(buckets.take('a').allowed, false);
	}
	clock.advance(1000);
	assert.equal(buckets.take('a').allowed, true);
});

test('what others have spent counts, and what was spent while they were told', () => {
	const { buckets } = create();
	buckets.take('a', 10);
	const spent = buckets.tell('a');
	assert.equal(spent, 10);
	buckets.take('a', 5);
	// Another node has taken 20.
	buckets.told('a', spent, 30);
	assert.equal(buckets.look('a').remaining, 25);
	assert.deepEqual(buckets.untold(10), ['a']);
	assert.equal(buckets.tell('a'), 5);
	buckets.notTold('a', 5);
	assert.equal(buckets.tell('a'), 5, 'it is told again');
});
