/** The Valkey store keeps the store contract, on one server and on a Cluster, also when it is opened again. */

import { after, before, describe, test } from 'node:test';
import { openValkeyStore } from '../../src/stores/valkey/store.ts';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { startCluster, type ValkeyCluster } from '../support/valkey-cluster.ts';
import { storeSuite } from './store-suite.ts';
import type { StoreOptions } from './trial.ts';
import { NO_DEMANDS, serverAt } from './valkey-fixture.ts';

function openOn({ host, port }: Valkey, cluster: boolean, { clock, topicsMax = 1000 }: StoreOptions) {
	return openValkeyStore({
		server: serverAt(host, port, cluster),
		demands: NO_DEMANDS,
		topicsMax,
		clock,
		timeFrom: 'clock',
		onWarning: (text, fields) => {
			// Cases that set the clock back leave just that.
			if (text.startsWith('the ids of a topic are ahead of the clock')) return;
			throw new Error(`${text} ${JSON.stringify(fields)}`);
		},
	});
}

function suiteOnOneServer(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey({ settings: { appendonly: 'yes' } });
	});
	after(() => valkey.stop());
	storeSuite({
		name: 'valkey',
		durability: 'everysec',
		open: async (options) => {
			await valkey.cli('FLUSHALL');
			return openOn(valkey, false, options);
		},
		reopen: (_closed, options) => openOn(valkey, false, options),
	});
}

function suiteOnCluster(): void {
	let cluster: ValkeyCluster;
	const first = () => cluster.primaries[0] as Valkey;
	before(async () => {
		cluster = await startCluster();
	});
	after(() => cluster.stop());
	storeSuite({
		name: 'valkey cluster',
		durability: 'memory',
		keysPerTopic: true,
		open: async (options) => {
			await Promise.all(cluster.primaries.map((primary) => primary.cli('FLUSHALL')));
			return openOn(first(), true, options);
		},
		reopen: (_closed, options) => openOn(first(), true, options),
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) {
	describe('one server', suiteOnOneServer);
	describe('a Cluster of three', suiteOnCluster);
} else test('the store contract, on the valkey store', { skip: unavailable }, () => {});
