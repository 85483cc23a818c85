/** The embedded store after a crash: what was acknowledged is there, what is there is whole and in order (I1, I2). */

import assert from 'node:assert/strict';
import { cp, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { compareMessageIds, parseMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { Store } from '../../src/ports/store.ts';
import { type AckedMessage, makeDataDir, openStore, startPublisher } from './embedded-fixture.ts';
import { type ReadMessage, readAll } from './trial.ts';

const TOPICS = ['t0', 't1', 't2'];

/** All messages of the publisher's topics, checked for ids that rise and for payloads that appear once. */
async function readTopics(store: Store): Promise<Map<string, readonly ReadMessage[]>> {
	const topics = new Map<string, readonly ReadMessage[]>();
	const seen = new Set<string>();
	for (const topic of TOPICS) {
		const messages = await readAll(store, topic);
		let last = ZERO_ID;
		for (const { id, payload } of messages) {
			const parsed = parseMessageId(id);
			assert.ok(parsed !== undefined && compareMessageIds(parsed, last) > 0, `${id} after ${last.ms}-${last.n}`);
			last = parsed;
			assert.ok(!seen.has(payload), `${payload} is there once`);
			seen.add(payload);
			assert.match(payload, /^"[a-z0-9]+-[0-9]+-[0-9]+-[0-9]+"$/);
		}
		assert.equal((await store.getTopic(topic))?.messages ?? 0, messages.length, 'the topic counts what is there');
		topics.set(topic, messages);
	}
	return topics;
}

function assertHolds(topics: ReadonlyMap<string, readonly ReadMessage[]>, acked: readonly AckedMessage[]): void {
	const stored = new Set(
		[...topics].flatMap(([topic, messages]) => messages.map(({ id, payload }) => `${topic} ${id} ${payload}`)),
	);
	const lost = acked.filter(({ topic, id, payload }) => !stored.has(`${topic} ${id} ${payload}`));
	assert.deepEqual(lost, [], 'nothing acknowledged is lost or has another id');
}

test('what was acknowledged before a kill -9 at any moment is there after it, with its id', async (t) => {
	const dataDir = await makeDataDir(t);
	const acked: AckedMessage[] = [];
	for (let round = 0; round < 10; round++) {
		const publisher = await startPublisher(t, dataDir, { tag: `r${round}`, perCall: 1 + (round % 3) });
		await publisher.acked(1 + Math.floor(Math.random() * 2000));
		acked.push(...(await publisher.kill()));
		const store = await openStore(t, dataDir);
		const topics = await readTopics(store);
		assertHolds(topics, acked);
		// Calls cut short by the kill may have been stored or not, but never in part.
		const calls = Map.groupBy([...topics.values()].flat(), ({ payload }) => payload.slice(0, payload.lastIndexOf('-')));
		for (const [call, messages] of calls) {
			const perCall = 1 + (Number(/^"r([0-9]+)/.exec(call)?.[1]) % 3);
			assert.equal(messages.length, perCall, `call ${call} is whole`);
		}
		await store.close();
	}
	assert.ok(acked.length > 10);
});

test('a write-ahead log that ends anywhere gives the messages up to some commit, unharmed', async (t) => {
	const dataDir = await makeDataDir(t);
	// One call at a time, so that the stored messages follow in one order; few enough that all are in the write-ahead log alone.
	const publisher = await startPublisher(t, dataDir, { callers: 1, perCall: 3 });
	await publisher.acked(150);
	const acked = await publisher.kill();
	const walBytes = (await stat(join(dataDir, 'relay.db-wal'))).size;
	const ends = Array.from({ length: 12 }, (_, i) => Math.floor((walBytes * i) / 12) + Math.floor(Math.random() * 5000));
	const counts: number[] = [];
	for (const end of [...ends, 0, 31, walBytes - 1, walBytes]) {
		const copy = join(await makeDataDir(t), 'data');
		await cp(dataDir, copy, { recursive: true });
		const wal = await open(join(copy, 'relay.db-wal'), 'r+');
		await wal.truncate(Math.min(end, walBytes));
		await wal.close();
		const store = await openStore(t, copy);
		const messages = (await readTopics(store)).get('t0') ?? [];
		const stored = messages.map(({ id, payload }) => ({ topic: 't0', id, payload }));
		const common = Math.min(stored.length, acked.length);
		assert.deepEqual(stored.slice(0, common), acked.slice(0, common), `a prefix of what was acknowledged, cut at ${end}`);
		assert.equal(stored.length % 3, 0, 'of whole calls');
		if (end >= walBytes) assert.ok(stored.length >= acked.length, 'all of it when nothing is cut');
		await store.close();
		counts.push(stored.length);
	}
	assert.ok(new Set(counts).size > 5, 'the cuts made a difference');
});

test('a write-ahead log with a flipped bit gives the messages before it, unharmed', async (t) => {
	const dataDir = await makeDataDir(t);
	const publisher = await startPublisher(t, dataDir, { callers: 1 });
	await publisher.acked(60);
	const acked = await publisher.kill();
	const walBytes = (await stat(join(dataDir, 'relay.db-wal'))).size;
	for (let i = 0; i < 8; i++) {
		const copy = join(await makeDataDir(t), 'data');
		await cp(dataDir, copy, { recursive: true });
		const wal = await open(join(copy, 'relay.db-wal'), 'r+');
		// The second half: the tables themselves are at the start.
		const position = Math.floor(walBytes * (0.5 + Math.random() / 4));
		const { buffer } = await wal.read(Buffer.alloc(1), 0, 1, position);
		buffer[0] = (buffer[0] ?? 0) ^ (1 << Math.floor(Math.random() * 8));
		await wal.write(buffer, 0, 1, position);
		await wal.close();
		const store = await openStore(t, copy);
		const stored = ((await readTopics(store)).get('t0') ?? []).map(({ id, payload }) => ({ topic: 't0', id, payload }));
		assert.ok(stored.length < acked.length, 'what follows the flip is not served');
		assert.deepEqual(stored, acked.slice(0, stored.length), `flipped at ${position}`);
		await store.close();
	}
});
