/** Several nodes over one server, or one Cluster: they tell each other everything, agree on the order and share every limit. */

import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds, formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { ServerOptions } from '../../src/stores/valkey/glide.ts';
import { startValkey, valkeyUnavailable } from '../support/valkey.ts';
import { startCluster } from '../support/valkey-cluster.ts';
import { appendedTo, appendOne, entries, entry, idsOf, keyed, payloadsOf, trimAll } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { idsInLog, type Node, openNode, toldTo, until } from './valkey-node.ts';

function suite(name: string, start: () => Promise<{ readonly server: ServerOptions; stop(): Promise<void> }>): void {
	let server: ServerOptions;
	let stop: () => Promise<void>;
	before(async () => {
		({ server, stop } = await start());
	});
	after(() => stop());
	const openTwo = (t: TestContext, more: Parameters<typeof openNode>[2] = {}): Promise<[Node, Node]> =>
		Promise.all([openNode(t, server, more), openNode(t, server, more)]);

	test(`${name}: the limit on topics is one limit`, async (t) => {
		const nodes = await openTwo(t, { topicsMax: 10 });
		const outcomes = await Promise.allSettled(
			Array.from({ length: 30 }, (_, i) => (nodes[i % 2] as Node).store.append(`limit${i}`, [entry('1')])),
		);
		assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 10);
		for (const outcome of outcomes) {
			if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof RelayError && outcome.reason.code === 'topic_limit');
		}
		for (let i = 0; i < 30; i++) await (nodes[0] as Node).store.deleteTopic(`limit${i}`);
	});

	test(`${name}: what both nodes append to the same topics is one chain to both, and to their subscribers`, async (t) => {
		const nodes = await openTwo(t);
		const topics = ['x1', 'x2', 'x3'];
		const sinks = await Promise.all(nodes.flatMap((node) => topics.map((topic) => node.subscribe(topic))));
		const large = 'x'.repeat(40_000);
		const under: Promise<unknown>[] = [];
		for (let round = 0; round < 60; round++) {
			for (const [i, node] of nodes.entries()) {
				const topic = topics[(round + i) % 3] as string;
				// Now and then a run too large to be announced with its messages.
				if (round % 20 === 7)
					under.push(
						node.store.append(
							topic,
							Array.from({ length: 10 }, () => entry(`"${large}"`)),
						),
					);
				else under.push(node.store.append(topic, entries(1 + (round % 7), 100 * round)));
				// The same request at both nodes: one of them stores it.
				if (round % 5 === 0) under.push(node.store.append(topic, [keyed('"key"', `${topic}:${round - (round % 10)}`, 0, 'f')]));
			}
			if (round % 10 === 0) await Promise.all(under);
		}
		await Promise.all(under);
		for (const [i, topic] of [...topics, ...topics].entries()) {
			const ids = await idsInLog((nodes[0] as Node).store, topic);
			const sink = sinks[i];
			await until(() => sink?.ids().length === ids.length, `told all of ${topic}`);
			assert.deepEqual(sink?.ids(), ids);
			assert.deepEqual(
				toldTo(sink as NonNullable<typeof sink>).filter((told) => told.startsWith('gap')),
				[],
			);
		}
		for (const { heard } of nodes) for (const topic of topics) assertChain(heard, topic);
	});

	test(`${name}: a trim and a deletion by one node are heard by the other, once`, async (t) => {
		const [one, two] = await openTwo(t);
		const ids = idsOf(await one.store.append('ends', entries(10)));
		const sink = await two.subscribe('ends');
		await trimAll(one.store, { nowMs: Date.now(), defaultMaxMessages: 4 });
		await until(() => two.heard.some(({ kind }) => kind === 'trimmed'), 'heard of the trim');
		const trimmed = two.heard.find(({ kind }) => kind === 'trimmed');
		assert.deepEqual(trimmed?.kind === 'trimmed' && trimmed.floor, ids[5]);
		assert.equal(await one.store.deleteTopic('ends'), true);
		await until(() => sink.told.length > 0, 'told of the end');
		assert.deepEqual(toldTo(sink), ['deleted']);
		assert.equal(await two.store.deleteTopic('ends'), false);
		assert.deepEqual(await payloadsOf(two.store, 'ends'), []);
		const next = await appendOne(two.store, 'ends', entry('1'));
		assert.ok(compareMessageIds(next, ids[9] as MessageId) > 0, 'ids go on over the deletion');
		assert.equal(two.heard.filter(({ kind }) => kind === 'deleted').length, 1);
	});

	test(`${name}: a topic that one node deletes while the other appends to it is on the list exactly when it exists`, async (t) => {
		const [one, two] = await openTwo(t);
		const names = Array.from({ length: 300 }, (_, i) => `race${i}`);
		await Promise.all(names.map((topic) => one.store.append(topic, [entry('1')])));
		for (const [i, topic] of names.entries()) {
			const deleted = two.store.deleteTopic(topic);
			// The appends meet the deletion at different places.
			for (let turns = 0; turns < i % 6; turns++) await one.store.getTopic('nothing');
			await Promise.all([deleted, one.store.append(topic, [entry('2')])]);
		}
		const listed = new Set((await one.store.listTopics('rac', 1000)).map((topic) => topic.name));
		for (const topic of names) {
			const exists = (await two.store.getTopic(topic)) !== undefined;
			assert.equal(listed.has(topic), exists, `${topic} ${exists ? 'exists' : 'does not exist'}`);
		}
	});

	test(`${name}: a key that one node has stored is known to the other`, async (t) => {
		const [one, two] = await openTwo(t);
		const [id] = idsOf(await one.store.append('keys', [keyed('1', 'k', 0, 'f')]));
		assert.deepEqual(await two.store.append('keys', [keyed('1', 'k', 0, 'f')]), [{ status: 'duplicate', id }]);
		assert.deepEqual(await two.store.append('keys', [keyed('2', 'k', 0, 'g')]), [{ status: 'conflict' }]);
		assert.deepEqual(await payloadsOf(two.store, 'keys'), ['1']);
	});

	test(`${name}: what one node counts leaves out what the other has deleted`, async (t) => {
		const [one, two] = await openTwo(t);
		const names = Array.from({ length: 20 }, (_, i) => `count${i}`);
		await Promise.all(names.map((topic) => one.store.append(topic, entries(2))));
		const before = one.store.stats();
		for (const topic of names) await two.store.deleteTopic(topic);
		await trimAll(one.store, { nowMs: Date.now() });
		await until(async () => {
			await trimAll(one.store, { nowMs: Date.now() });
			return one.store.stats().topics === before.topics - 20;
		}, 'counted');
		assert.equal(one.store.stats().messages, before.messages - 40);
	});

	test(`${name}: a topic that is watched again at once is announced at once`, async (t) => {
		const [one, two] = await openTwo(t);
		await one.store.append('again', [entry('0')]);
		for (let i = 0; i < 20; i++) {
			await two.store.watch('again');
			const heard = two.heard.length;
			const id = await appendOne(one.store, 'again', entry(String(i)));
			await until(() => two.heard.length > heard, 'heard of it');
			const last = appendedTo(two.heard, 'again').at(-1);
			assert.deepEqual(last && { ms: last.block.ms, n: last.block.n }, id, 'by its announcement, not by looking');
			two.store.unwatch('again');
		}
	});
}

/** Every announcement of a topic begins where the one before it ended; one that tells only where the topic stands may be in between. */
function assertChain(heard: Node['heard'], topic: string): void {
	let tip: MessageId | null = null;
	for (const one of heard) {
		if (one.topic !== topic) continue;
		if (one.kind === 'repositioned') {
			assert.ok(one.position.intact);
			tip = one.position.tip;
		} else if (one.kind === 'appended') {
			if (tip !== null) assert.equal(formatMessageId(one.previous), formatMessageId(tip));
			tip = { ms: one.block.ms, n: one.block.n + one.block.count - 1 };
		}
	}
}

const unavailable = valkeyUnavailable();
if (unavailable === null) {
	describe('nodes over one server', () =>
		suite('one server', async () => {
			const valkey = await startValkey();
			return { server: serverAt(valkey.host, valkey.port), stop: () => valkey.stop() };
		}));
	describe('nodes over a Cluster', () =>
		suite('Cluster', async () => {
			const cluster = await startCluster();
			const [first] = cluster.primaries;
			assert.ok(first !== undefined);
			return { server: serverAt(first.host, first.port, true), stop: () => cluster.stop() };
		}));
} else test('several nodes', { skip: unavailable }, () => {});
