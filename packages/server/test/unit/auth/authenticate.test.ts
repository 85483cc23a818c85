/** From credentials to principals: what ends them, on every node, at once; and what happens when nobody can be asked. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { Auth } from '../../../src/auth/auth.ts';
import { bearerOf } from '../../../src/auth/authenticate.ts';
import type { Records } from '../../../src/ports/records.ts';
import { base64url, createWorld, forge, logOut, mint, PASSWORD, refused, SECRET } from './world.ts';

const scopes = [{ actions: ['publish'] as const, topics: ['x/*'] }];

async function signedIn() {
	const world = createWorld();
	const account = await world.account('bob');
	const { accessToken, expiresInS, refreshToken } = await world.auth.login('bob', PASSWORD);
	return { ...world, account, accessToken, expiresInS, refreshToken };
}

test('an access token says what existing clients read in it, and its session', async () => {
	const { accessToken, expiresInS, refreshToken, account, clock } = await signedIn();
	const [header = '', claims = ''] = accessToken.split('.').map((part) => Buffer.from(part, 'base64url').toString());
	assert.equal(header, '{"alg":"HS256","typ":"JWT"}');
	const { jti, sid, ...others } = JSON.parse(claims) as Record<string, unknown>;
	const iat = Math.floor(clock.nowMs() / 1000);
	assert.deepEqual(others, {
		sub: account.accountId,
		username: 'bob',
		permissions: ['read', 'write'],
		cv: 0,
		iat,
		exp: iat + 600,
	});
	assert.match(String(jti), /^[0-9a-f]{32}$/);
	assert.equal(sid, refreshToken.split('.')[0]);
	assert.equal(expiresInS, 600);
});

test('once a token is known, the answer is there at once', async () => {
	const { auth, accessToken } = await signedIn();
	assert(auth.authenticator.authenticate(accessToken) instanceof Promise);
	await auth.authenticator.authenticate(accessToken);
	const principal = auth.authenticator.authenticate(accessToken);
	assert(!(principal instanceof Promise));
	assert.equal(principal.username, 'bob');
});

describe('what ends a token ends it on every node that knew it', () => {
	const ENDS: readonly (readonly [
		title: string,
		end: (auth: Auth, accountId: string, token: string) => unknown,
		code: string,
		detail: string,
	])[] = [
		['logout', (auth, _, token) => logOut(auth, token), 'invalid_credentials', 'Token has been revoked'],
		['a disabled account', (auth, id) => auth.accounts.change(id, { isActive: false }), 'forbidden', 'User is inactive'],
		['a deleted account', (auth, id) => auth.deleteAccount(id), 'invalid_credentials', 'User not found'],
	];
	for (const [title, end, code, detail] of ENDS) {
		test(title, async () => {
			const { auth, node, account, accessToken } = await signedIn();
			const other = node();
			for (const one of [auth, other]) await one.authenticator.authenticate(accessToken);
			await end(auth, account.accountId, accessToken);
			for (const one of [auth, other, node()]) {
				await refused(() => one.authenticator.authenticate(accessToken), code, detail);
			}
		});
	}

	test('its time', async () => {
		const { auth, clock, accessToken } = await signedIn();
		await auth.authenticator.authenticate(accessToken);
		clock.advance(599_999);
		await auth.authenticator.authenticate(accessToken);
		clock.advance(1);
		await refused(() => auth.authenticator.authenticate(accessToken), 'invalid_credentials', 'Invalid or expired token');
	});

	test('a lost announcement delays it by five seconds at most', async () => {
		const { auth, clock, records, accessToken, account } = await signedIn();
		const deaf = new Auth({ ...OPTIONS, clock, records: { ...bound(records), listen: () => () => {} } });
		await deaf.authenticator.authenticate(accessToken);
		await auth.accounts.change(account.accountId, { isActive: false });
		await deaf.authenticator.authenticate(accessToken);
		clock.advance(5000);
		await refused(() => deaf.authenticator.authenticate(accessToken), 'forbidden');
	});
});

test('permissions are those of the account now, not those of when the token was made', async () => {
	const { auth, account, accessToken } = await signedIn();
	await auth.accounts.change(account.accountId, { permissions: ['read'] });
	assert.deepEqual((await auth.authenticator.authenticate(accessToken)).permissions, ['read']);
});

test('a read that a change has overtaken is not remembered', async () => {
	const { auth, clock, records, account, accessToken } = await signedIn();
	const overtaken = Promise.withResolvers<void>();
	const reading = Promise.withResolvers<void>();
	let hold = false;
	const slow: Records = {
		...bound(records),
		get: async (kind, id) => {
			const record = await records.get(kind, id);
			if (hold && kind === 'account') {
				reading.resolve();
				await overtaken.promise;
			}
			return record;
		},
	};
	const late = new Auth({ ...OPTIONS, clock, records: slow });
	hold = true;
	const before = late.authenticator.authenticate(accessToken);
	await reading.promise;
	await auth.accounts.change(account.accountId, { isActive: false });
	hold = false;
	overtaken.resolve();
	assert.equal((await before).username, 'bob', 'who asked before the change is answered by what was true then');
	await refused(() => late.authenticator.authenticate(accessToken), 'forbidden');
});

test('when the records cannot be read nobody gets in who is not known, and it is no refusal', async () => {
	const { clock, records, accessToken } = await signedIn();
	const broken = new Auth({
		...OPTIONS,
		clock,
		records: { ...bound(records), get: () => Promise.reject(new RelayError('storage_unavailable', 'down')) },
	});
	await refused(() => broken.authenticator.authenticate(accessToken), 'storage_unavailable');
	await refused(() => broken.authenticator.authenticate(`prk_${'0'.repeat(16)}_${'A'.repeat(43)}`), 'storage_unavailable');
});

test('a key acts for its account, within its scopes, while both are live', async () => {
	const { auth, account } = await signedIn();
	const { secret, key } = await auth.keys.create(account.accountId, { name: 'k', scopes, expiresAtMs: null });
	const principal = await auth.authenticator.authenticate(secret);
	assert(principal.kind === 'apiKey');
	assert.equal(principal.keyId, key.keyId);
	assert.deepEqual(principal.scopes, scopes);
	assert(!(auth.authenticator.authenticate(secret) instanceof Promise));
	await auth.accounts.change(account.accountId, { isActive: false });
	await refused(() => auth.authenticator.authenticate(secret), 'forbidden', 'User is inactive');
	await auth.accounts.change(account.accountId, { isActive: true });
	await auth.keys.delete(account.accountId, key.keyId);
	await refused(() => auth.authenticator.authenticate(secret), 'invalid_credentials');
});

test('a scoped token is signed with a key of its own, and ends with the key that minted it', async () => {
	const { auth, account } = await signedIn();
	const own = [{ actions: ['publish'] as const, topics: [`${account.accountId}/*`] }];
	const { key, secret } = await auth.keys.create(account.accountId, { name: 'k', scopes: own, expiresAtMs: null });
	const token = await mint(auth, secret, 'publish', ['*']);
	const principal = await auth.authenticator.authenticate(token);
	assert(principal.kind === 'scoped');
	assert.deepEqual(principal.scopes, own);
	const [, claims, signature] = token.split('.');
	await refused(
		() => auth.authenticator.authenticate(`${base64url({ alg: 'HS256', typ: 'JWT' })}.${claims}.${signature}`),
		'invalid_credentials',
	);
	await auth.keys.delete(account.accountId, key.keyId);
	await refused(() => auth.authenticator.authenticate(token), 'invalid_credentials');
});

describe('logging out ends the scoped tokens', () => {
	/** A session whose token has been replaced once: what was minted by either, and what the account has minted elsewhere. */
	async function minted() {
		const world = createWorld();
		const { auth, clock } = world;
		const account = await world.account('bob');
		const mintBy = (accessToken: string) => mint(auth, accessToken, 'publish', ['*'], 3600);
		const first = await auth.login('bob', PASSWORD);
		const byFirst = await mintBy(first.accessToken);
		clock.advance(60_000);
		const second = await auth.refresh(first.refreshToken);
		const bySecond = await mintBy(second.accessToken);
		const elsewhere = await mintBy((await auth.login('bob', PASSWORD)).accessToken);
		for (const token of [byFirst, bySecond, elsewhere]) await auth.authenticator.authenticate(token);
		return { ...world, account, mintBy, first, second, byFirst, bySecond, elsewhere };
	}

	test('that were minted in the session, by this token and by those before it, and no others', async () => {
		const { auth, first, second, byFirst, bySecond, elsewhere } = await minted();
		await logOut(auth, second.accessToken);
		for (const token of [byFirst, bySecond]) {
			await refused(() => auth.authenticator.authenticate(token), 'invalid_credentials', 'Token has been revoked');
		}
		await auth.authenticator.authenticate(elsewhere);
		await auth.authenticator.authenticate(first.accessToken);
	});

	test('on every node, and for as long as they would have lived', async () => {
		const { auth, node, clock, records, second, bySecond, elsewhere } = await minted();
		await logOut(auth, second.accessToken);
		for (let minutes = 0; minutes < 59; minutes++) {
			clock.advance(60_000);
			await records.purge();
		}
		for (const { authenticator } of [auth, node()]) {
			await refused(() => authenticator.authenticate(bySecond), 'invalid_credentials', 'Token has been revoked');
			await authenticator.authenticate(elsewhere);
		}
		clock.advance(120_000);
		await records.purge();
		await refused(() => auth.authenticator.authenticate(bySecond), 'invalid_credentials');
	});

	test('of until then: one that is minted after the session was refreshed is good', async () => {
		const { auth, clock, mintBy, second, bySecond } = await minted();
		await logOut(auth, second.accessToken);
		clock.advance(1000);
		const later = await mintBy((await auth.refresh(second.refreshToken)).accessToken);
		await auth.authenticator.authenticate(later);
		assert(!(auth.authenticator.authenticate(later) instanceof Promise), 'from memory');
		await refused(() => auth.authenticator.authenticate(bySecond), 'invalid_credentials');
	});

	test('of a token of the earlier server, which names no session', async () => {
		const { auth, account, clock, mintBy, elsewhere } = await minted();
		const iat = Math.floor(clock.nowMs() / 1000);
		const claims = { sub: account.accountId, username: 'bob', iat, exp: iat + 600, jti: 'named' };
		const token = forge({ alg: 'HS256', typ: 'JWT' }, claims);
		const scoped = await mintBy(token);
		await auth.authenticator.authenticate(scoped);
		await logOut(auth, token);
		await refused(() => auth.authenticator.authenticate(scoped), 'invalid_credentials', 'Token has been revoked');
		await auth.authenticator.authenticate(elsewhere);
	});

	test('and nothing but itself when it is a scoped token that logs out', async () => {
		const { auth, second, byFirst, bySecond } = await minted();
		await logOut(auth, bySecond);
		await refused(() => auth.authenticator.authenticate(bySecond), 'invalid_credentials', 'Token has been revoked');
		for (const token of [byFirst, second.accessToken]) await auth.authenticator.authenticate(token);
	});
});

