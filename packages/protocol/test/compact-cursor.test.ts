/** The short form of a cursor over several topics: it says what was written, for the same topics only. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CompactCursor, isCompactCursor, parseCompactCursor } from '../src/compact-cursor.ts';
import { parseSince } from '../src/cursor.ts';
import type { MessageId } from '../src/message-id.ts';

const NOW_MS = 1_795_438_000_123;

const PLAIN = { noNullPrototype: true };
const topicName = fc.stringMatching(/^[a-z][a-zA-Z0-9_./@+-]{0,20}$/);
const messageId: fc.Arbitrary<MessageId> = fc.oneof(
	fc.constant({ ms: 0, n: 0 }),
	fc.record({ ms: fc.integer({ min: NOW_MS - 86_400_000, max: NOW_MS + 1000 }), n: fc.nat(3) }, PLAIN),
	fc.record({ ms: fc.maxSafeNat(), n: fc.maxSafeNat() }, PLAIN),
	fc.constantFrom({ ms: Number.MAX_SAFE_INTEGER, n: 0 }, { ms: 0, n: 1 }, { ms: 1, n: Number.MAX_SAFE_INTEGER }),
);
const positions = fc
	.uniqueArray(fc.tuple(topicName, messageId), { selector: ([topic]) => topic, minLength: 1, maxLength: 50 })
	.map((entries) => new Map(entries));

test('each topic is read where it was written, whatever the order of the topics', () => {
	fc.assert(
		fc.property(positions, (written) => {
			const text = new CompactCursor(written).toString();
			assert.match(text, /^~[A-Za-z0-9_-]+$/);
			assert(isCompactCursor(text));
			const read = parseCompactCursor(text, [...written.keys()].reverse());
			assert.deepEqual(new Map([...(read ?? [])].toSorted()), new Map([...written].toSorted()));
			assert.equal(parseSince(text), undefined, 'it is no cursor that names its topics');
		}),
		{ numRuns: 1000 },
	);
});

test('a cursor that goes on says where its topics are then, and leaves out those that ended', () => {
	fc.assert(
		fc.property(positions, fc.array(fc.tuple(fc.nat(49), fc.option(messageId, { nil: null }))), (start, moves) => {
			const cursor = new CompactCursor(start);
			const expected = new Map(start);
			const topics = [...start.keys()];
			for (const [i, id] of moves) {
				const topic = topics[i % topics.length] ?? '';
				if (id === null) {
					cursor.drop(topic);
					expected.delete(topic);
				} else {
					cursor.move(topic, id);
					expected.set(topic, id);
				}
			}
			const read = parseCompactCursor(cursor.toString(), topics);
			assert.deepEqual(new Map([...(read ?? [])].toSorted()), new Map([...expected].toSorted()));
		}),
	);
});

test('for other topics it is none', () => {
	const text = new CompactCursor(
		new Map([
			['a', { ms: 1, n: 0 }],
			['b', { ms: 2, n: 0 }],
		]),
	).toString();
	assert(parseCompactCursor(text, ['a', 'b']) !== undefined);
	for (const topics of [['a'], ['a', 'c'], ['a', 'b', 'c'], ['a,b'], []])
		assert.equal(parseCompactCursor(text, topics), undefined);
});

test('a text that was cut off or changed is never read as something else than positions of the topics', () => {
	fc.assert(
		fc.property(positions, fc.nat(), fc.constantFrom('', 'A', 'g', '!', '~', 'B'), (written, at, put) => {
			const text = new CompactCursor(written).toString();
			const place = at % text.length;
			const changed = text.slice(0, place) + put + text.slice(place + 1);
			const topics = [...written.keys()];
			const read = parseCompactCursor(changed, topics);
			if (read === undefined) return;
			for (const [topic, { ms, n }] of read) {
				assert(topics.includes(topic) && Number.isSafeInteger(ms) && ms >= 0 && Number.isSafeInteger(n) && n >= 0);
			}
		}),
		{ numRuns: 2000 },
	);
	const whole = new CompactCursor(new Map([['a', { ms: NOW_MS, n: 7 }]])).toString();
	for (let length = 0; length < whole.length; length++)
		assert.equal(parseCompactCursor(whole.slice(0, length), ['a']), undefined);
	for (const text of ['', '~', '~AAAAAAA', 'a:1-0', `${whole}A`, `${whole}AA`, `${whole}C`]) {
		assert.equal(parseCompactCursor(text, ['a']), undefined, text);
	}
});

test('a topic costs six characters a day after its last message, one that is busy three, and topics without messages next to nothing', () => {
	const lengthOf = (count: number, id: (i: number) => MessageId) =>
		new CompactCursor(new Map(Array.from({ length: count }, (_, i) => [`a-topic-with-a-long-name-${i}`, id(i)]))).toString()
			.length;
	const head = lengthOf(1, () => ({ ms: NOW_MS, n: 0 })) - 1;
	assert(head <= 17, String(head));
	assert(lengthOf(50, (i) => ({ ms: NOW_MS - 86_000_000 + i, n: 0 })) <= head + 50 * 6);
	assert(lengthOf(50, (i) => ({ ms: NOW_MS - i * 100, n: 0 })) <= head + 50 * 3);
	assert(lengthOf(50, (i) => (i === 7 ? { ms: NOW_MS, n: 0 } : { ms: 0, n: 0 })) <= head + 8);
});
