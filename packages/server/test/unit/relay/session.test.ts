/** Sessions: where readers start, what comes first, and what is left when they go. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Gap } from '@pulsar-relay/protocol/frames';
import { compareMessageIds, formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Page, Store } from '../../../src/ports/store.ts';
import type { Start } from '../../../src/relay/session.ts';
import { createFixture, deferred, type Fixture, overlay, type Reader } from './support/fixture.ts';
import type { Told } from './support/recording-sink.ts';
import { settled } from './support/turns.ts';

const NOTHING_HOT = { bytesMax: 0 };

function texts(ids: readonly MessageId[]): string[] {
	return ids.map(formatMessageId);
}

function starts(wanted: Readonly<Record<string, Start>>): Map<string, Start> {
	return new Map(Object.entries(wanted));
}

function gapsOf({ told }: { readonly told: readonly Told[] }): Gap[] {
	return told.flatMap((one) => (one.kind === 'gap' ? [one.gap] : []));
}

/** Payloads that make a backlog of about so many bytes. */
function backlog(bytes: number): string[] {
	return Array.from({ length: Math.ceil(bytes / 10_000) }, () => `"${'x'.repeat(9800)}"`);
}

/** Asserts that nobody follows a topic any more. */
async function assertUnfollowed({ hub }: Fixture, name: string): Promise<void> {
	const topic = await hub.follow(name);
	assert.deepEqual([topic.followers, topic.subscribers.size, topic.live.length], [1, 0, 0], `nobody follows ${name}`);
	hub.unfollow(topic);
}

async function refusalOf(promise: Promise<unknown>): Promise<string> {
	return promise.then(
		() => 'none',
		(error: unknown) => RelayError.from(error).code,
	);
}

/** Lets the test answer reads. */
function answeringReads(answer: (ask: () => Promise<Page>) => Promise<Page>): (store: Store) => Store {
	return (store) => overlay(store, { read: (...request) => answer(() => store.read(...request)) });
}

test('the start: after the end, from the oldest kept, or after an id', async () => {
	const { append, trimTo, follow, rest } = createFixture();
	const ids = await append('t', '1', '2', '3', '4', '5');
	await trimTo(4);
	const cases: readonly (readonly [Start, number])[] = [
		['last', 5],
		['earliest', 1],
		[ids[0] as MessageId, 1],
		[ids[2] as MessageId, 3],
		[ids[4] as MessageId, 5],
	];
	for (const [start, from] of cases) {
		const { sink } = await follow('t', start);
		await rest();
		assert.deepEqual(sink.ids(), texts(ids.slice(from)));
		assert.deepEqual(gapsOf(sink), []);
	}
});

for (const hotTier of [{}, NOTHING_HOT]) {
	test(`a cursor that cannot be served is told of its gap first, ${hotTier === NOTHING_HOT ? 'read from the store' : 'from memory'}`, async () => {
		const { append, trimTo, follow, rest } = createFixture({ hotTier });
		const ids = await append('t', '1', '2', '3', '4', '5');
		await trimTo(2);
		const [, , floor, , tip] = ids as [MessageId, MessageId, MessageId, MessageId, MessageId];
		const beyond = { ms: tip.ms, n: tip.n + 1 };
		const cases: readonly (readonly [Start, Gap['reason'], MessageId | null, MessageId])[] = [
			[{ ms: 0, n: 0 }, 'trimmed', { ms: 0, n: 0 }, floor],
			[ids[1] as MessageId, 'trimmed', ids[1] as MessageId, floor],
			[beyond, 'ahead', beyond, tip],
			['unknown', 'unknown', null, tip],
		];
		for (const [start, reason, from, to] of cases) {
			const { sink } = await follow('t', start);
			await rest();
			assert.deepEqual(sink.told[0], { kind: 'gap', gap: { topic: 't', reason, from, to } });
			const rest_ = ids.filter((id) => compareMessageIds(id, to) > 0);
			assert.deepEqual(sink.ids(), texts(rest_));
			assert.equal(sink.told.length, 1 + rest_.length);
		}
	});
}

