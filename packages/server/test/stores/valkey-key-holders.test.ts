/** The idempotency records on a Valkey server, by whose they are, and what relays up to 0.3.0 left there in one list. */

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { keyed } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { openNode } from './valkey-node.ts';

const NO_BOUND = Number.MAX_SAFE_INTEGER;

describe('on a Valkey server', { skip: valkeyUnavailable() ?? false }, () => {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());
	beforeEach(() => valkey.cli('FLUSHALL'));

	const open = async (t: Parameters<typeof openNode>[0]) => (await openNode(t, serverAt(valkey.host, valkey.port))).store;
	/** What a relay 0.3.0 did for a key. */
	const recordOfEarlier = async (key: string, atMs: number) => {
		await valkey.cli('HSET', '{relay}:keys', `0:${key}`, `${atMs}-0 f`);
		await valkey.cli('RPUSH', '{relay}:keys:order', `${atMs} 0:${key}`);
	};
	const statusOf = async (store: Awaited<ReturnType<typeof open>>, key: string) =>
		(await store.append('t', [keyed('1', key, 0, 'f')]))[0]?.status;
	const listed = (holder: string) => valkey.cli('LLEN', `{relay}:keys:order:of:${holder}`);

	test('each holder has a list, a count and an age, which go with its last record', async (t) => {
		const store = await open(t);
		for (let i = 0; i < 3; i++) await store.append('t', [keyed('1', `a/${i}`, 0, 'f'), keyed('1', `b/key/${i}`, 0, 'f')]);
		assert.deepEqual([await listed('a'), await listed('b')], ['3', '3']);
		assert.equal(await valkey.cli('ZSCORE', '{relay}:keys:order:counts', 'b'), '3');
		assert.deepEqual(await store.forgetKeys(0, 4), { removed: 2, more: false });
		assert.deepEqual([await listed('a'), await listed('b')], ['2', '2']);
		assert.deepEqual(await store.forgetKeys(Date.now() + 60_000, NO_BOUND), { removed: 4, more: false });
		assert.equal(await valkey.cli('KEYS', '{relay}:keys*'), '');
	});

	test('records of a relay 0.3.0 are known, join the lists of their holders, and go in time', async (t) => {
		for (let i = 0; i < 5; i++) await recordOfEarlier(`victim/k${i}`, 1000 + i);
		for (let i = 0; i < 20; i++) await recordOfEarlier(`flood/k${i}`, 2000 + i);
		const store = await open(t);
		assert.equal(await statusOf(store, 'victim/k0'), 'duplicate');
		assert.equal(await statusOf(store, 'flood/new'), 'appended');
		assert.deepEqual(await store.forgetKeys(0, 10), { removed: 16, more: false });
		assert.equal(await valkey.cli('LLEN', '{relay}:keys:order'), '0');
		for (let i = 0; i < 5; i++) assert.equal(await statusOf(store, `victim/k${i}`), 'duplicate');
		assert.equal(await statusOf(store, 'flood/new'), 'duplicate');
		assert.equal(await statusOf(store, 'flood/k19'), 'duplicate', 'the newest are left');
		assert.equal(await statusOf(store, 'flood/k0'), 'appended');
		assert.deepEqual(await store.forgetKeys(2000, NO_BOUND), { removed: 5, more: false });
		assert.equal(await statusOf(store, 'victim/k0'), 'appended');
	});

	test('what a relay 0.3.0 beside this one records meanwhile is not lost', async (t) => {
		const store = await open(t);
		await store.append('t', [keyed('1', 'a/new', 0, 'f')]);
		await recordOfEarlier('a/beside', Date.now());
		assert.deepEqual(await store.forgetKeys(0, NO_BOUND), { removed: 0, more: false });
		assert.equal(await listed('a'), '2');
		for (const key of ['a/new', 'a/beside']) assert.equal(await statusOf(store, key), 'duplicate');
	});

	test('many records of a relay 0.3.0 are taken over in bounded steps', async (t) => {
		const lua = `for i = 1, 25000 do redis.call('HSET', KEYS[1], '0:a/' .. i, '1-0 f') redis.call('RPUSH', KEYS[2], '1 0:a/' .. i) end`;
		await valkey.cli('EVAL', lua, '2', '{relay}:keys', '{relay}:keys:order');
		const store = await open(t);
		let steps = 0;
		for (let more = true; more; steps++) ({ more } = await store.forgetKeys(0, NO_BOUND));
		assert(steps >= 2 && steps <= 5, String(steps));
		assert.equal(await listed('a'), '25000');
		let removed = 0;
		for (let more = true; more; ) {
			const step = await store.forgetKeys(0, 100);
			removed += step.removed;
			more = step.more;
		}
		assert.equal(removed, 24_900);
	});
});
