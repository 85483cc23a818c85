/** The embedded store keeps the store contract, also across closing and opening its data directory again. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { Store } from '../../src/ports/store.ts';
import { openEmbeddedStore } from '../../src/stores/embedded/store.ts';
import { storeSuite } from './store-suite.ts';
import type { StoreOptions } from './trial.ts';

const dataDirs = new Map<Store, string>();

after(() => Promise.all([...new Set(dataDirs.values())].map((dataDir) => rm(dataDir, { recursive: true }))));

async function openAt(dataDir: string, { clock, topicsMax = 1000 }: StoreOptions): Promise<Store> {
	const store = await openEmbeddedStore({ dataDir, clock, topicsMax });
	dataDirs.set(store, dataDir);
	return store;
}

storeSuite({
	name: 'embedded',
	durability: 'disk',
	open: async (options) => openAt(await mkdtemp(join(tmpdir(), 'pulsar-store-')), options),
	reopen: (closed, options) => {
		const dataDir = dataDirs.get(closed);
		assert.ok(dataDir !== undefined);
		return openAt(dataDir, options);
	},
});
