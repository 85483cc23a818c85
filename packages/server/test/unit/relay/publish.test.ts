/** Publishing: one append per topic and turn, and every outcome back where it belongs. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import type { AppendEntry, AppendOutcome, DedupeKey, Store } from '../../../src/ports/store.ts';
import { ENTRY_COST_BYTES, type Publication, Publisher, type PublishOutcome } from '../../../src/relay/publish.ts';
import { createMemoryStore } from '../../../src/stores/memory/store.ts';
import { message } from './support/blocks.ts';
import { createCountingObserver } from './support/counting-observer.ts';
import { deferred, overlay } from './support/fixture.ts';
import { createTurnClock, settled } from './support/turns.ts';

interface Call {
	readonly topic: string;
	readonly payloads: readonly string[];
}

interface PublisherSetup {
	readonly queueBytesMax?: number;
	/** Instead of the memory store's. */
	readonly append?: Store['append'];
	/** A topic whose appends fail. */
	readonly broken?: string;
}

function createPublisher({ queueBytesMax = 1e9, append, broken }: PublisherSetup = {}) {
	const clock = createTurnClock();
	const observer = createCountingObserver();
	const memory = createMemoryStore({ topicsMax: 1000, clock });
	const calls: Call[] = [];
	const store = overlay(memory, {
		append: (topic, entries) => {
			calls.push({ topic, payloads: entries.map(({ payload }) => Buffer.from(payload).toString()) });
			if (topic === broken) return Promise.reject(new RelayError('storage_unavailable', 'on purpose'));
			return append === undefined ? memory.append(topic, entries) : append(topic, entries);
		},
	});
	const publisher = new Publisher({ store, clock, observer, queueBytesMax });
	return { clock, observer, memory, calls, publisher };
}

function publication(topic: string, payload: string, dedupe: DedupeKey | null = null): Publication {
	return { topic, entry: { ...message(payload), dedupe } };
}

function statusesOf(outcomes: readonly PublishOutcome[]): string[] {
	return outcomes.map(({ status }) => status);
}

/** Answers appends when the test says so. */
function slowAppends() {
	const waiting: {
		readonly entries: readonly AppendEntry[];
		resolve(outcomes: readonly AppendOutcome[]): void;
		reject(error: Error): void;
	}[] = [];
	const append: Store['append'] = (_topic, entries) => {
		const { promise, resolve, reject } = deferred<readonly AppendOutcome[]>();
		waiting.push({ entries, resolve, reject });
		return promise;
	};
	let n = 0;
	const settle = (index: number) => {
		const call = waiting[index];
		call?.resolve(call.entries.map(() => ({ status: 'appended', id: { ms: 1, n: n++ } })));
	};
	return { append, waiting, settle };
}

test('what is published in one turn is one append per topic, in order', async () => {
	const { publisher, clock, calls, observer } = createPublisher();
	const published = [
		publisher.publish([publication('a', '1'), publication('b', '2'), publication('a', '3')]),
		publisher.publish([publication('a', '4')]),
	];
	assert.deepEqual(calls, [], 'not before the turn is over');
	assert.equal(clock.waiting, 1, 'which is waited for once');
	clock.turn(9);
	assert.deepEqual(calls, [
		{ topic: 'a', payloads: ['1', '3', '4'] },
		{ topic: 'b', payloads: ['2'] },
	]);
	published.push(publisher.publish([publication('a', '5')]));
	clock.turn(9);
	assert.deepEqual(calls[2], { topic: 'a', payloads: ['5'] });
	assert.deepEqual((await Promise.all(published)).map(statusesOf), [Array(3).fill('appended'), ['appended'], ['appended']]);
	assert.deepEqual([observer.counts.received, observer.counts.receivedBytes, observer.counts.appends], [5, 5, 3]);
});

