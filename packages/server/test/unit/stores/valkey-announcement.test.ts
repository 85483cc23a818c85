/** Announcements on a channel, which anybody who reaches the server can write to. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readBlock } from '../../../src/log/block.ts';
import { announcementOf, parseAnnouncement } from '../../../src/stores/valkey/announcement.ts';
import { blockOf, message } from '../relay/support/blocks.ts';

const { packed } = blockOf(5, 0, [message('1'), message('2', 9), message('3', 0, '{"a":"b"}')]);
const said = (line: string, body: Uint8Array = packed) => Buffer.concat([Buffer.from(`${line}\n`), body]);

function payloadsOf(message: Uint8Array): string[] | null {
	const announcement = parseAnnouncement(message);
	assert.ok(announcement?.kind === 'appended');
	const block = announcement.block();
	if (block === null) return null;
	const reader = readBlock(block.packed);
	return Array.from({ length: block.count }, (_, i) => String(Buffer.from(reader.payload(i))));
}

test('a run is unpacked with its ids', () => {
	assert.deepEqual(payloadsOf(said('a 4-0 1-0 5-0 5-2 ')), ['1', '2', '3']);
	const announcement = parseAnnouncement(said('a 4-0 1-0 5-0 5-2 '));
	assert.ok(announcement?.kind === 'appended');
	assert.deepEqual(
		[announcement.previous, announcement.floor, announcement.last],
		[
			{ ms: 4, n: 0 },
			{ ms: 1, n: 0 },
			{ ms: 5, n: 2 },
		],
	);
	assert.equal(announcement.block()?.ms, 5);
});

test('a block that is announced after the replicas have it reads as one that the script announces', () => {
	const block = { ms: 5, n: 7, count: 3, packed };
	const announcement = parseAnnouncement(announcementOf({ ms: 4, n: 0 }, { ms: 1, n: 0 }, block));
	assert.ok(announcement?.kind === 'appended');
	assert.deepEqual([announcement.previous, announcement.floor, announcement.last.n], [{ ms: 4, n: 0 }, { ms: 1, n: 0 }, 9]);
	assert.deepEqual(announcement.block(), block);
	const large = blockOf(5, 0, [message(`"${'x'.repeat(300_000)}"`)]);
	assert.equal(payloadsOf(announcementOf({ ms: 4, n: 0 }, { ms: 1, n: 0 }, large)), null, 'a large one has to be read');
});

test('of a run in which some were duplicates or conflicts, the others are unpacked', () => {
	assert.deepEqual(payloadsOf(said('a 4-0 1-0 5-0 5-1 ada')), ['1', '3']);
	assert.deepEqual(payloadsOf(said('a 4-0 1-0 5-0 5-0 cda')), ['3']);
});

test('what is not what it says has to be read', () => {
	assert.equal(payloadsOf(said('a 4-0 1-0 5-0 5-2 ', Buffer.alloc(0))), null, 'no messages');
	assert.equal(payloadsOf(said('a 4-0 1-0 5-0 5-3 ')), null, 'other ids');
	assert.equal(payloadsOf(said('a 4-0 1-0 5-0 6-2 ')), null, 'ids of two milliseconds');
	assert.equal(payloadsOf(said('a 4-0 1-0 5-0 5-2 ', packed.subarray(0, packed.byteLength - 1))), null, 'cut short');
	assert.equal(payloadsOf(said('a 4-0 1-0 5-0 5-2 ', Buffer.concat([packed, Buffer.from('x')]))), null, 'more');
	assert.equal(payloadsOf(said('a 4-0 1-0 5-0 5-2 ddd')), null, 'nothing of it was appended');
});

test('a message that reaches into the memory of another is unpacked by itself', () => {
	const around = Buffer.concat([Buffer.from('xyz'), said('a 4-0 1-0 5-0 5-2 '), Buffer.from('xyz')]);
	const announcement = parseAnnouncement(around.subarray(3, around.byteLength - 3));
	assert.ok(announcement?.kind === 'appended');
	const block = announcement.block();
	assert.deepEqual(Buffer.from(block?.packed ?? []), Buffer.from(packed));
	assert.equal(block?.packed.buffer.byteLength, packed.byteLength, 'and keeps nothing else');
});

test('whatever is on a channel, nothing throws', () => {
	const ids = fc.oneof(fc.constantFrom('0-0', '5-0', '5-2', '18446744073709551615-0', '-', ''), fc.string());
	const line = fc.array(ids, { maxLength: 7 }).map((words) => words.join(' '));
	const kind = fc.oneof(fc.constantFrom('a', 't', 'd'), fc.string({ maxLength: 2 }));
	const body = fc.oneof(
		fc.uint8Array({ maxLength: 80 }),
		fc.tuple(fc.nat(40), fc.nat(255)).map(([at, value]) => packed.with(at % packed.byteLength, value)),
	);
	fc.assert(
		fc.property(kind, line, body, (word, words, bytes) => {
			const announcement = parseAnnouncement(said(`${word} ${words}`, bytes));
			if (announcement?.kind === 'appended') announcement.block();
		}),
		{ numRuns: 5000 },
	);
	fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => void parseAnnouncement(bytes)));
});
