/** Accounts: unique names, changes that do not undo each other, and what other nodes see. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hash } from '@node-rs/argon2';
import { createWorld, PASSWORD, refused } from './world.ts';

test('an account is what it was made as, and is found by id and by name', async () => {
	const { auth, clock } = createWorld();
	const made = await auth.accounts.create({ username: 'bob', password: PASSWORD, email: 'b@x.org', permissions: ['read'] });
	assert.match(made.accountId, /^[0-9a-f-]{36}$/);
	assert.equal(made.createdAtMs, clock.nowMs());
	for (const found of [await auth.accounts.get(made.accountId), await auth.accounts.findByName('bob')]) {
		assert.deepEqual(found, made);
	}
	assert.equal(await auth.accounts.get('nobody'), null);
	assert.equal(await auth.accounts.findByName('Bob'), null, 'names differ by case');
});

test('a name is taken once, also by many at the same time and on several nodes', async () => {
	const { auth, node } = createWorld();
	const nodes = [auth, node(), node()];
	const attempts = await Promise.allSettled(
		Array.from({ length: 12 }, (_, i) =>
			nodes[i % 3]?.accounts.create({ username: 'bob', password: null, email: `${i}`, permissions: [] }),
		),
	);
	assert.equal(attempts.filter(({ status }) => status === 'fulfilled').length, 1);
	assert.equal((await auth.accounts.list(null, 100)).length, 1);
	await refused(
		() => auth.accounts.create({ username: 'bob', password: null, email: null, permissions: [] }),
		'account_exists',
		"Username 'bob' already exists",
	);
});

test('changes of different fields at the same time all take effect', async () => {
	const { auth, node, account } = createWorld();
	const { accountId } = await account('bob');
	const other = node();
	await Promise.all([
		auth.accounts.change(accountId, { email: 'new@x.org' }),
		other.accounts.change(accountId, { isActive: false }),
		auth.accounts.change(accountId, { permissions: ['admin'] }),
		other.accounts.change(accountId, { password: 'another password' }),
	]);
	const changed = await auth.accounts.get(accountId);
	assert.equal(changed?.email, 'new@x.org');
	assert.equal(changed?.isActive, false);
	assert.deepEqual(changed?.permissions, ['admin']);
	assert.equal(await auth.passwords.verify(changed?.passwordHash ?? null, 'another password'), true);
});

test('a change is seen by every node at once, whatever it had read before', async () => {
	const { auth, node, account } = createWorld();
	const { accountId } = await account('bob');
	const other = node();
	assert.equal((await other.accounts.get(accountId))?.isActive, true);
	await auth.accounts.change(accountId, { isActive: false });
	assert.equal((await other.accounts.get(accountId))?.isActive, false);
	assert.equal(other.accounts.peek(accountId)?.isActive, false);
	await auth.accounts.delete(accountId);
	assert.equal(await other.accounts.get(accountId), null);
});

test('a deleted account gives its name back, and a change of it changes nothing', async () => {
	const { auth, account } = createWorld();
	const { accountId } = await account('bob');
	assert.equal(await auth.accounts.delete(accountId), true);
	assert.equal(await auth.accounts.delete(accountId), false);
	assert.equal(await auth.accounts.change(accountId, { isActive: true }), null);
	assert.notEqual((await account('bob')).accountId, accountId);
});

test('lists and counts go over all of them, page by page', async () => {
	const { auth } = createWorld();
	const ids = new Set<string>();
	for (let i = 0; i < 25; i++) {
		const made = await auth.accounts.create({ username: `user${i}`, password: null, email: null, permissions: [] });
		ids.add(made.accountId);
		if (i % 5 === 0) await auth.accounts.change(made.accountId, { isActive: false });
	}
	assert.deepEqual(await auth.accounts.count(), { total: 25, active: 20 });
	const paged: string[] = [];
	for (let after: string | null = null; ; after = paged.at(-1) ?? null) {
		const page = await auth.accounts.list(after, 10);
		paged.push(...page.map(({ accountId }) => accountId));
		if (page.length === 0) break;
	}
	assert.deepEqual(paged, [...ids].sort());
});

test('the bootstrap admin is made once, by however many nodes, and given the configured password', async () => {
	const { auth, node } = createWorld();
	const admin = { username: 'root', password: 'first password', email: null };
	await Promise.all([auth, node(), node()].map((one) => one.prepare(admin)));
	const made = await auth.accounts.findByName('root');
	assert.deepEqual(made?.permissions, ['admin', 'read', 'write']);
	await auth.prepare(admin);
	assert.equal((await auth.accounts.findByName('root'))?.version, made?.version, 'nothing to change, nothing changed');
	await auth.accounts.change(made?.accountId ?? '', { permissions: ['read'] });
	await auth.prepare({ ...admin, password: 'second password' });
	const changed = await auth.accounts.findByName('root');
	assert.equal(await auth.passwords.verify(changed?.passwordHash ?? null, 'second password'), true);
	assert.equal(await auth.passwords.verify(changed?.passwordHash ?? null, 'first password'), false);
	assert.deepEqual(changed?.permissions, ['read'], 'what else it is stays');
});

test('signing in gives an imported hash the costs of today', async () => {
	const { auth, account, records } = createWorld();
	const { accountId } = await account('bob');
	const imported = await hash('old password', { memoryCost: 65_536, timeCost: 3, parallelism: 4 });
	// As an import writes it.
	const record = await records.get('account', accountId);
	assert(record !== undefined);
	await records.write([
		{ op: 'put', kind: 'account', id: accountId, value: { ...record.value, passwordHash: imported }, expected: 'present' },
	]);
	await auth.login('bob', 'old password');
	const rehashed = (await auth.accounts.get(accountId))?.passwordHash ?? '';
	assert.equal(auth.passwords.isOutdated(rehashed), false);
	await auth.login('bob', 'old password');
	await refused(() => auth.login('bob', PASSWORD), 'invalid_credentials', 'Incorrect username or password');
});

test('no session begins by the password before, at a node that has not heard of the new one', async () => {
	const { auth, node, account, records } = createWorld();
	const { accountId } = await account('bob');
	const deaf = node({
		get: (kind, id) => records.get(kind, id),
		list: (kind, query) => records.list(kind, query),
		write: (ops) => records.write(ops),
		listen: () => () => {},
		purge: () => records.purge(),
		close: () => records.close(),
	});
	await deaf.login('bob', PASSWORD);
	await auth.changeAccount(accountId, { password: 'another password' });
	await refused(() => deaf.login('bob', PASSWORD), 'invalid_credentials', 'Incorrect username or password');
	assert.deepEqual(await auth.sessions.list(accountId), []);
});
