/** A slot of a Cluster in the middle of its move to another server, which takes as long as its keys are large. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { valkeyUnavailable } from '../support/valkey.ts';
import { startCluster } from '../support/valkey-cluster.ts';
import { appendOne, entries, entry } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { openNode, toldTo, until } from './valkey-node.ts';

const skip = valkeyUnavailable() ?? false;

test('a topic whose slot is moving takes messages and gives them, but while half of it has moved', { skip }, async (t) => {
	const cluster = await startCluster();
	t.after(() => cluster.stop());
	const [first] = cluster.primaries;
	assert.ok(first !== undefined);
	const { store, subscribe } = await openNode(t, serverAt(first.host, first.port, true));
	await store.append('moving', entries(3));
	const sink = await subscribe('moving', { ms: 0, n: 0 });
	const slot = await cluster.slotOf('topic:moving:stream');
	const from = await cluster.ownerOf(slot);
	const to = cluster.primaries.find((one) => one !== from) ?? first;
	const [fromId, toId] = await Promise.all([from.cli('CLUSTER', 'MYID'), to.cli('CLUSTER', 'MYID')]);
	const move = (key: string) => from.cli('MIGRATE', to.host, String(to.port), '', '0', '5000', 'KEYS', key);
	await to.cli('CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', fromId);
	await from.cli('CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', toId);
	await appendOne(store, 'moving', entry('3'));
	await move('topic:moving:stream');
	await assert.rejects(store.append('moving', [entry('lost')]), /is moving/);
	await move('{topic:moving:stream}:meta');
	await appendOne(store, 'moving', entry('4'));
	await to.cli('CLUSTER', 'SETSLOT', String(slot), 'NODE', toId);
	await from.cli('CLUSTER', 'SETSLOT', String(slot), 'NODE', toId);
	await appendOne(store, 'moving', entry('5'));
	await until(() => sink.told.length >= 6, 'told');
	assert.deepEqual(toldTo(sink), ['0', '1', '2', '3', '4', '5']);
	assert.equal(store.health().status, 'ok');
});
