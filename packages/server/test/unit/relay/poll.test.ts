/** Polls: nothing falls between reading and waiting, and every poll is answered. */

import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { LogListener, Store } from '../../../src/ports/store.ts';
import type { PollAnswer } from '../../../src/relay/poll.ts';
import { messagesIn } from './support/blocks.ts';
import { createFixture, deferred, type Fixture, type FixtureOptions, overlay } from './support/fixture.ts';
import { settled } from './support/turns.ts';

const NOTHING_HOT = { bytesMax: 0 };

/** The messages of an answer, as `topic:id`. */
function messagesOf({ slices }: PollAnswer): string[] {
	return slices.flatMap((slice) => messagesIn(slice).map(({ id }) => `${slice.topic}:${id}`));
}

function named(topic: string, ids: readonly MessageId[]): string[] {
	return ids.map((id) => `${topic}:${formatMessageId(id)}`);
}

/** Watches a promise, without waiting for it. */
function watch<T>(promise: Promise<T>): { readonly state: 'waiting' | 'answered' } {
	const watched: { state: 'waiting' | 'answered' } = { state: 'waiting' };
	const answered = () => {
		watched.state = 'answered';
	};
	promise.then(answered, answered);
	return watched;
}

/** Has the store wait for the test before it reads, and counts the reads. */
function slowReads(): { readonly options: FixtureOptions; readonly reads: (() => void)[] } {
	const reads: (() => void)[] = [];
	const wrap = (store: Store) =>
		overlay(store, {
			read: async (...request) => {
				const turn = deferred<void>();
				reads.push(() => turn.resolve());
				await turn.promise;
				return store.read(...request);
			},
		});
	return { options: { wrap, hotTier: NOTHING_HOT }, reads };
}

/** Asserts that no poll waits, is counted or holds on to a topic. */
async function assertOver({ hub, underWay, clock }: Fixture, ...topics: string[]): Promise<void> {
	assert.equal(underWay.size, 0);
	assert.equal(clock.timers, 1, 'only the hub has a timer');
	for (const name of topics) {
		const topic = await hub.follow(name);
		assert.deepEqual([topic.followers, topic.waiters.size], [1, 0], name);
		hub.unfollow(topic);
	}
}

for (const hotTier of [{}, NOTHING_HOT]) {
	const from = hotTier === NOTHING_HOT ? 'the store' : 'memory';

	test(`a poll is answered at once with what is there, from ${from}`, async () => {
		const fixture = createFixture({ hotTier });
		const [a, b] = [await fixture.append('a', '1', '2', '3'), await fixture.append('b', '4')];
		const answer = await fixture.poll({ b: 'earliest', a: a[0] as MessageId, c: 'earliest' });
		assert.deepEqual(messagesOf(answer), [...named('b', b), ...named('a', a.slice(1))]);
		assert.deepEqual(
			[...answer.cursors],
			[
				['b', b[0]],
				['a', a[2]],
				['c', { ms: 0, n: 0 }],
			],
		);
		assert.deepEqual([answer.gaps, answer.hasMore], [[], false]);
		assert.equal(fixture.observer.counts.delivered.longpoll, 3);
		await assertOver(fixture, 'a', 'b', 'c');
	});

	test(`the limits cut the answer, which says that there is more, from ${from}`, async () => {
		const { append, poll } = createFixture({ hotTier });
		const [a, b] = [await append('a', '1', '2', '3'), await append('b', '4', '5', '6')];
		const starts = { a: 'earliest', b: 'earliest' } as const;
		const cases = [
			[{ messagesMax: 2 }, a.slice(0, 2), []],
			[{ messagesMax: 4 }, a, b.slice(0, 1)],
			[{ messagesPerTopicMax: 2 }, a.slice(0, 2), b.slice(0, 2)],
			[{ messagesPerTopicMax: 2, messagesMax: 3 }, a.slice(0, 2), b.slice(0, 1)],
			[{ bytesMax: 1 }, a.slice(0, 1), []],
		] as const;
		for (const [limits, ofA, ofB] of cases) {
			const answer = await poll(starts, limits);
			assert.deepEqual(messagesOf(answer), [...named('a', ofA), ...named('b', ofB)], JSON.stringify(limits));
			assert.equal(answer.hasMore, true);
			assert.deepEqual([...answer.cursors.values()], [ofA.at(-1), ofB.at(-1) ?? { ms: 0, n: 0 }]);
		}
		const whole = await poll(starts, { messagesMax: 6 });
		assert.deepEqual(messagesOf(whole), [...named('a', a), ...named('b', b)]);
		assert.equal(whole.hasMore, false, 'a limit that just fits is no reason');
	});

	test(`an answer holds no more bytes than allowed, unless its first message is larger, from ${from}`, async () => {
		const { append, poll } = createFixture({ hotTier });
		const large = `"${'x'.repeat(5000)}"`;
		const ids = [...(await append('a', '1', '2')), ...(await append('a', large)), ...(await append('a', '3', large))];
		await append('b', large);
		const answers: string[][] = [];
		let start: MessageId = { ms: 0, n: 0 };
		for (let more = true; more && answers.length < 10; ) {
			const answer = await poll({ a: start }, { bytesMax: 2000 });
			answers.push(messagesOf(answer));
			start = answer.cursors.get('a') as MessageId;
			more = answer.hasMore;
		}
		const [one, two, three, four, five] = named('a', ids);
		assert.deepEqual(answers, [[one, two], [three], [four], [five]]);
		const both = await poll({ a: ids[2] as MessageId, b: 'earliest' }, { bytesMax: 2000 });
		assert.deepEqual(messagesOf(both), [four], 'nor by the first message of the next topic');
		assert.equal(both.hasMore, true);
	});

	test(`expired messages are passed over, however many, and however little is asked for, from ${from}`, async () => {
		const { append, poll, clock, observer, store } = createFixture({ hotTier });
		const expiresAtMs = clock.nowMs() + 10;
		const entry = { payload: Buffer.from('1'), metadata: null, expiresAtMs, dedupe: null };
		await store.append(
			'a',
			Array.from({ length: 5000 }, () => entry),
		);
		const ids = await append('a', '2', '3');
		clock.advance(10);
		const answer = await poll({ a: 'earliest' }, { messagesMax: 1 });
		assert.deepEqual(messagesOf(answer), named('a', ids.slice(0, 1)));
		assert.deepEqual([...answer.cursors.values()], [ids[0]]);
		assert.equal(answer.hasMore, true);
		// A small page, and then two for five thousand.
		assert.ok(observer.counts.reads <= 3, `${observer.counts.reads} reads of pages of which a few messages were used`);
	});
}

