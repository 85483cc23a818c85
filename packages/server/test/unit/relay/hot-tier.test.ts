/** The hot tier: what it holds, what it lets go, and that what it holds is what readers are given. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { compareMessageIds, formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import type { HotBlock } from '../../../src/relay/hot-block.ts';
import { HotTier, type HotTierLimits, Ring } from '../../../src/relay/hot-tier.ts';
import { TopicLog } from '../../../src/relay/topic-log.ts';
import { hotBlock, messagesIn } from './support/blocks.ts';
import { settled } from './support/turns.ts';

const UNLIMITED: HotTierLimits = { retentionMs: 1e12, bytesMax: 1e12, messagesPerTopicMax: 1e12 };

/** The times in the ids of what a ring holds. */
function held(ring: Ring): number[] {
	return ring.blocks.slice(ring.head).map((block) => (block as HotBlock).ms);
}

test('a topic keeps its newest blocks, by count', () => {
	const tier = new HotTier({ ...UNLIMITED, messagesPerTopicMax: 10 });
	const ring = new Ring(ZERO_ID);
	const other = new Ring(ZERO_ID);
	tier.add(other, hotBlock(1, 10), 0);
	for (let ms = 1; ms <= 5; ms++) tier.add(ring, hotBlock(ms, 4), 0);
	assert.deepEqual(held(ring), [4, 5], 'a block is in whole or not at all');
	assert.deepEqual(ring.floor, { ms: 3, n: 3 });
	assert.equal(ring.messages, 8);
	tier.add(ring, hotBlock(6, 11), 0);
	assert.deepEqual(held(ring), [], 'a block that is too large by itself does not stay either');
	assert.deepEqual(ring.floor, { ms: 6, n: 10 });
	assert.deepEqual(held(other), [1], 'another topic has its own count');
});

test('a topic knows which messages it holds, and the one before them', () => {
	const tier = new HotTier({ ...UNLIMITED, messagesPerTopicMax: 8 });
	const ring = new Ring(ZERO_ID);
	assert.equal(ring.has(ZERO_ID), true);
	assert.equal(ring.has({ ms: 1, n: 0 }), false);
	for (const ms of [1, 3, 5]) tier.add(ring, hotBlock(ms, 4), 0);
	const has = (ms: number) => [0, 1, 2, 3, 4].filter((n) => ring.has({ ms, n }));
	assert.deepEqual([0, 1, 2, 3, 4, 5, 6].map(has), [[], [3], [], [0, 1, 2, 3], [], [0, 1, 2, 3], []]);
});

test('all topics share the byte budget, the oldest arrival leaves first', () => {
	const cost = hotBlock(1, 1).costBytes;
	const tier = new HotTier({ ...UNLIMITED, bytesMax: 4 * cost });
	const [a, b] = [new Ring(ZERO_ID), new Ring(ZERO_ID)];
	tier.add(a, hotBlock(1, 1), 0);
	for (let ms = 2; ms <= 4; ms++) tier.add(b, hotBlock(ms, 1), 0);
	assert.deepEqual([held(a), held(b)], [[1], [2, 3, 4]]);
	tier.add(b, hotBlock(5, 1), 0);
	assert.deepEqual([held(a), held(b)], [[], [2, 3, 4, 5]]);
	tier.add(a, hotBlock(6, 1), 0);
	assert.deepEqual([held(a), held(b)], [[6], [3, 4, 5]]);
	assert.equal(tier.bytes, 4 * cost);
});

test('a block leaves by age, to the millisecond', () => {
	const tier = new HotTier({ ...UNLIMITED, retentionMs: 100 });
	const [a, b] = [new Ring(ZERO_ID), new Ring(ZERO_ID)];
	tier.add(a, hotBlock(1, 1), 1000);
	tier.add(b, hotBlock(2, 1), 1040);
	tier.add(a, hotBlock(3, 1), 1050);
	tier.expire(1099);
	assert.deepEqual([held(a), held(b)], [[1, 3], [2]]);
	tier.expire(1100);
	assert.deepEqual([held(a), held(b)], [[3], [2]]);
	tier.expire(1145);
	assert.deepEqual([held(a), held(b)], [[3], []]);
	tier.expire(1150);
	assert.equal(tier.bytes, 0);
});

