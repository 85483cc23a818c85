/** The Valkey store keeps the store contract, on a real server and on a Cluster. */

import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import type { Store } from '../../src/ports/store.ts';
import { openValkeyStore } from '../../src/stores/valkey/store.ts';
import { storeSuite } from './store-suite.ts';
import type { StoreOptions } from './trial.ts';
const server = { addresses: [{ host: '127.0.0.1', port: 7920 }], cluster: false, tls: null, username: null, password: null };
const demands = { durability: 'memory' as const, assumeDurability: null, allowEviction: false, replicas: 0 };
async function openAt({ clock, topicsMax = 1000 }: StoreOptions): Promise<Store> {
	return openValkeyStore({ server, demands, topicsMax, clock, onWarning: (text, fields) => console.log(text, fields) });
}
import { execFileSync } from 'node:child_process';
storeSuite({
	name: 'valkey',
	durability: 'process',
	open: async (options) => { execFileSync('valkey-cli', ['-p', '7920', 'FLUSHALL']); return openAt(options); },
	reopen: (_closed, options) => openAt(options),
});