test('the cursors are told before anything of the topics, and are where what follows begins', async () => {
	for (const hotTier of [{}, NOTHING_HOT]) {
		const { append, attach, rest } = createFixture({ hotTier });
		const ids = await append('a', '1', '2');
		const { sink, session } = attach();
		let cursors: ReadonlyMap<string, MessageId> = new Map();
		await session.subscribe(starts({ a: ids[0] as MessageId, b: 'unknown' }), (ready) => {
			cursors = ready;
			sink.note('ready');
		});
		await rest();
		assert.deepEqual(
			[...cursors],
			[
				['a', ids[0]],
				['b', { ms: 0, n: 0 }],
			],
		);
		assert.deepEqual(
			sink.told.map(({ kind }) => kind),
			hotTier === NOTHING_HOT ? ['note', 'gap', 'message'] : ['note', 'message', 'gap'],
		);
	}
});

test('a topic that is followed already starts anew, and its old subscription ends there', async () => {
	const fixture = createFixture();
	const { append, follow, rest } = fixture;
	const ids = await append('t', '1', '2');
	const { sink, session } = await follow('t', 'last');
	ids.push(...(await append('t', '3')));
	await session.subscribe(starts({ t: 'earliest' }), () => sink.note('again'));
	ids.push(...(await append('t', '4')));
	await rest();
	const again = sink.told.findIndex(({ kind }) => kind === 'note');
	const idsAfter = sink.told.slice(again + 1).map((told) => (told.kind === 'message' ? formatMessageId(told.id) : told.kind));
	assert.deepEqual(idsAfter, texts(ids));
	assert.ok(
		sink.told.slice(0, again).every((told) => told.kind === 'message' && compareMessageIds(told.id, ids[2] as MessageId) === 0),
	);
	session.close();
	await assertUnfollowed(fixture, 't');
	assert.equal(fixture.observer.counts.behind, 0);
});

test('a topic that starts anew while it is being read takes nothing from the old read', async () => {
	const pages: (() => void)[] = [];
	const fixture = createFixture({
		hotTier: NOTHING_HOT,
		wrap: answeringReads(async (ask) => {
			const turn = deferred<void>();
			pages.push(() => turn.resolve());
			await turn.promise;
			return ask();
		}),
	});
	const { append, follow, rest } = fixture;
	const ids = await append('t', '1', '2', '3');
	const { sink, session } = await follow('t', 'earliest');
	await session.subscribe(starts({ t: ids[1] as MessageId }), () => sink.note('again'));
	for (let read = pages.shift(); read !== undefined; read = pages.shift()) {
		read();
		await rest();
	}
	assert.deepEqual(sink.ids(), texts(ids.slice(2)));
	assert.equal(fixture.observer.counts.behind, 0);
});

test('nothing of a topic comes after it was unsubscribed, not even a page that was being read', async () => {
	const turn = deferred<void>();
	const fixture = createFixture({
		hotTier: NOTHING_HOT,
		wrap: answeringReads(async (ask) => {
			await turn.promise;
			return ask();
		}),
	});
	const { append, follow, rest } = fixture;
	await append('t', '1');
	const { sink, session } = await follow('t', 'earliest');
	assert.equal(session.unsubscribe('t'), true);
	assert.equal(session.unsubscribe('t'), false);
	turn.resolve();
	await rest();
	await append('t', '2');
	await rest();
	assert.deepEqual(sink.told, []);
	await assertUnfollowed(fixture, 't');
});

