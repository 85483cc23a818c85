/** Shared buckets: the same cases on the model and on a Valkey server. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, type TestContext, test } from 'node:test';
import { systemClock } from '../../src/ops/clock.ts';
import type { SharedBuckets } from '../../src/ports/shared-buckets.ts';
import { openValkeySharedBuckets } from '../../src/stores/valkey/shared-buckets.ts';
import { createModelBuckets } from '../support/model-buckets.ts';
import { startValkey, untilAnswer, type Valkey, valkeyUnavailable } from '../support/valkey.ts';

/** Two nodes that share. */
type Open = (t: TestContext) => Promise<readonly [SharedBuckets, SharedBuckets]>;

function sharedBucketsSuite(name: string, skip: string | false, open: Open): void {
	describe(name, { skip }, () => {
		const bucket = (perMinute = 100) => ({ key: `login:${randomUUID()} "$*{}`, perMinute });

		test('a bucket that nobody knows is full, and asking takes nothing', async (t) => {
			const [one] = await open(t);
			const asked = { ...bucket(), spent: 0 };
			assert.deepEqual(await one.spend([asked]), [100]);
			assert.deepEqual(await one.spend([asked]), [100]);
		});

		test('what one node spends the other has no longer', async (t) => {
			const [one, other] = await open(t);
			const shared = bucket();
			near((await one.spend([{ ...shared, spent: 30 }]))[0], 70);
			near((await other.spend([{ ...shared, spent: 30 }]))[0], 40);
			near((await one.spend([{ ...shared, spent: 0 }]))[0], 40);
		});

		test('more than there is becomes a debt, which is paid first', async (t) => {
			const [one, other] = await open(t);
			const shared = bucket();
			near((await one.spend([{ ...shared, spent: 250 }]))[0], -150);
			near((await other.spend([{ ...shared, spent: 0 }]))[0], -150);
		});

		test('many at once are answered in their order', async (t) => {
			const [one] = await open(t);
			const spendings = Array.from({ length: 1000 }, (_, i) => ({ ...bucket(1000), spent: i }));
			const left = await one.spend(spendings);
			assert.deepEqual(
				left,
				spendings.map(({ spent }) => 1000 - spent),
			);
			assert.deepEqual(await one.spend([]), []);
		});

		test('spending of many nodes at once adds up', async (t) => {
			const [one, other] = await open(t);
			const shared = bucket(1000);
			await Promise.all(Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? one : other).spend([{ ...shared, spent: 1 }])));
			near((await one.spend([{ ...shared, spent: 0 }]))[0], 800);
		});

		const reservation = (buckets: readonly { key: string; perMinute: number }[], lifetimeMs = 10_000) => ({
			holder: randomUUID(),
			buckets,
			lifetimeMs,
		});

		test('no more is reserved than there is, by all nodes together, and what is released is there again', async (t) => {
			const [one, other] = await open(t);
			const shared = bucket(5);
			const wanted = Array.from({ length: 20 }, () => reservation([shared]));
			const answers = await Promise.all(wanted.map((each, i) => (i % 2 === 0 ? one : other).reserve(each)));
			assert.equal(answers.filter(({ verdict }) => verdict === 'granted').length, 5);
			assert.equal(answers.filter(({ verdict }) => verdict === 'busy').length, 15);
			assert.deepEqual(answers.at(-1)?.tokens, [5], 'what is reserved is not spent');
			await other.release(wanted[answers.findIndex(({ verdict }) => verdict === 'granted')] ?? assert.fail());
			assert.equal((await one.reserve(reservation([shared]))).verdict, 'granted');
			assert.equal((await one.reserve(reservation([shared]))).verdict, 'busy');
		});

		test('a bucket without tokens is empty, whoever holds some', async (t) => {
			const [one, other] = await open(t);
			const shared = bucket(5);
			assert.equal((await one.reserve(reservation([shared]))).verdict, 'granted');
			await one.spend([{ ...shared, spent: 5 }]);
			const { verdict, tokens } = await other.reserve(reservation([shared]));
			assert.equal(verdict, 'empty');
			assert((tokens[0] ?? 1) < 1);
		});

		test('of several buckets a token is reserved in each, or in none', async (t) => {
			const [one] = await open(t);
			const [narrow, wide] = [bucket(1), bucket(5)];
			assert.equal((await one.reserve(reservation([narrow, wide]))).verdict, 'granted');
			for (let i = 0; i < 10; i++) assert.equal((await one.reserve(reservation([narrow, wide]))).verdict, 'busy');
			for (let i = 0; i < 4; i++) assert.equal((await one.reserve(reservation([wide]))).verdict, 'granted');
			assert.equal((await one.reserve(reservation([wide]))).verdict, 'busy');
		});

		test('a reservation ends by itself', async (t) => {
			const [one, other] = await open(t);
			const shared = bucket(1);
			assert.equal((await one.reserve(reservation([shared], 300))).verdict, 'granted');
			assert.equal((await other.reserve(reservation([shared]))).verdict, 'busy');
			await untilAnswer(async () => (await other.reserve(reservation([shared]))).verdict === 'granted', 'granted');
		});

		test('a bucket fills up by itself, and no further than full', async (t) => {
			const [one] = await open(t);
			// A thousand tokens a second.
			const shared = bucket(60_000);
			await one.spend([{ ...shared, spent: 100 }]);
			await untilAnswer(async () => (await one.spend([{ ...shared, spent: 0 }]))[0] === 60_000, 'full');
		});
	});
}