test('each outcome comes back to its place, whatever is published together', async () => {
	const topic = fc.constantFrom('a', 'b', 'c');
	const request = fc.array(topic, { minLength: 1, maxLength: 6 });
	await fc.assert(
		fc.asyncProperty(fc.array(request, { maxLength: 10 }), fc.option(topic, { nil: 'none' }), async (requests, broken) => {
			const { publisher, clock, memory } = createPublisher({ broken });
			const published = requests.map((topics, i) =>
				publisher.publish(topics.map((topic, place) => publication(topic, JSON.stringify(`${i}.${place}`)))),
			);
			clock.turn(9);
			const answers = await Promise.all(published);
			for (const [i, topics] of requests.entries()) {
				for (const [place, topic] of topics.entries()) {
					const outcome = answers[i]?.[place];
					if (topic === broken) {
						assert.equal(outcome?.status === 'failed' && outcome.error.code, 'storage_unavailable');
						continue;
					}
					assert.ok(outcome?.status === 'appended');
					const { ms, n } = outcome.id;
					const page = await memory.read(topic, { ms, n: n - 1 }, { messagesMax: 1, bytesMax: 1e6 });
					const stored = Buffer.from(page.blocks[0]?.packed ?? []).toString();
					assert.ok(stored.includes(`"${i}.${place}"`), `${i}.${place} in ${stored}`);
				}
			}
			assert.equal(publisher.queuedBytes, 0);
		}),
		{ numRuns: 100 },
	);
});

test('messages of one publisher keep their order within a topic over many turns', async () => {
	const { publisher, clock } = createPublisher();
	const published: Promise<readonly PublishOutcome[]>[] = [];
	for (let i = 0; i < 50; i++) {
		published.push(publisher.publish([publication('a', String(i))]));
		if (i % 7 === 0) clock.turn(9);
	}
	clock.turn(9);
	const ids = (await Promise.all(published))
		.flat()
		.map((outcome) => (outcome.status === 'appended' ? outcome.id : { ms: 0, n: 0 }));
	for (const [i, id] of ids.slice(1).entries()) assert.ok(compareMessageIds(ids[i] ?? id, id) < 0);
});

test('publishing nothing is done at once', async () => {
	const { publisher, calls, clock } = createPublisher();
	assert.deepEqual(await publisher.publish([]), []);
	await publisher.idle();
	clock.turn(9);
	assert.deepEqual(calls, []);
});

test('what waits for the store is bounded: beyond it a publish is refused and nothing of it stored', async () => {
	const { append, settle, waiting } = slowAppends();
	const { publisher, clock } = createPublisher({ queueBytesMax: 100 + 2 * ENTRY_COST_BYTES, append });
	const first = publisher.publish([publication('a', 'x'.repeat(60))]);
	assert.equal(publisher.queuedBytes, 60 + ENTRY_COST_BYTES);
	const two = [publication('b', 'y'), publication('a', 'y')];
	await assert.rejects(publisher.publish(two), { code: 'overloaded' }, 'small ones count for more than their bytes');
	await assert.rejects(publisher.publish([publication('a', 'y'.repeat(41))]), { code: 'overloaded' });
	const second = publisher.publish([publication('a', 'z'.repeat(40))]);
	await assert.rejects(publisher.publish([publication('a', '1')]), { code: 'overloaded' });
	clock.turn(9);
	assert.equal(publisher.queuedBytes, 100 + 2 * ENTRY_COST_BYTES, 'until the store has answered');
	assert.deepEqual(
		waiting.map(({ entries }) => entries.length),
		[2],
	);
	settle(0);
	await Promise.all([first, second]);
	assert.equal(publisher.queuedBytes, 0);
});

test('a request that is larger than the bound waits alone', async () => {
	const { append, settle } = slowAppends();
	const { publisher, clock } = createPublisher({ queueBytesMax: 100, append });
	const large = publisher.publish([publication('a', 'x'.repeat(1000))]);
	await assert.rejects(publisher.publish([publication('a', '1')]), { code: 'overloaded' });
	clock.turn(9);
	settle(0);
	assert.deepEqual(statusesOf(await large), ['appended']);
});

test('a failing store fails what it was given, and nothing stays queued', async () => {
	const thrown = new Error('not one of ours');
	const { publisher, clock, observer } = createPublisher({ append: () => Promise.reject(thrown) });
	const published = publisher.publish([publication('a', '1')]);
	clock.turn(9);
	const [outcome] = await published;
	assert.ok(outcome?.status === 'failed');
	assert.deepEqual([outcome.error.code, outcome.error.cause], ['internal_error', thrown]);
	assert.deepEqual([publisher.queuedBytes, observer.counts.appendsFailed], [0, 1]);
	await publisher.idle();
});