test('a connection follows as many topics as the limit allows, counting each once', async () => {
	const fixture = createFixture();
	const { session } = fixture.attach({ subscriptionsMax: 2 });
	const subscribe = (...topics: string[]) => session.subscribe(new Map(topics.map((topic) => [topic, 'last'])), () => {});
	assert.equal(await refusalOf(subscribe('a', 'b', 'c')), 'subscription_limit');
	assert.deepEqual([...session.topics], [], 'a refused request changes nothing');
	await subscribe('a', 'b');
	await subscribe('b', 'a');
	assert.equal(await refusalOf(subscribe('c')), 'subscription_limit');
	session.unsubscribe('a');
	await subscribe('c');
	assert.deepEqual([...session.topics].sort(), ['b', 'c']);
	await assertUnfollowed(fixture, 'a');
});

test('the limit also holds for requests that are under way together', async () => {
	const fixture = createFixture();
	const { session } = fixture.attach({ subscriptionsMax: 2 });
	const both = await Promise.all(
		[
			['a', 'b'],
			['b', 'c'],
		].map((topics) => refusalOf(session.subscribe(new Map(topics.map((topic) => [topic, 'last'])), () => {}))),
	);
	assert.deepEqual(both, ['none', 'subscription_limit']);
	assert.deepEqual([...session.topics], ['a', 'b']);
	await assertUnfollowed(fixture, 'c');
});

test('a connection that closes while it subscribes leaves nothing behind', async () => {
	const asked = deferred<void>();
	const fixture = createFixture({
		wrap: (store) =>
			overlay(store, {
				watch: async (topic) => {
					await asked.promise;
					return store.watch(topic);
				},
			}),
	});
	const { sink, session } = fixture.attach();
	const subscribed = refusalOf(session.subscribe(starts({ a: 'last', b: { ms: 9, n: 9 } }), () => assert.fail('not ready')));
	await settled();
	session.close();
	asked.resolve();
	assert.equal(await subscribed, 'shutting_down');
	await fixture.append('a', '1');
	await fixture.rest();
	assert.deepEqual(sink.told, []);
	for (const topic of ['a', 'b']) await assertUnfollowed(fixture, topic);
	assert.equal(fixture.observer.counts.behind, 0);
});

test('a connection that closes as it becomes ready leaves nothing behind', async () => {
	const fixture = createFixture();
	const { sink, session } = fixture.attach();
	await refusalOf(session.subscribe(starts({ t: 'last' }), () => session.close()));
	await fixture.append('t', '1');
	await fixture.rest();
	assert.deepEqual(sink.told, []);
	await assertUnfollowed(fixture, 't');
	assert.equal(fixture.observer.counts.behind, 0);
});

test('a connection that closes leaves nothing behind, whatever its subscriptions are doing, and closes once', async () => {
	const turn = deferred<void>();
	const fixture = createFixture({
		hotTier: NOTHING_HOT,
		wrap: answeringReads(async (ask) => {
			await turn.promise;
			return ask();
		}),
	});
	const { append, attach, observer, rest, clock } = fixture;
	await append('reading', '1');
	await append('behind', ...backlog(100_000));
	const { sink, session } = attach({ bufferBytesMax: 10 });
	await session.subscribe(starts({ live: 'last', reading: 'earliest' }), () => {});
	sink.stall();
	sink.note('full');
	sink.flush();
	await session.subscribe(starts({ behind: 'earliest' }), () => {});
	assert.equal(observer.counts.behind, 2);
	session.close();
	session.close();
	turn.resolve();
	sink.resume();
	clock.advance(1000);
	await append('live', '1');
	await rest();
	assert.deepEqual(
		sink.told.map(({ kind }) => kind),
		['note'],
	);
	for (const topic of ['live', 'reading', 'behind']) await assertUnfollowed(fixture, topic);
	assert.equal(observer.counts.behind, 0);
});