test('whoever is unknown, has a wrong password or none gets one answer; who is disabled learns that only with the right one', async () => {
	const { auth, account } = await signedIn();
	await auth.accounts.create({ username: 'federated', password: null, email: null, permissions: [] });
	for (const [username, password] of [
		['nobody', PASSWORD],
		['bob', 'wrong horse'],
		['federated', PASSWORD],
	] as const) {
		await refused(() => auth.login(username, password), 'invalid_credentials', 'Incorrect username or password');
	}
	await auth.accounts.change(account.accountId, { isActive: false });
	await refused(() => auth.login('bob', 'wrong horse'), 'invalid_credentials', 'Incorrect username or password');
	await refused(() => auth.login('bob', PASSWORD), 'forbidden', 'User account is inactive');
});

test('a bearer header is read in any case and with blanks; anything else is no credential', async () => {
	for (const header of ['Bearer abc', 'bearer abc', 'BEARER   abc', 'Bearer abc ']) assert.equal(bearerOf(header), 'abc');
	for (const header of [
		undefined,
		'',
		'Bearer',
		'Bearer ',
		'Basic abc',
		'abc',
		'Bearer a b',
		'Bearerabc',
		'Bearer a, Bearer b',
	]) {
		await refused(async () => bearerOf(header), 'not_authenticated', 'Not authenticated');
	}
});

const OPTIONS = {
	log: { warn: () => {} },
	jwtSecret: SECRET,
	accessTokenLifetimeS: 600,
	refreshTokenLifetimeS: 600,
	refreshGraceS: 0,
};

/** Records whose methods can be taken apart. */
function bound(records: Records): Records {
	return {
		get: (kind, id) => records.get(kind, id),
		list: (kind, query) => records.list(kind, query),
		write: (ops) => records.write(ops),
		listen: (listener) => records.listen(listener),
		purge: () => records.purge(),
		close: () => records.close(),
	};
}
