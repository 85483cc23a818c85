/** Sessions: what they follow, and what is left when they go. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { Start } from '../../../src/relay/start.ts';
import { answeringReads, createFixture, deferred, type Fixture, overlay, type Reader, texts } from './support/fixture.ts';
import { settled } from './support/turns.ts';

const NOTHING_HOT = { bytesMax: 0 };

function starts(wanted: Readonly<Record<string, Start>>): Map<string, Start> {
	return new Map(Object.entries(wanted));
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
	await append('behind', '"a long backlog"', '1', '2');
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

test('the store is asked about all topics of a subscription at once', async () => {
	const asked: string[] = [];
	const answer = deferred<void>();
	const fixture = createFixture({
		wrap: (store) =>
			overlay(store, {
				watch: async (topic) => {
					asked.push(topic);
					await answer.promise;
					return store.watch(topic);
				},
			}),
	});
	const { session } = fixture.attach();
	const subscribed = session.subscribe(starts({ a: 'last', b: 'earliest', c: 'unknown' }), () => {});
	await settled();
	assert.deepEqual(asked, ['a', 'b', 'c']);
	answer.resolve();
	await subscribed;
	assert.deepEqual([...session.topics], ['a', 'b', 'c']);
});

test('a cursor that the store cannot be asked about refuses the subscription and leaves nothing behind', async () => {
	let fails = false;
	const fixture = createFixture({
		wrap: (store) =>
			overlay(store, {
				watch: (topic) => (fails ? Promise.reject(new RelayError('storage_unavailable', 'on purpose')) : store.watch(topic)),
			}),
	});
	const { sink, session } = await fixture.follow('t', 'last');
	fails = true;
	const refused = session.subscribe(starts({ t: { ms: 9e12, n: 0 } }), () => assert.fail('not ready'));
	assert.equal(await refusalOf(refused), 'storage_unavailable');
	const ids = await fixture.append('t', '1');
	await fixture.rest();
	assert.deepEqual(sink.ids(), texts(ids), 'the subscription from before goes on');
	session.close();
	await assertUnfollowed(fixture, 't');
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

test('a topic of an owner is told under the name that each subscriber knows it by, in messages, gaps and cursors', async () => {
	const fixture = createFixture();
	await fixture.append('owner/t', '1');
	const own = fixture.attach();
	const other = fixture.attach();
	const cursors: unknown[] = [];
	const ready = (told: ReadonlyMap<string, MessageId>) => void cursors.push(...told.keys());
	await own.session.subscribe(starts({ 'owner/t': 'unknown' }), ready);
	await other.session.subscribe(starts({ 'owner/t': 'unknown' }), ready, new Map([['owner/t', 'alice/t']]));
	await fixture.append('owner/t', '2');
	await fixture.rest();
	assert.deepEqual(cursors, ['t', 'alice/t']);
	assert.deepEqual([...other.session.topicsByShown], [['alice/t', 'owner/t']]);
	for (const [sink, name] of [
		[own.sink, 't'],
		[other.sink, 'alice/t'],
	] as const) {
		const told = sink.told.map((one) => JSON.stringify(one)).join('\n');
		assert(told.includes(`"${name}"`), told);
		assert(!told.includes('"owner/t"'), told);
	}
});

test('a subscription that is forbidden ends, and the others go on', async () => {
	const fixture = createFixture();
	const { session, sink } = fixture.attach();
	await session.subscribe(starts({ a: 'last', b: 'last' }), () => {});
	session.forbid('a');
	session.forbid('a');
	await fixture.append('a', '1');
	await fixture.append('b', '2');
	await fixture.rest();
	assert.deepEqual([...session.topics], ['b']);
	const told = sink.told.map((one) => JSON.stringify(one)).join('\n');
	assert.match(told, /forbidden/);
	await assertUnfollowed(fixture, 'a');
});
