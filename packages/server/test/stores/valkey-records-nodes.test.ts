/** Records that nodes share: what one changes the others hear of, whatever happens to the announcements and to the server. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { Auth } from '../../src/auth/auth.ts';
import { systemClock } from '../../src/ops/clock.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Expected, RecordOp, Records } from '../../src/ports/records.ts';
import type { ServerDemands } from '../../src/stores/valkey/server-check.ts';
import { createFakeClock } from '../support/clock.ts';
import { startReplica, startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { startCluster } from '../support/valkey-cluster.ts';
import { appendOne, entry } from './trial.ts';
import { NO_DEMANDS, openStore, serverAt } from './valkey-fixture.ts';
import { until } from './valkey-node.ts';

interface Node {
	readonly records: Records;
	/** `kind/id` of each change heard, and `missed`. */
	readonly heard: string[];
}

async function openNode(
	t: TestContext,
	{ host, port }: Pick<Valkey, 'host' | 'port'>,
	more: { readonly cluster?: boolean; readonly demands?: ServerDemands; readonly clock?: Clock } = {},
): Promise<Node> {
	const { cluster = false, demands = NO_DEMANDS, clock = systemClock } = more;
	const { store } = await openStore(t, serverAt(host, port, cluster), { demands, clock });
	const records = await store.openRecords();
	t.after(() => records.close());
	const heard: string[] = [];
	records.listen({ changed: (kind, id) => heard.push(`${kind}/${id}`), missed: () => heard.push('missed') });
	return { records, heard };
}

async function startServer(t: TestContext): Promise<Valkey> {
	const valkey = await startValkey();
	t.after(() => valkey.stop());
	return valkey;
}

function put(id: string, expected: Expected = 'any', expiresAtMs: number | null = null): RecordOp {
	return { op: 'put', kind: 'thing', id, value: { id }, expected, expiresAtMs };
}

async function refusedWithin(call: Promise<unknown>, limitMs: number): Promise<void> {
	const startedMs = performance.now();
	await assert.rejects(call, { code: 'storage_unavailable' });
	const tookMs = performance.now() - startedMs;
	assert.ok(tookMs < limitMs, `after ${tookMs} ms`);
}

/** Records that note what each of their purges has removed. */
function noting(records: Records, removed: number[]): Records {
	return {
		get: (kind, id) => records.get(kind, id),
		list: (kind, query) => records.list(kind, query),
		write: (ops) => records.write(ops),
		listen: (listener) => records.listen(listener),
		async purge() {
			const step = await records.purge();
			removed.push(step.removed);
			return step;
		},
		close: () => records.close(),
	};
}

/** Resolves once a node has heard of something, and then forgets what it heard. */
async function untilHeard({ heard }: Node, what: string): Promise<void> {
	await until(() => heard.includes(what), `heard ${what}`);
	heard.length = 0;
}