test('a poll waits for the first message, and for no more', async () => {
	const fixture = createFixture();
	const { append, poll, rest } = fixture;
	const polled = poll({ a: 'last', b: 'last' });
	const watched = watch(polled);
	await rest();
	assert.equal(watched.state, 'waiting');
	const ids = await append('b', '1', '2');
	await rest();
	assert.deepEqual(messagesOf(await polled), named('b', ids));
	await append('a', '3');
	await assertOver(fixture, 'a', 'b');
});

test('a message that is published between following and reading is not missed', async () => {
	const { options, reads } = slowReads();
	const { append, poll, rest } = createFixture(options);
	const [first] = await append('a', '1');
	const polled = poll({ a: 'earliest', b: 'last' });
	await settled();
	assert.equal(reads.length, 1, 'it is reading one topic');
	const ids = await append('b', '2');
	reads[0]?.();
	await rest();
	for (const read of reads.slice(1)) read();
	assert.deepEqual(messagesOf(await polled), [...named('a', [first as MessageId]), ...named('b', ids)]);
});

test('a poll whose only news has expired goes on waiting', async () => {
	const { append, appendExpiring, poll, clock, rest } = createFixture();
	await appendExpiring('a', '1', 5);
	clock.advance(5);
	const polled = poll({ a: 'earliest' });
	const watched = watch(polled);
	await rest();
	assert.equal(watched.state, 'waiting');
	const ids = await append('a', '2');
	await rest();
	assert.deepEqual(messagesOf(await polled), named('a', ids));
});

test('a poll is answered when its time is up, with the place to go on from', async () => {
	const fixture = createFixture();
	const { append, poll, clock, rest } = fixture;
	const [id] = await append('a', '1');
	const polled = poll({ a: 'last' }, { waitMs: 1000 });
	const watched = watch(polled);
	await rest();
	clock.advance(999);
	await rest();
	assert.equal(watched.state, 'waiting');
	clock.advance(1);
	const answer = await polled;
	assert.deepEqual(messagesOf(answer), []);
	assert.deepEqual([...answer.cursors], [['a', id]]);
	assert.equal(answer.hasMore, false);
	await assertOver(fixture, 'a');
});

