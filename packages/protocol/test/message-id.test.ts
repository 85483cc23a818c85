import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { compareMessageIds, formatMessageId, type MessageId, nextMessageId, parseMessageId, ZERO_ID } from '../src/message-id.ts';

const MAX = Number.MAX_SAFE_INTEGER;
const part = fc.oneof(fc.maxSafeNat(), fc.nat({ max: 3 }), fc.constant(MAX));
const messageId: fc.Arbitrary<MessageId> = fc.record({ ms: part, n: part }, { noNullPrototype: true });

/** The id as one number, which orders as the log does. */
function ordinal(id: MessageId): bigint {
	return (BigInt(id.ms) << 64n) + BigInt(id.n);
}

describe('a message id', () => {
	it('is the same after it was written and read', () => {
		fc.assert(fc.property(messageId, (id) => assert.deepEqual(parseMessageId(formatMessageId(id)), id)));
	});

	it('has one written form: what is read is written as it was', () => {
		const digits = fc.oneof(fc.stringMatching(/^[0-9]{1,18}$/), fc.stringMatching(/^[-+ 0-9a-fA-F.e_\n]{0,6}$/));
		fc.assert(
			fc.property(fc.tuple(digits, fc.constantFrom('-', '–', ':', ''), digits), (parts) => {
				const text = parts.join('');
				const id = parseMessageId(text);
				if (id !== undefined) assert.equal(formatMessageId(id), text);
				else assert.doesNotMatch(text, /^(0|[1-9][0-9]{0,14})-(0|[1-9][0-9]{0,14})$/);
			}),
			{ numRuns: 5_000 },
		);
	});

	for (const text of [
		'',
		'-',
		'0',
		'1',
		'1-',
		'-1',
		'1-2-3',
		'01-0',
		'1-00',
		'+1-0',
		'-1-0',
		'1--1',
		' 1-0',
		'1-0 ',
		'1-0\n',
		'\n1-0',
		'1 - 0',
		'1-0\0',
		'1.0-0',
		'1e3-0',
		'0x1-0',
		'1_0-0',
		'1:0',
		'1–0',
		'$',
		'*',
		'1-*',
		'last',
		'NaN-0',
		'Infinity-0',
		'\u0661-0',
		'\uff11-0',
		`${MAX + 1}-0`,
		`0-${MAX + 1}`,
		'9999999999999999-0',
		'18446744073709551615-18446744073709551615',
		`${'9'.repeat(100_000)}-0`,
	]) {
		it(`is not ${JSON.stringify(text.slice(0, 45))}`, () => assert.equal(parseMessageId(text), undefined));
	}

	it('may be as large as integers are exact, and no larger', () => {
		assert.deepEqual(parseMessageId('9007199254740991-9007199254740991'), { ms: MAX, n: MAX });
		assert.equal(parseMessageId('9007199254740992-0'), undefined);
	});
});

describe('the order of message ids', () => {
	it('is that of the time, then of the number', () => {
		fc.assert(
			fc.property(messageId, messageId, (a, b) => {
				const expected = ordinal(a) < ordinal(b) ? -1 : ordinal(a) > ordinal(b) ? 1 : 0;
				assert.equal(Math.sign(compareMessageIds(a, b)), expected);
			}),
			{ numRuns: 2_000 },
		);
	});

	it('has 0-0 before every other', () => {
		fc.assert(fc.property(messageId, (id) => compareMessageIds(ZERO_ID, id) <= 0));
		assert.equal(formatMessageId(ZERO_ID), '0-0');
	});
});

describe('the next message id', () => {
	it('is the present millisecond when that is later than the last id', () => {
		assert.deepEqual(nextMessageId({ ms: 5, n: 7 }, 6), { ms: 6, n: 0 });
	});

	it('counts on within a millisecond and when the clock stepped back', () => {
		assert.deepEqual(nextMessageId({ ms: 5, n: 7 }, 5), { ms: 5, n: 8 });
		assert.deepEqual(nextMessageId({ ms: 5, n: 7 }, 1), { ms: 5, n: 8 });
	});

	it('is never 0-0, not even at time zero', () => {
		assert.deepEqual(nextMessageId(ZERO_ID, 0), { ms: 0, n: 1 });
	});

	it('increases through batches of any size, however the clock moves', () => {
		const step = fc.record({
			nowMs: fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 2 ** 45 })),
			count: fc.integer({ min: 1, max: 1000 }),
		});
		fc.assert(
			fc.property(fc.array(step, { maxLength: 50 }), (steps) => {
				let last = ZERO_ID;
				for (const { nowMs, count } of steps) {
					const first = nextMessageId(last, nowMs);
					assert.ok(compareMessageIds(first, last) > 0);
					assert.ok(first.ms >= nowMs);
					last = { ms: first.ms, n: first.n + count - 1 };
					assert.deepEqual(parseMessageId(formatMessageId(last)), last);
				}
			}),
		);
	});
});
