/** The records on Valkey keep their contract, on one server and on a Cluster, also when they are opened again. */

import { after, before, describe, test } from 'node:test';
import type { Records } from '../../src/ports/records.ts';
import { openValkeyStore, type ValkeyStore } from '../../src/stores/valkey/store.ts';
import type { FakeClock } from '../support/clock.ts';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { startCluster, type ValkeyCluster } from '../support/valkey-cluster.ts';
import { recordsSuite } from './records-suite.ts';
import { NO_DEMANDS, serverAt } from './valkey-fixture.ts';

/** Opens records whose store closes with them. */
async function openOn({ host, port }: Valkey, cluster: boolean, clock: FakeClock): Promise<Records> {
	const store: ValkeyStore = await openValkeyStore({
		server: serverAt(host, port, cluster),
		demands: NO_DEMANDS,
		topicsMax: 1000,
		clock,
		timeFrom: 'clock',
		onWarning: (text, fields) => {
			throw new Error(`${text} ${JSON.stringify(fields)}`);
		},
	});
	const records = await store.openRecords();
	const close = records.close.bind(records);
	records.close = async () => {
		await close();
		await store.close();
	};
	return records;
}

function suiteOnOneServer(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());
	recordsSuite({
		name: 'valkey records',
		open: async (clock) => {
			await valkey.cli('FLUSHALL');
			return openOn(valkey, false, clock);
		},
		reopen: (_closed, clock) => openOn(valkey, false, clock),
	});
}

function suiteOnCluster(): void {
	let cluster: ValkeyCluster;
	const first = () => cluster.primaries[0] as Valkey;
	before(async () => {
		cluster = await startCluster();
	});
	after(() => cluster.stop());
	recordsSuite({
		name: 'valkey cluster records',
		open: async (clock) => {
			await Promise.all(cluster.primaries.map((primary) => primary.cli('FLUSHALL')));
			return openOn(first(), true, clock);
		},
		reopen: (_closed, clock) => openOn(first(), true, clock),
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) {
	describe('one server', suiteOnOneServer);
	describe('a Cluster of three', suiteOnCluster);
} else test('the contract of records, on valkey', { skip: unavailable }, () => {});
