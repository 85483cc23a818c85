/** What an account may hold open at a node, a part of it, and what accounts leave to each other. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AccountCaps, type Held, type Holder } from '../../../src/limits/account-caps.ts';

const account = (accountId: string): Holder => ({ accountId, keyId: null, tokenId: null });
const key = (accountId: string, keyId: string): Holder => ({ accountId, keyId, tokenId: null });
const token = (accountId: string, tokenId: string, keyId: string | null = null): Holder => ({ accountId, keyId, tokenId });

function create({ max = 100, nodeMax = 1000, several = true } = {}) {
	const caps = new AccountCaps({
		max: { connections: max, polls: max, subscriptions: max },
		nodeMax: { connections: nodeMax, polls: nodeMax },
		severalAccounts: () => several,
	});
	/** Opens as many as may be open, of one kind. */
	const fill = (holder: Holder, what: 'openConnection' | 'openPoll' = 'openConnection'): Held[] => {
		const held: Held[] = [];
		for (;;) {
			try {
				held.push(caps[what](holder));
			} catch (error) {
				assert.equal(error instanceof Error && 'code' in error && error.code, 'account_limit');
				return held;
			}
		}
	};
	return { caps, fill };
}

for (const what of ['openConnection', 'openPoll'] as const) {
	test(`${what}: one key gets half of what its account may, one scoped token a quarter`, () => {
		const { fill } = create();
		assert.equal(fill(key('a', 'k1'), what).length, 50);
		assert.equal(fill(token('a', 't1'), what).length, 25);
		assert.equal(fill(account('a'), what).length, 25);
		assert.equal(fill(account('b'), what).length, 100);
	});

	test(`${what}: all keys and tokens together leave a tenth to the account itself`, () => {
		const { fill } = create();
		let count = 0;
		for (let i = 0; i < 20; i++) count += fill(token('a', `t${i}`), what).length + fill(key('a', `k${i}`), what).length;
		assert.equal(count, 90);
		assert.equal(fill(account('a'), what).length, 10);
	});
}

test('the tokens that a key has minted count for the key, too', () => {
	const { fill } = create();
	for (let i = 0; i < 10; i++) fill(token('a', `t${i}`, 'k'));
	assert.equal(fill(key('a', 'k')).length, 0);
	assert.equal(fill(key('a', 'another')).length, 40);
});

test('what is closed makes room for whoever comes', () => {
	const { caps, fill } = create();
	const held = fill(token('a', 't'));
	assert.equal(fill(token('a', 't')).length, 0);
	for (const each of held) each.release();
	assert.equal(fill(token('a', 't')).length, 25);
	assert.equal(caps.connectionRefusal(account('a')), null);
});

test('however small the cap, there is one for each key and token, and one for each account', () => {
	const { fill } = create({ max: 2 });
	assert.equal(fill(token('a', 't')).length, 1);
	assert.equal(fill(account('a')).length, 1);
	assert.equal(fill(key('b', 'k')).length, 1);
});

test('topics that are followed are counted for each of them, over all of its connections', () => {
	const { caps } = create();
	const [one, two] = [caps.openConnection(token('a', 't')), caps.openConnection(token('a', 't'))];
	one.count(20);
	assert.equal(two.refusal(5), null);
	assert.equal(two.refusal(6)?.code, 'account_limit');
	const own = caps.openConnection(account('a'));
	assert.equal(own.refusal(80), null);
	assert.equal(own.refusal(81)?.message, 'an account may follow at most 100 topics at a node');
	one.count(-20);
	one.release();
	assert.equal(two.refusal(25), null);
});

test('no account takes all that a node has, whatever its own cap: each newcomer gets some', () => {
	const { fill } = create({ max: 1000, nodeMax: 100 });
	assert.equal(fill(account('a')).length, 50);
	assert.equal(fill(account('b')).length, 25);
	assert.equal(fill(account('c')).length, 13);
	assert.equal(fill(account('a')).length, 0);
	assert.equal(fill(account('d'), 'openPoll').length, 50);
});

test('an account that is alone may take all of it', () => {
	const { fill } = create({ max: 100, nodeMax: 100, several: false });
	assert.equal(fill(account('a')).length, 100);
});
