/** Nodes of another version are told by the names of their connections. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientNameOf, lowestOf, NODE_LEVEL } from '../../../src/stores/valkey/nodes.ts';

const line = (name: string) => `id=3 addr=127.0.0.1:50000 laddr=127.0.0.1:6379 fd=8 name=${name} age=1 idle=0 flags=N db=0`;
const OWN = line(clientNameOf(''));

test('a node whose name has no level is from before there were levels', () => {
	assert.equal(lowestOf([[OWN, line('pulsar-relay')].join('\n')], ''), 1);
	assert.equal(lowestOf([OWN, line('pulsar-relay')], ''), 1, 'also on another primary of a Cluster');
});

test('nodes with a prefix of their own keys, newer nodes and other programs do not count', () => {
	const others = [clientNameOf('staging:'), `pulsar-relay/${NODE_LEVEL + 1}/`, 'pulsar-relay-exporter', 'x-pulsar-relay', ''];
	assert.equal(lowestOf([[OWN, ...others.map(line)].join('\n')], ''), NODE_LEVEL);
	assert.equal(lowestOf([[line('pulsar-relay'), line('pulsar-relay/1/staging:')].join('\n')], 'staging:'), 1);
	assert.equal(lowestOf([line('pulsar-relay')], 'staging:'), NODE_LEVEL, 'nodes from before know no prefix');
});