/** Some tokens more may have come meanwhile. */
function near(tokens: number | undefined, expected: number): void {
	assert(tokens !== undefined && tokens >= expected && tokens < expected + 25, `${tokens} for ${expected}`);
}

sharedBucketsSuite('the model', false, async () => {
	const model = createModelBuckets(systemClock);
	return [model, model];
});

const skip = valkeyUnavailable() ?? false;
let valkey: Valkey;
before(async () => {
	if (skip === false) valkey = await startValkey();
});
after(() => (skip === false ? valkey.stop() : undefined));

async function openOn(t: TestContext): Promise<SharedBuckets> {
	const server = { addresses: [valkey], cluster: false, tls: null, username: null, password: () => null, keyPrefix: '' };
	const buckets = await openValkeySharedBuckets({ server, clock: systemClock });
	t.after(() => buckets.close());
	return buckets;
}

sharedBucketsSuite('a Valkey server', skip, async (t) => [await openOn(t), await openOn(t)]);

describe('on a Valkey server', { skip }, () => {
	test('a bucket is one key, which goes by itself when it is full again', async (t) => {
		const buckets = await openOn(t);
		await buckets.spend([{ key: 'principal:x', spent: 30, perMinute: 60 }]);
		assert.equal(await valkey.cli('EXISTS', '{relay}:rate:principal:x'), '1');
		const ttlMs = Number(await valkey.cli('PTTL', '{relay}:rate:principal:x'));
		assert(ttlMs > 25_000 && ttlMs <= 30_000, String(ttlMs));
		await buckets.spend([{ key: 'principal:y', spent: 0, perMinute: 60 }]);
		assert.equal(await valkey.cli('EXISTS', '{relay}:rate:principal:y'), '0');
	});

	test('a server that freezes rejects within a second, then at once, and is found again when it wakes', async (t) => {
		const buckets = await openOn(t);
		const ask = () => buckets.spend([{ key: 'principal:z', spent: 0, perMinute: 60 }]);
		valkey.pause();
		t.after(() => valkey.resume());
		const startedMs = performance.now();
		await assert.rejects(ask(), { code: 'storage_unavailable' });
		assert(performance.now() - startedMs < 1000);
		await assert.rejects(ask(), { code: 'storage_unavailable' });
		assert(performance.now() - startedMs < 1100);
		valkey.resume();
		await untilAnswer(
			() =>
				ask().then(
					() => true,
					() => false,
				),
			'answering',
		);
	});
});
