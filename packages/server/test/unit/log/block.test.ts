/** Blocks: what is packed reads back, wherever the packed run lies in memory; slices and positions against brute force. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import {
	type Block,
	firstIndexAfter,
	idAt,
	lastIdOf,
	type NewMessage,
	packMessages as pack,
	readBlock,
	sliceBlock,
	sliceBytes,
} from '../../../src/log/block.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const message = (payload: string, metadata: string | null = null, expiresAtMs = 0): NewMessage => ({
	payload: bytes(payload),
	metadata: metadata === null ? null : bytes(metadata),
	expiresAtMs,
});

const anyMessage: fc.Arbitrary<NewMessage> = fc.record({
	payload: fc.uint8Array({ maxLength: 40 }),
	metadata: fc.option(fc.uint8Array({ maxLength: 20 })),
	expiresAtMs: fc.oneof(fc.constant(0), fc.nat(), fc.constantFrom(1, 1_750_000_000_000, Number.MAX_SAFE_INTEGER, 0.5)),
});
const anyMessages = fc.array(anyMessage, { minLength: 1, maxLength: 30 });

function blockOf(messages: readonly NewMessage[], first: MessageId = { ms: 7, n: 3 }): Block {
	return { ...first, count: messages.length, packed: pack(messages) };
}

/** What a packed run holds, in plain arrays. */
function unpack(packed: Uint8Array) {
	const reader = readBlock(packed);
	return Array.from({ length: reader.count }, (_, i) => ({
		payload: [...reader.payload(i)],
		metadata: [...reader.metadata(i)],
		expiresAtMs: reader.expiresAtMs(i),
	}));
}

/** What {@link unpack} must give. */
function plain(messages: readonly NewMessage[]) {
	return messages.map(({ payload, metadata, expiresAtMs }) => ({
		payload: [...payload],
		metadata: [...(metadata ?? [])],
		expiresAtMs,
	}));
}

describe('packing a block', () => {
	test('any messages read back as they were', () => {
		fc.assert(fc.property(anyMessages, (messages) => assert.deepEqual(unpack(pack(messages)), plain(messages))));
	});

	test('a message without metadata and one with empty metadata both read as having none', () => {
		const packed = pack([message('1', null), message('2', ''), message('3', '{}'), message('', null), message('5', '{"a":1}')]);
		const reader = readBlock(packed);
		assert.deepEqual(
			[0, 1, 2, 3, 4].map((i) => Buffer.from(reader.metadata(i)).toString()),
			['', '', '{}', '', '{"a":1}'],
		);
		assert.deepEqual(
			[0, 1, 2, 3, 4].map((i) => Buffer.from(reader.payload(i)).toString()),
			['1', '2', '3', '', '5'],
		);
	});

	test('a block has expiries when one of its messages has one, and none otherwise', () => {
		const without = readBlock(pack([message('1'), message('2')]));
		assert.equal(without.expires, false);
		assert.equal(without.expiresAtMs(1), 0);
		const mixed = readBlock(pack([message('1'), message('2', null, 1_750_000_000_001), message('3')]));
		assert.equal(mixed.expires, true);
		assert.deepEqual([0, 1, 2].map(mixed.expiresAtMs), [0, 1_750_000_000_001, 0]);
	});

	test('a packed run fills a buffer of its own, so that the buffer can go to another thread', () => {
		fc.assert(
			fc.property(anyMessages, (messages) => {
				const packed = pack(messages);
				assert.deepEqual([packed.byteOffset, packed.byteLength], [0, packed.buffer.byteLength]);
			}),
		);
	});

	test('the messages are copied: their buffers may be used again', () => {
		const payload = bytes('"abc"');
		const packed = pack([{ payload, metadata: null, expiresAtMs: 0 }]);
		payload.fill(0);
		assert.equal(Buffer.from(readBlock(packed).payload(0)).toString(), '"abc"');
	});
});

