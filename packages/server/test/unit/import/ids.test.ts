/** Which id an imported message gets: the one it had where the store's rule allows it, and never an earlier one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareMessageIds, type MessageId, nextMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import { planId } from '../../../src/import/ids.ts';

/** Ids of a stream, strictly increasing: several in most milliseconds, with holes. */
const streams = fc
	.array(fc.record({ ms: fc.integer({ min: 0, max: 2 }), n: fc.integer({ min: 0, max: 3 }) }), { minLength: 1, maxLength: 30 })
	.map((steps) => {
		let last: MessageId = { ms: 1000, n: 0 };
		return steps.map(({ ms, n }) => {
			last = ms === 0 ? { ms: last.ms, n: last.n + n + 1 } : { ms: last.ms + ms, n };
			return last;
		});
	});

test('ids are never earlier than they were, strictly increase, and are what the store gives at the planned time', () => {
	fc.assert(
		fc.property(streams, (stream) => {
			let tip = ZERO_ID;
			for (const had of stream) {
				const { atMs, id } = planId(tip, had);
				assert(compareMessageIds(id, had) >= 0);
				assert(compareMessageIds(id, tip) > 0);
				assert.deepEqual(id, nextMessageId(tip, atMs));
				tip = id;
			}
		}),
	);
});

test('a stream whose milliseconds count from 0 without a hole keeps its ids', () => {
	fc.assert(
		fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 4 }))), (groups) => {
			let [ms, tip] = [1000, ZERO_ID];
			for (const [step, count] of groups) {
				ms += step;
				for (let n = 0; n < count; n++) {
					tip = planId(tip, { ms, n }).id;
					assert.deepEqual(tip, { ms, n });
				}
			}
		}),
	);
});

test('behind what the topic has meanwhile, a message comes after it', () => {
	assert.deepEqual(planId({ ms: 5000, n: 7 }, { ms: 1000, n: 0 }).id, { ms: 5000, n: 8 });
});
