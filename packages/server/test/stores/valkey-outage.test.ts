/** Servers that freeze, die or cut connections: nothing hangs, nothing acknowledged is lost, nothing is stored or announced twice. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import type { Store } from '../../src/ports/store.ts';
import { startValkey, type Valkey, type ValkeySettings, valkeyUnavailable } from '../support/valkey.ts';
import { appendOne, entries, entry, payloadsOf } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { idsInLog, type Node, openNode, toldTo, until } from './valkey-node.ts';

async function open(t: TestContext, settings: ValkeySettings = {}): Promise<Node & { valkey: Valkey }> {
	const valkey = await startValkey({ settings });
	t.after(() => valkey.stop());
	return { valkey, ...(await openNode(t, serverAt(valkey.host, valkey.port))) };
}

/** Publishes numbers to a topic, one after the other, until it is told to stop; keeps what was acknowledged. */
function publishOn(store: Store, topic: string) {
	const acked = new Map<string, string>();
	let tried = 0;
	let stopped = false;
	const done = (async () => {
		while (!stopped) {
			const payload = String(tried++);
			try {
				acked.set(payload, formatMessageId(await appendOne(store, topic, entry(payload))));
			} catch (error) {
				assert.ok(error instanceof RelayError && error.code === 'storage_unavailable', String(error));
				await new Promise((resolve) => setImmediate(resolve));
			}
		}
	})();
	return {
		acked,
		async stop() {
			stopped = true;
			await done;
		},
	};
}

/** Everything that was acknowledged is in the log under its id, nothing is there twice, and a live subscriber was told all of it. */
async function assertNothingLost({ store }: Node, topic: string, acked: ReadonlyMap<string, string>, sink: { ids(): string[] }) {
	const payloads = await payloadsOf(store, topic);
	const ids = await idsInLog(store, topic);
	assert.equal(new Set(payloads).size, payloads.length, 'nothing twice');
	const stored = new Map(payloads.map((payload, i) => [payload, ids[i]]));
	for (const [payload, id] of acked) assert.equal(stored.get(payload), id);
	await until(() => sink.ids().length >= ids.length, `told of all ${ids.length}`);
	assert.deepEqual(sink.ids(), ids);
}