test('trimming removes the blocks that are wholly gone and keeps the one that the floor cuts', () => {
	const tier = new HotTier(UNLIMITED);
	const ring = new Ring(ZERO_ID);
	for (let ms = 1; ms <= 3; ms++) tier.add(ring, hotBlock(ms, 3), 0);
	tier.trim(ring, { ms: 2, n: 1 });
	assert.deepEqual(held(ring), [2, 3]);
	assert.deepEqual(ring.floor, { ms: 1, n: 2 });
	tier.trim(ring, { ms: 2, n: 2 });
	assert.deepEqual(held(ring), [3]);
	tier.trim(ring, { ms: 9, n: 0 });
	assert.equal(tier.bytes, 0);
});

test('what is added, evicted, trimmed, reset and expired adds up, and the budget returns to zero', () => {
	const operation = fc.oneof(
		{
			weight: 6,
			arbitrary: fc.record({ kind: fc.constant('add' as const), ring: fc.nat(2), count: fc.integer({ min: 1, max: 6 }) }),
		},
		{ weight: 1, arbitrary: fc.record({ kind: fc.constant('trim' as const), ring: fc.nat(2), back: fc.nat(5) }) },
		{ weight: 1, arbitrary: fc.record({ kind: fc.constant('reset' as const), ring: fc.nat(2) }) },
		{ weight: 1, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.nat(60) }) },
	);
	const limits = fc.record({
		retentionMs: fc.constantFrom(50, 1e12),
		bytesMax: fc.constantFrom(0, 3000, 20_000, 1e12),
		messagesPerTopicMax: fc.constantFrom(1, 10, 1e12),
	});
	fc.assert(
		fc.property(limits, fc.array(operation, { maxLength: 200, size: 'max' }), (limits, operations) => {
			const tier = new HotTier(limits);
			const rings = [0, 1, 2].map(() => new Ring(ZERO_ID));
			let ms = 0;
			let nowMs = 0;
			for (const operation of operations) {
				if (operation.kind === 'wait') {
					nowMs += operation.ms;
					tier.expire(nowMs);
					continue;
				}
				const ring = rings[operation.ring] as Ring;
				if (operation.kind === 'add') tier.add(ring, hotBlock(++ms, operation.count), nowMs);
				else if (operation.kind === 'trim') tier.trim(ring, { ms: ms - operation.back, n: 1 });
				else tier.reset(ring, { ms: ++ms, n: 0 });
				let bytes = 0;
				for (const one of rings) {
					const blocks = one.blocks.slice(one.head) as HotBlock[];
					assert.equal(
						one.messages,
						blocks.reduce((sum, block) => sum + block.count, 0),
					);
					assert.ok(one.messages <= limits.messagesPerTopicMax);
					assert.equal(one.empty, blocks.length === 0);
					const [first] = blocks;
					assert.ok(first === undefined || compareMessageIds(one.floor, { ms: first.ms, n: first.n }) < 0);
					for (const block of blocks) bytes += block.costBytes;
				}
				assert.equal(tier.bytes, bytes);
				assert.ok(bytes <= limits.bytesMax);
			}
			for (const ring of rings) tier.reset(ring, ZERO_ID);
			assert.equal(tier.bytes, 0);
		}),
		{ numRuns: 200 },
	);
});

/** A topic with blocks of random sizes, offered up to somewhere. */
const filledTopic = fc.record({
	blocks: fc.array(fc.record({ ms: fc.nat(2), count: fc.integer({ min: 1, max: 5 }), length: fc.nat(300) }), { maxLength: 30 }),
	hotTier: fc.record({
		retentionMs: fc.constant(1e12),
		bytesMax: fc.constantFrom(2000, 8000, 1e12),
		messagesPerTopicMax: fc.constantFrom(3, 20, 1e12),
	}),
	offered: fc.nat(200),
	cursor: fc.nat(200),
	messagesMax: fc.constantFrom(1, 2, 7, 1000),
	bytesMax: fc.constantFrom(1, 200, 1000, 1e9),
});

