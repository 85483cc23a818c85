/** The hub: which topics it follows, watches and forgets. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Store, WatchedPosition } from '../../../src/ports/store.ts';
import { createFixture, deferred, overlay } from './support/fixture.ts';
import { settled } from './support/turns.ts';

/** Counts what is watched, and lets the test answer for the store. */
function watching(answer: (ask: () => Promise<WatchedPosition>) => Promise<WatchedPosition>) {
	const watched = new Map<string, number>();
	const calls: string[] = [];
	const wrap = (store: Store) =>
		overlay(store, {
			watch: async (topic) => {
				calls.push(topic);
				const position = await answer(() => store.watch(topic));
				watched.set(topic, (watched.get(topic) ?? 0) + 1);
				return position;
			},
			unwatch: (topic) => void watched.delete(topic),
		});
	return { wrap, watched, calls };
}

test('a topic is watched once, however many follow it at the same time', async () => {
	const asked = deferred<void>();
	const { wrap, watched, calls } = watching(async (ask) => {
		await asked.promise;
		return ask();
	});
	const { hub } = createFixture({ wrap });
	const follows = Array.from({ length: 10 }, () => hub.follow('t'));
	await settled();
	asked.resolve();
	const topics = await Promise.all(follows);
	await hub.follow('t');
	assert.deepEqual(calls, ['t']);
	assert.equal(watched.get('t'), 1);
	assert.equal(new Set(topics).size, 1);
	assert.equal(topics[0]?.followers, 11);
});

test('a topic that nobody follows and nothing is known of is forgotten and no longer watched', async () => {
	const { wrap, watched } = watching((ask) => ask());
	const { hub, clock, append } = createFixture({ wrap, hotTier: { retentionMs: 10_000 } });
	const topic = await hub.follow('t');
	await append('t', '1');
	clock.advance(60_000);
	assert.deepEqual([...watched.keys()], ['t'], 'followed');
	const ids = await append('t', '2');
	hub.unfollow(topic);
	clock.advance(9000);
	assert.deepEqual([...watched.keys()], ['t'], 'still in the hot tier');
	clock.advance(2000);
	assert.deepEqual([...watched.keys()], [], 'unused');
	const again = await hub.follow('t');
	assert.notEqual(again, topic);
	assert.deepEqual(again.offered, ids[0], 'and taken up again where it stands');
});

test('a follow that fails leaves nothing behind, and the next one asks again', async () => {
	let fails = true;
	const { wrap, watched, calls } = watching((ask) =>
		fails ? Promise.reject(new RelayError('storage_unavailable', 'on purpose')) : ask(),
	);
	const { hub, clock, append } = createFixture({ wrap });
	const both = await Promise.allSettled([hub.follow('t'), hub.follow('t')]);
	assert.deepEqual(
		both.map(({ status }) => status),
		['rejected', 'rejected'],
	);
	fails = false;
	const ids = await append('t', '1');
	const topic = await hub.follow('t');
	assert.equal(topic.followers, 1);
	assert.deepEqual(topic.offered, ids[0]);
	assert.deepEqual(calls, ['t', 't']);
	hub.unfollow(topic);
	clock.advance(700_000);
	assert.deepEqual([...watched.keys()], []);
});

test('a follow while another one fails does not take the failure for its own success', async () => {
	const first = deferred<void>();
	let asked = 0;
	const { wrap } = watching(async (ask) => {
		if (asked++ === 0) await first.promise;
		return ask();
	});
	const { hub, append } = createFixture({ wrap });
	const ids = await append('t', '1');
	const failing = hub.follow('t').catch((error: unknown) => RelayError.from(error).code);
	await settled();
	first.reject(new RelayError('storage_unavailable', 'on purpose'));
	assert.equal(await failing, 'storage_unavailable');
	const [a, b] = await Promise.all([hub.follow('t'), hub.follow('t')]);
	assert.deepEqual([a.offered, a.followers], [ids[0], 2]);
	assert.equal(a, b);
	assert.equal(asked, 2);
});

test('a topic that was forgotten while the store was asked about it is not left watched', async () => {
	let asked: Promise<void> | null = null;
	const { wrap, watched } = watching(async (ask) => {
		await asked;
		return ask();
	});
	const { hub, clock } = createFixture({ wrap });
	const topic = await hub.follow('t');
	const answer = deferred<void>();
	asked = answer.promise;
	const verified = hub.verify(topic);
	hub.unfollow(topic);
	clock.advance(2000);
	assert.deepEqual([...watched.keys()], [], 'forgotten');
	answer.resolve();
	await verified;
	assert.deepEqual([...watched.keys()], []);
	const again = await hub.follow('t');
	hub.unfollow(again);
	assert.deepEqual([...watched.keys()], ['t']);
});

test('polls that wait are counted per topic', async () => {
	const { hub, poll, append, rest } = createFixture();
	const polls = [poll({ a: 'last', b: 'last' }), poll({ a: 'last' })];
	await rest();
	assert.deepEqual(
		[...hub.waitingPolls()],
		[
			['a', 2],
			['b', 1],
		],
	);
	await append('a', '1');
	await rest();
	await Promise.all(polls);
	assert.deepEqual([...hub.waitingPolls()], []);
});

test('closing the hub stops its timer', () => {
	const { hub, clock } = createFixture();
	clock.advance(5000);
	assert.equal(clock.timers, 1);
	hub.close();
	assert.equal(clock.timers, 0);
});
