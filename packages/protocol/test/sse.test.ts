/** Server-sent events: what an EventSource dispatches is what was written, wherever the payload breaks its lines. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
// The client's side of both wires is written once, for the tests of the relay and these.
import { EventStream, type ServerEvent } from '../../server/test/unit/relay/support/decode.ts';
import { encodeSseEvent, SSE_HEARTBEAT, sseDataBytesMax, writeSseData } from '../src/sse.ts';

/** An event's bytes with `before` untouched ones in front. */
function write(text: string, before = 0): Uint8Array {
	const json = Buffer.from(text);
	const target = new Uint8Array(before + sseDataBytesMax(json)).fill(0xff);
	const end = writeSseData(target, before, json);
	assert.ok(end <= target.byteLength);
	assert.ok(
		target.subarray(0, before).every((byte) => byte === 0xff),
		'nothing in front is touched',
	);
	assert.ok(
		target.subarray(end).every((byte) => byte === 0xff),
		'nor behind',
	);
	return target.subarray(before, end);
}

/** The event that data belongs to, with what else it has, to its end. */
function ended(data: Uint8Array, more = ''): Uint8Array {
	return Buffer.concat([data, Buffer.from(`${more}\n`)]);
}

/** Feeds a stream in pieces of `size` bytes. */
function dispatched(bytes: Uint8Array, size = bytes.byteLength): ServerEvent[] {
	const stream = new EventStream();
	const events: ServerEvent[] = [];
	for (let at = 0; at < bytes.byteLength; at += size) events.push(...stream.take(bytes.subarray(at, at + size)));
	assert.ok(stream.between, 'nothing is left over');
	return events;
}

function normalised(text: string): string {
	return text.replace(/\r\n|\r|\n/g, '\n');
}

test('data without line breaks is one line', () => {
	assert.equal(Buffer.from(write('{"a":1}')).toString(), 'data: {"a":1}\n');
	assert.equal(sseDataBytesMax(Buffer.from('{"a":1}')), 'data: {"a":1}\n'.length);
});

test('each kind of line break between tokens begins a data field and reaches the reader as LF', () => {
	assert.equal(Buffer.from(write('[1,\n2,\r3,\r\n4]')).toString(), 'data: [1,\ndata: 2,\ndata: 3,\ndata: 4]\n');
	assert.deepEqual(dispatched(ended(write('[1,\n2,\r3,\r\n4]'))), [
		{ type: 'message', data: '[1,\n2,\n3,\n4]', lastEventId: '' },
	]);
});

test('whatever the line breaks are and wherever they stand, the data arrives', () => {
	const text = fc
		.array(fc.constantFrom('\r', '\n', '\r\n', '\n\r', '{"a":', ' ', ':', 'data: x', '1}', 'é', '\u2028', '\u{1f4e8}'))
		.map((parts) => parts.join(''));
	fc.assert(
		fc.property(text, fc.nat(5), fc.integer({ min: 1, max: 7 }), (text, before, size) => {
			const expected = { type: 'message', data: normalised(text), lastEventId: '' };
			assert.deepEqual(dispatched(ended(write(text, before)), size), [expected]);
		}),
		{ numRuns: 1000 },
	);
});

test('events back to back stay apart', () => {
	const texts = ['{"a":\n1}', '2', '"\\n"', '[\r\n]'];
	const bytes = Buffer.concat(texts.map((text, i) => ended(write(text), `id: 1-${i}\n`)));
	assert.deepEqual(
		dispatched(bytes, 3),
		texts.map((text, i) => ({ type: 'message', data: normalised(text), lastEventId: `1-${i}` })),
	);
});

test('a text of very many lines is read once', { timeout: 20_000 }, () => {
	const lines = 300_000;
	for (const lineBreak of ['\n', '\r', '\r\n']) {
		const bytes = write(`[${`1,${lineBreak}`.repeat(lines)}2]`);
		assert.equal(bytes.byteLength, 'data: '.length * (lines + 1) + '1,\n'.length * lines + '[2]\n'.length);
	}
});

test('a whole event carries its type and id', () => {
	assert.deepEqual(dispatched(encodeSseEvent({ event: 'gap', id: 'a:1-0,b:2-0', data: '{}' })), [
		{ type: 'gap', data: '{}', lastEventId: 'a:1-0,b:2-0' },
	]);
	assert.deepEqual(dispatched(encodeSseEvent({ data: '{}' })), [{ type: 'message', data: '{}', lastEventId: '' }]);
});

test('the id comes last, so that clients which take it early do not skip an event that was cut off', () => {
	const bytes = Buffer.from(encodeSseEvent({ event: 'gap', id: '1-0', data: '{}' }));
	assert.equal(bytes.toString(), 'event: gap\ndata: {}\nid: 1-0\n\n');
});

test('a heartbeat is nothing to the reader, and does not forget the last id', () => {
	const bytes = Buffer.concat([encodeSseEvent({ id: '1-0', data: '1' }), SSE_HEARTBEAT, encodeSseEvent({ data: '2' })]);
	assert.deepEqual(
		dispatched(bytes).map(({ data, lastEventId }) => [data, lastEventId]),
		[
			['1', '1-0'],
			['2', '1-0'],
		],
	);
});
