/** How the embedded store removes what is no longer kept: in steps, and without bringing anything back. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { Store } from '../../src/ports/store.ts';
import { createFakeClock } from '../support/clock.ts';
import { makeDataDir, openStore } from './embedded-fixture.ts';
import { appendOne, entries, entry, payloadsOf, positionOf, trimAll, UNLIMITED } from './trial.ts';

const KEEP_ALL = { defaultMaxAgeS: 1e9, defaultMaxMessages: 1e9 };
const DAY_MS = 24 * 3600 * 1000;

/** Rows in a table, as another program would count them. */
function countRows(dataDir: string, table: 'block' | 'topic'): number {
	const db = new DatabaseSync(join(dataDir, 'relay.db'), { readOnly: true });
	try {
		return Number(db.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.['count']);
	} finally {
		db.close();
	}
}

test('a deleted topic is gone at once, its blocks in bounded steps, and a new one of its name does not see them', async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	let store = await openStore(t, dataDir, { clock });
	for (let i = 0; i < 60; i++) {
		await store.append('a', entries(3));
		clock.advance(1);
	}
	const tip = (await store.watch('a')).tip;
	assert.equal(countRows(dataDir, 'block'), 60);
	assert.equal(await store.deleteTopic('a'), true);
	assert.deepEqual(store.stats(), { topics: 0, messages: 0, bytes: 0 });
	assert.deepEqual(await store.read('a', ZERO_ID, UNLIMITED), { exists: false, tip, floor: tip, blocks: [] });
	assert.deepEqual((await store.readBefore('a', null, UNLIMITED)).blocks, []);
	assert.equal(countRows(dataDir, 'block'), 60, 'the blocks wait');

	// Some go, the topic comes back, the relay restarts, the rest goes.
	assert.deepEqual(await store.trim({ nowMs: clock.nowMs(), ...KEEP_ALL, blocksMax: 25 }), {
		removed: 0,
		more: true,
	});
	assert.equal(countRows(dataDir, 'block'), 35);
	clock.advance(1);
	const reborn = await appendOne(store, 'a', entry('"new"'));
	assert.deepEqual(await payloadsOf(store, 'a'), ['"new"']);
	assert.equal((await store.getTopic('a'))?.messages, 1);
	await store.close();
	store = await openStore(t, dataDir, { clock });
	assert.deepEqual(await payloadsOf(store, 'a'), ['"new"']);
	assert.deepEqual(positionOf(await store.watch('a')), {
		exists: true,
		tip: `${reborn.ms}-${reborn.n}`,
		floor: `${tip.ms}-${tip.n}`,
	});
	assert.deepEqual(await store.trim({ nowMs: clock.nowMs(), ...KEEP_ALL, blocksMax: 25 }), {
		removed: 0,
		more: true,
	});
	assert.deepEqual(await store.trim({ nowMs: clock.nowMs(), ...KEEP_ALL, blocksMax: 25 }), {
		removed: 0,
		more: false,
	});
	assert.equal(countRows(dataDir, 'block'), 1);
	assert.deepEqual(await payloadsOf(store, 'a'), ['"new"']);
});

test('a step is bounded in bytes, so that appends do not wait for the removal of large blocks', async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	const store = await openStore(t, dataDir, { clock });
	for (let i = 0; i < 20; i++) await store.append('a', [entry(`"${'x'.repeat(1024 * 1024)}"`)]);
	const step = await store.trim({ nowMs: clock.nowMs(), ...KEEP_ALL, defaultMaxMessages: 1, blocksMax: 1000 });
	assert.equal(step.more, true);
	assert.ok(step.removed > 0 && step.removed < 19, `${step.removed} of 19 removed in one step`);
	assert.equal(step.removed + (await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 1 })), 19);
});

test('busy topics do not keep trimming from the others', async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	const store = await openStore(t, dataDir, { clock });
	for (const topic of ['a', 'b', 'c']) for (let i = 0; i < 8; i++) await store.append(topic, entries(1));
	const trimmed = new Set<string>();
	store.listen({ appended() {}, trimmed: (topic) => trimmed.add(topic), deleted() {}, repositioned() {} });
	for (let i = 0; i < 3; i++) {
		await store.trim({ nowMs: clock.nowMs(), ...KEEP_ALL, defaultMaxMessages: 1, blocksMax: 2 });
		// Every topic is due again at every step.
		for (const topic of ['a', 'b', 'c']) await store.append(topic, entries(2));
	}
	assert.deepEqual([...trimmed].sort(), ['a', 'b', 'c']);
});

test('a deleted topic is remembered for 30 days, so that its ids are not used again even when the clock steps back', async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	let store = await openStore(t, dataDir, { clock });
	const last = await appendOne(store, 'a', entry('1'));
	await store.deleteTopic('a');
	const trim = () => store.trim({ nowMs: clock.nowMs(), ...KEEP_ALL, blocksMax: 100 });
	clock.advance(30 * DAY_MS);
	await trim();
	clock.setNowMs(last.ms - DAY_MS);
	await store.close();
	store = await openStore(t, dataDir, { clock });
	assert.deepEqual(await appendOne(store, 'a', entry('2')), { ms: last.ms, n: last.n + 1 });

	await store.deleteTopic('a');
	const deletedAtMs = clock.nowMs();
	clock.setNowMs(deletedAtMs + 30 * DAY_MS + 1);
	await trim();
	assert.equal(countRows(dataDir, 'topic'), 0);
	assert.deepEqual(positionOf(await store.watch('a')), { exists: false, tip: '0-0', floor: '0-0' });
});

test('no more deleted topics are remembered than may exist', async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	const store = await openStore(t, dataDir, { clock, topicsMax: 3 });
	for (let i = 0; i < 10; i++) {
		await store.append(`t${i}`, entries(1));
		await store.deleteTopic(`t${i}`);
		clock.advance(1);
	}
	assert.equal(countRows(dataDir, 'topic'), 10);
	await trimAll(store, { nowMs: clock.nowMs() });
	assert.equal(countRows(dataDir, 'topic'), 3);
	assert.equal(countRows(dataDir, 'block'), 0);
	assert.notEqual(positionOf(await store.watch('t9')).tip, '0-0', 'the newest are');
	assert.equal(positionOf(await store.watch('t6')).tip, '0-0');
});

test('a store that is opened knows when it was at work last, exact to about a minute, also of a file that did not say so', async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	const startMs = clock.nowMs();
	const live = async (store: Store, ms: number) => {
		clock.advance(ms);
		await store.trim({ nowMs: clock.nowMs(), ...KEEP_ALL, blocksMax: 25 });
		await store.close();
	};
	const first = await openStore(t, dataDir, { clock });
	assert.equal(first.lastKnownMs, undefined);
	await appendOne(first, 'a', entry('1'));
	await live(first, 3_600_000);
	const second = await openStore(t, dataDir, { clock });
	assert.equal(second.lastKnownMs, startMs + 3_600_000);
	await live(second, 59_000);
	const third = await openStore(t, dataDir, { clock });
	assert.equal(third.lastKnownMs, startMs + 3_600_000);
	await third.close();
	const db = new DatabaseSync(join(dataDir, 'relay.db'));
	db.exec('DROP TABLE known_time');
	db.close();
	assert.equal((await openStore(t, dataDir, { clock })).lastKnownMs, startMs, 'the newest message');
});
