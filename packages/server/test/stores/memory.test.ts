/**
 * The memory store keeps the store contract. It is also the model of the suite, so its cases are what keeps the model honest.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemoryStore } from '../../src/stores/memory/store.ts';
import { createFakeClock } from '../support/clock.ts';
import { storeSuite } from './store-suite.ts';
import { appendedTo, entries, entry, openTrial, type StoreUnderTest } from './trial.ts';

const memory: StoreUnderTest = {
	name: 'memory',
	durability: 'memory',
	isModel: true,
	open: ({ clock, topicsMax = 1000 }) => Promise.resolve(createMemoryStore({ clock, topicsMax })),
};

storeSuite(memory);

test('a call becomes blocks of up to 1,024 messages and 1 MiB, a larger message a block alone', async () => {
	const { store, heard } = await openTrial(memory, { clock: createFakeClock() });
	const counts = (topic: string) => appendedTo(heard, topic).map(({ block }) => block.count);
	await store.append('many', entries(2049));
	assert.deepEqual(counts('many'), [1024, 1024, 1]);
	const half = entry(`"${'x'.repeat(512 * 1024 - 2)}"`);
	const large = entry(`"${'x'.repeat(3 * 1024 * 1024)}"`);
	await store.append('large', [half, half, half, entry('1'), large, entry('2'), { ...half, metadata: half.payload }, entry('3')]);
	assert.deepEqual(counts('large'), [2, 2, 1, 1, 1, 1]);
	await store.close();
});
