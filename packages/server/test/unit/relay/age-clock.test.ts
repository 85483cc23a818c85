/** The time by which things age: a jump ahead counts only when it lasts. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AgeClock, JUMP_GRACE_MS, JUMP_MS } from '../../../src/relay/age-clock.ts';
import { createFakeClock } from '../../support/clock.ts';
import { createCountingObserver } from './support/counting-observer.ts';

const YEAR_MS = 365 * 24 * 3600 * 1000;
const START_MS = 1_750_000_000_000;

function createAgeClock(lastKnownMs: number | undefined = undefined) {
	const clock = createFakeClock(START_MS);
	const observer = createCountingObserver();
	const ageClock = new AgeClock({ clock, lastKnownMs, observer });
	/** Lets time go by as it does for a relay: it is asked each second. */
	const live = (ms: number) => {
		for (let left = ms; left > 0; left -= 1000) {
			clock.advance(Math.min(1000, left));
			ageClock.nowMs();
		}
	};
	return { clock, ageClock, told: observer.counts.clock, live };
}

test('it is the clock’s while that goes on or steps a little, in either direction, or far back', () => {
	const { clock, ageClock, told, live } = createAgeClock();
	live(3 * JUMP_MS);
	assert.equal(ageClock.nowMs(), clock.nowMs());
	for (const stepMs of [JUMP_MS, -JUMP_MS, -YEAR_MS, 1]) {
		clock.setNowMs(clock.nowMs() + stepMs);
		assert.equal(ageClock.nowMs(), clock.nowMs(), String(stepMs));
	}
	assert.deepEqual(told, []);
});

test('a clock that steps a year ahead is not believed while that lasts for less than the grace', () => {
	const { clock, ageClock, told, live } = createAgeClock();
	clock.setNowMs(START_MS + YEAR_MS);
	assert.equal(ageClock.nowMs(), START_MS);
	live(JUMP_GRACE_MS - 1000.25);
	assert.equal(ageClock.nowMs(), START_MS + JUMP_GRACE_MS - 1001, 'time goes on, in whole milliseconds');
	assert.equal(ageClock.doubts, true);
	clock.setNowMs(Math.floor(clock.nowMs() - YEAR_MS));
	assert.equal(ageClock.nowMs(), clock.nowMs());
	assert.equal(ageClock.doubts, false);
	assert.deepEqual(told, [YEAR_MS, 0], 'said once, and when it is over');
});

test('a step that lasts is believed after the grace, and a further one is doubted anew', () => {
	const { clock, ageClock, told, live } = createAgeClock();
	clock.setNowMs(START_MS + YEAR_MS);
	live(JUMP_GRACE_MS / 2);
	clock.setNowMs(clock.nowMs() + YEAR_MS);
	live(JUMP_GRACE_MS - 1000);
	assert.ok(ageClock.nowMs() < START_MS + YEAR_MS);
	live(2000);
	assert.equal(ageClock.nowMs(), clock.nowMs());
	assert.deepEqual(told, [YEAR_MS, 2 * YEAR_MS, 0]);
});

test('a start far after the store was at work last is such a step, one soon after or before it is none', () => {
	const far = createAgeClock(START_MS - 14 * 24 * 3600 * 1000);
	assert.equal(far.ageClock.nowMs(), START_MS - 14 * 24 * 3600 * 1000);
	far.live(JUMP_GRACE_MS);
	assert.equal(
		far.ageClock.nowMs(),
		far.clock.nowMs(),
		'a relay that was stopped for two weeks removes what is due an hour later',
	);
	for (const lastKnownMs of [START_MS - JUMP_MS, START_MS + YEAR_MS, undefined]) {
		const { ageClock, told } = createAgeClock(lastKnownMs);
		assert.equal(ageClock.nowMs(), START_MS);
		assert.deepEqual(told, []);
	}
});