function suite(): void {
	test('a frozen server: publishes are answered within 2 s, then at once, and everything goes on when it thaws', async (t) => {
		const node = await open(t);
		const { valkey, store, subscribe } = node;
		await store.append('t', entries(3));
		const sink = await subscribe('t', 'earliest');
		valkey.pause();
		const frozenMs = performance.now();
		const inFlight = Array.from({ length: 5 }, (_, i) => store.append('t', [entry(String(10 + i))]));
		// Everything that takes its turn, however long it takes by itself.
		const others = [store.getTopic('t'), store.watch('other'), store.append('u', [entry('1')]), store.listTopics(null, 10)];
		for (const outcome of await Promise.allSettled([...inFlight, ...others])) {
			assert.ok(outcome.status === 'rejected' && outcome.reason instanceof RelayError, 'refused');
			assert.equal(outcome.reason.code, 'storage_unavailable');
		}
		assert.ok(performance.now() - frozenMs < 2000, `answered after ${performance.now() - frozenMs} ms`);
		const laterMs = performance.now();
		await assert.rejects(store.append('t', [entry('20')]), /the store does not answer/);
		assert.ok(performance.now() - laterMs < 50, 'at once');
		assert.deepEqual(store.health(), { status: 'unavailable', reason: 'the store does not answer' });
		valkey.resume();
		await until(() => store.health().status === 'ok', 'back');
		const id = await appendOne(store, 't', entry('30'));
		await assertNothingLost(node, 't', new Map([['30', formatMessageId(id)]]), sink);
		assert.ok(!toldTo(sink).includes('20'), 'what was refused is not stored');
		assert.deepEqual(
			toldTo(sink).filter((told) => told.startsWith('gap')),
			[],
		);
	});

	/** Kills and restarts a server under load. */
	async function killUnderLoad(t: TestContext, appendfsync: string) {
		const node = await open(t, { appendonly: 'yes', appendfsync });
		const { valkey, store, subscribe } = node;
		const sink = await subscribe('k');
		const publisher = publishOn(store, 'k');
		await until(() => publisher.acked.size > 200, 'under load');
		await valkey.kill();
		await until(() => store.health().status !== 'ok', 'noticed');
		await valkey.restart();
		const before = publisher.acked.size;
		await until(() => publisher.acked.size > before + 50, 'publishing again');
		await publisher.stop();
		return { node, sink, acked: publisher.acked };
	}

	test('while the server is looked at because a connection to it is another one, publishes wait and none is refused', async (t) => {
		const { valkey, store, subscribe } = await open(t);
		const sink = await subscribe('look');
		await valkey.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
		const looked = { at: false };
		let published = 0;
		for (; !looked.at || store.health().status !== 'ok'; published++) {
			const appended = store.append('look', [entry(String(published))]);
			looked.at ||= JSON.stringify(store.health()).includes('is being looked at');
			await appended;
		}
		await until(() => sink.told.length >= published, 'told of all');
		assert.deepEqual(
			toldTo(sink),
			Array.from({ length: published }, (_, i) => String(i)),
		);
	});

	test('kill -9 with appendfsync always: what was acknowledged is there, and subscribers get all of it', async (t) => {
		const { node, sink, acked } = await killUnderLoad(t, 'always');
		await assertNothingLost(node, 'k', acked, sink);
		assert.deepEqual(
			toldTo(sink).filter((told) => told.startsWith('gap')),
			[],
		);
	});

	test('kill -9 with appendfsync everysec: what the server loses, if anything, is the end, and is told by a gap', async (t) => {
		// It acknowledges what it has not written while an earlier write is being synced, for up to 2 s.
		const { node, sink, acked } = await killUnderLoad(t, 'everysec');
		const ids = await idsInLog(node.store, 'k');
		await until(() => sink.ids().at(-1) === ids.at(-1), 'told of the last');
		const stored = new Set(ids);
		const lost = [...acked.values()].filter((id) => !stored.has(id));
		const told = sink.ids().filter((id) => !stored.has(id));
		assert.deepEqual(
			sink.ids().filter((id) => stored.has(id)),
			ids,
			'all of the log, once and in order',
		);
		assert.equal(toldTo(sink).filter((one) => one.startsWith('gap')).length, told.length > 0 ? 1 : 0);
		for (const id of lost) assert.ok(told.includes(id), 'a live subscriber was told of it before');
	});

	test('kill -9 without an append-only file: the loss is told, once, and then goes on', async (t) => {
		const { valkey, store, subscribe } = await open(t);
		await store.append('gone', entries(5));
		const sink = await subscribe('gone', 'earliest');
		await until(() => sink.told.length === 5, 'told');
		await valkey.kill();
		await until(() => store.health().status !== 'ok', 'noticed');
		await valkey.restart();
		const backMs = performance.now();
		await until(() => store.health().status === 'ok', 'back');
		assert.equal(toldTo(sink).at(-1), 'gap ahead', 'told of the loss before the store is healthy');
		assert.ok(performance.now() - backMs < 2000, `within 2 s of recovery, not ${performance.now() - backMs} ms`);
		await store.append('gone', [entry('5')]);
		await until(() => toldTo(sink).at(-1) === '5', 'told of what came after');
		assert.deepEqual(toldTo(sink), ['0', '1', '2', '3', '4', 'gap ahead', '5']);
	});

	test('announcements that are cut off under load are read, in order and once', async (t) => {
		const node = await open(t);
		const { valkey, subscribe } = node;
		const other = await openNode(t, serverAt(valkey.host, valkey.port));
		const sink = await subscribe('cut');
		const publisher = publishOn(other.store, 'cut');
		for (let round = 1; round <= 5; round++) {
			const wanted = publisher.acked.size + 50;
			await until(() => publisher.acked.size > wanted && sink.ids().length >= wanted - 50, `round ${round}`);
			// Only of the node that listens: that of the publisher carries nothing.
			await valkey.cli('CLIENT', 'KILL', 'TYPE', 'pubsub');
		}
		await publisher.stop();
		await assertNothingLost(node, 'cut', publisher.acked, sink);
		assert.deepEqual(
			toldTo(sink).filter((told) => told.startsWith('gap')),
			[],
		);
	});

	test('connections that are cut under load lose nothing that was acknowledged, and store nothing twice', async (t) => {
		const node = await open(t);
		const { valkey, store, subscribe } = node;
		const sink = await subscribe('cut');
		const publisher = publishOn(store, 'cut');
		for (let round = 1; round <= 5; round++) {
			const wanted = publisher.acked.size + 50;
			await until(() => publisher.acked.size > wanted, `round ${round}`);
			await valkey.cli('CLIENT', 'KILL', 'TYPE', 'normal');
		}
		const wanted = publisher.acked.size + 50;
		await until(() => publisher.acked.size > wanted, 'publishing again');
		await publisher.stop();
		await assertNothingLost(node, 'cut', publisher.acked, sink);
		assert.deepEqual(
			toldTo(sink).filter((told) => told.startsWith('gap')),
			[],
		);
	});

	test('a server that forgets the scripts is taught them again, without a failure', async (t) => {
		const { valkey, store } = await open(t);
		for (let i = 0; i < 5; i++) {
			await valkey.cli('SCRIPT', 'FLUSH');
			// Several topics in one turn: each of the calls finds the script missing.
			await Promise.all([
				store.append('a', entries(2, 2 * i)),
				store.append('b', entries(1, i)),
				store.append(`new${i}`, entries(1)),
			]);
			await valkey.cli('SCRIPT', 'FLUSH');
			assert.equal((await store.listTopics(null, 100)).length, 3 + i);
		}
		assert.deepEqual(
			await payloadsOf(store, 'a'),
			Array.from({ length: 10 }, (_, i) => String(i)),
		);
		assert.deepEqual(
			await payloadsOf(store, 'b'),
			Array.from({ length: 5 }, (_, i) => String(i)),
		);
	});

	test('a store whose server is gone closes, within seconds', async (t) => {
		const { valkey, store } = await open(t);
		await store.append('t', entries(3));
		valkey.pause();
		const under = [store.append('t', [entry('4')]), store.getTopic('t')];
		const startedMs = performance.now();
		const settled = Promise.allSettled(under);
		await store.close();
		assert.ok(performance.now() - startedMs < 5000, `closed after ${performance.now() - startedMs} ms`);
		for (const { status } of await settled) assert.equal(status, 'rejected');
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('outages of the server', { concurrency: 2 }, suite);
else test('outages of the server', { skip: unavailable }, () => {});
