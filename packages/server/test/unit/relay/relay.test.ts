/** The relay as the transports see it: what it refuses, how it drains, and reading the log's history. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Store } from '../../../src/ports/store.ts';
import { type HistoryRequest, Relay, type RelayOptions } from '../../../src/relay/relay.ts';
import type { Slice } from '../../../src/relay/slice.ts';
import { createMemoryStore } from '../../../src/stores/memory/store.ts';
import { message, messagesIn } from './support/blocks.ts';
import { createCountingObserver } from './support/counting-observer.ts';
import { deferred, overlay } from './support/fixture.ts';
import { RecordingSink } from './support/recording-sink.ts';
import { createTurnClock, settled } from './support/turns.ts';

function createRelay(options: Partial<RelayOptions> = {}, wrap: (store: Store) => Store = (store) => store) {
	const clock = createTurnClock();
	const relay = new Relay({
		store: wrap(createMemoryStore({ topicsMax: 100, clock })),
		clock,
		ageClock: clock,
		observer: createCountingObserver(),
		hotTier: { retentionMs: 600_000, bytesMax: 1e9, messagesPerTopicMax: 1e9 },
		publishQueueBytesMax: 1e9,
		connectionsMax: 2,
		subscriptionsPerConnectionMax: 10,
		waitingPollsMax: 2,
		retention: { defaultMaxAgeS: 60, defaultMaxMessages: 1000, idempotencyWindowS: 60, idempotencyKeysMax: 10 },
		...options,
	});
	const rest = async () => {
		do {
			clock.turn(Number.POSITIVE_INFINITY);
			await settled();
		} while (clock.waiting > 0);
	};
	return {
		clock,
		relay,
		rest,
		async publish(topic: string, ...payloads: string[]): Promise<MessageId[]> {
			const published = relay.publish(payloads.map((payload) => ({ topic, entry: { ...message(payload), dedupe: null } })));
			await rest();
			return (await published).flatMap((outcome) => (outcome.status === 'appended' ? [outcome.id] : []));
		},
		poll: (topic: string) =>
			relay.poll({
				starts: new Map([[topic, 'last']]),
				waitMs: 1000,
				messagesMax: 10,
				messagesPerTopicMax: 10,
				bytesMax: 1e6,
				signal: new AbortController().signal,
			}),
	};
}

function idsOf(slice: Slice | null): string[] {
	return messagesIn(slice).map(({ id }) => id);
}

test('connections are counted and refused beyond the limit', () => {
	const { relay } = createRelay();
	const sessions = [relay.attach(new RecordingSink()), relay.attach(new RecordingSink())];
	assert.equal(relay.load.sessions, 2);
	assert.equal(relay.refusal()?.code, 'too_many_connections');
	assert.throws(() => relay.attach(new RecordingSink()), { code: 'too_many_connections' });
	sessions[0]?.close();
	sessions[0]?.close();
	assert.equal(relay.load.sessions, 1);
	assert.equal(relay.refusal(), null);
	relay.close();
});

test('polls that wait are counted and refused beyond the limit', async () => {
	const { relay, poll, publish, rest } = createRelay();
	const polls = [poll('a'), poll('b')];
	await assert.rejects(poll('a'), { code: 'too_many_polls' });
	await rest();
	assert.equal(relay.load.waitingPolls, 2);
	assert.deepEqual(
		[...relay.waitingPollsPerTopic],
		[
			['a', 1],
			['b', 1],
		],
	);
	await publish('a', '1');
	await publish('b', '1');
	await Promise.all(polls);
	assert.equal(relay.load.waitingPolls, 0);
	relay.close();
});

test('what is published reaches whoever follows, and the gauges show it', async () => {
	const { relay, publish, clock } = createRelay();
	const sink = new RecordingSink();
	const session = relay.attach(sink);
	await session.subscribe(new Map([['a', 'last']]), () => {});
	const ids = await publish('a', '1', '2');
	assert.deepEqual(sink.ids(), ids.map(formatMessageId));
	assert.ok(relay.load.hotBytes > 0);
	clock.advance(601_000);
	assert.equal(relay.load.hotBytes, 0);
	relay.close();
});

test('a drain refuses subscribers, answers polls, sends subscribers away and waits for the publishes under way', async () => {
	const stored = deferred<void>();
	const { clock, relay, poll, rest } = createRelay({}, (store) =>
		overlay(store, {
			append: async (...call) => {
				await stored.promise;
				return store.append(...call);
			},
		}),
	);
	const sinks = [new RecordingSink(), new RecordingSink()];
	const sessions = sinks.map((sink) => relay.attach(sink));
	const polled = poll('a');
	const published = relay.publish([{ topic: 'a', entry: { ...message('1'), dedupe: null } }]);
	await rest();
	let drains = 0;
	const drained = [relay.drain(), relay.drain()].map((drain) => drain.then(() => drains++));
	assert.ok(relay.draining);
	for (const { drainedWith } of sinks) assert.ok(drainedWith !== null && drainedWith >= 0 && drainedWith <= 3000);
	assert.deepEqual((await polled).slices, []);
	const late = relay.publish([{ topic: 'b', entry: { ...message('1'), dedupe: null } }]);
	const latePoll = poll('a');
	clock.advance(0);
	assert.deepEqual((await latePoll).slices, []);
	assert.equal(relay.refusal()?.code, 'shutting_down');
	await rest();
	assert.equal(drains, 0);
	stored.resolve();
	assert.equal((await published)[0]?.status, 'appended');
	assert.equal((await late)[0]?.status, 'appended');
	await Promise.all(drained);
	for (const session of sessions) session.close();
	relay.close();
});

test('history: pages of the log in either order, oldest first within a page, without what has expired', async () => {
	const { relay, publish, clock, rest } = createRelay();
	const ids = await publish('a', '1', '2', '3', '4', '5');
	const expiring = relay.publish([
		{ topic: 'a', entry: { ...message('6', clock.nowMs() + 10), dedupe: null } },
		{ topic: 'a', entry: { ...message('7'), dedupe: null } },
	]);
	await rest();
	const [, seventh] = await expiring;
	assert.ok(seventh?.status === 'appended');
	clock.advance(10);
	const all = [...ids, seventh.id].map(formatMessageId);
	const page = async (order: HistoryRequest['order'], cursor: MessageId | null, messagesMax: number) =>
		idsOf(await relay.history('a', { order, cursor, messagesMax }));
	assert.deepEqual(await page('asc', null, 100), all);
	assert.deepEqual(await page('asc', ids[1] as MessageId, 2), all.slice(2, 4));
	assert.deepEqual(await page('asc', seventh.id, 2), []);
	assert.deepEqual(await page('desc', null, 3), all.slice(4));
	assert.deepEqual(await page('desc', ids[3] as MessageId, 2), all.slice(1, 3));
	assert.deepEqual(await page('desc', ids[0] as MessageId, 2), []);
	assert.equal(await relay.history('nowhere', { order: 'asc', cursor: null, messagesMax: 1 }), null);
	relay.close();
});

test('closing the relay stops its timers', () => {
	const { relay, clock } = createRelay();
	assert.ok(clock.timers > 0);
	relay.close();
	assert.equal(clock.timers, 0);
});