test('a key under way is refused to another request, shared by a retry of the same, and free again afterwards', async () => {
	const { publisher, clock, memory } = createPublisher();
	const keyed = (fingerprint: string, payload: string) =>
		publisher.publish([publication('a', payload, { key: 'k', item: 0, fingerprint })]);
	const first = keyed('f', '1');
	const retry = keyed('f', '1');
	assert.deepEqual(statusesOf(await keyed('g', '2')), ['conflict'], 'by the key under way');
	clock.turn(9);
	const [[one], [two]] = await Promise.all([first, retry]);
	assert.equal(one?.status, 'appended');
	assert.deepEqual(two, { ...one, status: 'duplicate' });
	const later = keyed('g', '2');
	clock.turn(9);
	assert.deepEqual(statusesOf(await later), ['conflict'], 'by the record in the store');
	assert.equal(memory.stats().messages, 1);
});

test('of messages with keys of their own, a key under way refuses only its message', async () => {
	const { publisher, clock } = createPublisher();
	const keyed = (key: string, fingerprint: string) => publication('a', '1', { key, item: 0, fingerprint });
	const first = publisher.publish([keyed('k1', 'f')]);
	const second = publisher.publish([keyed('k0', 'g'), keyed('k1', 'g'), keyed('k2', 'g')]);
	clock.turn(9);
	assert.deepEqual(statusesOf(await first), ['appended']);
	assert.deepEqual(statusesOf(await second), ['appended', 'conflict', 'appended']);
});

test('a key is free again after its request failed or was refused', async () => {
	const { append, waiting } = slowAppends();
	const { publisher, clock } = createPublisher({ queueBytesMax: 10 + 2 * ENTRY_COST_BYTES, append });
	const keyed = (fingerprint: string, payload: string) =>
		publisher.publish([publication('a', payload, { key: 'k', item: 0, fingerprint })]);
	const plain = publisher.publish([publication('a', '1')]);
	await assert.rejects(keyed('f', '1234567890'), { code: 'overloaded' });
	const failing = keyed('g', '2');
	clock.turn(9);
	waiting[0]?.reject(new RelayError('storage_unavailable', 'on purpose'));
	await Promise.all([plain, failing]);
	const again = keyed('h', '3');
	clock.turn(9);
	waiting[1]?.resolve([{ status: 'appended', id: { ms: 1, n: 0 } }]);
	assert.deepEqual(statusesOf(await again), ['appended']);
});

test('idle: when every publish is settled, for whoever waits for it', async () => {
	const { append, settle } = slowAppends();
	const { publisher, clock } = createPublisher({ append });
	await publisher.idle();
	void publisher.publish([publication('a', '1')]);
	let idle = 0;
	const waits = [publisher.idle(), publisher.idle()].map((wait) => wait.then(() => idle++));
	clock.turn(9);
	void publisher.publish([publication('a', '2')]);
	clock.turn(9);
	settle(0);
	await settled();
	assert.equal(idle, 0);
	settle(1);
	await settled();
	assert.equal(idle, 2);
	await Promise.all(waits);
	await publisher.idle();
});

test('no account has more waiting than it leaves to others, and each gets some of the queue', async () => {
	const { append, waiting } = slowAppends();
	const one = 1000 + ENTRY_COST_BYTES;
	const { publisher, clock } = createPublisher({ queueBytesMax: 16 * one, append });
	/** Publishes until it is refused; gives how many were taken. */
	const fill = async (owner: string) => {
		for (let count = 0; ; count++) {
			const refused = await Promise.race([
				publisher.publish([publication(`${owner}/t`, 'x'.repeat(1000))]).then(
					() => null,
					(error: unknown) => error,
				),
				settled().then(() => null),
			]);
			if (refused === null) continue;
			assert.equal(refused instanceof RelayError && refused.code, 'overloaded');
			return count;
		}
	};
	assert.equal(await fill('flood'), 8);
	assert.equal(await fill('victim'), 4);
	assert.equal(await fill('third'), 2);
	assert.equal(await fill('flood'), 0);
	clock.turn(clock.waiting);
	for (const { entries, resolve } of waiting.splice(0))
		resolve(entries.map((_, n) => ({ status: 'appended', id: { ms: 1, n } })));
	await settled();
	assert.equal(publisher.queuedBytes, 0);
	assert.equal(await fill('flood'), 8, 'what was stored makes room');
});

test('without accounts the whole queue is for all topics', async () => {
	const { append } = slowAppends();
	const one = 1000 + ENTRY_COST_BYTES;
	const { publisher } = createPublisher({ queueBytesMax: 4 * one, append });
	for (let i = 0; i < 4; i++) void publisher.publish([publication('t', 'x'.repeat(1000))]);
	await assert.rejects(publisher.publish([publication('t', 'x')]), { code: 'overloaded' });
	assert.equal(publisher.queuedBytes, 4 * one);
});
