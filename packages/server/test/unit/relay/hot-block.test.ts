/** Blocks in the hot tier: one encoding for everybody, and an honest account of what it costs. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HotBlock } from '../../../src/relay/hot-block.ts';
import { blockOf, hotBlock, message } from './support/blocks.ts';

test('a block is encoded once', () => {
	const block = hotBlock(1, 3);
	assert.equal(block.frames(), block.frames());
});

test('a block costs the budget at least what it holds once it is encoded, whatever the topic is called', () => {
	for (const topic of ['t', 't'.repeat(255)]) {
		for (const count of [1, 1000]) {
			for (const payload of ['1', `"${'x'.repeat(2000)}"`]) {
				const ms = Number.MAX_SAFE_INTEGER;
				const block = new HotBlock(
					topic,
					blockOf(
						ms,
						ms - count,
						Array.from({ length: count }, () => message(payload, 1, '{"a":"b"}')),
					),
				);
				const { bytes, starts, ends } = block.frames();
				const heldBytes = bytes.byteLength + starts.byteLength + ends.byteLength + (block.expiries?.byteLength ?? 0);
				assert.ok(block.costBytes >= heldBytes, `${topic.length} ${count} ${payload.length}: ${block.costBytes} < ${heldBytes}`);
			}
		}
	}
});

test('a message is past its time from the millisecond of its expiry on', () => {
	const block = new HotBlock('t', blockOf(1, 0, [message('1'), message('2', 100), message('3', 101)]));
	assert.deepEqual(
		[0, 1, 2].map((index) => block.expiredAt(index, 100)),
		[false, true, false],
	);
	assert.equal(block.liveCount(0, 3, 99), 3);
	assert.equal(block.liveCount(0, 3, 100), 2);
	assert.equal(block.liveCount(1, 3, 1e15), 0);
});
