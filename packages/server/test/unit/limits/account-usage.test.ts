/** How many topics and bytes an account has: counted seldom, refused only by what is known to be so. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccountUsage } from '../../../src/limits/account-usage.ts';
import type { Store } from '../../../src/ports/store.ts';
import { createMemoryStore } from '../../../src/stores/memory/store.ts';
import { createFakeClock } from '../../support/clock.ts';

const ACCOUNT = '00000000-0000-4000-8000-000000000001';
const OTHER = '00000000-0000-4000-8000-000000000002';

function create({ topicsMax = 1000, bytesMax = 1000, storeTopicsMax = 100_000, severalAccounts = true } = {}) {
	const clock = createFakeClock();
	const memory = createMemoryStore({ topicsMax: storeTopicsMax, clock });
	let lists = 0;
	const world = { away: false, lists: () => lists };
	const listTopics: Store['listTopics'] = (after, limit) => {
		lists++;
		return world.away ? Promise.reject(new Error('away')) : memory.listTopics(after, limit);
	};
	const store = { listTopics, stats: () => memory.stats() };
	const usage = new AccountUsage({ store, clock, topicsMax, bytesMax, storeTopicsMax, severalAccounts: () => severalAccounts });
	const publish = (topic: string, bytes = 10) =>
		memory.append(topic, [{ payload: Buffer.alloc(bytes, '1'), metadata: null, expiresAtMs: 0, dedupe: null }]);
	return { clock, world, usage, publish, ...store };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('a busy account is counted once in ten seconds', async () => {
	const { clock, world, usage } = create();
	for (let second = 0; second < 100; second++) {
		for (let i = 0; i < 100; i++) assert.equal(usage.admit(`${ACCOUNT}/a`), null);
		clock.advance(1000);
		await turn();
	}
	assert(world.lists() <= 10, String(world.lists()));
});

test('bytes count when they are counted, and are looked at again before anybody is refused', async () => {
	const { clock, world, usage, publish } = create({ bytesMax: 1000 });
	assert.equal(usage.admit(`${ACCOUNT}/a`), null);
	await publish(`${ACCOUNT}/a`, 2000);
	await publish(`${OTHER}/a`, 10);
	clock.advance(10_001);
	assert.equal(usage.admit(`${ACCOUNT}/a`), null, 'by what was counted before');
	await turn();
	await assert.rejects(usage.admit(`${ACCOUNT}/a`) ?? Promise.resolve(), { code: 'account_full' });
	const lists = world.lists();
	for (let i = 0; i < 100; i++) await assert.rejects(usage.admit(`${ACCOUNT}/b`) ?? Promise.resolve(), { code: 'account_full' });
	assert.equal(world.lists(), lists, 'a flood of refusals counts nothing');
	assert.equal(usage.admit(`${OTHER}/a`), null);
});

test('topics that are being made count, and those that were not made after all do not', async () => {
	const { clock, usage, publish } = create({ topicsMax: 3 });
	for (const name of ['a', 'b', 'c']) assert.equal(usage.admit(`${ACCOUNT}/${name}`), null);
	await publish(`${ACCOUNT}/a`);
	await assert.rejects(usage.admit(`${ACCOUNT}/d`) ?? Promise.resolve(), { code: 'topic_limit' });
	clock.advance(10_001);
	await usage.admit(`${ACCOUNT}/a`);
	await turn();
	assert.equal(usage.admit(`${ACCOUNT}/d`), null);
	assert.equal(usage.admit(`${ACCOUNT}/e`), null);
	await assert.rejects(usage.admit(`${ACCOUNT}/f`) ?? Promise.resolve(), { code: 'topic_limit' });
});

test('an account with thousands of topics is counted over several pages, and no further than its cap', async () => {
	const { clock, world, usage, publish } = create({ topicsMax: 2500, bytesMax: 1e9 });
	for (let i = 0; i < 2499; i++) await publish(`${ACCOUNT}/t${i}`);
	await usage.admit(`${ACCOUNT}/t0`);
	for (let i = 0; i < 10; i++) await turn();
	assert.equal(world.lists(), 3);
	assert.equal(usage.admit(`${ACCOUNT}/one-more`), null);
	clock.advance(2000);
	await publish(`${ACCOUNT}/one-more`);
	await assert.rejects(usage.admit(`${ACCOUNT}/two-more`) ?? Promise.resolve(), { code: 'topic_limit' });
});

test('while the store cannot be asked, what was known stands', async () => {
	const { clock, world, usage } = create({ topicsMax: 2 });
	world.away = true;
	assert.equal(usage.admit(`${ACCOUNT}/a`), null);
	clock.advance(20_000);
	assert.equal(usage.admit(`${ACCOUNT}/b`), null);
	await turn();
	await assert.rejects(usage.admit(`${ACCOUNT}/c`) ?? Promise.resolve(), { code: 'topic_limit' });
});

/** Creates topics of an account until it may not have more; gives how many. */
async function fill({ usage, publish }: ReturnType<typeof create>, account: string, most = 1000): Promise<number> {
	for (let count = 0; ; count++) {
		if (count === most) return count;
		const topic = `${account}/t${count}`;
		try {
			await usage.admit(topic);
		} catch (error) {
			assert.equal(error instanceof Error && 'code' in error && error.code, 'topic_limit');
			return count;
		}
		await publish(topic);
	}
}

test('where there are several accounts, each may have topics until it has as many as it leaves to the others', async () => {
	const world = create({ storeTopicsMax: 100, bytesMax: 1e9 });
	assert.equal(await fill(world, ACCOUNT), 50);
	world.clock.advance(1001);
	assert.equal(await fill(world, OTHER), 25);
	world.clock.advance(1001);
	assert.equal(await fill(world, '00000000-0000-4000-8000-000000000003'), 13);
	world.clock.advance(1001);
	await assert.rejects(world.usage.admit(`${ACCOUNT}/one more`) ?? Promise.resolve(), { code: 'topic_limit' });
	assert.equal(world.usage.admit(`${ACCOUNT}/t0`), null, 'it publishes to those that it has');
});

test('an account that was not counted yet gets no more either', async () => {
	const world = create({ storeTopicsMax: 100, bytesMax: 1e9 });
	await fill(world, ACCOUNT);
	const again = new AccountUsage({
		store: { listTopics: world.listTopics, stats: world.stats },
		clock: world.clock,
		topicsMax: 1000,
		bytesMax: 1e9,
		storeTopicsMax: 100,
		severalAccounts: () => true,
	});
	await assert.rejects(again.admit(`${ACCOUNT}/one more`) ?? Promise.resolve(), { code: 'topic_limit' });
});

test('an account that is alone may have all topics', async () => {
	const world = create({ storeTopicsMax: 100, bytesMax: 1e9, severalAccounts: false });
	assert.equal(await fill(world, ACCOUNT, 100), 100);
});
