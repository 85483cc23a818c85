/** Names of accounts: which new ones there may be beside those that there are, and what an owner stands for. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { likenessesOf, looksLikeId, usernameProblem } from '../../../src/auth/usernames.ts';
import { createWorld, PASSWORD, refused } from './world.ts';

const ID = '3f0d2c9e-7a55-4e0b-9c57-0e3a3d1f5b6a';
const OF_IDS = [
	ID,
	ID.toUpperCase(),
	ID.replaceAll('-', ''),
	ID.replaceAll('-', '.'),
	`${ID.slice(0, 20)}_${ID.slice(20)}`,
	`{${ID}}`,
	`urn:uuid:${ID}`,
	` ${ID}`,
	`${ID}\u200b`,
	'00000000-0000-0000-0000-000000000000',
	'１２３４５６７８-1234-1234-1234-123456789012',
];

/** A name as a relay 0.3.0 gave it: without a claim of what it looks like. */
async function fromBefore(world: ReturnType<typeof createWorld>, username: string): Promise<string> {
	const accountId = crypto.randomUUID();
	const passwordHash = await world.auth.passwords.hash(PASSWORD);
	const account = { username, email: null, passwordHash, isActive: true, permissions: ['read', 'write'], createdAtMs: 1 };
	await world.records.write([
		{ op: 'put', kind: 'account-name', id: username, value: { accountId }, expected: 'absent' },
		{ op: 'put', kind: 'account', id: accountId, value: account, expected: 'absent' },
	]);
	return accountId;
}

test('a new account has no name that looks like a user id', () => {
	for (const text of OF_IDS) {
		assert(looksLikeId(text), text);
		assert.notEqual(usernameProblem(text), undefined, text);
	}
	for (const name of ['deadbeef', `${ID}-example`, 'a'.repeat(31), 'node-0123456789abcdef']) assert(!looksLikeId(name), name);
});

test('a new account has a name of the characters that an owner in a topic may have', () => {
	for (const name of ['bob', 'Bob.Smith+x@example.org', '007', 'a_b-c']) assert.equal(usernameProblem(name), undefined, name);
	for (const name of [
		'ab',
		'x'.repeat(51),
		'ad\u200bmin',
		'аdmin',
		'admin\u0301',
		'ａｄｍｉｎ',
		'a b',
		'a/b',
		'a\nb',
		'...',
		'🚀🚀🚀',
		'a\u3164b',
	]) {
		assert.notEqual(usernameProblem(name), undefined, name);
	}
});

describe('a name that people could take for another', () => {
	for (const [name, other] of [
		['admin', 'Admin'],
		['admin', 'ADMIN'],
		['admin', 'adrnin'],
		['paypal', 'paypaI'],
		['paypal', 'paypa1'],
		['root', 'r00t'],
		['ROOT', 'r00t'],
	] as const) {
		test(`${other} beside ${name}`, async () => {
			const { auth, account } = createWorld();
			const { accountId } = await account(name);
			await refused(() => account(other), 'account_exists', `Username '${other}' already exists`);
			await auth.deleteAccount(accountId);
			await account(other);
		});
	}

	test('is no other where only letters of an alphabet differ', async () => {
		const { account } = createWorld();
		for (const name of ['team-a', 'team-i', 'team-l', 'team-o', 'team-m', 'team-n', 'team-2']) await account(name);
	});

	test('is given once, by however many nodes at the same time', async () => {
		const { auth, node } = createWorld();
		const nodes = [auth, node(), node()];
		const names = ['admin', 'Admin', 'ADMIN', 'adrnin', 'aDmin', 'adMin'];
		const attempts = await Promise.allSettled(
			names.map((username, i) => nodes[i % 3]?.accounts.create({ username, password: null, email: null, permissions: [] })),
		);
		assert.equal(attempts.filter(({ status }) => status === 'fulfilled').length, 1);
	});
});

describe('accounts from before', () => {
	test('go on under their names, whatever they look like, and no new one looks like them', async () => {
		const world = createWorld();
		const names = ['admin', 'ADMIN', 'ad\u200bmin', 'Zoë', ID, 'John Smith'];
		for (const name of names) await fromBefore(world, name);
		await world.auth.prepare(null);
		for (const name of names) await world.auth.login(name, PASSWORD);
		for (const name of ['Admin', 'adrnin', 'zoe', 'JohnSmith']) await refused(() => world.account(name), 'account_exists');
		const holder = await world.auth.accounts.holderOf('Admin');
		await world.auth.deleteAccount(holder ?? '');
		await world.auth.login('ADMIN', PASSWORD).catch(() => world.auth.login('admin', PASSWORD));
	});

	test('are looked at once', async () => {
		const world = createWorld();
		await world.auth.prepare(null);
		await fromBefore(world, 'late');
		await world.node().prepare(null);
		assert.equal(await world.records.get('account-likeness', likenessesOf('late')[0]), undefined);
	});
});

describe('an owner', () => {
	test('is the account of that id, also where an account from before is called by it', async () => {
		const world = createWorld();
		const { auth, account } = world;
		const { accountId } = await account('alice');
		const impostor = await fromBefore(world, accountId);
		assert.equal(await auth.accounts.resolve(accountId), accountId);
		assert.equal(await auth.accounts.resolve('alice'), accountId);
		assert.equal(await auth.topics.patternOf(impostor, `${accountId}/x`), `${accountId}/x`);
	});

	test('is not found by another spelling of an id', async () => {
		const world = createWorld();
		for (const text of OF_IDS.filter((one) => one !== ID && !one.startsWith('0'))) {
			await fromBefore(world, text);
			assert.equal(await world.auth.accounts.resolve(text), null, text);
		}
	});
});
