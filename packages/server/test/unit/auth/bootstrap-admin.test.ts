/** The operator's account: when the configured password acts, and what ends when it does. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startAuthRelay } from '../../support/auth-relay.ts';
import { createWorld, PASSWORD, refused } from './world.ts';

const ADMIN = { username: 'root', password: 'first password', email: null };

test('a new value replaces the password and ends what was made under the old one', async () => {
	const { auth, warnings } = createWorld();
	await auth.prepare(ADMIN);
	const { accessToken, refreshToken } = await auth.login('root', 'first password');
	await auth.prepare({ ...ADMIN, password: 'second password' });
	assert.equal(warnings.length, 1);
	await refused(() => auth.authenticator.authenticate(accessToken), 'invalid_credentials');
	await refused(() => auth.refresh(refreshToken), 'invalid_credentials');
	await refused(() => auth.login('root', 'first password'), 'invalid_credentials');
	await auth.login('root', 'second password');
});

test('the same value leaves a password alone that was changed otherwise, at each start', async () => {
	const { auth, node } = createWorld();
	await auth.prepare(ADMIN);
	const { accountId } = (await auth.accounts.findByName('root')) ?? assert.fail();
	await auth.changeAccount(accountId, { password: 'changed by hand' });
	const { accessToken } = await auth.login('root', 'changed by hand');
	for (const one of [auth, node()]) await one.prepare(ADMIN);
	await auth.authenticator.authenticate(accessToken);
	await auth.login('root', 'changed by hand');
	await refused(() => auth.login('root', 'first password'), 'invalid_credentials');
});

test('a value that was replaced acts when it comes again', async () => {
	const { auth } = createWorld();
	for (const password of ['first password', 'second password', 'first password']) await auth.prepare({ ...ADMIN, password });
	await auth.login('root', 'first password');
});

test('a new value acts once, by however many nodes that start at the same time', async () => {
	const { auth, node } = createWorld();
	await auth.prepare(ADMIN);
	const second = { ...ADMIN, password: 'second password' };
	await Promise.all([auth, node(), node()].map((one) => one.prepare(second)));
	assert.equal((await auth.accounts.findByName('root'))?.cv, 1);
});

test('the password that the account has ends nothing, also when no value was applied before', async () => {
	const { auth, account } = createWorld();
	await account('root');
	const { accessToken } = await auth.login('root', PASSWORD);
	await auth.prepare({ ...ADMIN, password: PASSWORD });
	await auth.authenticator.authenticate(accessToken);
	await auth.prepare(ADMIN);
	await auth.login('root', 'first password');
});

test('a name that looks like that of another account is refused, in words', async () => {
	const { auth, account } = createWorld();
	await account('Root');
	await refused(() => auth.prepare(ADMIN), 'account_exists');
});

test('a relay that is started again with another password has no session of before', async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-bootstrap-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	const start = (password: string) =>
		startAuthRelay({
			PULSAR_STORAGE_BACKEND: 'embedded',
			PULSAR_DATA_DIR: dataDir,
			PULSAR_BOOTSTRAP_ADMIN_PASSWORD: password,
		});
	const first = await start('first password');
	const { token, refreshToken } = first.admin;
	await first.close();
	const second = await start('second password');
	t.after(() => second.close());
	const refresh = await second.call('POST', '/auth/token/refresh', null, { refresh_token: refreshToken });
	assert.equal(refresh.status, 401, refresh.text);
	assert.equal((await second.call('GET', '/auth/me', token)).status, 401);
});
