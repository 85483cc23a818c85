/** A store that says that a topic stands elsewhere: what it lost is told once to everybody, what was missed is read (I4, I10). */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareMessageIds, formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Page, Store } from '../../../src/ports/store.ts';
import { createMemoryStore } from '../../../src/stores/memory/store.ts';
import { messagesIn } from './support/blocks.ts';
import { createFixture, deferred, overlay, texts } from './support/fixture.ts';
import type { RecordingSink } from './support/recording-sink.ts';

/** What a peer was told: payloads, and gaps as `gap <reason> <from>..<to>` by the n of their ids. */
function toldTo({ told }: RecordingSink): string[] {
	return told.map((one) => {
		if (one.kind === 'message') return String((JSON.parse(one.json) as { payload: unknown }).payload);
		if (one.kind === 'gap') return `gap ${one.gap.reason} ${one.gap.from?.n}..${one.gap.to.n}`;
		return one.kind;
	});
}

/** A hub over a store that can lose the end of its logs, and whose reads and announcements the test can hold back. */
function setUp() {
	let current: Store;
	let asked: (() => void)[] | null = null;
	let deaf = false;
	const fixture = createFixture({
		hotTier: { bytesMax: 0 },
		wrap: (first) => {
			current = first;
			return new Proxy(first, {
				get: (_, property) => {
					if (property === 'read') return read;
					const method: unknown = Reflect.get(current, property);
					return typeof method === 'function' ? method.bind(current) : method;
				},
			});
		},
	});
	async function read(...request: Parameters<Store['read']>): Promise<Page> {
		// What is read is what is there when the question comes.
		const page = await current.read(...request);
		if (asked !== null) {
			const turn = deferred<void>();
			asked.push(() => turn.resolve());
			await turn.promise;
		}
		return page;
	}
	const listen = () =>
		current.listen({
			appended: (...block) => deaf || fixture.hub.appended(...block),
			trimmed: (...floor) => fixture.hub.trimmed(...floor),
			deleted: (...end) => fixture.hub.deleted(...end),
			repositioned: (...position) => fixture.hub.repositioned(...position),
		});
	const say = async (intact: boolean) => {
		const { exists, tip, floor } = await current.read('t', { ms: 0, n: 0 }, { messagesMax: 1, bytesMax: 1 });
		fixture.hub.repositioned('t', { exists, tip, floor, intact });
	};
	return {
		...fixture,
		say,
		/** The store now has the first of its messages only, and says so. */
		async keep(payloads: readonly string[]) {
			current = createMemoryStore({ topicsMax: 10, clock: fixture.clock });
			if (payloads.length > 0) await fixture.append('t', ...payloads);
			listen();
			await say(false);
			fixture.clock.advance(1);
		},
		/** Appends without a word to the hub. */
		async appendUnheard(...payloads: string[]): Promise<MessageId[]> {
			deaf = true;
			const ids = await fixture.append('t', ...payloads);
			deaf = false;
			return ids;
		},
		/** From here on reads wait for what this gives. */
		holdReads(): (() => void)[] {
			asked = [];
			return asked;
		},
		releaseReads() {
			const held = asked ?? [];
			asked = null;
			for (const go of held) go();
		},
		listen,
	};
}

test('of a loss the live, the lagging and the reading are each told once, and go on from where the log is', async () => {
	const { append, follow, keep, rest, holdReads, releaseReads, listen } = setUp();
	listen();
	const ids = await append('t', '0', '1', '2', '3', '4');
	const live = await follow('t', 'last');
	const lagging = await follow('t', 'last', { bufferBytesMax: 1 });
	lagging.sink.stall();
	await append('t', '5');
	await rest();
	await append('t', '6');
	await rest();
	holdReads();
	const reading = await follow('t', ids[0] as MessageId);
	await rest();
	await keep(['0', '1', '2']);
	releaseReads();
	await rest();
	lagging.sink.resume();
	await append('t', '7');
	await rest();
	assert.deepEqual(toldTo(live.sink), ['5', '6', 'gap ahead 6..2', '7']);
	assert.deepEqual(toldTo(lagging.sink), ['5', 'gap ahead 5..2', '7'], 'from the last that it was sent');
	assert.deepEqual(toldTo(reading.sink), ['gap ahead 0..0', '1', '2', '7'], 'nothing of the log as it was');
});

