/** Retention: what trimming removes, in what order, in what steps, and where that leaves the topic (I4). */

import assert from 'node:assert/strict';
import {
	compareMessageIds,
	DELETED_TOPIC_KEPT_MS,
	formatMessageId,
	type MessageId,
	ZERO_ID,
} from '@pulsar-relay/protocol/message-id';
import { appendOne, entries, entry, idsOf, payloadsOf, positionOf, type StoreCase, type Trial, trimAll } from '../trial.ts';

/** Appends `count` messages of `bytes` bytes, each a millisecond after the one before. */
async function drip({ store, clock }: Trial, topic: string, count: number, bytes = 8): Promise<MessageId[]> {
	const ids: MessageId[] = [];
	for (let i = 0; i < count; i++) {
		ids.push(await appendOne(store, topic, entry(`"${String(i).padStart(bytes - 2, '0')}"`)));
		clock.advance(1);
	}
	return ids;
}

const HOUR_S = 3600;
const DAY_MS = 24 * 3600 * 1000;

export const retentionCases: readonly StoreCase[] = [
	{
		title: 'retention: nothing to trim removes and announces nothing',
		async run(trial) {
			const { store, clock, heard } = trial;
			assert.partialDeepStrictEqual(
				await store.trim({ nowMs: clock.nowMs(), defaultMaxAgeS: 0, defaultMaxMessages: 0, blocksMax: 10 }),
				{
					removed: 0,
					more: false,
				},
			);
			await drip(trial, 'a', 5);
			assert.partialDeepStrictEqual(
				await store.trim({ nowMs: clock.nowMs(), defaultMaxAgeS: HOUR_S, defaultMaxMessages: 5, blocksMax: 10 }),
				{
					removed: 0,
					more: false,
				},
			);
			assert.equal(heard.filter(({ kind }) => kind === 'trimmed').length, 0);
			assert.equal((await payloadsOf(store, 'a')).length, 5);
		},
	},
	{
		title: 'retention: messages older than the age go, one of exactly that age stays',
		async run({ store, clock }) {
			const start = clock.nowMs();
			await store.append('a', entries(3));
			clock.advance(1);
			await store.append('a', entries(2, 10));
			await store.append('b', entries(1, 20));
			clock.advance(1);
			await store.append('a', entries(1, 30));
			const trimAt = (nowMs: number) => trimAll(store, { nowMs, defaultMaxAgeS: 60 });
			assert.equal(await trimAt(start + 60_000), 0);
			assert.equal(await trimAt(start + 60_001), 3);
			assert.deepEqual(await payloadsOf(store, 'a'), ['10', '11', '30']);
			assert.equal(await trimAt(start + 60_002), 3);
			assert.deepEqual(await payloadsOf(store, 'a'), ['30']);
			assert.deepEqual(await payloadsOf(store, 'b'), []);
		},
	},
	{
		title: 'retention: a clock that stepped back makes no message older than it is',
		async run({ store, clock }) {
			await store.append('a', entries(1));
			clock.setNowMs(clock.nowMs() - 3_600_000);
			await store.append('a', entries(1, 1));
			assert.equal(await trimAll(store, { nowMs: clock.nowMs() + 60_000, defaultMaxAgeS: 60 }), 0);
			assert.deepEqual(await payloadsOf(store, 'a'), ['0', '1']);
		},
	},
	{
		title: 'retention: messages with ids ahead of the clock age from when they were seen there, in the order in which they came',
		async run({ store, clock }) {
			const startMs = clock.nowMs();
			const trim = async () => (await trimAll(store, { nowMs: clock.nowMs(), defaultMaxAgeS: 3600 })) as number;
			await store.append('a', entries(1));
			clock.setNowMs(startMs + 400 * DAY_MS);
			await store.append('a', entries(2, 1));
			await store.append('b', entries(1));
			await store.deleteTopic('b');
			clock.setNowMs(startMs + 1000);
			assert.equal(await trim(), 0, 'first seen ahead of the clock');
			// Published after the clock was set right: the ids are ahead all the same (I1).
			clock.advance(1_800_000);
			const [late] = idsOf(await store.append('a', entries(1, 3)));
			assert.ok(late !== undefined && late.ms >= startMs + 400 * DAY_MS);
			assert.equal(await trim(), 0);
			clock.advance(1_790_000);
			assert.equal(await trim(), 0, 'not one too early');
			clock.advance(11_000);
			assert.equal(await trim(), 3);
			assert.deepEqual(await payloadsOf(store, 'a'), ['3']);
			clock.advance(1_800_000);
			assert.equal(await trim(), 1);
			assert.deepEqual(await payloadsOf(store, 'a'), []);
			const [next] = idsOf(await store.append('a', entries(1, 4)));
			assert.ok(next !== undefined && compareMessageIds(next, late) > 0, 'ids go on (I1)');
		},
	},
	{
		title: 'retention: the topics whose ids are ahead of the clock are counted',
		async run({ store, clock }) {
			const count = async () => {
				await store.trim({ nowMs: clock.nowMs(), defaultMaxAgeS: HOUR_S, defaultMaxMessages: 10, blocksMax: 10 });
				return store.clocks?.().topicsAhead;
			};
			await store.append('a', entries(1));
			assert.equal(await count(), 0);
			clock.setNowMs(clock.nowMs() - DAY_MS);
			await store.append('b', entries(1));
			assert.equal(await count(), 1);
			await store.deleteTopic('a');
			assert.equal(await count(), 0);
		},
	},
	{
		title: 'retention: when messages were seen ahead of the clock is still known after a restart',
		reopens: true,
		async run(trial) {
			const { clock } = trial;
			const startMs = clock.nowMs();
			clock.setNowMs(startMs + 400 * DAY_MS);
			await trial.store.append('a', entries(1));
			clock.setNowMs(startMs);
			assert.equal(await trimAll(trial.store, { nowMs: clock.nowMs(), defaultMaxAgeS: 3600 }), 0);
			clock.advance(3_500_000);
			await trial.reopen();
			assert.equal(await trimAll(trial.store, { nowMs: clock.nowMs(), defaultMaxAgeS: 3600 }), 0);
			clock.advance(200_000);
			assert.equal(await trimAll(trial.store, { nowMs: clock.nowMs(), defaultMaxAgeS: 3600 }), 1);
		},
	},
	{
		title: 'retention: of too many messages the newest stay, to the message, also within one call',
		async run({ store, clock }) {
			const ids = idsOf(await store.append('a', entries(2000)));
			clock.advance(1);
			ids.push(...idsOf(await store.append('a', entries(3, 2000))));
			for (const kept of [1999, 1998, 1500, 900, 10, 3, 2, 1]) {
				const before = (await store.getTopic('a'))?.messages ?? 0;
				assert.equal(await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: kept }), before - kept);
				const topic = await store.getTopic('a');
				assert.equal(topic?.messages, kept);
				assert.equal(store.stats().messages, kept);
				assert.deepEqual(topic?.floor, ids[2002 - kept]);
				assert.ok(topic.bytes >= 4 * Math.min(kept, 1003), `${topic.bytes} bytes for ${kept} messages of up to 4`);
				assert.deepEqual(
					await payloadsOf(store, 'a'),
					Array.from({ length: kept }, (_, i) => String(2003 - kept + i)),
				);
			}
		},
	},
	{
		title: 'retention: of too many bytes the newest messages that fit stay',
		async run(trial) {
			const { store, clock } = trial;
			const ids = await drip(trial, 'a', 10, 1000);
			await drip(trial, 'b', 10, 1000);
			await store.updateTopic('a', { retention: { maxBytes: 3500 } });
			assert.equal(await trimAll(store, { nowMs: clock.nowMs() }), 7);
			const topic = await store.getTopic('a');
			assert.equal(topic?.messages, 3);
			assert.deepEqual(topic?.floor, ids[6]);
			assert.ok(topic !== undefined && topic.bytes >= 3000 && topic.bytes <= 3500, `${topic?.bytes} bytes`);
			assert.equal((await payloadsOf(store, 'b')).length, 10, 'without a bound of its own a topic has none');
		},
	},
	{
		title: 'retention: a bound on bytes holds for a call that is larger than the bound',
		async run({ store, clock }) {
			const payloads = Array.from({ length: 50 }, (_, i) => `"${String(i).padStart(998, '0')}"`);
			await store.append(
				'a',
				payloads.map((payload) => entry(payload)),
			);
			await store.updateTopic('a', { retention: { maxBytes: 20_500 } });
			await trimAll(store, { nowMs: clock.nowMs() });
			const kept = await payloadsOf(store, 'a');
			assert.ok(kept.length <= 20, `${kept.length} messages of 1000 bytes`);
			assert.deepEqual(kept, payloads.slice(payloads.length - kept.length), 'the newest');
			assert.equal((await store.getTopic('a'))?.messages, kept.length);
			assert.equal(await trimAll(store, { nowMs: clock.nowMs() }), 0, 'once is enough');
		},
	},
	{
		title: "retention: a topic's own bounds count instead of the defaults, tighter or wider",
		async run(trial) {
			const { store, clock } = trial;
			for (const topic of ['default', 'tight', 'wide', 'young', 'old']) await drip(trial, topic, 10);
			await store.updateTopic('tight', { retention: { maxMessages: 2 } });
			await store.updateTopic('wide', { retention: { maxMessages: 9 } });
			assert.equal(await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 5 }), 5 + 8 + 1 + 5 + 5);
			await store.updateTopic('young', { retention: { maxAgeS: 1 } });
			await store.updateTopic('old', { retention: { maxAgeS: 9 } });
			clock.advance(5000);
			assert.equal(await trimAll(store, { nowMs: clock.nowMs(), defaultMaxAgeS: 7 }), 5);
			clock.advance(3000);
			assert.equal(await trimAll(store, { nowMs: clock.nowMs(), defaultMaxAgeS: 7 }), 5 + 2 + 9);
			assert.equal((await payloadsOf(store, 'old')).length, 5);
			await store.updateTopic('old', { retention: { maxAgeS: null } });
			assert.equal(await trimAll(store, { nowMs: clock.nowMs(), defaultMaxAgeS: 7 }), 5, 'back to the default');
		},
	},
	{
		title: 'retention: one step is bounded, goes oldest first and says whether more is to do',
		async run(trial) {
			const { store, clock, heard } = trial;
			const ids = await drip(trial, 'a', 60);
			await drip(trial, 'b', 3);
			const step = { nowMs: clock.nowMs(), defaultMaxAgeS: HOUR_S, defaultMaxMessages: 3, blocksMax: 10 };
			let gone = 0;
			for (let more = true; more; ) {
				const result = await store.trim(step);
				assert.ok(result.removed <= 20, `${result.removed} blocks of one message, where about 10 were allowed`);
				assert.ok(result.removed > 0 || !result.more, 'a step that promises more has done some');
				gone += result.removed;
				more = result.more;
				const topic = await store.getTopic('a');
				assert.equal(topic?.messages, 60 - gone);
				assert.deepEqual(topic?.floor, gone === 0 ? ZERO_ID : ids[gone - 1]);
			}
			assert.equal(gone, 57);
			const floors = heard.filter((one) => one.kind === 'trimmed').map(({ floor }) => floor);
			floors.forEach((floor, i) => {
				assert.ok(i === 0 || compareMessageIds(floors[i - 1] ?? ZERO_ID, floor) < 0, 'floors rise');
			});
			assert.deepEqual(floors.at(-1), ids[56]);
		},
	},
	{
		title: 'retention: the bound on a step holds over all topics together, and every topic has its turn',
		async run({ store, clock }) {
			const names = Array.from({ length: 30 }, (_, i) => `t${i}`);
			for (const name of names) await store.append(name, entries(1));
			clock.advance(1);
			for (const name of names) await store.append(name, entries(1, 1));
			const step = { nowMs: clock.nowMs(), defaultMaxAgeS: HOUR_S, defaultMaxMessages: 0, blocksMax: 10 };
			const { removed, more } = await store.trim(step);
			assert.ok(removed > 0 && removed <= 20, `${removed} blocks of one message, where about 10 were allowed`);
			assert.equal(more, true);
			assert.equal(await trimAll(store, step), 60 - removed);
			assert.equal(store.stats().messages, 0);
		},
	},
	{
		title: 'retention: a topic of which everything was trimmed keeps its place and its ids go on',
		async run({ store, clock }) {
			const ids = idsOf(await store.append('a', entries(5)));
			const end = ids[4] ?? ZERO_ID;
			clock.setNowMs(clock.nowMs() - 1000);
			assert.equal(await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 0 }), 5);
			const topic = await store.getTopic('a');
			assert.ok(topic !== undefined);
			assert.deepEqual(positionOf(topic), { exists: true, tip: formatMessageId(end), floor: formatMessageId(end) });
			assert.deepEqual([topic.messages, topic.bytes], [0, 0]);
			assert.deepEqual(await payloadsOf(store, 'a'), []);
			assert.deepEqual(await appendOne(store, 'a', entry('6')), { ms: end.ms, n: end.n + 1 });
			assert.deepEqual(await payloadsOf(store, 'a'), ['6']);
		},
	},
	{
		title: 'retention: where a deleted topic ended is remembered for 30 days, then forgotten',
		async run({ store, clock }) {
			const last = await appendOne(store, 'a', entry('1'));
			await store.deleteTopic('a');
			clock.advance(DELETED_TOPIC_KEPT_MS);
			await trimAll(store, { nowMs: clock.nowMs() });
			clock.setNowMs(last.ms - 1);
			assert.deepEqual(await appendOne(store, 'a', entry('2')), { ms: last.ms, n: last.n + 1 });
			await store.deleteTopic('a');
			clock.advance(DELETED_TOPIC_KEPT_MS + 1);
			await trimAll(store, { nowMs: clock.nowMs() });
			assert.deepEqual(positionOf(await store.watch('a')), { exists: false, tip: '0-0', floor: '0-0' });
		},
	},
	{
		title: 'retention: of more deleted topics than may exist the ends of the oldest are forgotten',
		topicsMax: 3,
		async run({ store, clock }) {
			for (let i = 0; i < 10; i++) {
				await store.append(`t${i}`, entries(1));
				await store.deleteTopic(`t${i}`);
				clock.advance(1);
			}
			await trimAll(store, { nowMs: clock.nowMs() });
			const tips = await Promise.all(Array.from({ length: 10 }, (_, i) => store.watch(`t${i}`)));
			assert.deepEqual(
				tips.map(({ tip }) => tip.ms > 0),
				Array.from({ length: 10 }, (_, i) => i >= 7),
			);
		},
	},
	{
		title: 'retention: appends during trimming lose nothing above the floor',
		async run({ store, clock }) {
			await store.append('a', entries(500));
			const under: Promise<unknown>[] = [];
			for (let i = 0; i < 20; i++) {
				under.push(store.append('a', entries(10, 500 + 10 * i)));
				under.push(store.trim({ nowMs: clock.nowMs(), defaultMaxAgeS: HOUR_S, defaultMaxMessages: 100, blocksMax: 2 }));
			}
			await Promise.all(under);
			await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 100 });
			assert.deepEqual(
				await payloadsOf(store, 'a'),
				Array.from({ length: 100 }, (_, i) => String(600 + i)),
			);
		},
	},
];
