/** Slices: the same messages in every wire form, without those that have expired. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HotBlock } from '../../../src/relay/hot-block.ts';
import { rangesAfter, Slice } from '../../../src/relay/slice.ts';
import { blockOf, message, messagesIn } from './support/blocks.ts';
import { decodeTextFrames, EventStream } from './support/decode.ts';

const NOW_MS = 1000;
const UNLIMITED = { messagesMax: 1e9, bytesMax: 1e9 };

/** What a slice holds, by each way to get at it. */
function formsOf(slice: Slice) {
	const parts: Uint8Array[] = [];
	slice.forEachEvent((id, data) => parts.push(data, Buffer.from(`id: ${id.ms}-${id.n}\n\n`)));
	assert.deepEqual(Buffer.concat(parts), Buffer.from(slice.sse()));
	return {
		objects: messagesIn(slice),
		frames: decodeTextFrames(slice.websocket()),
		events: new EventStream().take(slice.sse()).map(({ lastEventId, data }) => ({ id: lastEventId, json: data })),
	};
}

const aMessage = fc.record({
	payload: fc.oneof(fc.json(), fc.constantFrom('[\n1,\n\n2]', '"\u2028"', `"${'x'.repeat(70_000)}"`)),
	metadata: fc.constantFrom(null, '{"k":"v"}'),
	expiresAtMs: fc.constantFrom(0, 0, NOW_MS - 1, NOW_MS, NOW_MS + 1),
});

test('all forms of a slice hold the same messages, in order, and none that has expired', () => {
	fc.assert(
		fc.property(fc.array(fc.array(aMessage, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 5 }), (runs) => {
			const blocks = runs.map(
				(run, i) =>
					new HotBlock(
						't',
						blockOf(
							i + 1,
							i,
							run.map(({ payload, metadata, expiresAtMs }) => message(payload, expiresAtMs, metadata)),
						),
					),
			);
			const ranges = blocks.map((block) => ({ block, from: 0, to: block.count }));
			const slice = new Slice('t', ranges, NOW_MS);
			const expected = runs.flatMap((run, i) =>
				run.flatMap(({ payload, metadata, expiresAtMs }, j) => {
					if (expiresAtMs !== 0 && expiresAtMs <= NOW_MS) return [];
					const id = `${i + 1}-${i + j}`;
					const timestamp = `1970-01-01T00:00:00.00${i + 1}Z`;
					return [
						{
							id,
							json: `{"type":"message","message_id":"${id}","topic":"t","timestamp":"${timestamp}","payload":${payload},"metadata":${metadata ?? '{}'}}`,
						},
					];
				}),
			);
			const { objects, frames, events } = formsOf(slice);
			assert.deepEqual(objects, expected);
			assert.deepEqual(
				frames,
				expected.map(({ json }) => json),
			);
			assert.deepEqual(events, expected);
			assert.equal(slice.count, expected.length);
			assert.equal(slice.bytes, slice.websocket().byteLength);
			assert.deepEqual(slice.last, blocks.at(-1)?.last, 'a reader of it stands after the expired ones, too');
			// Names on both sides of the lengths at which the header of a frame grows.
			for (const name of ['o/t', `owner/${'n'.repeat(50)}`, `owner/${'n'.repeat(255)}`]) {
				const renamed = formsOf(slice.named(name));
				const objectsAs = expected.map(({ id, json }) => ({ id, json: json.replace('"topic":"t"', `"topic":"${name}"`) }));
				assert.deepEqual(renamed.objects, objectsAs);
				assert.deepEqual(
					renamed.frames,
					objectsAs.map(({ json }) => json),
				);
				assert.deepEqual(renamed.events, objectsAs);
				assert.equal(slice.named(name), slice.named(name), 'and once for all that know the topic by it');
			}
			assert.equal(slice.named('t'), slice);
		}),
		{ numRuns: 200 },
	);
});

test('a form is put together once', () => {
	const block = new HotBlock('t', blockOf(1, 0, [message('1'), message('2', 1), message('3')]));
	const slice = new Slice('t', [{ block, from: 0, to: 3 }], NOW_MS);
	assert.equal(slice.websocket(), slice.websocket());
	assert.equal(slice.sse(), slice.sse());
});

test('a slice of one run is the bytes of its block, not a copy', () => {
	const block = new HotBlock('t', blockOf(1, 0, [message('1'), message('2'), message('3')]));
	const slice = new Slice('t', [{ block, from: 1, to: 3 }], NOW_MS);
	assert.equal(slice.websocket().buffer, block.frames().bytes.buffer);
});

test('ranges: what lies after one id and not beyond another', () => {
	const blocks = [
		new HotBlock('t', blockOf(1, 5, [message('1'), message('2'), message('3')])),
		new HotBlock('t', blockOf(2, 0, [message('4')])),
		new HotBlock('t', blockOf(2, 1, [message('5'), message('6')])),
	];
	const idsOf = (after: readonly [number, number], until: readonly [number, number], start = 0) => {
		const [ms, n] = after;
		const ranges = rangesAfter(blocks, start, { ms, n }, { ms: until[0], n: until[1] }, UNLIMITED);
		return ranges.flatMap(({ block, from, to }) =>
			Array.from({ length: to - from }, (_, i) => `${block.ms}-${block.n + from + i}`),
		);
	};
	assert.deepEqual(idsOf([0, 0], [9, 0]), ['1-5', '1-6', '1-7', '2-0', '2-1', '2-2']);
	assert.deepEqual(idsOf([1, 4], [1, 5]), ['1-5'], 'ids below the first of a block');
	assert.deepEqual(idsOf([1, 5], [2, 1]), ['1-6', '1-7', '2-0', '2-1']);
	assert.deepEqual(idsOf([1, 9], [2, 0]), ['2-0'], 'ids above the last of a block');
	assert.deepEqual(idsOf([2, 2], [9, 0]), []);
	assert.deepEqual(idsOf([2, 0], [1, 6]), [], 'an end before the start');
	assert.deepEqual(idsOf([0, 0], [1, 4]), []);
	assert.deepEqual(idsOf([0, 0], [9, 0], 2), ['2-1', '2-2']);
});
