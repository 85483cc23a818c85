/** What an acknowledgement survives: what the server is set up to do, also when that changes while the relay runs (I2). */

import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { ServerDemands } from '../../src/stores/valkey/server-check.ts';
import { createFakeClock } from '../support/clock.ts';
import { startRelay } from '../support/relay.ts';
import { startReplica, startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { appendOne, entry, idsOf, keyed, payloadsOf } from './trial.ts';
import { NO_DEMANDS, openStore, serverAt } from './valkey-fixture.ts';
import { until } from './valkey-node.ts';

/** Longer than the time between two looks at the settings. */
const CHECK_MS = 10_000;

function isRefusal(reason: RegExp) {
	return (error: unknown) => {
		assert.ok(error instanceof RelayError && error.code === 'storage_unavailable', String(error));
		assert.match(error.message, reason);
		return true;
	};
}

function settings(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());

	/** A store whose next look at the settings comes when the test says so. */
	async function open(t: TestContext, demands: Partial<ServerDemands> = {}) {
		const clock = createFakeClock(Date.now());
		const opened = await openStore(t, serverAt(valkey.host, valkey.port), { clock, demands: { ...NO_DEMANDS, ...demands } });
		const says = async (what: RegExp) => {
			clock.advance(CHECK_MS);
			await until(() => what.test(JSON.stringify(opened.store.health())), `health says ${what}`);
		};
		return { ...opened, says };
	}

	test('health says what the settings give, and follows when they are changed', async (t) => {
		const { store, says } = await open(t);
		for (const [appendonly, appendfsync, durability] of [
			['yes', 'always', 'disk'],
			['no', 'always', 'memory'],
			['yes', 'everysec', 'everysec'],
			['no', 'everysec', 'memory'],
			['yes', 'no', 'process'],
			['no', 'no', 'memory'],
		] as const) {
			await valkey.cli('CONFIG', 'SET', 'appendonly', appendonly, 'appendfsync', appendfsync);
			await says(new RegExp(`"ok","durability":"${durability}"`));
			await appendOne(store, 'matrix', entry('1'));
		}
		await valkey.cli('CONFIG', 'SET', 'appendonly', 'yes', 'appendfsync', 'always', 'no-appendfsync-on-rewrite', 'yes');
		await says(/"ok","durability":"process"/);
		await valkey.cli('CONFIG', 'SET', 'no-appendfsync-on-rewrite', 'no', 'appendonly', 'no');
	});

	test('a server that gives less than was asked for, from some moment on, is not used until it does again', async (t) => {
		await valkey.cli('CONFIG', 'SET', 'appendonly', 'yes', 'appendfsync', 'always');
		const { store, says, warnings } = await open(t, { durability: ['disk'] });
		await appendOne(store, 'less', entry('1'));
		await valkey.cli('CONFIG', 'SET', 'appendfsync', 'everysec');
		await says(/unavailable.*the server gives durability everysec, and PULSAR_DURABILITY asks for disk/);
		await assert.rejects(store.append('less', [entry('2')]), isRefusal(/asks for disk/));
		assert.deepEqual(await payloadsOf(store, 'less'), ['1'], 'reads go on');
		assert.equal(warnings.length, 1);
		await valkey.cli('CONFIG', 'SET', 'appendfsync', 'always');
		await says(/"ok","durability":"disk"/);
		await appendOne(store, 'less', entry('3'));
		assert.deepEqual(await payloadsOf(store, 'less'), ['1', '3']);
		await valkey.cli('CONFIG', 'SET', 'appendonly', 'no');
	});

	test('a policy that throws whole topics away is not used, unless that is allowed, with a warning', async (t) => {
		const { store, says } = await open(t);
		const knowing = await open(t, { allowEviction: true });
		for (const policy of ['allkeys-lru', 'allkeys-lfu', 'allkeys-random']) {
			await valkey.cli('CONFIG', 'SET', 'maxmemory-policy', policy);
			await says(new RegExp(`unavailable.*maxmemory-policy is ${policy}.*set it to noeviction`));
			await assert.rejects(store.append('evict', [entry('1')]), isRefusal(/maxmemory-policy/));
			await knowing.says(/"ok"/);
			await until(() => knowing.warnings.some((text) => text.includes(policy)), 'warned');
			await appendOne(knowing.store, 'evict', entry('1'));
		}
		assert.equal(knowing.warnings.length, 3, 'once for each');
		// Nothing of the relay's expires, so these policies have nothing to throw away.
		for (const policy of ['volatile-lru', 'noeviction']) {
			await valkey.cli('CONFIG', 'SET', 'maxmemory-policy', policy);
			await says(/"ok"/);
		}
		await appendOne(store, 'evict', entry('2'));
	});

	test('a server that is full refuses publishes with the reason, is read, and takes them again when it has room', async (t) => {
		const { store } = await open(t);
		await appendOne(store, 'full', entry('1'));
		await valkey.cli('CONFIG', 'SET', 'maxmemory', '1mb');
		for (const topic of ['full', 'fullnew']) {
			await assert.rejects(store.append(topic, [entry('2')]), isRefusal(/^the store is out of memory \(maxmemory\)$/));
		}
		assert.deepEqual(await payloadsOf(store, 'full'), ['1']);
		await store.watch('full');
		await valkey.cli('CONFIG', 'SET', 'maxmemory', '0');
		await appendOne(store, 'full', entry('3'));
		await appendOne(store, 'fullnew', entry('1'));
		assert.deepEqual(await payloadsOf(store, 'full'), ['1', '3']);
	});

	test('a server that has become a replica, or has too few, refuses publishes with the reason', async (t) => {
		const { store } = await open(t);
		await appendOne(store, 'role', entry('1'));
		await valkey.cli('CONFIG', 'SET', 'min-replicas-to-write', '1');
		await assert.rejects(store.append('role', [entry('2')]), isRefusal(/^the store has too few replicas$/));
		await valkey.cli('CONFIG', 'SET', 'min-replicas-to-write', '0');
		await valkey.cli('REPLICAOF', '127.0.0.1', '1');
		await assert.rejects(store.append('role', [entry('2')]), isRefusal(/^the store is a read-only replica$/));
		await valkey.cli('REPLICAOF', 'NO', 'ONE');
		await appendOne(store, 'role', entry('3'));
		assert.deepEqual(await payloadsOf(store, 'role'), ['1', '3']);
	});

	test('/ready tells the durability in force, or why there is none', async (t) => {
		await valkey.cli('CONFIG', 'SET', 'appendonly', 'yes', 'appendfsync', 'everysec');
		const relay = await startRelay(valkey.relayEnv);
		t.after(() => relay.close());
		const good = await relay.request('GET', '/ready');
		assert.equal(good.status, 200);
		assert.equal((good.json as { durability: string }).durability, 'everysec');
		await valkey.cli('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
		const evicting = await startRelay(valkey.relayEnv);
		t.after(() => evicting.close());
		const bad = await evicting.request('GET', '/ready');
		assert.equal(bad.status, 503);
		assert.match(JSON.stringify(bad.json), /maxmemory-policy is allkeys-lru/);
		const publish = await evicting.request('POST', '/api/v1/messages', { topic: 'a', payload: 1 });
		assert.equal(publish.status, 503);
		await valkey.cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
	});
}

function replicas(): void {
	test('replicated:1 is acknowledged when the replica has it, and never before, also what was stored already', async (t) => {
		const primary = await startValkey({ settings: { appendonly: 'yes' } });
		t.after(() => primary.stop());
		const replica = await startReplica(primary);
		t.after(() => replica.stop());
		const server = serverAt(primary.host, primary.port);
		const demands = { ...NO_DEMANDS, replicas: 1 };
		const { store } = await openStore(t, server, { demands });
		await appendOne(store, 'r', entry('1'));
		assert.equal(await replica.cli('XLEN', 'topic:r:stream'), '1');
		replica.pause();
		const late = /^fewer than 1 replicas have confirmed the write$/;
		const startedMs = performance.now();
		const both = [store.append('r', [keyed('2', 'k', 0, 'f')]), store.append('rnew', [entry('1')])];
		for (const append of both) await assert.rejects(append, isRefusal(late));
		assert.ok(performance.now() - startedMs < 2000, 'within 2 s');
		// By a connection that has written nothing: what it would wait for by itself is nothing.
		const other = await openStore(t, server, { demands });
		await assert.rejects(other.store.append('r', [keyed('2', 'k', 0, 'f')]), isRefusal(late));
		replica.resume();
		await until(async () => (await replica.cli('XLEN', 'topic:r:stream')) === '2', 'replicated');
		const [again] = await other.store.append('r', [keyed('2', 'k', 0, 'f')]);
		assert.equal(again?.status, 'duplicate');
		assert.deepEqual(await payloadsOf(store, 'r'), ['1', '2']);
		idsOf(await store.append('r', [entry('3')]));
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) {
	describe('settings of the server', settings);
	describe('replicas', replicas);
} else test('durability on Valkey', { skip: unavailable }, () => {});