test('a subscription that one of its topics cannot be followed for changes nothing', async () => {
	const fixture = createFixture({
		wrap: (store) =>
			overlay(store, {
				watch: (topic) =>
					topic === 'bad' ? Promise.reject(new RelayError('storage_unavailable', 'on purpose')) : store.watch(topic),
			}),
	});
	const { append, follow, rest } = fixture;
	const { sink, session } = await follow('old', 'last');
	const refused = session.subscribe(starts({ good: 'last', old: 'earliest', bad: 'last' }), () => assert.fail('not ready'));
	assert.equal(await refusalOf(refused), 'storage_unavailable');
	assert.deepEqual([...session.topics], ['old']);
	const ids = await append('old', '1');
	await append('good', '1');
	await rest();
	assert.deepEqual(sink.ids(), texts(ids));
	session.close();
	for (const topic of ['good', 'old']) await assertUnfollowed(fixture, topic);
});

test('the deletion of one topic ends that subscription, in whatever state, and no other', async () => {
	const { append, attach, store, rest, observer } = createFixture({ hotTier: NOTHING_HOT });
	await append('read', '1');
	const { sink, session } = attach();
	await session.subscribe(starts({ live: 'last', read: 'earliest', kept: 'last' }), () => {});
	await store.createTopic('live', {});
	await Promise.all([store.deleteTopic('live'), store.deleteTopic('read')]);
	const ids = await append('kept', '1');
	await rest();
	const deleted = sink.told.flatMap((told) => (told.kind === 'deleted' ? [told.topic] : []));
	assert.deepEqual(deleted.sort(), ['live', 'read']);
	assert.deepEqual(sink.ids('kept'), texts(ids));
	assert.deepEqual([...session.topics], ['kept']);
	assert.equal(observer.counts.behind, 0);
});

test('a read that fails is tried again after half a second, and loses nothing', async () => {
	let failures = 2;
	const fixture = createFixture({
		hotTier: NOTHING_HOT,
		wrap: answeringReads((ask) => (failures-- > 0 ? Promise.reject(new RelayError('storage_unavailable', 'on purpose')) : ask())),
	});
	const { append, follow, clock, observer, rest } = fixture;
	const ids = await append('t', '1', '2');
	const { sink } = await follow('t', 'earliest');
	await rest();
	ids.push(...(await append('t', '3')));
	for (const [waitMs, reads] of [
		[499, 1],
		[1, 2],
		[499, 2],
	] as const) {
		clock.advance(waitMs);
		await rest();
		assert.equal(observer.counts.reads, reads);
		assert.deepEqual(sink.told, []);
	}
	clock.advance(1);
	await rest();
	assert.deepEqual(sink.ids(), texts(ids));
	assert.deepEqual(observer.counts.gaps, []);
});

test('a message that expires while it waits to be read again is left out', async () => {
	const fixture = createFixture();
	const { append, appendExpiring, follow, clock, rest } = fixture;
	const ids = await append('t', '1');
	await appendExpiring('t', '2', 100);
	ids.push(...(await append('t', '3')));
	const before = await follow('t', 'earliest');
	clock.advance(100);
	const after = await follow('t', 'earliest');
	await rest();
	assert.equal(before.sink.ids().length, 3);
	assert.deepEqual(after.sink.ids(), texts(ids));
	assert.deepEqual(gapsOf(after.sink), []);
});

