/** The frame meter: however frames come cut into chunks, it knows what is kept of them, and takes masks off. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type FrameListener, FrameMeter } from '../../../src/transports/websocket/frame-meter.ts';
import { clientFrame } from '../../support/raw-websocket.ts';

const MASK = Buffer.from([0x11, 0x22, 0x33, 0x44]);
const TEXT = 0x81;
const TEXT_PART = 0x01;
const PART = 0x00;
const LAST_PART = 0x80;
const PING = 0x89;

interface Heard extends FrameListener {
	begun: number[];
	complete: number;
	kept: number;
}

function listen(): Heard {
	return {
		begun: [],
		complete: 0,
		kept: 0,
		onBegin(messageBytes) {
			this.begun.push(messageBytes);
		},
		onComplete() {
			this.complete++;
			this.kept = 0;
		},
		onPart(bytes) {
			this.kept += bytes;
		},
		onBetween() {
			this.kept = 0;
		},
	};
}

const frame = (first: number, bytes: number) => clientFrame(first, Buffer.alloc(bytes, 'message '), bytes, MASK);

test('counts messages in any frames and chunks', () => {
	const size = fc.constantFrom(0, 1, 100, 125, 126, 127, 65_535, 65_536, 70_000);
	const message = fc.array(size, { minLength: 1, maxLength: 4 });
	fc.assert(
		fc.property(
			fc.array(message, { minLength: 1, maxLength: 4 }),
			fc.array(fc.integer({ min: 1, max: 30_000 }), { minLength: 1 }),
			(messages, cuts) => {
				const frames = messages.flatMap((parts) =>
					parts.flatMap((bytes, i) => {
						const last = i === parts.length - 1;
						const first = i === 0 ? (last ? TEXT : TEXT_PART) : last ? LAST_PART : PART;
						return [frame(first, bytes), frame(PING, 3)];
					}),
				);
				const sent = Buffer.concat(frames);
				const heard = listen();
				const meter = new FrameMeter(heard);
				for (let at = 0, i = 0; at < sent.byteLength; i++) {
					const to = Math.min(sent.byteLength, at + (cuts[i % cuts.length] ?? 1));
					meter.take(sent.subarray(at, to));
					at = to;
				}
				assert.equal(heard.complete, messages.length);
				assert.equal(heard.kept, 0);
				const sums = messages.flatMap((parts) => parts.map((_, i) => parts.slice(0, i + 1).reduce<number>((a, b) => a + b, 0)));
				assert.deepEqual(heard.begun, sums);
			},
		),
		{ numRuns: 50 },
	);
});

test('knows what is kept of a message that has begun, pings between its parts or not', () => {
	const heard = listen();
	const meter = new FrameMeter(heard);
	meter.take(frame(TEXT_PART, 1000));
	assert.equal(heard.kept, 1008);
	meter.take(frame(PING, 0));
	assert.equal(heard.kept, 1014);
	meter.take(frame(PART, 10).subarray(0, 1));
	assert.equal(heard.kept, 1015);
	assert.equal(heard.complete, 0);
	meter.take(frame(PART, 10).subarray(1));
	meter.take(frame(LAST_PART, 0));
	assert.deepEqual([heard.complete, heard.kept], [1, 0]);
	meter.take(frame(PING, 100).subarray(0, 50));
	assert.equal(heard.kept, 50, 'of a ping that has begun');
	meter.take(frame(PING, 100).subarray(50));
	assert.equal(heard.kept, 0);
});

test('takes the mask off long frames as they come, and leaves one that changes nothing', () => {
	const plain = Buffer.from('0123456789'.repeat(20_000));
	fc.assert(
		fc.property(fc.array(fc.integer({ min: 1, max: 70_000 }), { minLength: 1 }), (cuts) => {
			const sent = clientFrame(TEXT, plain, plain.byteLength, MASK);
			const meter = new FrameMeter(listen());
			for (let at = 0, i = 0; at < sent.byteLength; i++) {
				const to = Math.min(sent.byteLength, at + (cuts[i % cuts.length] ?? 1));
				meter.take(sent.subarray(at, to));
				at = to;
			}
			const head = sent.byteLength - plain.byteLength;
			assert.deepEqual([...sent.subarray(head - 4, head)], [0, 0, 0, 0]);
			assert(sent.subarray(head).equals(plain));
		}),
		{ numRuns: 50 },
	);
});
