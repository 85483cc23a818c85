import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { formatCursor, parseSince, parseStartPosition } from '../src/cursor.ts';
import { formatMessageId, type MessageId } from '../src/message-id.ts';
import { isTopicName } from '../src/topic-name.ts';

const part = fc.oneof(fc.nat({ max: 20 }), fc.maxSafeNat());
const messageId: fc.Arbitrary<MessageId> = fc.record({ ms: part, n: part }, { noNullPrototype: true });
const topicName = fc.oneof(
	fc.stringMatching(/^[A-Za-z0-9_.-]{1,20}$/).filter(isTopicName),
	fc.constantFrom('last', 'earliest', '1-0', '__proto__', 'constructor', 'a'.repeat(255)),
);
const positions = fc.uniqueArray(fc.tuple(topicName, messageId), { selector: ([topic]) => topic, minLength: 1, maxLength: 10 });

describe('a start position', () => {
	it('is last, earliest or a message id', () => {
		assert.equal(parseStartPosition('last'), 'last');
		assert.equal(parseStartPosition('earliest'), 'earliest');
		fc.assert(fc.property(messageId, (id) => assert.deepEqual(parseStartPosition(formatMessageId(id)), id)));
	});

	for (const text of [
		'',
		'Last',
		'LAST',
		' last',
		'last ',
		'latest',
		'newest',
		'$',
		'0',
		'1',
		'1-',
		'a:1-0',
		'1-0,2-0',
		'null',
	]) {
		it(`is not ${JSON.stringify(text)}`, () => assert.equal(parseStartPosition(text), undefined));
	}
});

describe('a cursor over several topics', () => {
	it('is the same after it was written and read', () => {
		fc.assert(
			fc.property(positions, (entries) => {
				assert.deepEqual(parseSince(formatCursor(entries)), { kind: 'each', positions: new Map(entries) });
			}),
		);
	});

	it('is written in the order of its topics, in ASCII on one line', () => {
		assert.equal(
			formatCursor(
				new Map([
					['b', { ms: 2, n: 0 }],
					['a', { ms: 1, n: 5 }],
				]),
			),
			'b:2-0,a:1-5',
		);
		fc.assert(fc.property(positions, (entries) => assert.match(formatCursor(entries), /^[\x21-\x7e]+$/)));
	});

	it('may be over one topic', () => {
		assert.deepEqual(parseSince('a:1-0'), { kind: 'each', positions: new Map([['a', { ms: 1, n: 0 }]]) });
	});

	it('is empty over no topics, and the empty text is no cursor', () => {
		assert.equal(formatCursor([]), '');
		assert.equal(parseSince(''), undefined);
	});
});

describe('since', () => {
	it('is one position for every topic, or one for each', () => {
		assert.deepEqual(parseSince('last'), { kind: 'all', position: 'last' });
		assert.deepEqual(parseSince('earliest'), { kind: 'all', position: 'earliest' });
		assert.deepEqual(parseSince('5-1'), { kind: 'all', position: { ms: 5, n: 1 } });
		// A topic may bear the name of a position; with an id behind it, it is a topic.
		assert.deepEqual(parseSince('last:5-1'), { kind: 'each', positions: new Map([['last', { ms: 5, n: 1 }]]) });
	});

	for (const text of [
		'a',
		'a:',
		':1-0',
		'a:1',
		'a:1-',
		'a:last',
		'a:earliest',
		'a:1-0,',
		',a:1-0',
		'a:1-0,,b:1-0',
		'a:1-0,b',
		'a:1-0;b:1-0',
		'a:1-0, b:1-0',
		' a:1-0',
		'a:1-0 ',
		'a:1-0\n',
		'a:1-0,1-0',
		'a:b:1-0',
		'a::1-0',
		'.a:1-0',
		'_:1-0',
		'a/b/c:1-0',
		'/b:1-0',
		'a b/c:1-0',
		'größe:1-0',
		`${'a'.repeat(256)}:1-0`,
		'a:01-0',
		'a:9007199254740992-0',
		'{"a":"1-0"}',
		'$',
		'0x1-0',
		'\0',
		'undefined',
		'[object Object]',
	]) {
		it(`is not ${JSON.stringify(text.slice(0, 40))}`, () => assert.equal(parseSince(text), undefined));
	}

	it('holds only topic names and message ids, whatever the text', () => {
		const piece = fc.oneof(topicName, messageId.map(formatMessageId), fc.constantFrom(':', ',', ' ', 'é', ''));
		const text = fc.oneof(
			fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join('')),
			fc.string({ unit: 'binary' }),
		);
		fc.assert(
			fc.property(text, (candidate) => {
				const since = parseSince(candidate);
				if (since?.kind !== 'each') return;
				assert.equal(formatCursor(since.positions).length <= candidate.length, true);
				for (const [topic, id] of since.positions) {
					assert.equal(isTopicName(topic), true);
					assert.deepEqual(parseStartPosition(formatMessageId(id)), id);
				}
			}),
			{ numRuns: 5_000 },
		);
	});
});