for (const [name, hotTier] of [
	['from memory', {}],
	['from the store', NOTHING_HOT],
] as const) {
	test(`a long backlog is sent ${name} in turns, in order, and within the socket's bound`, async () => {
		const bufferBytesMax = 1024 * 1024;
		const { append, follow, rest, clock, observer } = createFixture({ hotTier });
		const ids = await append('t', ...backlog(6_000_000));
		const reader: Reader = await follow('t', 'earliest', { bufferBytesMax, later: (run) => clock.soon(run) });
		assert.ok(reader.sink.ids().length < ids.length / 3, 'others get their turn in between');
		await rest();
		assert.deepEqual(reader.sink.ids(), texts(ids));
		assert.ok(reader.sink.bytesPeak <= bufferBytesMax + 256 * 1024);
		assert.equal(reader.sink.deliveredUnasked, 0);
		assert.equal(observer.counts.behind, 0);
	});

	test(`a reader with a closed window holds a bounded amount, ${name}, and gets all of it when it opens`, async () => {
		const bufferBytesMax = 300_000;
		const { append, follow, rest } = createFixture({ hotTier });
		const ids = await append('t', ...backlog(3_000_000));
		const { sink } = await follow('t', 'earliest', { bufferBytesMax });
		sink.stall();
		ids.push(...(await append('t', ...backlog(3_000_000))));
		await rest();
		assert.ok(sink.bytesPeak <= bufferBytesMax + 256 * 1024);
		sink.resume();
		await rest();
		assert.deepEqual(sink.ids(), texts(ids));
	});
}

test('a slow socket with many topics behind reads each page once, one at a time, and serves the topics in turn', async () => {
	let reading = 0;
	let readingPeak = 0;
	const { append, attach, rest, clock, observer } = createFixture({
		hotTier: NOTHING_HOT,
		wrap: answeringReads(async (ask) => {
			readingPeak = Math.max(readingPeak, ++reading);
			const page = await ask();
			reading--;
			return page;
		}),
	});
	const topics = Array.from({ length: 40 }, (_, i) => `t${i}`);
	const pagesPerTopic = 3;
	for (const topic of topics) await append(topic, ...backlog(pagesPerTopic * 230_000));
	const { sink, session } = attach({ bufferBytesMax: 256 * 1024, later: (run) => clock.soon(run) });
	sink.stall();
	await session.subscribe(new Map(topics.map((topic) => [topic, 'earliest'])), () => {});
	const firstOf = new Set<string>();
	while (sink.ids().length < topics.length * 23 * pagesPerTopic) {
		await rest();
		sink.resume();
		sink.stall();
		for (const { topic } of sink.slices.slice(0, topics.length + 1)) firstOf.add(topic);
	}
	assert.equal(readingPeak, 1);
	const pages = topics.length * pagesPerTopic;
	assert.ok(observer.counts.reads < 1.05 * pages, `${observer.counts.reads} reads for ${pages} pages`);
	assert.ok(firstOf.size > 0.9 * topics.length, 'nobody waits for another topic to be done');
});

test('a slow socket serves the topics that are behind in turn, from memory as well', async () => {
	const { append, attach, rest, clock } = createFixture();
	const topics = ['a', 'b', 'c'];
	for (const topic of topics) await append(topic, ...backlog(1_500_000));
	const { sink, session } = attach({ bufferBytesMax: 1000, later: (run) => clock.soon(run) });
	sink.stall();
	await session.subscribe(new Map(topics.map((topic) => [topic, 'earliest'])), () => {});
	while (sink.slices.length < 9) {
		await rest();
		sink.resume();
		sink.stall();
	}
	assert.deepEqual(
		sink.slices.slice(0, 9).map(({ topic }) => topic),
		[...topics, ...topics, ...topics],
	);
});

test('whoever leaves a topic, the others stay', async () => {
	const { append, follow, rest } = createFixture();
	const readers: Reader[] = [];
	for (let i = 0; i < 6; i++) readers.push(await follow('t', 'last'));
	const ids: MessageId[] = [];
	for (const leaving of [1, 4, 1, 0, 1]) {
		const [left] = readers.splice(leaving, 1);
		left?.session.close();
		const had = left?.sink.ids();
		ids.push(...(await append('t', '1')));
		await rest();
		assert.deepEqual(left?.sink.ids(), had);
		for (const { sink } of readers) assert.deepEqual(sink.ids(), texts(ids));
	}
});

test('a drain is passed on to the connection', async () => {
	const { follow } = createFixture();
	const { sink, session } = await follow('t', 'last');
	session.drain(1234);
	assert.equal(sink.drainedWith, 1234);
});