test('of a loss of everything the gap goes to 0-0, and what is published then is delivered', async () => {
	const { append, follow, keep, rest, poll, listen } = setUp();
	listen();
	await append('t', '0', '1');
	const { sink } = await follow('t', 'last');
	const polled = poll({ t: 'last' });
	await rest();
	await keep([]);
	await append('t', '2');
	await rest();
	assert.deepEqual(toldTo(sink), ['gap ahead 1..0', '2']);
	const { gaps, cursors } = await polled;
	assert.deepEqual(
		gaps.map(({ reason, from, to }) => [reason, from?.n, formatMessageId(to)]),
		[['ahead', 1, '0-0']],
	);
	assert.equal(formatMessageId(cursors.get('t') as MessageId), '0-0');
	const next = await poll({ t: cursors.get('t') as MessageId });
	assert.deepEqual(next.gaps, [], 'told once');
	assert.equal(next.slices.length, 1);
});

test('a waiting poll is answered with the gap, and one whose cursor is still in the log with what follows it', async () => {
	const { append, keep, rest, poll, listen, holdReads, releaseReads } = setUp();
	listen();
	const ids = await append('t', '0', '1', '2', '3');
	const waiting = poll({ t: ids[3] as MessageId });
	holdReads();
	const reading = poll({ t: ids[0] as MessageId });
	await rest();
	await keep(['0', '1']);
	releaseReads();
	await rest();
	const answers = await Promise.all([waiting, reading]);
	assert.deepEqual(
		answers.map(({ gaps }) => gaps.map(({ reason, from, to }) => `${reason} ${from?.n}..${to.n}`)),
		[['ahead 3..1'], ['ahead 0..0']],
	);
	assert.deepEqual(
		answers[1]?.slices.flatMap((slice) => messagesIn(slice).map(({ id }) => id)),
		texts([ids[1] as MessageId]),
	);
});

test('a position ahead, with nothing lost, is read by whoever is live and wakes polls, without a gap', async () => {
	const { append, appendUnheard, follow, say, rest, poll, observer, listen } = setUp();
	listen();
	await append('t', '0');
	const live = await follow('t', 'last');
	const sse = await follow('t', 'last', { transport: 'sse' });
	const polled = poll({ t: 'last' });
	await rest();
	const missed = await appendUnheard('1', '2');
	await say(true);
	await rest();
	await say(true);
	await append('t', '3');
	await rest();
	assert.deepEqual(toldTo(live.sink), ['1', '2', '3']);
	assert.deepEqual(toldTo(sse.sink), ['1', '2', '3']);
	assert.deepEqual(
		(await polled).slices.flatMap((slice) => messagesIn(slice).map(({ id }) => id)),
		texts(missed),
	);
	assert.deepEqual(observer.counts.gaps, []);
});

/** A fixture whose store answers reads with `page` instead, once there is one. */
function answeringOnce() {
	let answer: Promise<Page> | null = null;
	const fixture = createFixture({
		hotTier: { bytesMax: 0 },
		wrap: (store) =>
			overlay(store, {
				read: (...request) => {
					const page = answer ?? store.read(...request);
					answer = null;
					return page;
				},
			}),
	});
	return {
		...fixture,
		answerNextRead(page: Promise<Page>) {
			answer = page;
		},
	};
}