test('a covered cursor is given just the messages after it, up to what is offered, within the limits', () => {
	fc.assert(
		fc.property(filledTopic, ({ blocks, hotTier, ...given }) => {
			const topic = new TopicLog('t', ZERO_ID, ZERO_ID);
			const tier = new HotTier(hotTier);
			const all: { id: MessageId; bytes: number }[] = [];
			let next = { ms: 1, n: 0 };
			for (const { ms, count, length } of blocks) {
				next = ms === 0 ? next : { ms: next.ms + ms, n: 0 };
				const block = hotBlock(next.ms, count, { n: next.n, length });
				const { ends } = block.frames();
				for (let i = 0; i < count; i++) {
					all.push({ id: { ms: next.ms, n: next.n + i }, bytes: (ends[i] as number) - (i === 0 ? 0 : (ends[i - 1] as number)) });
				}
				next = { ms: next.ms, n: next.n + count };
				tier.add(topic.ring, block, 0);
			}
			const ids = [ZERO_ID, ...all.map(({ id }) => id)];
			topic.tip = ids.at(-1) as MessageId;
			topic.offered = ids[given.offered % ids.length] as MessageId;
			const cursor = ids[given.cursor % ids.length] as MessageId;
			const kept = topic.ring.blocks.slice(topic.ring.head).reduce((sum, block) => sum + (block as HotBlock).count, 0);
			assert.deepEqual(topic.ring.floor, ids[all.length - kept], 'the ring covers what it holds');
			assert.equal(topic.covers(cursor), compareMessageIds(cursor, topic.ring.floor) >= 0);
			if (!topic.covers(cursor)) return;
			const expected: string[] = [];
			let bytes = 0;
			for (const one of all) {
				if (compareMessageIds(one.id, cursor) <= 0) continue;
				if (compareMessageIds(one.id, topic.offered) > 0 || expected.length === given.messagesMax) break;
				if (expected.length > 0 && bytes + one.bytes > given.bytesMax) break;
				bytes += one.bytes;
				expected.push(formatMessageId(one.id));
			}
			const slice = topic.sliceAfter(cursor, given, 0);
			assert.deepEqual(
				messagesIn(slice).map(({ id }) => id),
				expected,
			);
			assert.equal(slice === null ? null : formatMessageId(slice.last), expected.at(-1) ?? null);
			assert.equal(slice?.websocket().byteLength ?? 0, bytes);
		}),
		{ numRuns: 1000 },
	);
});

test('readers that lag in step share a slice, until something is offered', () => {
	const topic = new TopicLog('t', ZERO_ID, ZERO_ID);
	const tier = new HotTier(UNLIMITED);
	tier.add(topic.ring, hotBlock(1, 3), 0);
	topic.offered = { ms: 1, n: 1 };
	const slice = topic.sliceAfter(ZERO_ID, UNLIMITED_SLICE, 0);
	assert.equal(topic.sliceAfter(ZERO_ID, UNLIMITED_SLICE, 99), slice);
	topic.offered = { ms: 1, n: 2 };
	assert.notEqual(topic.sliceAfter(ZERO_ID, UNLIMITED_SLICE, 99), slice);
	assert.equal(topic.sliceAfter({ ms: 1, n: 2 }, UNLIMITED_SLICE, 99), null);
});

const UNLIMITED_SLICE = { messagesMax: 1e9, bytesMax: 1e9 };

/** Makes the collector run now. */
function collectGarbage(): void {
	setFlagsFromString('--expose-gc');
	(runInNewContext('gc') as () => void)();
}

test('a block that has left is let go at once, whatever made it leave', async () => {
	const tier = new HotTier({ ...UNLIMITED, messagesPerTopicMax: 3 });
	const quiet = new Ring(ZERO_ID);
	const [busy, trimmed, reset] = [new Ring(ZERO_ID), new Ring(ZERO_ID), new Ring(ZERO_ID)];
	const left: WeakRef<HotBlock>[] = [];
	const add = (ring: Ring, ms: number) => {
		const block = hotBlock(ms, 1, { length: 1000 });
		left.push(new WeakRef(block));
		tier.add(ring, block, 0);
	};
	// The oldest of all stays: whatever came after it and has left is in the middle of the order of arrival.
	tier.add(quiet, hotBlock(1, 1), 0);
	for (let ms = 2; ms < 3000; ms++) for (const ring of [busy, trimmed, reset]) add(ring, ms);
	tier.trim(trimmed, { ms: 2998, n: 0 });
	tier.reset(reset, { ms: 3000, n: 0 });
	// References of this turn's own count as alive until it is over.
	await settled();
	collectGarbage();
	const alive = left.filter((ref) => ref.deref() !== undefined).length;
	const inRings = [busy, trimmed, reset].reduce((sum, ring) => sum + held(ring).length, 0);
	assert.equal(alive, inRings);
	assert.equal(inRings, 4);
	assert.ok(busy.blocks.length < 2000, 'nor do the slots pile up');
});
