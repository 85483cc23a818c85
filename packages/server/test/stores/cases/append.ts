/** Append: ids, order, atomicity, fidelity, the limit on topics (I1, I6, I9). */

import assert from 'node:assert/strict';
import { formatMessageId, nextMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import {
	appendedTo,
	appendOne,
	assertAscending,
	entries,
	entry,
	idsOf,
	messagesOf,
	payloadsOf,
	positionOf,
	readAll,
	type StoreCase,
	UNLIMITED,
} from '../trial.ts';

const MEBIBYTE = 1024 * 1024;

export const appendCases: readonly StoreCase[] = [
	{
		title: 'append: entries read back with their ids, payloads, metadata and expiries',
		async run({ store, clock }) {
			const outcomes = await store.append('a', [
				entry('{"n":1.0,"n":9007199254740993}', { metadata: '{"x":"y"}', expiresAtMs: clock.nowMs() + 5000 }),
				entry('"no metadata"'),
				entry('[ ]', { metadata: '{}' }),
			]);
			assert.deepEqual(await readAll(store, 'a'), [
				{
					id: `${clock.nowMs()}-0`,
					payload: '{"n":1.0,"n":9007199254740993}',
					metadata: '{"x":"y"}',
					expiresAtMs: clock.nowMs() + 5000,
				},
				{ id: `${clock.nowMs()}-1`, payload: '"no metadata"', metadata: '', expiresAtMs: 0 },
				{ id: `${clock.nowMs()}-2`, payload: '[ ]', metadata: '{}', expiresAtMs: 0 },
			]);
			assert.deepEqual(
				idsOf(outcomes).map(formatMessageId),
				(await readAll(store, 'a')).map(({ id }) => id),
			);
		},
	},
	{
		title: 'append: an expired message stays readable with its expiry, delivery decides',
		async run({ store, clock }) {
			await store.append('a', [entry('1', { expiresAtMs: clock.nowMs() + 1 })]);
			clock.advance(10_000);
			assert.deepEqual(await payloadsOf(store, 'a'), ['1']);
		},
	},
	{
		title: 'append: the shortest and the strangest payloads read back byte for byte',
		async run({ store }) {
			const payloads = [
				'0',
				'""',
				'{}',
				'[]',
				'null',
				' 1 ',
				'"\\ud800"',
				'"\u2028\u{1f600}é"',
				'{"__proto__":1,"__proto__":2}',
				'-0',
				'1E400',
			];
			await store.append(
				'a',
				payloads.map((payload) => entry(payload)),
			);
			for (const payload of payloads) await store.append('b', [entry(payload)]);
			assert.deepEqual(await payloadsOf(store, 'a'), payloads);
			assert.deepEqual(await payloadsOf(store, 'b'), payloads);
		},
	},
	{
		title: 'append: any JSON text of any batching reads back byte for byte',
		async run({ store }) {
			let topics = 0;
			const text = fc
				.tuple(fc.json({ noUnicodeString: false }), fc.constantFrom('', ' ', '\n\t'))
				.map(([json, space]) => `${space}${json}${space}`);
			const message = fc.record({ payload: text, metadata: fc.option(text), expiresAtMs: fc.constantFrom(0, 1, 2 ** 45 + 0.5) });
			await fc.assert(
				fc.asyncProperty(
					fc.array(fc.array(message, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 4 }),
					async (calls) => {
						const topic = `t${topics++}`;
						await Promise.all(
							calls.map((call) =>
								store.append(
									topic,
									call.map(({ payload, metadata, expiresAtMs }) =>
										entry(payload, { expiresAtMs, ...(metadata === null ? {} : { metadata }) }),
									),
								),
							),
						);
						assert.deepEqual(
							(await readAll(store, topic)).map(({ payload, metadata, expiresAtMs }) => ({ payload, metadata, expiresAtMs })),
							calls.flat().map(({ payload, metadata, expiresAtMs }) => ({ payload, metadata: metadata ?? '', expiresAtMs })),
						);
					},
				),
				{ numRuns: 50 },
			);
		},
	},
	{
		title: 'append: payloads of 5 MiB, alone and between short ones in one call',
		async run({ store, heard }) {
			const long = (letter: string) => `"${letter.repeat(5 * MEBIBYTE - 2)}"`;
			await store.append('a', [entry(long('x'))]);
			await store.append('a', [entry('1'), entry(long('y')), entry('2'), entry(long('z')), entry('3')]);
			const expected = [long('x'), '1', long('y'), '2', long('z'), '3'];
			const same = (payloads: readonly string[]) =>
				payloads.length === expected.length && payloads.every((payload, i) => payload === expected[i]);
			// Compared by hand: a failing deepEqual would print 15 MiB.
			assert.ok(same(await payloadsOf(store, 'a')), 'read back');
			assert.ok(same(messagesOf(appendedTo(heard, 'a').map(({ block }) => block)).map(({ payload }) => payload)), 'announced');
		},
	},
	{
		title: 'append: payloads that lie inside larger buffers are stored without their surroundings',
		async run({ store }) {
			const surroundings = Buffer.from('xx"one""meta"1yy');
			const one = { payload: surroundings.subarray(2, 7), metadata: surroundings.subarray(7, 13), expiresAtMs: 0, dedupe: null };
			await store.append('a', [one, { ...one, payload: surroundings.subarray(13, 14), metadata: null }]);
			surroundings.fill(0);
			assert.deepEqual(
				(await readAll(store, 'a')).map(({ payload, metadata }) => [payload, metadata]),
				[
					['"one"', '"meta"'],
					['1', ''],
				],
			);
		},
	},
	{
		title: 'append: the ids of one call are consecutive however long it is',
		async run({ store, clock }) {
			const ids = idsOf(await store.append('a', entries(2500)));
			assert.deepEqual(
				ids,
				ids.map((_, n) => ({ ms: clock.nowMs(), n })),
			);
			assert.deepEqual(
				(await readAll(store, 'a')).map(({ id, payload }) => [id, payload]),
				ids.map((id, i) => [formatMessageId(id), String(i)]),
			);
		},
	},
	{
		title: 'append: ids follow the clock, and count on when it stands still or steps back',
		async run({ store, clock }) {
			const start = clock.nowMs();
			const ids = [await appendOne(store, 'a', entry('1')), await appendOne(store, 'a', entry('2'))];
			clock.advance(7);
			ids.push(await appendOne(store, 'a', entry('3')));
			clock.setNowMs(start - 3_600_000);
			ids.push(await appendOne(store, 'a', entry('4')), ...idsOf(await store.append('a', entries(2, 5))));
			clock.setNowMs(start + 8);
			ids.push(await appendOne(store, 'a', entry('7')));
			assert.deepEqual(
				ids,
				[
					[0, 0],
					[0, 1],
					[7, 0],
					[7, 1],
					[7, 2],
					[7, 3],
					[8, 0],
				].map(([ms = 0, n = 0]) => ({ ms: start + ms, n })),
			);
			assert.deepEqual(await payloadsOf(store, 'a'), ['1', '2', '3', '4', '5', '6', '7']);
		},
	},
	{
		title: 'append: ids are the same function of tip and clock for every sequence of clock readings',
		async run({ store, clock }) {
			let topics = 0;
			const call = fc.record({ stepMs: fc.integer({ min: -5, max: 5 }), count: fc.integer({ min: 1, max: 3 }) });
			await fc.assert(
				fc.asyncProperty(fc.array(call, { maxLength: 12 }), async (calls) => {
					const topic = `t${topics++}`;
					let tip = ZERO_ID;
					for (const { stepMs, count } of calls) {
						clock.setNowMs(clock.nowMs() + stepMs);
						const first = nextMessageId(tip, clock.nowMs());
						const ids = idsOf(await store.append(topic, entries(count)));
						assert.deepEqual(
							ids,
							ids.map((_, i) => ({ ms: first.ms, n: first.n + i })),
						);
						tip = ids[count - 1] ?? tip;
					}
				}),
				{ numRuns: 20 },
			);
		},
	},
	{
		title: 'append: of nothing gives nothing and creates nothing',
		async run({ store, heard }) {
			assert.deepEqual(await store.append('a', []), []);
			assert.equal(await store.getTopic('a'), undefined);
			assert.deepEqual(heard, []);
		},
	},
	{
		title: 'append: many calls on one topic at once are stored and answered in call order',
		async run({ store }) {
			const answered: number[] = [];
			const calls = Array.from({ length: 300 }, async (_, i) => {
				const outcomes = await store.append('a', entries(1 + (i % 3), i * 10));
				answered.push(i);
				return outcomes;
			});
			const ids = idsOf((await Promise.all(calls)).flat());
			assertAscending(ids);
			assert.deepEqual(
				answered,
				calls.map((_, i) => i),
			);
			assert.deepEqual(
				(await readAll(store, 'a')).map(({ id, payload }) => [id, payload]),
				calls
					.flatMap((_, i) => entries(1 + (i % 3), i * 10).map(({ payload }) => Buffer.from(payload).toString()))
					.map((payload, i) => [formatMessageId(ids[i] ?? ZERO_ID), payload]),
			);
		},
	},
	{
		title: 'append: many calls on many topics at once keep call order within each topic',
		async run({ store }) {
			const topics = ['a', 'b', 'c', 'd', 'e'];
			const answered = new Map<string, string[]>(topics.map((topic) => [topic, []]));
			await Promise.all(
				Array.from({ length: 300 }, async (_, i) => {
					const topic = topics[(i * 7) % topics.length] ?? '';
					await store.append(topic, [entry(String(i))]);
					answered.get(topic)?.push(String(i));
				}),
			);
			for (const topic of topics) {
				const expected = Array.from({ length: 300 }, (_, i) => i)
					.filter((i) => topics[(i * 7) % topics.length] === topic)
					.map(String);
				assert.deepEqual(answered.get(topic), expected);
				assert.deepEqual(await payloadsOf(store, topic), expected);
			}
		},
	},
	{
		title: 'append: creates the topic, up to the limit on topics; beyond it nothing takes effect',
		topicsMax: 2,
		async run({ store, heard }) {
			await appendOne(store, 'a', entry('1'));
			await store.createTopic('b', {});
			const before = heard.length;
			await assert.rejects(store.append('c', [entry('lost', { dedupe: { key: 'k', item: 0, fingerprint: 'f' } })]), {
				code: 'topic_limit',
			});
			await assert.rejects(store.createTopic('c', {}), { code: 'topic_limit' });
			assert.equal(heard.length, before, 'nothing is announced');
			assert.deepEqual(positionOf(await store.read('c', ZERO_ID, UNLIMITED)), { exists: false, tip: '0-0', floor: '0-0' });
			await appendOne(store, 'a', entry('2'));
			assert.equal((await store.createTopic('b', {})).status, 'exists', 'a topic that exists needs no room');
			assert.equal(await store.deleteTopic('b'), true);
			const outcomes = await store.append('c', [entry('kept', { dedupe: { key: 'k', item: 0, fingerprint: 'f' } })]);
			assert.equal(outcomes[0]?.status, 'appended', 'the refused call left no idempotency record');
			assert.deepEqual(await payloadsOf(store, 'c'), ['kept']);
			assert.equal(store.stats().topics, 2);
		},
	},
];