describe('reading a packed run', () => {
	test('it may lie at any offset, in a plain array or in a Node Buffer', () => {
		fc.assert(
			fc.property(anyMessages, fc.nat(17), fc.boolean(), (messages, offset, inBuffer) => {
				const packed = pack(messages);
				const surroundings = new Uint8Array(offset + packed.byteLength + 5).fill(0xee);
				surroundings.set(packed, offset);
				const whole = inBuffer ? Buffer.from(surroundings.buffer) : surroundings;
				assert.deepEqual(unpack(whole.subarray(offset, offset + packed.byteLength)), plain(messages));
			}),
		);
	});

	test('an aligned run is read without copying it', () => {
		const packed = pack([message('"abc"', '{}')]);
		const reader = readBlock(packed);
		assert.equal(reader.payload(0).buffer, packed.buffer);
		assert.equal(reader.metadata(0).buffer, packed.buffer);
	});
});

describe('positions in a block', () => {
	test('its ids count from its first to its last', () => {
		const block = blockOf([message('1'), message('2'), message('3')], { ms: 5, n: 9 });
		assert.deepEqual(
			[0, 1, 2].map((i) => idAt(block, i)),
			[
				{ ms: 5, n: 9 },
				{ ms: 5, n: 10 },
				{ ms: 5, n: 11 },
			],
		);
		assert.deepEqual(lastIdOf(block), { ms: 5, n: 11 });
	});

	test('the first index after an id is what a search through all ids finds', () => {
		const part = fc.oneof(fc.nat(12), fc.constantFrom(0, Number.MAX_SAFE_INTEGER - 20, Number.MAX_SAFE_INTEGER));
		fc.assert(
			fc.property(fc.nat(12), fc.nat(12), fc.integer({ min: 1, max: 12 }), part, part, (ms, n, count, idMs, idN) => {
				const block: Block = { ms, n, count, packed: new Uint8Array(0) };
				const id = { ms: idMs, n: idN };
				const found = Array.from({ length: count }, (_, i) => i).find((i) => compareMessageIds(idAt(block, i), id) > 0);
				assert.equal(firstIndexAfter(block, id), found ?? count);
			}),
			{ numRuns: 2000 },
		);
	});
});

describe('a slice of a block', () => {
	const anyRange = anyMessages.chain((messages) =>
		fc
			.tuple(fc.nat(messages.length - 1), fc.nat(messages.length - 1))
			.map(([a, b]) => ({ messages, from: Math.min(a, b), to: Math.max(a, b) + 1 })),
	);

	test('has the messages of the range under their ids, in as many bytes as were announced', () => {
		fc.assert(
			fc.property(anyRange, fc.nat(9), ({ messages, from, to }, offset) => {
				const block = blockOf(messages);
				const surroundings = Buffer.alloc(offset + block.packed.byteLength);
				surroundings.set(block.packed, offset);
				for (const packed of [block.packed, surroundings.subarray(offset)]) {
					const slice = sliceBlock({ ...block, packed }, from, to);
					assert.deepEqual(unpack(slice.packed), plain(messages.slice(from, to)));
					assert.deepEqual([slice.ms, slice.n, slice.count], [block.ms, block.n + from, to - from]);
					assert.equal(slice.packed.byteLength, sliceBytes({ ...block, packed }, from, to));
				}
			}),
		);
	});

	test('of all of it is the block itself, a shorter one shares no memory with it', () => {
		const block = blockOf([message('"abc"'), message('"def"')]);
		assert.equal(sliceBlock(block, 0, 2), block);
		const slice = sliceBlock(block, 1, 2);
		block.packed.fill(0xff);
		assert.deepEqual(unpack(slice.packed), plain([message('"def"')]));
	});

	test('can be sliced again', () => {
		fc.assert(
			fc.property(anyRange, fc.nat(29), ({ messages, from, to }, at) => {
				const index = at % (to - from);
				const slice = sliceBlock(sliceBlock(blockOf(messages), from, to), index, index + 1);
				assert.deepEqual(unpack(slice.packed), plain(messages.slice(from + index, from + index + 1)));
				assert.equal(slice.n, 3 + from + index);
			}),
		);
	});
});
