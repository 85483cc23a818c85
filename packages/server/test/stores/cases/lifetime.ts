/** A store's life: health, closing, and what is there when it is opened again (I1, I2). */

import assert from 'node:assert/strict';
import { formatMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import {
	appendedTo,
	appendOne,
	entries,
	entry,
	idsOf,
	payloadsOf,
	readAll,
	type StoreCase,
	trimAll,
	UNLIMITED,
} from '../trial.ts';

const MEBIBYTE = 1024 * 1024;

export const lifetimeCases: readonly StoreCase[] = [
	{
		title: 'health: an open store says what its acknowledgements survive',
		async run({ store, under }) {
			const ok = { status: 'ok', durability: under.durability };
			assert.deepEqual(store.health(), ok);
			await store.append('a', entries(1));
			assert.deepEqual(store.health(), ok);
		},
	},
	{
		title: 'health: a refusal or a conflict is no failure of the store',
		topicsMax: 1,
		async run({ store, under }) {
			const dedupe = { key: 'k', item: 0, fingerprint: 'f' };
			await store.append('a', [entry('1', { dedupe })]);
			await store.append('a', [entry('1', { dedupe: { ...dedupe, fingerprint: 'g' } })]);
			await assert.rejects(store.append('b', entries(1)), { code: 'topic_limit' });
			assert.deepEqual(store.health(), { status: 'ok', durability: under.durability });
		},
	},
	{
		title: 'close: every later call rejects with storage_unavailable, and health says so',
		async run({ store, clock }) {
			await store.append('a', entries(1));
			await store.close();
			const nowMs = clock.nowMs();
			const calls: Record<string, () => Promise<unknown>> = {
				append: () => store.append('a', entries(1)),
				'append of nothing': () => store.append('a', []),
				read: () => store.read('a', ZERO_ID, UNLIMITED),
				readBefore: () => store.readBefore('a', null, UNLIMITED),
				watch: () => store.watch('a'),
				createTopic: () => store.createTopic('b', {}),
				getTopic: () => store.getTopic('a'),
				listTopics: () => store.listTopics(null, 10),
				updateTopic: () => store.updateTopic('a', {}),
				deleteTopic: () => store.deleteTopic('a'),
				trim: () => store.trim({ nowMs, defaultMaxAgeS: 1, defaultMaxMessages: 1, blocksMax: 1 }),
				forgetKeys: () => store.forgetKeys(nowMs, 1),
			};
			for (const [name, call] of Object.entries(calls)) {
				await assert.rejects(call, { name: 'RelayError', code: 'storage_unavailable' }, name);
			}
			store.unwatch('a');
			assert.equal(store.health().status, 'unavailable');
		},
	},
	{
		title: 'close: again is done when the first is',
		async run({ store, heard }) {
			const under = store.append('a', entries(1));
			await Promise.all([store.close(), store.close()]);
			assert.equal(heard.length, 1);
			assert.equal(idsOf(await under).length, 1);
			await store.close();
		},
	},
	{
		title: 'close: what was called before is finished first',
		async run({ store, heard }) {
			const under = Array.from({ length: 50 }, (_, i) => store.append(`t${i % 5}`, entries(2, i)));
			const read = store.read('t0', ZERO_ID, UNLIMITED);
			const created = store.createTopic('c', {});
			const calls: Promise<unknown>[] = [...under, read, created];
			let finished = 0;
			const counted = calls.map((call) =>
				call.then(() => {
					finished++;
				}),
			);
			await store.close();
			assert.equal(finished, calls.length);
			await Promise.all(counted);
			assert.equal((await created).status, 'created');
			assert.equal(idsOf((await Promise.all(under)).flat()).length, 100);
			assert.equal(
				appendedTo(heard, 't0').reduce((sum, { block }) => sum + block.count, 0),
				20,
			);
		},
	},
	{
		title: 'reopen: messages and positions are as they were, byte for byte',
		reopens: true,
		async run(trial) {
			const { clock } = trial;
			await trial.store.append('a', [entry('1.0', { metadata: '{"m": 1}', expiresAtMs: clock.nowMs() + 1 }), entry('"2"')]);
			clock.advance(1);
			await trial.store.append('a', [...entries(1500), entry(`"${'x'.repeat(5 * MEBIBYTE)}"`)]);
			await trial.store.append('b', entries(10));
			await trimAll(trial.store, { nowMs: clock.nowMs(), defaultMaxMessages: 1200 });
			await trial.store.updateTopic('b', { retention: { maxMessages: 4 } });
			await trimAll(trial.store, { nowMs: clock.nowMs() });
			const state = async () => ({
				a: await readAll(trial.store, 'a'),
				b: await readAll(trial.store, 'b'),
				topics: await trial.store.listTopics(null, 10),
				stats: trial.store.stats(),
			});
			const before = await state();
			assert.equal(before.a.length, 1200);
			assert.equal(before.b.length, 4);
			await trial.reopen();
			const after = await state();
			assert.deepEqual(after.topics, before.topics);
			assert.deepEqual(after.stats, before.stats);
			assert.ok(JSON.stringify(after) === JSON.stringify(before), 'the messages are the same');
		},
	},
	{
		title: 'reopen: ids and announcements go on from the tip although the clock stepped back',
		reopens: true,
		async run(trial) {
			const tip = idsOf(await trial.store.append('a', entries(3)))[2] ?? ZERO_ID;
			trial.clock.setNowMs(trial.clock.nowMs() - 60_000);
			await trial.reopen();
			assert.deepEqual((await trial.store.watch('a')).tip, tip);
			assert.deepEqual(await appendOne(trial.store, 'a', entry('3')), { ms: tip.ms, n: tip.n + 1 });
			assert.deepEqual(appendedTo(trial.heard, 'a')[0]?.previous, tip);
			assert.deepEqual(await payloadsOf(trial.store, 'a'), ['0', '1', '2', '3']);
		},
	},
	{
		title: 'reopen: ids go on where a topic was deleted, made again, or trimmed of everything',
		reopens: true,
		async run(trial) {
			const tips = new Map<string, string>();
			for (const topic of ['deleted', 'made-again', 'trimmed']) {
				tips.set(topic, formatMessageId(idsOf(await trial.store.append(topic, entries(3)))[2] ?? ZERO_ID));
			}
			await trimAll(trial.store, { nowMs: trial.clock.nowMs(), defaultMaxMessages: 0 });
			await trial.store.deleteTopic('deleted');
			await trial.store.deleteTopic('made-again');
			const { topic: again } = await trial.store.createTopic('made-again', {});
			trial.clock.setNowMs(trial.clock.nowMs() - 60_000);
			await trial.reopen();
			assert.deepEqual(await trial.store.getTopic('made-again'), again);
			for (const [topic, tip] of tips) {
				const page = await trial.store.read(topic, ZERO_ID, UNLIMITED);
				assert.deepEqual(
					[formatMessageId(page.tip), formatMessageId(page.floor), page.exists],
					[tip, tip, topic !== 'deleted'],
					topic,
				);
				const { ms, n } = await appendOne(trial.store, topic, entry('"new"'));
				assert.equal(`${ms}-${n - 1}`, tip, topic);
				assert.deepEqual(await payloadsOf(trial.store, topic), ['"new"']);
			}
		},
	},
	{
		title: 'reopen: empty topics, deleted topics and the room that is left are as they were',
		reopens: true,
		topicsMax: 3,
		async run(trial) {
			const { topic } = await trial.store.createTopic('empty', { description: 'd', retention: { maxAgeS: 5, maxBytes: 7 } });
			await trial.store.append('b', entries(1));
			await trial.store.append('c', entries(1));
			await trial.store.deleteTopic('c');
			await trial.reopen();
			assert.deepEqual(await trial.store.getTopic('empty'), topic);
			assert.equal(await trial.store.getTopic('c'), undefined);
			assert.equal(trial.store.stats().topics, 2);
			await trial.store.append('d', entries(1));
			await assert.rejects(trial.store.append('c', entries(1)), { code: 'topic_limit' });
		},
	},
	{
		title: 'reopen: what was answered, and what was under way when the store was closed, is there',
		reopens: true,
		async run(trial) {
			const under = Array.from({ length: 40 }, (_, i) => trial.store.append('a', entries(2, 2 * i)));
			await trial.reopen();
			const ids = idsOf((await Promise.all(under)).flat());
			assert.deepEqual(
				(await readAll(trial.store, 'a')).map(({ id, payload }) => [id, payload]),
				ids.map((id, i) => [formatMessageId(id), String(i)]),
			);
		},
	},
];