test('a poll that nobody waits for any more ends, before it waits and while it does', async () => {
	const fixture = createFixture();
	const { poll, rest } = fixture;
	const aborted = AbortSignal.abort();
	assert.deepEqual(messagesOf(await poll({ a: 'last' }, { signal: aborted })), []);
	const abort = new AbortController();
	const polled = poll({ a: 'last' }, { signal: abort.signal });
	await rest();
	abort.abort();
	assert.deepEqual(messagesOf(await polled), []);
	assert.equal(getEventListeners(abort.signal, 'abort').length, 0);
	await assertOver(fixture, 'a');
});

test('a poll that nobody waits for any more does not go on passing over expired messages', async () => {
	const { poll, store, clock, observer } = createFixture({ hotTier: NOTHING_HOT });
	const entry = { payload: Buffer.from('1'), metadata: null, expiresAtMs: clock.nowMs() + 10, dedupe: null };
	await store.append(
		'a',
		Array.from({ length: 20_000 }, () => entry),
	);
	clock.advance(10);
	const answer = await poll({ a: 'earliest' }, { signal: AbortSignal.abort() });
	assert.deepEqual([messagesOf(answer), answer.hasMore], [[], true]);
	assert.equal(observer.counts.reads, 1);
});

test('a poll that was told to finish answers with what it has', async () => {
	const fixture = createFixture();
	const { poll, rest, underWay } = fixture;
	const polled = poll({ a: 'last' });
	await rest();
	assert.equal(underWay.size, 1);
	for (const finish of underWay) finish();
	assert.deepEqual(messagesOf(await polled), []);
	await assertOver(fixture, 'a');
});

test('the deletion of a topic answers a poll that waits for it, with a gap, and its other topics are untouched', async () => {
	const fixture = createFixture();
	const { append, poll, rest, store, observer } = fixture;
	const [a] = await append('a', '1');
	const [b] = await append('b', '1');
	const polled = poll({ a: 'last', b: 'last' });
	await rest();
	await store.deleteTopic('a');
	const answer = await polled;
	assert.deepEqual(answer.gaps, [{ topic: 'a', reason: 'deleted', from: a, to: a }]);
	assert.deepEqual([...answer.cursors.values()], [a, b]);
	assert.deepEqual(observer.counts.gaps, ['deleted']);
	await assertOver(fixture, 'a', 'b');
});

test('the deletion of a topic that is just being read is told, and nothing of it is given', async () => {
	const { options, reads } = slowReads();
	const { append, poll, store, rest } = createFixture(options);
	const ids = await append('a', '1', '2', '3');
	const polled = poll({ a: ids[0] as MessageId });
	await settled();
	await store.deleteTopic('a');
	for (const read of reads) read();
	await rest();
	const answer = await polled;
	assert.deepEqual(messagesOf(answer), []);
	assert.deepEqual(answer.gaps, [{ topic: 'a', reason: 'deleted', from: ids[0], to: ids[2] }]);
	assert.deepEqual([...answer.cursors.values()], [ids[2]]);
});

test('a deletion while the poll finds out where it starts is one gap, from where it starts', async () => {
	const watches: (() => void)[] = [];
	const { append, poll, store, hub, rest } = createFixture({
		wrap: (inner) =>
			overlay(inner, {
				watch: async (topic) => {
					const turn = deferred<void>();
					watches.push(() => turn.resolve());
					await turn.promise;
					return inner.watch(topic);
				},
			}),
	});
	const ids = await append('a', '1', '2');
	const followed = hub.follow('a');
	await settled();
	watches.shift()?.();
	await followed;
	const ahead = { ms: (ids[1] as MessageId).ms, n: 9 };
	const polled = poll({ a: ahead });
	await settled();
	await store.deleteTopic('a');
	for (const answer of watches) answer();
	await rest();
	assert.deepEqual((await polled).gaps, [{ topic: 'a', reason: 'ahead', from: ahead, to: ids[1] }]);
});

test('a poll whose cursor cannot be served is answered with the gap, and with the rest', async () => {
	for (const hotTier of [{}, NOTHING_HOT]) {
		const { append, poll, trimTo } = createFixture({ hotTier });
		const ids = await append('a', '1', '2', '3', '4');
		await trimTo(2);
		const trimmed = await poll({ a: ids[0] as MessageId });
		assert.deepEqual(trimmed.gaps, [{ topic: 'a', reason: 'trimmed', from: ids[0], to: ids[1] }]);
		assert.deepEqual(messagesOf(trimmed), named('a', ids.slice(2)));
		const unknown = await poll({ a: 'unknown' });
		assert.deepEqual(unknown.gaps, [{ topic: 'a', reason: 'unknown', from: null, to: ids[3] }]);
		assert.deepEqual(messagesOf(unknown), []);
	}
});

