/** Bytes half received: whose share is used, who gives way, and how long a message may take. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RelayError } from '@pulsar-relay/protocol/errors';
import fc from 'fast-check';
import type { Party } from '../../../src/limits/party.ts';
import { type Receiver, Receptions } from '../../../src/limits/receptions.ts';
import { createFakeClock } from '../../support/clock.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

function create({ bytesMax = 100, shareBytesMax = 40 } = {}) {
	const clock = createFakeClock();
	const receptions = new Receptions({ clock, bytesMax, shareBytesMax, timeoutMs: 60_000 });
	const failures: string[] = [];
	const begin = (name: string, kind: Party['kind'] = 'account', more: Partial<Receiver> & { credential?: string } = {}) =>
		receptions.begin({
			party: () => ({ kind, name, credential: more.credential ?? null }),
			onFail: ({ code }: RelayError) => failures.push(`${name} ${code}`),
			...more,
		});
	return { clock, receptions, failures, begin };
}

test('an account has a share, whatever others hold, and what it gives back can be taken again', () => {
	const { receptions, begin } = create();
	const [first, second] = [begin('a'), begin('a')];
	assert(first.take(30));
	assert(!second.take(11), 'more than a share');
	assert(second.take(10));
	assert(!second.take(1));
	assert(begin('b').take(40));
	first.end();
	assert(second.take(30));
	second.end();
	second.end();
	assert.equal(receptions.bytes, 40);
});

test('where all is held, the largest share gives way to a smaller one', () => {
	const { failures, begin } = create();
	const [large, larger] = [begin('a'), begin('b')];
	assert(large.take(40));
	assert(larger.take(20));
	assert(begin('b').take(20));
	assert(begin('c').take(20));
	assert(begin('d').take(10), 'a share of its own');
	assert.deepEqual(failures, ['a overloaded']);
	assert(!begin('c').take(39), 'nobody gives way to one who would hold more');
	assert.deepEqual(failures, ['a overloaded']);
});

test('a token that has used up the share of its account gives way to the account and its other tokens', () => {
	const { failures, begin } = create();
	const token = () => begin('a', 'account', { credential: 'token' });
	assert(token().take(25));
	assert(token().take(15));
	assert(!token().take(1));
	assert(begin('a').take(10), 'the account itself');
	assert.deepEqual(failures, ['a overloaded']);
	assert(begin('a', 'account', { credential: 'key' }).take(15));
	assert.deepEqual(failures, ['a overloaded']);
});

test('clients that have not signed in share a little, each address less', () => {
	const { begin } = create({ bytesMax: 256 * MIB, shareBytesMax: 40 * MIB });
	assert(begin('10.0.0.1', 'stranger').take(MIB));
	assert(!begin('10.0.0.1', 'stranger').take(1));
	for (let i = 2; i <= 8; i++) assert(begin(`10.0.0.${i}`, 'stranger').take(MIB));
	assert(begin('10.0.1.0', 'stranger').take(64 * KIB), 'an address that holds more gives way');
	assert(begin('account').take(40 * MIB));
});

test('nobody is refused a fair part, whatever others do', () => {
	const step = fc.record({ who: fc.constantFrom('a', 'b', 'c', 'd'), bytes: fc.integer({ min: 1, max: 30 }) });
	fc.assert(
		fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
			const { receptions, begin } = create();
			for (const { who, bytes } of steps) begin(who).take(bytes);
			assert(receptions.bytes <= 100);
			assert(begin('victim').take(20), 'a fifth of all');
			assert(receptions.bytes <= 100);
		}),
	);
});

test('a message must be complete in time', () => {
	const { clock, receptions, failures, begin } = create();
	assert(begin('slow').take(10));
	const complete = begin('complete');
	assert(complete.take(10));
	complete.complete();
	clock.advance(59_000);
	begin('later');
	assert.deepEqual(failures, []);
	clock.advance(1500);
	assert.deepEqual(failures, ['slow request_timeout']);
	assert.equal(receptions.bytes, 10, 'what is complete is held until it ends');
	clock.advance(60_000);
	assert.deepEqual(failures, ['slow request_timeout', 'later request_timeout']);
});

test('time that the relay takes is not the client’s, and clients that are gone are forgotten', () => {
	const { clock, receptions, failures, begin } = create();
	let heldUp = true;
	begin('waits', 'account', { isHeldUp: () => heldUp });
	assert(begin('gone', 'account', { isOver: () => true }).take(10));
	clock.advance(300_000);
	assert.deepEqual(failures, []);
	assert.equal(receptions.bytes, 0);
	heldUp = false;
	clock.advance(59_000);
	assert.deepEqual(failures, []);
	clock.advance(2000);
	assert.deepEqual(failures, ['waits request_timeout']);
	assert.equal(clock.timers, 0);
});
