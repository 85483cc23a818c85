/** Retention: the background work goes on until nothing is left to do, and through failures. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Store, TrimStep } from '../../../src/ports/store.ts';
import { type RetentionOptions, startRetention, sweep } from '../../../src/relay/retention.ts';
import { createMemoryStore } from '../../../src/stores/memory/store.ts';
import { message } from './support/blocks.ts';
import { createCountingObserver } from './support/counting-observer.ts';
import { deferred, overlay } from './support/fixture.ts';
import { createTurnClock, settled } from './support/turns.ts';

const LIMITS = { defaultMaxAgeS: 60, defaultMaxMessages: 1000, idempotencyWindowS: 30, idempotencyKeysMax: 7 };

function createRetention(replace: (store: Store) => Partial<Store>) {
	const clock = createTurnClock();
	const observer = createCountingObserver();
	const memory = createMemoryStore({ topicsMax: 100, clock });
	const options: RetentionOptions = { store: overlay(memory, replace(memory)), clock, ageClock: clock, observer, ...LIMITS };
	return {
		options,
		clock,
		observer,
		memory,
		/** Lets what was begun come to its end. */
		async rest() {
			do {
				clock.turn(Number.POSITIVE_INFINITY);
				await settled();
			} while (clock.waiting > 0);
		},
	};
}

test('a sweep goes on step by step until nothing is left', async () => {
	const steps: string[] = [];
	const { options, rest, clock } = createRetention(() => ({
		trim: async (step: TrimStep) => {
			assert.deepEqual(
				[step.nowMs, step.defaultMaxAgeS, step.defaultMaxMessages],
				[clock.nowMs(), LIMITS.defaultMaxAgeS, LIMITS.defaultMaxMessages],
			);
			return { removed: 1, more: steps.push('trim') < 3 };
		},
		forgetKeys: async (beforeMs, keysMax) => {
			assert.deepEqual([beforeMs, keysMax], [clock.nowMs() - 30_000, LIMITS.idempotencyKeysMax]);
			return { removed: 1, more: steps.push('forget') < 5 };
		},
	}));
	const swept = sweep(options, () => false);
	await rest();
	await swept;
	assert.deepEqual(steps, ['trim', 'trim', 'trim', 'forget', 'forget']);
});

test('others get their turn between two steps', async () => {
	let steps = 0;
	const { options, rest } = createRetention(() => ({ trim: async () => ({ removed: 1, more: ++steps < 10 }) }));
	const swept = sweep(options, () => false);
	await settled();
	assert.equal(steps, 1);
	await rest();
	await swept;
	assert.equal(steps, 10);
});

test('what retention no longer covers is gone a second later', async () => {
	const { options, clock, memory, rest } = createRetention(() => ({}));
	const stop = startRetention(options);
	for (let i = 0; i < 1500; i++) await memory.append(`t${i % 3}`, [{ ...message('1'), dedupe: null }]);
	clock.advance(60_000);
	await rest();
	assert.equal(memory.stats().messages, 1500, 'to the millisecond');
	clock.advance(1000);
	await rest();
	assert.equal(memory.stats().messages, 0);
	stop();
	assert.equal(clock.timers, 0);
});

test('a failure is reported, and the next round tries again', async () => {
	let rounds = 0;
	const failure = new RelayError('storage_unavailable', 'on purpose');
	const { options, clock, observer, rest } = createRetention(() => ({
		trim: () => (++rounds % 2 === 1 ? Promise.reject(failure) : Promise.resolve({ removed: 0, more: false })),
	}));
	const stop = startRetention(options);
	for (let i = 0; i < 4; i++) {
		clock.advance(1000);
		await rest();
	}
	assert.equal(rounds, 4);
	assert.deepEqual(observer.counts.housekeepingFailures, [failure, failure]);
	stop();
});

test('a round begins only when the one before has ended', async () => {
	let rounds = 0;
	const slow = deferred<{ removed: number; more: boolean }>();
	const { options, clock, rest } = createRetention(() => ({
		trim: () => {
			rounds++;
			return slow.promise;
		},
	}));
	const stop = startRetention(options);
	clock.advance(10_000);
	await rest();
	assert.equal(rounds, 1);
	slow.resolve({ removed: 0, more: false });
	await rest();
	clock.advance(999);
	assert.equal(rounds, 1);
	clock.advance(1);
	assert.equal(rounds, 2);
	stop();
});

test('stopping ends a sweep after the step under way, and starts no other', async () => {
	let steps = 0;
	const { options, clock, rest } = createRetention(() => ({
		trim: async () => {
			if (++steps === 3) stop();
			return { removed: 1, more: true };
		},
		forgetKeys: () => assert.fail('stopped'),
	}));
	const stop = startRetention(options);
	clock.advance(1000);
	await rest();
	clock.advance(10_000);
	await rest();
	assert.equal(steps, 3);
	assert.equal(clock.timers, 0);
});
