/** Announcements: in log order, without a hole, of messages that can be read (I3, I10). */

import assert from 'node:assert/strict';
import { compareMessageIds, formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { idAt, lastIdOf } from '../../../src/log/block.ts';
import {
	appendedTo,
	appendOne,
	entries,
	entry,
	type Heard,
	idsOf,
	keyed,
	messagesOf,
	positionOf,
	readAll,
	type StoreCase,
	trimAll,
	UNLIMITED,
} from '../trial.ts';

/** Asserts that blocks follow each other from `start` on without a hole; gives their messages. */
function assertChain(announced: readonly Extract<Heard, { kind: 'appended' }>[], start: MessageId) {
	let tip = start;
	for (const { previous, block } of announced) {
		assert.deepEqual(previous, tip, 'a block says which message it follows');
		assert.ok(compareMessageIds(idAt(block, 0), tip) > 0, 'a block lies above the message it follows');
		tip = lastIdOf(block);
	}
	return messagesOf(announced.map(({ block }) => block));
}

export const announceCases: readonly StoreCase[] = [
	{
		title: 'announce: what is appended, with its ids and bytes, as a chain from 0-0 on',
		async run({ store, clock, heard }) {
			await store.watch('a');
			await store.append('a', [entry('1.0', { metadata: '{"m":1}', expiresAtMs: clock.nowMs() + 1 }), entry('2')]);
			await store.append('a', [entry('3')]);
			clock.advance(1);
			await store.append('a', entries(3000));
			assert.deepEqual(assertChain(appendedTo(heard, 'a'), ZERO_ID), await readAll(store, 'a'));
			assert.equal(heard.length, appendedTo(heard, 'a').length, 'and nothing else');
		},
	},
	{
		title: 'announce: before the append is answered',
		async run({ store, heard }) {
			await store.watch('a');
			const calls = Array.from({ length: 20 }, async (_, i) => {
				const outcomes = await store.append('a', entries(2, 2 * i));
				const tip = appendedTo(heard, 'a').at(-1);
				assert.ok(tip !== undefined);
				for (const id of idsOf(outcomes)) assert.ok(compareMessageIds(id, lastIdOf(tip.block)) <= 0, 'announced by then');
			});
			await Promise.all(calls);
		},
	},
	{
		title: 'announce: never inside the call that causes it',
		async run({ store, clock, heard }) {
			await store.watch('a');
			const calls = [
				store.append('a', entries(2)),
				store.trim({ nowMs: clock.nowMs(), defaultMaxAgeS: 1, defaultMaxMessages: 1, blocksMax: 1 }),
				store.deleteTopic('a'),
			];
			assert.equal(heard.length, 0);
			await Promise.all(calls);
			assert.deepEqual(
				heard.map(({ kind }) => kind),
				['appended', 'trimmed', 'deleted'],
			);
		},
	},
	{
		title: 'announce: after it can be read',
		async run(trial) {
			const { store } = trial;
			await store.watch('a');
			const reads: Promise<void>[] = [];
			trial.onHeard = (one) => {
				assert.ok(one.kind === 'appended');
				const { previous, block } = one;
				reads.push(
					store.read('a', previous, { ...UNLIMITED, messagesMax: block.count }).then((page) => {
						assert.deepEqual(messagesOf(page.blocks), messagesOf([block]));
						assert.ok(compareMessageIds(page.tip, lastIdOf(block)) >= 0);
					}),
				);
			};
			await Promise.all(Array.from({ length: 50 }, (_, i) => store.append('a', entries(1 + (i % 4), 10 * i))));
			trial.onHeard = null;
			assert.ok(reads.length > 0);
			await Promise.all(reads);
		},
	},
	{
		title: 'announce: each topic has its own chain when many are written at once',
		async run({ store, heard }) {
			const topics = ['a', 'b', 'c', 'd'];
			await Promise.all(topics.map((topic) => store.watch(topic)));
			await Promise.all(
				Array.from({ length: 200 }, (_, i) => store.append(topics[(i * i) % 4] ?? '', entries(1 + (i % 3), 10 * i))),
			);
			await Promise.all(topics.slice(0, 2).map((topic) => store.append(topic, entries(1500))));
			for (const topic of topics) {
				assert.deepEqual(assertChain(appendedTo(heard, topic), ZERO_ID), await readAll(store, topic), topic);
			}
		},
	},
	{
		title: 'announce: whoever watches from some moment on hears of every message above the position it got',
		async run({ store, heard }) {
			const under: Promise<unknown>[] = [];
			for (let i = 0; i < 20; i++) under.push(store.append('a', entries(2, 2 * i)));
			const watched = store.watch('a');
			for (let i = 20; i < 40; i++) under.push(store.append('a', entries(2, 2 * i)));
			const { tip } = await watched;
			await Promise.all(under);
			const above = appendedTo(heard, 'a').filter(({ previous }) => compareMessageIds(previous, tip) >= 0);
			assert.deepEqual(assertChain(above, tip), messagesOf((await store.read('a', tip, UNLIMITED)).blocks));
		},
	},
	{
		title: 'watch: gives the position, 0-0 for an unknown topic, and creates nothing',
		async run({ store, clock }) {
			assert.deepEqual(positionOf(await store.watch('a')), { exists: false, tip: '0-0', floor: '0-0' });
			assert.equal(await store.getTopic('a'), undefined);
			await store.append('a', entries(3));
			const ms = clock.nowMs();
			assert.deepEqual(positionOf(await store.watch('a')), { exists: true, tip: `${ms}-2`, floor: '0-0' });
			await store.deleteTopic('a');
			assert.deepEqual(positionOf(await store.watch('a')), { exists: false, tip: `${ms}-2`, floor: `${ms}-2` });
		},
	},
	{
		title: 'watch: twice is as good as once',
		async run({ store, heard }) {
			await Promise.all([store.watch('a'), store.watch('a')]);
			await store.append('a', entries(3));
			assert.deepEqual(assertChain(appendedTo(heard, 'a'), ZERO_ID), await readAll(store, 'a'));
		},
	},
	{
		title: 'unwatch: the topic lives on, and watching it again gives the position it has by then',
		async run({ store, heard }) {
			store.unwatch('never-watched');
			await store.watch('a');
			await appendOne(store, 'a', entry('1'));
			store.unwatch('a');
			const unheard = await appendOne(store, 'a', entry('2'));
			assert.deepEqual((await store.watch('a')).tip, unheard);
			const next = await appendOne(store, 'a', entry('3'));
			const last = appendedTo(heard, 'a').at(-1);
			assert.deepEqual(last?.previous, unheard);
			assert.deepEqual(last === undefined ? null : lastIdOf(last.block), next);
		},
	},
	{
		title: 'announce: nothing for calls that change no log',
		async run({ store, clock, heard }) {
			await store.append('a', [keyed('1', 'k', 0, 'f')]);
			const before = heard.length;
			await store.append('a', [keyed('1', 'k', 0, 'f'), keyed('1', 'k', 0, 'g')]);
			await store.createTopic('b', {});
			await store.createTopic('a', {});
			await store.updateTopic('a', { description: 'x' });
			await store.deleteTopic('never-there');
			await store.read('a', ZERO_ID, UNLIMITED);
			await store.forgetKeys(clock.nowMs() + 1, 0);
			assert.equal(await trimAll(store, { nowMs: clock.nowMs() }), 0);
			assert.equal(heard.length, before);
		},
	},
	{
		title: 'announce: new floors when messages are trimmed, and with every later append',
		async run(trial) {
			const { store, clock, heard } = trial;
			await store.watch('a');
			await store.append('b', entries(1));
			const ids = idsOf(await store.append('a', entries(10)));
			const page = (after: MessageId) => store.read('a', after, UNLIMITED);
			const reads: Promise<void>[] = [];
			trial.onHeard = (one) => {
				assert.ok(one.kind === 'trimmed');
				reads.push(
					page(ZERO_ID).then(({ floor }) => assert.ok(compareMessageIds(floor, one.floor) >= 0, 'the floor is in force')),
				);
			};
			await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 4 });
			trial.onHeard = null;
			await Promise.all(reads);
			const floor = ids[5];
			const trimmed = heard.filter((one) => one.kind === 'trimmed');
			assert.deepEqual(new Set(trimmed.map(({ topic }) => topic)), new Set(['a']));
			assert.deepEqual(trimmed.at(-1)?.floor, floor);
			await appendOne(store, 'a', entry('11'));
			const last = appendedTo(heard, 'a').at(-1);
			assert.deepEqual(last?.floor, floor);
			assert.deepEqual(last?.previous, ids[9]);
		},
	},
	{
		title: 'announce: the end of a deleted topic, after which the chain goes on from where it ended',
		async run({ store, heard }) {
			await store.watch('a');
			const tip = await appendOne(store, 'a', entry('1'));
			await store.deleteTopic('a');
			assert.deepEqual(heard.at(-1), { kind: 'deleted', topic: 'a', tip });
			await appendOne(store, 'a', entry('2'));
			const last = appendedTo(heard, 'a').at(-1);
			assert.deepEqual(last?.previous, tip);
			assert.deepEqual(last?.floor, tip);
			await store.createTopic('b', {});
			await store.deleteTopic('b');
			assert.deepEqual(heard.at(-1), { kind: 'deleted', topic: 'b', tip: ZERO_ID });
		},
	},
	{
		title: 'announce: appends and deletions of one topic at once are heard in the order in which they happened',
		async run({ store, heard }) {
			await store.watch('a');
			const under: Promise<unknown>[] = [];
			for (let i = 0; i < 60; i++)
				under.push(i % 7 === 6 ? store.deleteTopic('a') : store.append('a', entries(1 + (i % 2), 2 * i)));
			await Promise.all(under);
			let tip = ZERO_ID;
			let kept: string[] = [];
			for (const one of heard) {
				if (one.kind === 'appended') {
					kept.push(...assertChain([one], tip).map(({ id }) => id));
					tip = lastIdOf(one.block);
				} else {
					assert.deepEqual(one, { kind: 'deleted', topic: 'a', tip });
					kept = [];
				}
			}
			assert.deepEqual(
				(await readAll(store, 'a')).map(({ id }) => id),
				kept,
			);
			assert.equal(formatMessageId((await store.watch('a')).tip), formatMessageId(tip));
		},
	},
];