test('a poll of a client that takes no cursor from a gap is not answered at once by the gap at its start alone, again and again', async () => {
	const { append, clock, poll, rest, store } = createFixture();
	const [id] = (await append('a', '1')) as [MessageId];
	const ahead = { ms: id.ms, n: 9 };
	const asked = () => poll({ a: ahead, b: 'last' }, { startGapAnswers: false, waitMs: 1000 });
	const gap = { topic: 'a', reason: 'ahead', from: ahead, to: id };
	const timed = asked();
	await rest();
	assert.equal(watch(timed).state, 'waiting');
	await settled();
	clock.advance(1000);
	assert.deepEqual((await timed).gaps, [gap], 'told when time is up');
	const answered = asked();
	await rest();
	const ids = await append('b', '1');
	await rest();
	assert.deepEqual([(await answered).gaps, messagesOf(await answered)], [[gap], named('b', ids)], 'told with messages');
	const deleted = asked();
	await rest();
	await store.deleteTopic('b');
	await rest();
	assert.deepEqual(
		(await deleted).gaps.map(({ reason }) => reason),
		['ahead', 'deleted'],
		'told with one that comes up',
	);
});

test('a poll with room for a few messages does not have the store read thousands', async () => {
	const asked: number[] = [];
	const { append, poll } = createFixture({
		hotTier: NOTHING_HOT,
		wrap: (store) =>
			overlay(store, {
				read: (topic, after, limits) => {
					asked.push(limits.messagesMax);
					return store.read(topic, after, limits);
				},
			}),
	});
	const ids = await append('a', ...Array.from({ length: 3000 }, (_, i) => String(i)));
	for (const limit of [1, 100, 1000]) {
		const answer = await poll({ a: 'earliest' }, { messagesMax: limit });
		assert.deepEqual(messagesOf(answer), named('a', ids.slice(0, limit)));
	}
	assert.deepEqual(asked, [128, 128, 1024]);
});

test('a poll that the store cannot serve is refused and leaves nothing behind', async () => {
	const failing = () => Promise.reject(new RelayError('storage_unavailable', 'on purpose'));
	for (const broken of [{ read: failing }, { watch: failing }] satisfies Partial<Store>[]) {
		let replacements: Partial<Store> = {};
		const fixture = createFixture({
			hotTier: NOTHING_HOT,
			wrap: (store) => new Proxy(store, { get: (_, property) => Reflect.get(overlay(store, replacements), property) as unknown }),
		});
		await fixture.append('a', '1');
		await fixture.append('b', '1');
		replacements = broken;
		await assert.rejects(fixture.poll({ a: 'earliest', b: 'earliest' }), { code: 'storage_unavailable' });
		replacements = {};
		await assertOver(fixture, 'a', 'b');
	}
});

test('waiting polls do not hold up the subscribers of the topic, nor each other', async () => {
	const { append, follow, poll, rest } = createFixture();
	const { sink } = await follow('a', 'last');
	const polls = Array.from({ length: 50 }, () => poll({ a: 'last' }));
	await rest();
	const ids = await append('a', '1');
	await rest();
	assert.deepEqual(sink.ids(), ids.map(formatMessageId));
	for (const answer of await Promise.all(polls)) assert.deepEqual(messagesOf(answer), named('a', ids));
});

test('polls of lagging readers do not take their shared slice from them', async () => {
	const { append, attach, poll } = createFixture();
	await append('a', '1', '2', '3');
	const readers = [attach(), attach()];
	for (const { session } of readers) {
		await session.subscribe(new Map([['a', 'earliest']]), () => {});
		await poll({ a: 'earliest' }, { messagesMax: 1 });
	}
	const [one, two] = readers.map(({ sink }) => sink.slices[0]);
	assert.ok(one !== undefined);
	assert.equal(one, two);
});

test('announcements that were missed wake a poll as well', async () => {
	let deaf = false;
	const { append, follow, poll, rest } = createFixture({
		wrap: (store) =>
			overlay(store, {
				listen: (listener: LogListener) =>
					store.listen({
						appended: (...block) => {
							if (!deaf) listener.appended(...block);
						},
						trimmed: () => {},
						deleted: () => {},
						repositioned: () => {},
					}),
			}),
	});
	const polled = poll({ a: 'last' });
	await rest();
	deaf = true;
	const [lost] = await append('a', '1');
	deaf = false;
	await follow('a', lost as MessageId);
	assert.deepEqual(messagesOf(await polled), named('a', [lost as MessageId]));
});
