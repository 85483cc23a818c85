/**
 * Delivered means readable where appends wait for replicas (I3): nobody is given, on any node and by any way, what replicas do not have yet;
 * and what they have everybody gets, also when the node that appended it is gone.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import { startProxy, type TcpProxy } from '../faults/proxy.ts';
import { startReplica, startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { entry, keyed, payloadsOf, UNLIMITED } from './trial.ts';
import { NO_DEMANDS, serverAt } from './valkey-fixture.ts';
import { idsInLog, type Node, openNode, toldTo, until } from './valkey-node.ts';

interface Pair {
	readonly primary: Valkey;
	readonly replica: Valkey;
	/** Between the two. */
	readonly link: TcpProxy;
	node(): Promise<Node>;
}

async function open(t: TestContext): Promise<Pair> {
	const primary = await startValkey({ settings: { appendonly: 'yes' } });
	t.after(() => primary.stop());
	const link = await startProxy(primary);
	t.after(() => link[Symbol.asyncDispose]());
	const replica = await startReplica({ host: link.host, port: link.port, password: null });
	t.after(() => replica.stop());
	const server = { ...serverAt(primary.host, primary.port), addresses: [primary, replica] };
	return { primary, replica, link, node: () => openNode(t, server, { demands: { ...NO_DEMANDS, replicas: 1 } }) };
}

function isUnavailable(error: unknown): boolean {
	return error instanceof RelayError && error.code === 'storage_unavailable';
}

/** Appends a message, again as long as a busy machine keeps the replica from taking it in time. */
async function store({ store }: Node, payload: string): Promise<void> {
	await until(
		() =>
			store.append('t', [keyed(payload, payload, 0, 'f')]).then(
				() => true,
				(error: unknown) => {
					assert.ok(isUnavailable(error), String(error));
					return false;
				},
			),
		'stored',
	);
}

/** Resolves once a node has looked at its watched topics again: a message that comes by looking has come by then. */
async function afterLooks({ store }: Node, topic: string): Promise<void> {
	const endMs = performance.now() + 1500;
	await until(async () => {
		await store.watch(topic);
		return performance.now() > endMs;
	}, 'looked');
}

function suite(): void {
	test('what replicas lack is delivered by no node and in no page; once they have it, everybody gets it in order', async (t) => {
		const { replica, node } = await open(t);
		const [one, other] = [await node(), await node()];
		const sinks = [await one.subscribe('t'), await other.subscribe('t')];
		await store(one, '1');
		for (const sink of sinks) await until(() => sink.told.length === 1, 'delivered');
		replica.pause();
		await assert.rejects(one.store.append('t', [entry('2')]), isUnavailable);
		await assert.rejects(other.store.append('t', [keyed('3', 'k', 0, 'f')]), isUnavailable);
		await afterLooks(other, 't');
		for (const sink of sinks) assert.deepEqual(toldTo(sink), ['1']);
		for (const { store } of [one, other]) {
			assert.deepEqual(await payloadsOf(store, 't'), ['1']);
			assert.equal((await store.readBefore('t', null, UNLIMITED)).blocks.at(-1)?.count, 1);
			const [id] = await idsInLog(store, 't');
			assert.equal(formatMessageId((await store.getTopic('t'))?.tip ?? { ms: 0, n: 0 }), id);
			assert.equal(formatMessageId((await store.watch('t')).tip), id);
		}
		// The node that appended them is gone before it could announce them.
		await one.store.close();
		replica.resume();
		await until(() => sinks[1]?.told.length === 3, 'found by looking');
		assert.deepEqual(toldTo(sinks[1] ?? assert.fail()), ['1', '2', '3']);
		assert.deepEqual(await payloadsOf(other.store, 't'), ['1', '2', '3']);
		await store(other, '4');
		await until(() => sinks[1]?.told.length === 4, 'goes on');
		assert.ok(other.warnings.length === 0, other.warnings.join());
	});

	test('two nodes that append at once deliver the same order to everybody, each message once', async (t) => {
		const { node } = await open(t);
		const [one, other] = [await node(), await node()];
		const sinks = [await one.subscribe('t'), await other.subscribe('t')];
		const count = 60;
		await Promise.all(
			Array.from({ length: count }, async (_, i) => {
				for (const [n, relay] of [one, other].entries()) await store(relay, `"${n}-${i}"`);
			}),
		);
		const ids = await idsInLog(one.store, 't');
		assert.equal(ids.length, 2 * count);
		for (const sink of sinks) await until(() => sink.told.length >= ids.length, 'all delivered');
		for (const sink of sinks) assert.deepEqual(sink.ids(), ids);
	});

	test('a message that was delivered survives the failover to a replica, and one that did not was delivered to nobody', async (t) => {
		const { primary, replica, link, node } = await open(t);
		const relay = await node();
		const sink = await relay.subscribe('t');
		await store(relay, '1');
		link.deaden();
		await assert.rejects(relay.store.append('t', [entry('2')]), isUnavailable);
		await primary.kill();
		await replica.cli('REPLICAOF', 'NO', 'ONE');
		const spare = await startReplica(replica);
		t.after(() => spare.stop());
		const tryAgain = () =>
			relay.store.append('t', [entry('3')]).then(
				() => true,
				() => false,
			);
		await until(tryAgain, 'on the new primary');
		await until(() => toldTo(sink).includes('3'), 'goes on');
		const log = await payloadsOf(relay.store, 't');
		assert.deepEqual(toldTo(sink), log, 'what was delivered is what is there');
	});

	test('while a node of version 0.3 is connected messages are announced as it does, and the log says so', async (t) => {
		const { primary, replica, node } = await open(t);
		const older = connect(primary.port, primary.host);
		t.after(() => older.destroy());
		older.write('CLIENT SETNAME pulsar-relay\r\n');
		await once(older, 'data');
		const relay = await node();
		const hasTold = (text: RegExp) => relay.warnings.some((warning) => text.test(warning));
		assert.ok(hasTold(/a node of an older version uses this server/));
		await store(relay, '0');
		const sink = await relay.subscribe('t');
		replica.pause();
		await assert.rejects(relay.store.append('t', [entry('1')]), isUnavailable);
		await until(() => sink.told.length === 1, 'delivered before the replica has it');
		replica.resume();
		older.destroy();
		await until(() => hasTold(/no node of an older version is left/), 'noticed');
		replica.pause();
		await assert.rejects(relay.store.append('t', [entry('2')]), isUnavailable);
		await afterLooks(relay, 't');
		assert.deepEqual(toldTo(sink), ['1']);
		replica.resume();
		await until(() => sink.told.length === 2, 'delivered once the replica has it');
	});

	test('a primary that has not heard of a confirmation takes it from a node that has', async (t) => {
		const { primary, node } = await open(t);
		const relay = await node();
		const sink = await relay.subscribe('t');
		await store(relay, '1');
		await store(relay, '2');
		await until(() => sink.told.length === 2, 'delivered');
		const [first, second] = await idsInLog(relay.store, 't');
		await primary.cli('HSET', '{topic:t:stream}:meta', 'confirmed', first ?? '');
		await until(async () => (await primary.cli('HGET', '{topic:t:stream}:meta', 'confirmed')) === second, 'told by the look');
		assert.deepEqual(toldTo(sink), ['1', '2']);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('appends that wait for replicas', suite);
else test('appends that wait for replicas', { skip: unavailable }, () => {});
