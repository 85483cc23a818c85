/** Losses that a store has written down: told where they are, once, whatever else the store says or holds back (I4). */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Loss } from '../../../src/log/losses.ts';
import type { Store } from '../../../src/ports/store.ts';
import { messagesIn } from './support/blocks.ts';
import { createFixture, overlay, texts } from './support/fixture.ts';
import type { RecordingSink } from './support/recording-sink.ts';

/** What a peer was told: payloads, and gaps as `gap <reason> <from>..<to>` by the n of their ids. */
function toldTo({ told }: RecordingSink): string[] {
	return told.map((one) => {
		if (one.kind === 'message') return String((JSON.parse(one.json) as { payload: unknown }).payload);
		if (one.kind === 'gap') return `gap ${one.gap.reason} ${one.gap.from?.n}..${one.gap.to.n}`;
		return one.kind;
	});
}

/** A hub over a store that has written down losses, with all of its log in the store or in memory. */
function setUp(hotTier: { readonly bytesMax?: number } = {}) {
	let losses: readonly Loss[] = [];
	let removed: MessageId | null = null;
	const fixture = createFixture({
		hotTier,
		wrap: (store) =>
			overlay(store, {
				watch: async (topic) => ({ ...(await store.watch(topic)), losses }),
				read: async (...request) => {
					const page = await store.read(...request);
					const blocks = page.blocks.filter(({ ms, n }) => ms !== removed?.ms || n !== removed.n);
					return { ...page, blocks, losses };
				},
			} satisfies Partial<Store>),
	});
	return {
		...fixture,
		async lose(loss: Loss): Promise<void> {
			losses = [loss];
			fixture.hub.repositioned('t', { ...(await fixture.store.watch('t')), intact: true, losses });
		},
		/** Somebody takes a message out of the log by hand. */
		remove(id: MessageId): void {
			removed = id;
		},
	};
}

test('a position that says nothing of losses takes none back: whoever is there is not told again, whoever was away is told', async () => {
	const { append, clock, follow, hub, lose, rest, store } = setUp({ bytesMax: 0 });
	const [first] = (await append('t', '0')) as [MessageId];
	clock.advance(5);
	const live = await follow('t', 'last');
	await lose({ after: first, to: { ms: first.ms, n: 7 } });
	await append('t', '1');
	await rest();
	// What a large run is announced by.
	const { exists, tip, floor } = await store.watch('t');
	hub.repositioned('t', { exists, tip, floor, intact: true });
	clock.advance(5);
	await append('t', '2');
	const away = await follow('t', first);
	await rest();
	assert.deepEqual(toldTo(live.sink), ['gap ahead 0..7', '1', '2']);
	assert.deepEqual(toldTo(away.sink), ['gap ahead 0..7', '1', '2']);
});

test('a reader comes by a loss also when the message before it was removed by hand', async () => {
	const { append, clock, follow, lose, observer, poll, remove, rest } = setUp({ bytesMax: 0 });
	const [first] = (await append('t', '0')) as [MessageId];
	clock.advance(5);
	const [second] = (await append('t', '1')) as [MessageId];
	clock.advance(5);
	await lose({ after: second, to: { ms: second.ms, n: 7 } });
	const [third] = (await append('t', '2')) as [MessageId];
	await rest();
	remove(second);
	const { reads } = observer.counts;
	const away = await follow('t', first);
	await rest();
	assert.deepEqual(toldTo(away.sink), ['gap ahead 0..7', '2']);
	assert.ok(observer.counts.reads - reads <= 2);
	const ids: string[] = [];
	for (let cursor = first; compareMessageIds(cursor, third) < 0; ) {
		const answer = await poll({ t: cursor }, { waitMs: 0 });
		ids.push(...answer.slices.flatMap(messagesIn).map(({ id }) => id));
		assert.notDeepEqual(answer.cursors.get('t'), cursor, 'it gets on');
		cursor = answer.cursors.get('t') as MessageId;
	}
	assert.deepEqual(ids, texts([third]));
});
