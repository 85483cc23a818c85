/** What the tests of the Valkey store share: opening it on a server of the test. */

import type { TestContext } from 'node:test';
import { systemClock } from '../../src/ops/clock.ts';
import type { ServerOptions } from '../../src/stores/valkey/glide.ts';
import type { ServerDemands } from '../../src/stores/valkey/server-check.ts';
import { openValkeyStore, type ValkeyStore, type ValkeyStoreOptions } from '../../src/stores/valkey/store.ts';

export const NO_DEMANDS: ServerDemands = { durability: [], assumeDurability: null, allowEviction: false, replicas: 0 };

/** How a relay reaches a server that asks for nothing. */
export function serverAt(host: string, port: number, cluster = false): ServerOptions {
	return { addresses: [{ host, port }], cluster, tls: null, username: null, password: () => null, keyPrefix: '' };
}

export interface OpenedStore {
	readonly store: ValkeyStore;
	/** What an operator was told. */
	readonly warnings: readonly string[];
}

/** Opens a store that is closed after the test, if it has not been by then. */
export async function openStore(
	t: TestContext,
	server: ServerOptions,
	more: Partial<Pick<ValkeyStoreOptions, 'demands' | 'topicsMax' | 'clock' | 'timeFrom'>> = {},
): Promise<OpenedStore> {
	const warnings: string[] = [];
	const store = await openValkeyStore({
		server,
		demands: NO_DEMANDS,
		topicsMax: 1000,
		clock: systemClock,
		// A clock that a test moves is the one that counts.
		timeFrom: more.clock === undefined ? 'server' : 'clock',
		onWarning: (text, fields) => warnings.push(`${text} ${JSON.stringify(fields)}`),
		...more,
	});
	t.after(() => store.close());
	return { store, warnings };
}
