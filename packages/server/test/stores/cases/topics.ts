/** Topics: creation, change, listing, deletion, and ids that go on in the next incarnation (I1). */

import assert from 'node:assert/strict';
import { compareMessageIds, formatMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { Retention } from '../../../src/ports/store.ts';
import { appendOne, entries, entry, idsOf, payloadsOf, positionOf, type StoreCase, UNLIMITED } from '../trial.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const DEFAULTS: Retention = { maxAgeS: null, maxMessages: null, maxBytes: null };

export const topicCases: readonly StoreCase[] = [
	{
		title: 'topics: a created topic is empty, stands at 0-0 and has what it was given',
		async run({ store, clock }) {
			const { status, topic } = await store.createTopic('a', {
				description: 'd é',
				retention: { maxAgeS: 60, maxBytes: 2 ** 40 },
			});
			assert.equal(status, 'created');
			const { topicId, ...rest } = topic;
			assert.match(topicId, UUID);
			assert.deepEqual(rest, {
				exists: true,
				tip: ZERO_ID,
				floor: ZERO_ID,
				name: 'a',
				description: 'd é',
				createdAtMs: clock.nowMs(),
				retention: { maxAgeS: 60, maxMessages: null, maxBytes: 2 ** 40 },
				messages: 0,
				bytes: 0,
			});
			assert.deepEqual(await store.getTopic('a'), topic);
		},
	},
	{
		title: 'topics: creating one that exists leaves it as it is',
		async run({ store, clock }) {
			const first = await store.createTopic('a', { description: 'first' });
			await store.append('b', entries(1));
			const second = await store.getTopic('b');
			clock.advance(1000);
			assert.deepEqual(await store.createTopic('a', { description: 'second', retention: { maxAgeS: 1 } }), {
				status: 'exists',
				topic: first.topic,
			});
			assert.deepEqual(await store.createTopic('b', {}), { status: 'exists', topic: second });
		},
	},
	{
		title: 'topics: of many calls that create one topic at once, one creates it',
		async run({ store }) {
			const results = await Promise.all(Array.from({ length: 20 }, () => store.createTopic('a', {})));
			assert.equal(results.filter(({ status }) => status === 'created').length, 1);
			assert.equal(new Set(results.map(({ topic }) => topic.topicId)).size, 1);
			assert.equal(store.stats().topics, 1);
		},
	},
	{
		title: 'topics: the first append creates a topic with the defaults',
		async run({ store, clock }) {
			const createdAtMs = clock.nowMs();
			await store.append('a', [entry('"12345678"'), entry('2')]);
			clock.advance(5);
			const tip = await appendOne(store, 'a', entry('3', { metadata: '{}' }));
			const topic = await store.getTopic('a');
			assert.ok(topic !== undefined);
			const { topicId, bytes, ...rest } = topic;
			assert.match(topicId, UUID);
			assert.ok(bytes >= 14, `${bytes} bytes are at least those of payloads and metadata`);
			assert.deepEqual(rest, {
				exists: true,
				tip,
				floor: ZERO_ID,
				name: 'a',
				description: null,
				createdAtMs,
				retention: DEFAULTS,
				messages: 3,
			});
		},
	},
	{
		title: 'topics: a change leaves absent fields as they are and clears those that are null',
		async run({ store }) {
			assert.equal(await store.updateTopic('a', { description: 'x' }), undefined);
			assert.equal(await store.getTopic('a'), undefined);
			await store.append('a', entries(2));
			const before = await store.getTopic('a');
			assert.deepEqual(await store.updateTopic('a', { description: 'd', retention: { maxAgeS: 60, maxMessages: 9 } }), {
				...before,
				description: 'd',
				retention: { maxAgeS: 60, maxMessages: 9, maxBytes: null },
			});
			assert.deepEqual(await store.updateTopic('a', { retention: { maxAgeS: null, maxBytes: 100 } }), {
				...before,
				description: 'd',
				retention: { maxAgeS: null, maxMessages: 9, maxBytes: 100 },
			});
			const after = { ...before, description: null, retention: { maxAgeS: null, maxMessages: 9, maxBytes: 100 } };
			assert.deepEqual(await store.updateTopic('a', { description: null }), after);
			assert.deepEqual(await store.updateTopic('a', {}), after);
			assert.deepEqual(await store.getTopic('a'), after);
		},
	},
	{
		title: 'topics: are listed in the order of their code units, in pages after a name',
		async run({ store }) {
			const names = ['aa', 'B', 'a', '0', 'a.b', '_x', 'a-b', 'Z9', '-y', 'b', 'a_b', '10', '9'];
			for (const [i, name] of names.entries()) await (i % 2 === 0 ? store.createTopic(name, {}) : store.append(name, entries(1)));
			await store.createTopic('gone', {});
			await store.deleteTopic('gone');
			const sorted = [...names].sort();
			const list = async (after: string | null, limit: number) => (await store.listTopics(after, limit)).map(({ name }) => name);
			assert.deepEqual(await list(null, 1000), sorted);
			assert.deepEqual(await list(null, 4), sorted.slice(0, 4));
			assert.deepEqual(await list('a', 1000), sorted.slice(sorted.indexOf('a') + 1));
			assert.deepEqual(await list('a0', 2), ['a_b', 'aa'], 'after a name that no topic has');
			assert.deepEqual(await list('zz', 10), []);
			const paged: string[] = [];
			for (let page = await list(null, 3); page.length > 0; page = await list(page.at(-1) ?? null, 3)) paged.push(...page);
			assert.deepEqual(paged, sorted);
			assert.deepEqual((await store.listTopics('_x', 1))[0], await store.getTopic('a'));
		},
	},
	{
		title: 'topics: a deleted topic is gone with its messages and stands where it ended',
		async run({ store }) {
			assert.equal(await store.deleteTopic('a'), false);
			const tip = formatMessageId(idsOf(await store.append('a', entries(5)))[4] ?? ZERO_ID);
			await store.append('b', entries(1));
			assert.equal(await store.deleteTopic('a'), true);
			assert.equal(await store.deleteTopic('a'), false);
			assert.equal(await store.getTopic('a'), undefined);
			assert.equal(await store.updateTopic('a', { description: 'x' }), undefined);
			for (const page of [await store.read('a', ZERO_ID, UNLIMITED), await store.readBefore('a', null, UNLIMITED)]) {
				assert.deepEqual(page.blocks, []);
				assert.deepEqual(positionOf(page), { exists: false, tip, floor: tip });
			}
			assert.deepEqual(
				(await store.listTopics(null, 10)).map(({ name }) => name),
				['b'],
			);
			assert.deepEqual(await payloadsOf(store, 'b'), ['0'], 'and no other topic with it');
		},
	},
	{
		title: 'topics: the next incarnation, by append, is a new topic whose ids go on although the clock stepped back',
		async run({ store, clock }) {
			await store.createTopic('a', { description: 'old', retention: { maxMessages: 1 } });
			const tip = idsOf(await store.append('a', entries(5)))[4] ?? ZERO_ID;
			const old = await store.getTopic('a');
			await store.deleteTopic('a');
			clock.setNowMs(clock.nowMs() - 60_000);
			const id = await appendOne(store, 'a', entry('"new"'));
			assert.deepEqual(id, { ms: tip.ms, n: tip.n + 1 });
			const topic = await store.getTopic('a');
			assert.ok(topic !== undefined);
			assert.notEqual(topic.topicId, old?.topicId);
			assert.deepEqual(
				[topic.description, topic.retention, topic.messages, topic.createdAtMs],
				[null, DEFAULTS, 1, clock.nowMs()],
			);
			assert.deepEqual(positionOf(topic), { exists: true, tip: formatMessageId(id), floor: formatMessageId(tip) });
			assert.deepEqual(await payloadsOf(store, 'a'), ['"new"'], 'the old messages stay gone');
		},
	},
	{
		title: 'topics: the next incarnation, by creation, starts empty where the last one ended',
		async run({ store, clock }) {
			const tip = await appendOne(store, 'a', entry('1'));
			const old = await store.getTopic('a');
			for (let i = 0; i < 3; i++) {
				await store.deleteTopic('a');
				clock.setNowMs(clock.nowMs() - 1000);
				const { status, topic } = await store.createTopic('a', { description: 'new' });
				assert.equal(status, 'created');
				assert.notEqual(topic.topicId, old?.topicId);
				assert.deepEqual(positionOf(topic), { exists: true, tip: formatMessageId(tip), floor: formatMessageId(tip) });
				assert.deepEqual([topic.description, topic.messages, topic.bytes], ['new', 0, 0]);
			}
			assert.deepEqual(positionOf(await store.read('a', ZERO_ID, UNLIMITED)), {
				exists: true,
				tip: formatMessageId(tip),
				floor: formatMessageId(tip),
			});
			assert.deepEqual(await appendOne(store, 'a', entry('2')), { ms: tip.ms, n: tip.n + 1 });
			assert.deepEqual(await payloadsOf(store, 'a'), ['2']);
		},
	},
	{
		title: 'topics: ids are never used twice, however often a topic is deleted and made again',
		async run({ store, clock }) {
			let tip = ZERO_ID;
			for (let i = 0; i < 30; i++) {
				clock.setNowMs(clock.nowMs() + ((i * 7) % 5) - 2);
				for (const id of idsOf(await store.append('a', entries(1 + (i % 3))))) {
					assert.ok(compareMessageIds(id, tip) > 0, `${formatMessageId(id)} after ${formatMessageId(tip)}`);
					tip = id;
				}
				if (i % 2 === 0) await store.deleteTopic('a');
				if (i % 4 === 0) await store.createTopic('a', {});
			}
		},
	},
	{
		title: 'topics: stats count what exists and is kept',
		async run({ store }) {
			assert.deepEqual(store.stats(), { topics: 0, messages: 0, bytes: 0 });
			await store.append('a', [entry('"123456"'), entry('2')]);
			await store.append('b', [entry('"123456"', { metadata: '{"m":1}' })]);
			await store.createTopic('c', {});
			const { bytes, ...counts } = store.stats();
			assert.deepEqual(counts, { topics: 3, messages: 3 });
			assert.ok(bytes >= 24, `${bytes} bytes are at least those of payloads and metadata`);
			const topics = await store.listTopics(null, 10);
			assert.equal(
				bytes,
				topics.reduce((sum, topic) => sum + topic.bytes, 0),
			);
			for (const name of ['a', 'b', 'c']) await store.deleteTopic(name);
			assert.deepEqual(store.stats(), { topics: 0, messages: 0, bytes: 0 });
		},
	},
];
