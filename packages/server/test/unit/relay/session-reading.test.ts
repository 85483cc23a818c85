/** Sessions: where readers start, what comes first, and how those who are behind are served. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Gap } from '@pulsar-relay/protocol/frames';
import { compareMessageIds, formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Start } from '../../../src/relay/start.ts';
import { answeringReads, createFixture, deferred, overlay, type Reader, texts } from './support/fixture.ts';
import type { Told } from './support/recording-sink.ts';

const NOTHING_HOT = { bytesMax: 0 };

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

test('a log that is found to be shorter while another topic is looked for is told of, and read on from its end', async () => {
	const turn = deferred<void>();
	const shorter: { tip: MessageId | null } = { tip: null };
	let looks = 0;
	const { append, attach, hub, rest } = createFixture({
		wrap: (store) =>
			overlay(store, {
				watch: async (topic, seen) => {
					// The second look at the other topic, for a cursor beyond its end.
					if (topic === 'b' && ++looks === 2) await turn.promise;
					const { tip } = shorter;
					const position = await store.watch(topic, seen);
					if (topic === 'b' || tip === null) return position;
					return { ...position, tip, intact: compareMessageIds(seen ?? tip, tip) <= 0 };
				},
			}),
	});
	const ids = await append('a', '1', '2', '3');
	const [first, , last] = ids as [MessageId, MessageId, MessageId];
	const { sink, session } = attach();
	let cursors: ReadonlyMap<string, MessageId> = new Map();
	const starts = new Map<string, Start>([
		['a', last],
		['b', { ms: 1, n: 0 }],
	]);
	const subscribed = session.subscribe(starts, (told) => {
		cursors = told;
	});
	await rest();
	shorter.tip = first;
	hub.repositioned('a', { exists: true, tip: first, floor: { ms: 0, n: 0 }, intact: false });
	turn.resolve();
	await rest();
	await subscribed;
	assert.deepEqual(cursors.get('a'), first);
	assert.deepEqual(
		sink.told.flatMap((told) => (told.kind === 'gap' && told.gap.topic === 'a' ? [told.gap] : [])),
		[{ topic: 'a', reason: 'ahead', from: last, to: first }],
	);
});

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
	while (sink.slices.length < 10) {
		await rest();
		sink.resume();
		sink.stall();
	}
	assert.deepEqual(
		sink.slices.slice(0, 10).map(({ topic }) => topic),
		['a', ...topics, ...topics, ...topics],
	);
});
