/** Reading: order, limits, paging in both directions, positions. */

import assert from 'node:assert/strict';
import { formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import { type Block, idAt, lastIdOf } from '../../../src/log/block.ts';
import type { ReadLimits } from '../../../src/log/page.ts';
import type { Page, Store } from '../../../src/ports/store.ts';
import {
	appendOne,
	entries,
	entry,
	idsOf,
	messagesOf,
	positionOf,
	readAll,
	type StoreCase,
	trimAll,
	UNLIMITED,
} from '../trial.ts';

/** Appends calls of many sizes, some within one millisecond, some of more than one block; gives all ids. */
async function fill(store: Store, topic: string, clock: { advance(ms: number): void }): Promise<MessageId[]> {
	const ids: MessageId[] = [];
	for (const count of [1, 3, 1, 1100, 2, 40, 1]) {
		ids.push(...idsOf(await store.append(topic, entries(count, ids.length))));
		if (count !== 3) clock.advance(1);
	}
	return ids;
}

/** What a page holds, with the checks that every page must pass. */
function idsIn(page: Page, { messagesMax, bytesMax }: ReadLimits): string[] {
	const messages = messagesOf(page.blocks);
	assert.ok(messages.length <= messagesMax, `${messages.length} messages of at most ${messagesMax}`);
	const bytes = messages.reduce(
		(sum, { payload, metadata }) => sum + Buffer.byteLength(payload) + Buffer.byteLength(metadata),
		0,
	);
	assert.ok(bytes <= bytesMax || messages.length === 1, `${bytes} bytes of at most ${bytesMax}, in ${messages.length} messages`);
	return messages.map(({ id }) => id);
}

function firstOf(blocks: readonly Block[]): MessageId | null {
	const [block] = blocks;
	return block === undefined ? null : idAt(block, 0);
}

/** Reads a topic from one position to its end, page by page. */
async function pageForwards(store: Store, topic: string, after: MessageId, limits: ReadLimits): Promise<string[]> {
	const ids: string[] = [];
	for (let cursor = after; ; ) {
		const page = await store.read(topic, cursor, limits);
		const last = page.blocks.at(-1);
		if (last === undefined) return ids;
		ids.push(...idsIn(page, limits));
		cursor = lastIdOf(last);
	}
}

/** Reads a topic from before one position to its start, page by page. */
async function pageBackwards(store: Store, topic: string, before: MessageId | null, limits: ReadLimits): Promise<string[]> {
	const ids: string[] = [];
	for (let cursor = before; ; ) {
		const page = await store.readBefore(topic, cursor, limits);
		if (page.blocks.length === 0) return ids;
		ids.unshift(...idsIn(page, limits));
		cursor = firstOf(page.blocks);
	}
}

const anyLimits = fc.record({
	messagesMax: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 10, max: 2000 })),
	bytesMax: fc.oneof(fc.integer({ min: 200, max: 4000 }), fc.constant(UNLIMITED.bytesMax)),
});