test('a page without messages is a gap as far as the log went when it was read; what came meanwhile is delivered', async () => {
	const { append, follow, poll, rest, answerNextRead } = answeringOnce();
	const [first, second] = (await append('t', '0', '1')) as [MessageId, MessageId];
	const empty = { exists: true, tip: second, floor: { ms: 0, n: 0 }, blocks: [] };
	for (const read of ['subscriber', 'poll']) {
		const page = deferred<Page>();
		answerNextRead(page.promise);
		const reader = read === 'subscriber' ? await follow('t', first) : null;
		const polled = read === 'poll' ? poll({ t: first }) : null;
		await rest();
		const [third] = await append('t', '2');
		page.resolve(empty);
		await rest();
		if (reader !== null) {
			assert.deepEqual(toldTo(reader.sink), ['gap trimmed 0..1', '2']);
			reader.session.close();
		}
		const answer = await polled;
		if (answer == null) continue;
		assert.deepEqual(answer.gaps, [{ topic: 't', reason: 'trimmed', from: first, to: second }]);
		assert.equal(answer.hasMore, true);
		const { slices, gaps } = await poll({ t: answer.cursors.get('t') as MessageId });
		assert.equal(slices.flatMap(messagesIn).at(-1)?.id, texts([third as MessageId])[0]);
		assert.deepEqual(gaps, []);
	}
});

test('a log that ends before what was announced is not asked again and again: the store will say what became of it', async () => {
	const { append, follow, rest, answerNextRead, clock, observer } = answeringOnce();
	const [first, second] = (await append('t', '0', '1')) as [MessageId, MessageId];
	answerNextRead(Promise.resolve({ exists: true, tip: first, floor: { ms: 0, n: 0 }, blocks: [] }));
	const { sink } = await follow('t', first);
	await rest();
	await rest();
	assert.deepEqual(sink.told, []);
	assert.equal(observer.counts.reads, 1);
	clock.advance(500);
	await rest();
	assert.deepEqual(sink.ids(), texts([second]));
});

for (const [where, hotTier] of [
	['memory', {}],
	['the store', { bytesMax: 0 }],
] as const) {
	test(`a loss that is written down is a gap where it is, for subscribers and polls that read across it from ${where}`, async () => {
		const { append, clock, follow, hub, poll, rest, store } = createFixture({ hotTier });
		const [first, second] = (await append('t', '0', '1')) as [MessageId, MessageId];
		clock.advance(5);
		const live = await follow('t', 'last');
		const [third] = (await append('t', '2')) as [MessageId];
		await rest();
		const losses = [{ after: second, to: { ms: second.ms, n: second.n + 7 } }];
		const { exists, tip, floor } = await store.watch('t');
		for (let looks = 0; looks < 2; looks++) hub.repositioned('t', { exists, tip, floor, intact: true, losses });
		await rest();
		assert.deepEqual(toldTo(live.sink), ['2', 'gap ahead 0..0'], 'who has passed it is told late, once');
		for (const limits of [{}, { bufferBytesMax: 1 }]) {
			const away = await follow('t', first, limits);
			await rest();
			assert.deepEqual(toldTo(away.sink), ['1', 'gap ahead 1..8', '2']);
			const within = await follow('t', { ms: second.ms, n: second.n + 3 }, limits);
			await rest();
			assert.deepEqual(toldTo(within.sink), ['gap ahead 4..8', '2']);
			const told = await follow('t', losses[0]?.to as MessageId, limits);
			await rest();
			assert.deepEqual(toldTo(told.sink), ['2']);
		}
		const ids: string[] = [];
		const gaps: (readonly [MessageId | null, MessageId])[] = [];
		for (let cursor = first; compareMessageIds(cursor, third) < 0; ) {
			const answer = await poll({ t: cursor }, { messagesMax: 1 });
			ids.push(...answer.slices.flatMap(messagesIn).map(({ id }) => id));
			gaps.push(...answer.gaps.map(({ from, to }) => [from, to] as const));
			cursor = answer.cursors.get('t') as MessageId;
		}
		assert.deepEqual(ids, texts([second, third]));
		assert.deepEqual(gaps, [[second, losses[0]?.to]]);
		const large = await poll({ t: first });
		assert.deepEqual([large.slices.flatMap(messagesIn).map(({ id }) => id), large.gaps], [texts([second]), []]);
		assert.ok(large.hasMore, 'an answer ends before a gap, which stands before what it is about');
	});
}
