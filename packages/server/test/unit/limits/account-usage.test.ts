/** How many topics and bytes an account has: counted seldom, refused only by what is known to be so. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccountUsage } from '../../../src/limits/account-usage.ts';
import type { Store } from '../../../src/ports/store.ts';
import { createMemoryStore } from '../../../src/stores/memory/store.ts';
import { createFakeClock } from '../../support/clock.ts';

const ACCOUNT = '00000000-0000-4000-8000-000000000001';
const OTHER = '00000000-0000-4000-8000-000000000002';

function create({ topicsMax = 1000, bytesMax = 1000 } = {}) {
	const clock = createFakeClock();
	const memory = createMemoryStore({ topicsMax: 100_000, clock });
	let lists = 0;
	const world = { away: false, lists: () => lists };
	const listTopics: Store['listTopics'] = (after, limit) => {
		lists++;
		return world.away ? Promise.reject(new Error('away')) : memory.listTopics(after, limit);
	};
	const usage = new AccountUsage({ store: { listTopics }, clock, topicsMax, bytesMax });
	const publish = (topic: string, bytes = 10) =>
		memory.append(topic, [{ payload: Buffer.alloc(bytes, '1'), metadata: null, expiresAtMs: 0, dedupe: null }]);
	return { clock, world, usage, publish };
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