export const readCases: readonly StoreCase[] = [
	{
		title: 'read: of an unknown topic gives no blocks and the position 0-0',
		async run({ store }) {
			const nowhere = { exists: false, tip: ZERO_ID, floor: ZERO_ID, blocks: [] };
			assert.deepEqual(await store.read('a', ZERO_ID, UNLIMITED), nowhere);
			assert.deepEqual(await store.read('a', { ms: 5, n: 0 }, UNLIMITED), nowhere);
			assert.deepEqual(await store.readBefore('a', null, UNLIMITED), nowhere);
			assert.equal(await store.getTopic('a'), undefined, 'and does not create it');
		},
	},
	{
		title: 'read: after any message gives exactly the messages after it, also from within a block',
		async run({ store, clock }) {
			const ids = await fill(store, 'a', clock);
			const all = ids.map(formatMessageId);
			assert.deepEqual(idsIn(await store.read('a', ZERO_ID, UNLIMITED), UNLIMITED), all);
			for (const at of [0, 1, 2, 3, 4, 5, 6, 500, 1027, 1028, 1029, 1103, 1105, 1106, 1146, 1147]) {
				const page = await store.read('a', ids[at] ?? ZERO_ID, UNLIMITED);
				assert.deepEqual(idsIn(page, UNLIMITED), all.slice(at + 1), `after message ${at}`);
			}
		},
	},
	{
		title: 'read: after an id that no message has gives the messages above it',
		async run({ store, clock }) {
			const first = await appendOne(store, 'a', entry('1'));
			clock.advance(10);
			const second = await appendOne(store, 'a', entry('2'));
			const idsAfter = async (id: MessageId) => idsIn(await store.read('a', id, UNLIMITED), UNLIMITED);
			assert.deepEqual(await idsAfter({ ms: first.ms - 1, n: 999 }), [first, second].map(formatMessageId));
			assert.deepEqual(await idsAfter({ ms: first.ms, n: 999 }), [formatMessageId(second)]);
			assert.deepEqual(await idsAfter({ ms: first.ms + 5, n: 0 }), [formatMessageId(second)]);
		},
	},
	{
		title: 'read: at and ahead of the tip gives no blocks and the position, also for the largest id',
		async run({ store }) {
			const tip = await appendOne(store, 'a', entry('1'));
			const largest = { ms: Number.MAX_SAFE_INTEGER, n: Number.MAX_SAFE_INTEGER };
			for (const after of [tip, { ms: tip.ms, n: tip.n + 1 }, { ms: tip.ms + 1, n: 0 }, largest]) {
				assert.deepEqual(await store.read('a', after, UNLIMITED), { exists: true, tip, floor: ZERO_ID, blocks: [] });
			}
			assert.deepEqual(idsIn(await store.readBefore('a', largest, UNLIMITED), UNLIMITED), [formatMessageId(tip)]);
		},
	},
	{
		title: 'read: never more messages than asked for, at least one however few bytes are asked for',
		async run({ store, clock }) {
			const ids = (await fill(store, 'a', clock)).map(formatMessageId);
			const limits = { messagesMax: 7, bytesMax: UNLIMITED.bytesMax };
			assert.deepEqual(idsIn(await store.read('a', ZERO_ID, limits), limits), ids.slice(0, 7));
			assert.deepEqual(idsIn(await store.readBefore('a', null, limits), limits), ids.slice(-7));
			const oneByte = { messagesMax: 100, bytesMax: 1 };
			assert.deepEqual(idsIn(await store.read('a', ZERO_ID, oneByte), oneByte), ids.slice(0, 1));
			assert.deepEqual(idsIn(await store.readBefore('a', null, oneByte), oneByte), ids.slice(-1));
			const nothing = { messagesMax: 0, bytesMax: 0 };
			assert.deepEqual(messagesOf((await store.read('a', ZERO_ID, nothing)).blocks).length, 1);
			assert.deepEqual(messagesOf((await store.readBefore('a', null, nothing)).blocks).length, 1);
		},
	},
	{
		title: 'read: a page ends before the message that would take it over its bytes',
		async run({ store, clock }) {
			const texts = ['a', 'b', 'c', 'd'].map((letter) => `"${letter.repeat(1000)}"`);
			for (const text of texts) {
				await store.append('a', [entry(text)]);
				clock.advance(1);
			}
			await store.append('a', [entry(`"${'e'.repeat(100_000)}"`), entry('6')]);
			clock.advance(1);
			await store.append('a', [entry('7')]);
			const ids = (await readAll(store, 'a')).map(({ id }) => id);
			const limits = { messagesMax: 100, bytesMax: 2500 };
			assert.deepEqual(idsIn(await store.read('a', ZERO_ID, limits), limits), ids.slice(0, 2));
			assert.deepEqual(await pageForwards(store, 'a', ZERO_ID, limits), ids);
			assert.deepEqual(await pageBackwards(store, 'a', null, limits), ids);
		},
	},
	{
		title: 'read: pages of any size add up to the log, from any message, in both directions',
		async run({ store, clock }) {
			const ids = await fill(store, 'a', clock);
			await fill(store, 'b', clock);
			const all = ids.map(formatMessageId);
			await fc.assert(
				fc.asyncProperty(anyLimits, fc.nat(ids.length - 1), async (limits, at) => {
					// Tiny pages over the whole log would take long and show nothing new.
					const from = limits.messagesMax < 10 ? Math.max(at, ids.length - 100) : at;
					const to = limits.messagesMax < 10 ? Math.min(at, 100) : at;
					assert.deepEqual(await pageForwards(store, 'a', ids[from] ?? ZERO_ID, limits), all.slice(from + 1));
					assert.deepEqual(await pageBackwards(store, 'a', ids[to] ?? null, limits), all.slice(0, to));
				}),
				{ numRuns: 40 },
			);
		},
	},
	{
		title: 'read before: gives the newest messages before an id, oldest first',
		async run({ store, clock }) {
			const ids = await fill(store, 'a', clock);
			const all = ids.map(formatMessageId);
			const limits = { messagesMax: 10, bytesMax: UNLIMITED.bytesMax };
			for (const at of [0, 1, 4, 10, 600, 1105, 1147]) {
				const page = await store.readBefore('a', ids[at] ?? null, limits);
				assert.deepEqual(idsIn(page, limits), all.slice(Math.max(0, at - 10), at), `before message ${at}`);
			}
			assert.deepEqual(idsIn(await store.readBefore('a', ZERO_ID, limits), limits), []);
			assert.deepEqual(idsIn(await store.readBefore('a', null, limits), limits), all.slice(-10));
		},
	},
	{
		title: 'read: every page says where the topic stands',
		async run({ store, clock }) {
			const ids = idsOf(await store.append('a', entries(10)));
			await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 4 });
			const position = { exists: true, tip: formatMessageId(ids[9] ?? ZERO_ID), floor: formatMessageId(ids[5] ?? ZERO_ID) };
			const one = { messagesMax: 1, bytesMax: 1 };
			assert.deepEqual(positionOf(await store.read('a', ids[7] ?? ZERO_ID, one)), position);
			assert.deepEqual(positionOf(await store.readBefore('a', null, one)), position);
			assert.deepEqual(positionOf(await store.watch('a')), position);
			const topic = await store.getTopic('a');
			assert.ok(topic !== undefined);
			assert.deepEqual(positionOf(topic), position);
		},
	},
	{
		title: 'read: from below the floor starts after the floor',
		async run({ store, clock }) {
			const ids = idsOf(await store.append('a', entries(10)));
			await trimAll(store, { nowMs: clock.nowMs(), defaultMaxMessages: 4 });
			const kept = ids.slice(6).map(formatMessageId);
			for (const after of [ZERO_ID, ids[0] ?? ZERO_ID, ids[5] ?? ZERO_ID]) {
				assert.deepEqual(idsIn(await store.read('a', after, UNLIMITED), UNLIMITED), kept);
			}
			assert.deepEqual(idsIn(await store.readBefore('a', ids[6] ?? null, UNLIMITED), UNLIMITED), []);
			const two = { messagesMax: 2, bytesMax: UNLIMITED.bytesMax };
			assert.deepEqual(
				idsIn(await store.readBefore('a', ids[7] ?? null, two), two),
				kept.slice(0, 1),
				'a page ends at the floor',
			);
		},
	},
	{
		title: 'read: topics do not mix, also when their names start alike',
		async run({ store }) {
			for (const topic of ['a', 'a.b', 'A', 'a-b', 'ab']) await store.append(topic, [entry(`"${topic}"`)]);
			for (const topic of ['a', 'a.b', 'A', 'a-b', 'ab']) {
				assert.deepEqual(
					(await readAll(store, topic)).map(({ payload }) => payload),
					[`"${topic}"`],
				);
			}
		},
	},
	{
		title: 'read: what was answered to be appended is read, while other appends are under way',
		async run({ store }) {
			const under: Promise<unknown>[] = [];
			for (let i = 0; i < 50; i++) {
				under.push(store.append('b', [entry('0')]));
				const id = await appendOne(store, 'a', entry(String(i)));
				under.push(store.append('a', [entry('"later"')]));
				const page = await store.readBefore('a', { ms: id.ms, n: id.n + 1 }, { messagesMax: 1, bytesMax: 1 });
				assert.deepEqual(
					messagesOf(page.blocks).map(({ id, payload }) => [id, payload]),
					[[formatMessageId(id), String(i)]],
				);
			}
			await Promise.all(under);
		},
	},
];