function suite(): void {
	for (const kind of ['one server', 'a Cluster']) {
		test(`on ${kind}, a change is heard on every node, once on its own`, async (t) => {
			const cluster = kind === 'a Cluster' ? await startCluster() : null;
			if (cluster !== null) t.after(() => cluster.stop());
			const server = cluster?.primaries[0] ?? (await startServer(t));
			const [one, other] = [
				await openNode(t, server, { cluster: cluster !== null }),
				await openNode(t, server, { cluster: cluster !== null }),
			];
			await one.records.write([
				put('a'),
				put('line\nend "é"', 'absent'),
				{ op: 'check', kind: 'thing', id: 'c', expected: 'absent' },
			]);
			assert.deepEqual(one.heard, ['thing/a', 'thing/line\nend "é"']);
			await until(() => other.heard.length >= 2, 'heard');
			await one.records.write([{ op: 'check', kind: 'thing', id: 'a', expected: 'present' }]);
			await other.records.write([{ op: 'delete', kind: 'thing', id: 'a', expected: 'present' }]);
			await until(() => one.heard.length >= 3, 'heard');
			const all = ['thing/a', 'thing/line\nend "é"', 'thing/a'];
			assert.deepEqual([one.heard, other.heard], [all, all]);
			assert.equal(await one.records.get('thing', 'a'), undefined);
		});
	}

	test('of writes made on two nodes at the same time that expect the same, one is made', async (t) => {
		const valkey = await startServer(t);
		const nodes = [await openNode(t, valkey), await openNode(t, valkey)];
		for (let round = 0; round < 20; round++) {
			const outcomes = await Promise.all(
				nodes.flatMap(({ records }, by) =>
					Array.from({ length: 5 }, () => records.write([put(`name ${round}`, 'absent'), put(`by ${by}`)])),
				),
			);
			assert.deepEqual(outcomes.map(({ status }) => status).sort(), [...Array(9).fill('conflict'), 'ok']);
		}
		const versions = await Promise.all(
			nodes.map(({ records }) => records.list('thing', { prefix: 'name', after: null, limit: 100 })),
		);
		assert.deepEqual(versions[0], versions[1]);
		assert.equal(new Set(versions[0]?.map(({ version }) => version)).size, 20);
	});

	test('on a Cluster whose slot of the records moves, no change is missed for longer than seconds', async (t) => {
		const cluster = await startCluster();
		t.after(() => cluster.stop());
		const [first, second] = cluster.primaries;
		assert.ok(first !== undefined && second !== undefined);
		const [one, other] = [await openNode(t, first, { cluster: true }), await openNode(t, second, { cluster: true })];
		await one.records.write([put('a')]);
		await untilHeard(other, 'thing/a');
		const slot = await cluster.slotOf('{relay}:records');
		const owner = await cluster.ownerOf(slot);
		await cluster.moveSlot(slot, cluster.primaries.find((primary) => primary !== owner) ?? first);
		await until(() => one.records.write([put('b')]).then(Boolean, () => false), 'written');
		await until(() => other.heard.some((what) => what === 'thing/b' || what === 'missed'), 'known');
		assert.ok((await other.records.get('thing', 'b')) !== undefined);
		// Heard at once again, once the library has followed the slot with its subscription.
		await until(async () => {
			other.heard.length = 0;
			await one.records.write([put('c')]);
			await new Promise((resolve) => setImmediate(resolve));
			return other.heard.includes('thing/c');
		}, 'heard at once again');
	});

	test('an announcement that was lost is found missing within seconds, and nothing else is taken for one', async (t) => {
		const valkey = await startServer(t);
		const [one, other] = [await openNode(t, valkey), await openNode(t, valkey)];
		for (let i = 0; i < 200; i++) await (i % 2 === 0 ? one : other).records.write([put(`a${i}`)]);
		// What a write does, but for its announcement.
		await valkey.cli('HINCRBY', '{relay}:records:meta', 'version', '1');
		const startedMs = performance.now();
		await Promise.all([one, other].map((node) => until(() => node.heard.includes('missed'), 'missed')));
		assert.ok(performance.now() - startedMs < 3000);
		for (const { heard } of [one, other]) {
			assert.equal(heard.filter((what) => what === 'missed').length, 1);
			assert.equal(heard.length, 201, 'each change once');
			heard.length = 0;
		}
		await one.records.write([put('b')]);
		await untilHeard(other, 'thing/b');
	});

	test('an interruption of the subscription is told, and changes are heard again after it', async (t) => {
		const valkey = await startServer(t);
		const [one, other] = [await openNode(t, valkey), await openNode(t, valkey)];
		await valkey.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
		await Promise.all([untilHeard(one, 'missed'), untilHeard(other, 'missed')]);
		await one.records.write([put('a')]);
		// Heard, or found missing when the subscription was not there yet.
		await until(() => other.heard.length > 0, 'heard');
		await until(async () => (await valkey.cli('PUBSUB', 'NUMSUB', '{relay}:records:changed')).endsWith('\n2'), 'subscribed');
		await one.records.write([put('b')]);
		await untilHeard(other, 'thing/b');
	});

	test('a server that has lost what it had announced: every node reads anew, and versions are not given again', async (t) => {
		const valkey = await startServer(t);
		const [one, other] = [await openNode(t, valkey), await openNode(t, valkey)];
		const before = await one.records.write([put('a')]);
		assert.ok(before.status === 'ok');
		await until(() => other.heard.length === 1, 'heard');
		await valkey.cli('FLUSHALL');
		await Promise.all([untilHeard(one, 'missed'), untilHeard(other, 'missed')]);
		assert.equal(await other.records.get('thing', 'a'), undefined);
		const again = await one.records.write([put('a', 'absent')]);
		assert.ok(again.status === 'ok' && again.version > before.version, JSON.stringify([before, again]));
	});

	test('what is no announcement is no change, and a record written by hand is refused', async (t) => {
		const valkey = await startServer(t);
		const node = await openNode(t, valkey);
		for (const garbage of [
			'',
			'x',
			'1 2',
			'1 2 ',
			'1 2 {}',
			'1 2 [1]',
			'1 2 [["thing",1]]',
			'x 2 []',
			'99999999999999999999 1 []',
		]) {
			await valkey.cli('PUBLISH', '{relay}:records:changed', garbage);
		}
		for (const text of ['', 'x', '{}', '1 - []', '1 x {}']) {
			await valkey.cli('HSET', '{relay}:records', 'thing/hand', text);
			await assert.rejects(node.records.get('thing', 'hand'), /thing\/hand was not written by a relay/, text);
		}
		assert.deepEqual(node.heard, []);
		await node.records.write([put('a')]);
		assert.deepEqual(node.heard, ['thing/a']);
	});

	test('a frozen server: calls are refused within 2 s, then at once, and go on when it thaws', async (t) => {
		const valkey = await startServer(t);
		const node = await openNode(t, valkey);
		await node.records.write([put('a')]);
		valkey.pause();
		const { records } = node;
		const list = () => records.list('thing', { prefix: '', after: null, limit: 10 });
		await Promise.all([
			refusedWithin(records.get('thing', 'a'), 2000),
			refusedWithin(records.write([put('b')]), 2000),
			refusedWithin(list(), 2000),
		]);
		await Promise.all([
			refusedWithin(records.get('thing', 'a'), 50),
			refusedWithin(records.write([put('b')]), 50),
			refusedWithin(records.purge(), 50),
			refusedWithin(list(), 50),
		]);
		valkey.resume();
		await until(() => records.get('thing', 'a').then(Boolean, () => false), 'back');
		// What was refused may have been made.
		assert.equal((await list())[0]?.id, 'a');
		const outcome = await records.write([put('a', 'present')]);
		assert.equal(outcome.status, 'ok');
	});

	test('a server that restarts: refused while it is away, then there again', async (t) => {
		const valkey = await startValkey({ settings: { appendonly: 'yes' } });
		t.after(() => valkey.stop());
		const node = await openNode(t, valkey);
		await node.records.write([put('a')]);
		await valkey.kill();
		await refusedWithin(node.records.write([put('b')]), 2000);
		await refusedWithin(node.records.get('thing', 'a'), 2000);
		await valkey.restart();
		await until(() => node.records.get('thing', 'a').then(Boolean, () => false), 'back');
		await untilHeard(node, 'missed');
		assert.equal((await node.records.write([put('a', 'present')])).status, 'ok');
	});

	test('with replicas to wait for, a write that none has confirmed is refused, and heard of all the same', async (t) => {
		const valkey = await startServer(t);
		const replica = await startReplica(valkey);
		t.after(() => replica.stop());
		const node = await openNode(t, valkey, { demands: { ...NO_DEMANDS, replicas: 1 } });
		assert.equal((await node.records.write([put('a')])).status, 'ok');
		node.heard.length = 0;
		replica.pause();
		await assert.rejects(node.records.write([put('a')]), /fewer than 1 replicas have confirmed the write/);
		await untilHeard(node, 'thing/a');
		replica.resume();
		await until(() => node.records.write([put('a')]).then(Boolean, () => false), 'confirmed again');
	});

	test('a server that is full of messages still takes a right away', async (t) => {
		const valkey = await startServer(t);
		const { store } = await openStore(t, serverAt(valkey.host, valkey.port));
		const { records } = await openNode(t, valkey);
		await records.write([put('a'), put('b')]);
		await valkey.cli('CONFIG', 'SET', 'maxmemory', '1mb');
		await assert.rejects(appendOne(store, 't', entry('1')), /out of memory/);
		const ops: RecordOp[] = [put('a', 'present'), { op: 'delete', kind: 'thing', id: 'b', expected: 'present' }];
		assert.equal((await records.write([...ops, put('c', 'absent', 1)])).status, 'ok');
		assert.deepEqual(await records.purge(), { removed: 1, more: false });
	});

	test('one node at a time removes what has expired; when it is gone, another one does', async (t) => {
		const valkey = await startServer(t);
		const clock = createFakeClock();
		const [one, other] = [await openNode(t, valkey, { clock }), await openNode(t, valkey, { clock })];
		const ops = Array.from({ length: 2500 }, (_, i) => put(`short ${i}`, 'absent', clock.nowMs() + 10));
		for (let at = 0; at < ops.length; at += 32) await one.records.write(ops.slice(at, at + 32));
		clock.advance(10);
		assert.deepEqual(await one.records.purge(), { removed: 1000, more: true });
		assert.deepEqual(await other.records.purge(), { removed: 0, more: false }, 'another one is at it');
		assert.deepEqual(await one.records.purge(), { removed: 1000, more: true });
		clock.advance(30_000);
		assert.deepEqual(await other.records.purge(), { removed: 500, more: false });
		for (const key of ['{relay}:records:names', '{relay}:records:expiries']) assert.equal(await valkey.cli('ZCARD', key), '0');
		assert.equal(await valkey.cli('HLEN', '{relay}:records'), '0');
		// A node whose clock is ahead does not keep the others from it.
		await valkey.cli('HSET', '{relay}:records:meta', 'purger', 'gone', 'purger_until', String(clock.nowMs() + 3_600_000));
		await one.records.write([put('short', 'absent', clock.nowMs() + 10)]);
		clock.advance(10);
		assert.deepEqual(await other.records.purge(), { removed: 1, more: false });
	});

	test('relays remove what has expired in the background, in steps, one of them at a time', async (t) => {
		const valkey = await startServer(t);
		const clock = createFakeClock();
		const nodes = [await openNode(t, valkey, { clock }), await openNode(t, valkey, { clock })];
		const ops = Array.from({ length: 2500 }, (_, i) => put(`short ${i}`, 'absent', clock.nowMs() + 10));
		for (let at = 0; at < ops.length; at += 32) await nodes[0]?.records.write(ops.slice(at, at + 32));
		const removed: number[][] = nodes.map(() => []);
		for (const [i, { records }] of nodes.entries()) {
			const auth = new Auth({
				records: noting(records, removed[i] ?? []),
				clock,
				log: { warn: () => {} },
				jwtSecret: 'a secret of the tests, longer than 32 characters',
				accessTokenLifetimeS: 600,
				refreshTokenLifetimeS: 600,
				refreshGraceS: 0,
			});
			t.after(() => auth.close());
		}
		clock.advance(60_000);
		await until(async () => {
			clock.advance(100);
			return (await valkey.cli('HLEN', '{relay}:records')) === '0';
		}, 'empty');
		const busy = removed.filter((steps) => steps.some((step) => step > 0));
		assert.equal(busy.length, 1, JSON.stringify(removed));
		assert.deepEqual(
			busy[0]?.filter((step) => step > 0),
			[1000, 1000, 500],
		);
	});

	test('a page of more than is read at once, with much of it expired, is whole', async (t) => {
		const valkey = await startServer(t);
		const clock = createFakeClock();
		const { records } = await openNode(t, valkey, { clock });
		const ops = Array.from({ length: 1500 }, (_, i) =>
			put(String(i).padStart(4, '0'), 'absent', i % 3 === 0 ? null : clock.nowMs() + 10),
		);
		for (let at = 0; at < ops.length; at += 32) await records.write(ops.slice(at, at + 32));
		clock.advance(10);
		const page = await records.list('thing', { prefix: '', after: '0000', limit: 400 });
		assert.deepEqual(
			page.map(({ id }) => Number(id)),
			Array.from({ length: 400 }, (_, i) => 3 * (i + 1)),
		);
		assert.equal((await records.list('thing', { prefix: '', after: '0000', limit: 1000 })).length, 499);
	});
}

const unavailable = valkeyUnavailable();
describe('records that nodes share', { skip: unavailable ?? false }, suite);
