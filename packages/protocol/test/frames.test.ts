/** WebSocket frames: what a client reads is what was given, for every length that has a header of its own form. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
// The client's side of both wires is written once, for the tests of the relay and these.
import { decodeTextFrames } from '../../server/test/unit/relay/support/decode.ts';
import { encodeMessageFrames, encodeTextFrame, type FrameSource, gapObject, timestampOf } from '../src/frames.ts';

interface Message {
	readonly payload: string;
	readonly metadata?: string;
}

function sourceOf(messages: readonly Message[], { topic = 't', ms = 1, n = 0 } = {}): FrameSource {
	const bytes = messages.map(({ payload, metadata = '' }) => [Buffer.from(payload), Buffer.from(metadata)] as const);
	return {
		topic,
		ms,
		n,
		count: messages.length,
		payload: (index) => bytes[index]?.[0] as Uint8Array,
		metadata: (index) => bytes[index]?.[1] as Uint8Array,
	};
}

function objectOf(id: string, topic: string, timestamp: string, { payload, metadata = '{}' }: Message): string {
	return `{"type":"message","message_id":"${id}","topic":"${topic}","timestamp":"${timestamp}","payload":${payload},"metadata":${metadata}}`;
}

const EPOCH = '1970-01-01T00:00:00.001Z';
const AROUND_HEADER_FORMS = [124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, 1_000_000];

/** The header of an unmasked text frame by RFC 6455 §5.2. */
function headerOf(length: number): number[] {
	if (length < 126) return [0x81, length];
	if (length < 65_536) return [0x81, 126, length >> 8, length & 0xff];
	return [0x81, 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 0xff, length & 0xff];
}

test('a message frame has the header of its length, at each length where the form changes', () => {
	const overhead = objectOf('1-0', 't', EPOCH, { payload: '""' }).length;
	const messages = AROUND_HEADER_FORMS.map((length) => ({ payload: `"${'x'.repeat(length - overhead)}"` }));
	const { bytes, starts, ends } = encodeMessageFrames(sourceOf(messages));
	const texts = decodeTextFrames(bytes);
	let at = 0;
	for (const [i, message] of messages.entries()) {
		const expected = objectOf(`1-${i}`, 't', EPOCH, message);
		const header = headerOf(expected.length);
		assert.deepEqual([...bytes.subarray(at, at + header.length)], header);
		assert.equal(texts[i], expected);
		assert.equal(starts[i], at + header.length);
		assert.equal(ends[i], at + header.length + expected.length);
		at = ends[i] as number;
	}
	assert.equal(at, bytes.byteLength);
	assert.deepEqual(
		messages.map((_, i) => (ends[i] as number) - (starts[i] as number)),
		AROUND_HEADER_FORMS,
	);
});

test('a control frame has the header of its length, counted in bytes', () => {
	for (const length of [0, 1, ...AROUND_HEADER_FORMS]) {
		const text = 'x'.repeat(length);
		const frame = encodeTextFrame(text);
		assert.deepEqual([...frame.subarray(0, headerOf(length).length)], headerOf(length));
		assert.deepEqual(decodeTextFrames(frame), [text]);
	}
	for (const text of ['é'.repeat(62), 'é'.repeat(63), '\u{1f4e8}'.repeat(16_383), '\u{1f4e8}'.repeat(16_384)]) {
		assert.deepEqual(decodeTextFrames(encodeTextFrame(text)), [text]);
	}
});

test('frames decode to the messages they were made of, byte for byte', () => {
	const payload = fc.oneof(
		fc.json(),
		fc.constantFrom(
			'9007199254740993',
			'1.0',
			'-0',
			'1e400',
			'{"a":1,"a":2}',
			'[ 1 ,\r\n\t2 ]',
			'"\\u0000"',
			'"\u2028é\u{1f4e8}"',
		),
	);
	const metadata = fc.option(
		fc.dictionary(fc.string(), fc.string()).map((object) => JSON.stringify(object)),
		{ nil: undefined },
	);
	const message = fc
		.record({ payload, metadata })
		.map(({ payload, metadata }) => (metadata === undefined ? { payload } : { payload, metadata }));
	const n = fc.oneof(fc.nat(1200), fc.constantFrom(8, 98, 99_999_999, 2 ** 31 - 2, 2 ** 32 - 2, Number.MAX_SAFE_INTEGER - 12));
	fc.assert(
		fc.property(fc.array(message, { minLength: 1, maxLength: 12 }), n, fc.nat(2_000_000_000_000), (messages, n, ms) => {
			const topic = 'a.b-c_D9';
			const { bytes, starts, ends } = encodeMessageFrames(sourceOf(messages, { topic, ms, n }));
			const expected = messages.map((one, i) => objectOf(`${ms}-${n + i}`, topic, new Date(ms).toISOString(), one));
			assert.deepEqual(decodeTextFrames(bytes), expected);
			for (const [i, json] of expected.entries()) {
				assert.equal(Buffer.from(bytes.subarray(starts[i], ends[i])).toString(), json, 'the object alone');
			}
		}),
		{ numRuns: 300 },
	);
});

test('a run counts over the places where its number gets longer', () => {
	const messages = Array.from({ length: 1200 }, () => ({ payload: '1' }));
	const ids = decodeTextFrames(encodeMessageFrames(sourceOf(messages)).bytes).map(
		(text) => (JSON.parse(text) as { message_id: string }).message_id,
	);
	assert.deepEqual(
		ids,
		messages.map((_, i) => `1-${i}`),
	);
});

test('the timestamp is the time in the id, also of ids that no clock gives', () => {
	assert.equal(timestampOf(0), '1970-01-01T00:00:00.000Z');
	assert.equal(timestampOf(1_795_438_000_123), '2026-11-23T12:46:40.123Z');
	assert.equal(timestampOf(8.64e15), '+275760-09-13T00:00:00.000Z');
	assert.equal(timestampOf(Number.MAX_SAFE_INTEGER), '+275760-09-13T00:00:00.000Z');
});

test('a gap is told with ids as text, and with null for a cursor that could not be understood', () => {
	const gap = { topic: 't', reason: 'trimmed', from: { ms: 1, n: 2 }, to: { ms: 3, n: 4 } } as const;
	assert.deepEqual(gapObject(gap), { topic: 't', reason: 'trimmed', from: '1-2', to: '3-4' });
	assert.equal(gapObject({ ...gap, from: null }).from, null);
});
