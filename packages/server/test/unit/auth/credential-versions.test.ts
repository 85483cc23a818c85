/** What was made from a password, a session or a key ends with it, also where no announcement arrives, and whatever wrote it. */

import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Auth } from '../../../src/auth/auth.ts';
import type { KnownPrincipal } from '../../../src/auth/principal.ts';
import { SESSIONS_MAX } from '../../../src/auth/refresh-tokens.ts';
import type { Records } from '../../../src/ports/records.ts';
import { createWorld, forge, logOut, mint, PASSWORD, refused, SECRET } from './world.ts';

const HEADER = { alg: 'HS256', typ: 'JWT' };

async function signedIn() {
	const world = createWorld();
	const account = await world.account('bob');
	const { accessToken, refreshToken } = await world.auth.login('bob', PASSWORD);
	const scopes = [{ actions: ['subscribe'] as const, topics: [`${account.accountId}/*`] }];
	const { key, secret } = await world.auth.keys.create(account.accountId, { name: 'k', scopes, expiresAtMs: null });
	return { ...world, account, accountId: account.accountId, accessToken, refreshToken, key, secret };
}

/** Records of which a node hears no change. */
function deaf(records: Records): Records {
	return {
		get: (kind, id) => records.get(kind, id),
		list: (kind, query) => records.list(kind, query),
		write: (ops) => records.write(ops),
		purge: () => records.purge(),
		close: () => records.close(),
		listen: () => () => {},
	};
}

async function settle(): Promise<void> {
	for (let i = 0; i < 20; i++) await turn();
}

async function connect(auth: Auth, credential: string, ...topics: string[]) {
	const connection = {
		principal: await auth.authenticator.authenticate(credential),
		topics,
		ended: null as string | null,
		end: ({ code }: { code: string }) => {
			connection.ended = code;
		},
		endTopic: () => {},
		renewed: (principal: KnownPrincipal) => {
			connection.principal = principal;
		},
	};
	auth.live.add(connection);
	await settle();
	return connection;
}

const good = async (auth: Auth, credential: string) => void (await auth.authenticator.authenticate(credential));
const ended = (auth: Auth, credential: string) =>
	refused(() => auth.authenticator.authenticate(credential), 'invalid_credentials');

describe('a node that hears of nothing ends what is open within five seconds', () => {
	type World = Awaited<ReturnType<typeof signedIn>>;
	const ENDS: readonly (readonly [
		title: string,
		credential: (world: World) => Promise<string> | string,
		end: (world: World) => unknown,
	])[] = [
		[
			'by an access token, after a new password',
			({ accessToken }) => accessToken,
			({ auth, accountId }) => auth.changeAccount(accountId, { password: 'another one' }),
		],
		[
			'by a scoped token, after a new password',
			({ auth, accessToken }) => mint(auth, accessToken, 'subscribe', ['*'], 600),
			({ auth, accountId }) => auth.changeAccount(accountId, { password: 'another one' }),
		],
		[
			'by an access token, after the end of its session',
			({ accessToken }) => accessToken,
			({ auth, refreshToken }) => auth.sessions.revoke(refreshToken),
		],
		[
			'by a scoped token, after the logout of its session',
			({ auth, accessToken }) => mint(auth, accessToken, 'subscribe', ['*'], 600),
			({ auth, accessToken }) => logOut(auth, accessToken),
		],
		[
			'by a key, after a rotation',
			({ secret }) => secret,
			({ auth, accountId, key }) => auth.keys.rotate(accountId, key.keyId, 0),
		],
		[
			'by a scoped token of a key, after a rotation',
			({ auth, secret }) => mint(auth, secret, 'subscribe', ['*'], 600),
			({ auth, accountId, key }) => auth.keys.rotate(accountId, key.keyId, 0),
		],
	];
	for (const [title, credentialOf, end] of ENDS) {
		test(title, async () => {
			const world = await signedIn();
			const far = world.node(deaf(world.records));
			const credential = await credentialOf(world);
			const connection = await connect(far, credential, `${world.accountId}/a`);
			for (let s = 0; s < 8; s++) {
				world.clock.advance(1000);
				await settle();
			}
			assert.equal(connection.ended, null);
			await end(world);
			for (let s = 0; s < 5; s++) {
				world.clock.advance(1000);
				await settle();
			}
			assert.equal(connection.ended, 'credentials_expired');
			await ended(far, credential);
		});
	}

	test('and confirms in the store, before that, what is to outlive the credential', async () => {
		for (const end of ['password', 'session', 'logout'] as const) {
			const world = await signedIn();
			const far = world.node(deaf(world.records));
			const principal = await far.authenticator.authenticate(world.accessToken);
			await far.authenticator.confirm(principal);
			if (end === 'password') await world.auth.changeAccount(world.accountId, { password: 'another one' });
			else if (end === 'session') await world.auth.sessions.revoke(world.refreshToken);
			else await logOut(world.auth, world.accessToken);
			await good(far, world.accessToken);
			await refused(() => far.authenticator.confirm(principal), 'invalid_credentials');
		}
	});

	test('and reads nothing for one that follows a hundred topics of its own but what its credential rests on', async () => {
		const world = await signedIn();
		let reads = 0;
		const get: Records['get'] = (kind, id) => {
			reads++;
			return world.records.get(kind, id);
		};
		const far = world.node({ ...deaf(world.records), get });
		await connect(far, world.accessToken, ...Array.from({ length: 100 }, (_, i) => `${world.accountId}/t${i}`));
		reads = 0;
		for (let s = 0; s < 20; s++) {
			world.clock.advance(1000);
			await settle();
		}
		assert(reads <= 3 * 5, `${reads} reads in 20 s`);
	});
});

describe('a key', () => {
	test('that ends takes the connections of its scoped tokens with it, within a second', async () => {
		const { auth, clock, secret, key, accountId } = await signedIn();
		const connection = await connect(auth, await mint(auth, secret, 'subscribe', ['*'], 600));
		await auth.keys.change(accountId, key.keyId, { expiresAtMs: clock.nowMs() + 10_000 });
		await settle();
		clock.advance(9000);
		assert.equal(connection.ended, null);
		clock.advance(2000);
		assert.equal(connection.ended, 'credentials_expired');
	});

	test('that is rotated keeps what was made with the old secret until the overlap ends, and what was made with the new one after', async () => {
		const { auth, clock, secret, key, accountId } = await signedIn();
		const token = await mint(auth, secret, 'subscribe', ['*'], 600);
		const old = [await connect(auth, secret), await connect(auth, token)];
		const rotated = (await auth.keys.rotate(accountId, key.keyId, 60))?.secret ?? '';
		const next = [await connect(auth, rotated), await connect(auth, await mint(auth, rotated, 'subscribe', ['*'], 600))];
		await settle();
		clock.advance(59_000);
		await settle();
		assert.deepEqual(
			[...old, ...next].map((one) => one.ended),
			[null, null, null, null],
		);
		clock.advance(2000);
		await settle();
		assert.deepEqual(
			[...old, ...next].map((one) => one.ended),
			['credentials_expired', 'credentials_expired', null, null],
		);
		await ended(auth, token);
	});

	test('that is rotated twice keeps nothing of the first secret, though its overlap is not over', async () => {
		const { auth, secret, key, accountId } = await signedIn();
		const [connection, token] = [await connect(auth, secret), await mint(auth, secret, 'subscribe', ['*'], 600)];
		for (let i = 0; i < 2; i++) await auth.keys.rotate(accountId, key.keyId, 3600);
		await settle();
		assert.equal(connection.ended, 'credentials_expired');
		await ended(auth, token);
	});

	test('stays through a new password, and is made by no token from before it', async () => {
		const { auth, secret, accountId, accessToken } = await signedIn();
		const token = await mint(auth, secret, 'subscribe', ['*'], 600);
		await auth.changeAccount(accountId, { password: 'another one' });
		for (const credential of [secret, token]) await good(auth, credential);
		await ended(auth, accessToken);
	});
});

describe('a session', () => {
	test('that is logged out goes on, and what is minted in it afterwards is good, in the same second', async () => {
		const { auth, accessToken, refreshToken } = await signedIn();
		const before = await mint(auth, accessToken, 'subscribe', ['*'], 600);
		const { accessToken: second, refreshToken: next } = await auth.refresh(refreshToken);
		await logOut(auth, accessToken);
		for (const token of [accessToken, before]) await ended(auth, token);
		const bySecond = await mint(auth, second, 'subscribe', ['*'], 600);
		const byThird = await mint(auth, (await auth.refresh(next)).accessToken, 'subscribe', ['*'], 600);
		for (const token of [second, bySecond, byThird]) await good(auth, token);
		await logOut(auth, second);
		for (const token of [bySecond, byThird]) await ended(auth, token);
	});

	test('that is logged out hours apart ends what was minted in between', async () => {
		const { auth, clock, records, accessToken, refreshToken } = await signedIn();
		await logOut(auth, accessToken);
		let tokens = await auth.refresh(refreshToken);
		let minted = '';
		for (let minutes = 0; minutes < 150; minutes += 5) {
			clock.advance(300_000);
			await records.purge();
			tokens = await auth.refresh(tokens.refreshToken);
			minted = await mint(auth, tokens.accessToken, 'subscribe', ['*'], 3600);
		}
		await good(auth, minted);
		await logOut(auth, tokens.accessToken);
		await ended(auth, minted);
	});

	test('that ends, by its owner or by a stolen token that comes again, takes its access tokens with it and no others', async () => {
		for (const end of ['delete', 'replay'] as const) {
			const { auth, clock, accountId, accessToken, refreshToken } = await signedIn();
			const other = await auth.login('bob', PASSWORD);
			const later = await auth.refresh(refreshToken);
			clock.advance(31_000);
			if (end === 'delete') await auth.sessions.delete(accountId, refreshToken.split('.')[0] ?? '');
			else await refused(() => auth.refresh(refreshToken), 'invalid_credentials');
			for (const token of [accessToken, later.accessToken]) await ended(auth, token);
			await good(auth, other.accessToken);
		}
	});

	test('that makes room for others keeps its access token, which may be in use', async () => {
		const { auth, clock, account, accessToken, refreshToken } = await signedIn();
		clock.advance(1000);
		for (let i = 0; i < SESSIONS_MAX; i++) await auth.sessions.issue(account, null);
		await refused(() => auth.refresh(refreshToken), 'invalid_credentials');
		await good(auth, accessToken);
		const scoped = await mint(auth, accessToken, 'subscribe', ['*']);
		await logOut(auth, accessToken);
		for (const token of [accessToken, scoped]) await ended(auth, token);
	});

	test('that has ended is not brought back by a logout on a node that has not heard', async () => {
		const { auth, node, records, accessToken, refreshToken } = await signedIn();
		const far = node(deaf(records));
		const second = (await auth.refresh(refreshToken)).accessToken;
		await good(far, accessToken);
		await auth.sessions.revoke(refreshToken);
		await logOut(far, accessToken);
		await ended(auth, second);
	});
});

test('an account that was disabled and is enabled again has other credentials', async () => {
	const { auth, accountId, accessToken, refreshToken, secret } = await signedIn();
	const scoped = await mint(auth, accessToken, 'subscribe', ['*'], 600);
	for (const isActive of [false, true]) await auth.changeAccount(accountId, { isActive });
	for (const token of [accessToken, scoped]) await ended(auth, token);
	await refused(() => auth.refresh(refreshToken), 'invalid_credentials');
	assert.deepEqual(await auth.sessions.list(accountId), []);
	await good(auth, secret);
	await good(auth, (await auth.login('bob', PASSWORD)).accessToken);
});

test('other changes of an account end nothing', async () => {
	const { auth, accountId, accessToken, refreshToken } = await signedIn();
	await auth.changeAccount(accountId, { email: 'new@x.org', permissions: ['read'], isActive: true });
	await good(auth, accessToken);
	await auth.refresh(refreshToken);
});

describe('what carries no version is judged by when it was issued', () => {
	test('an access token, after a new password', async () => {
		const { auth, clock, accountId } = await signedIn();
		const tokenOf = (iat: number) => forge(HEADER, { sub: accountId, username: 'bob', iat, exp: iat + 600, jti: `t${iat}` });
		const nowS = () => Math.floor(clock.nowMs() / 1000);
		const before = tokenOf(nowS());
		await good(auth, before);
		await auth.changeAccount(accountId, { password: 'another one' });
		await ended(auth, before);
		clock.advance(1000);
		await good(auth, tokenOf(nowS()));
	});

	test('a session, as 0.3.0 wrote it', async () => {
		const { auth, records, accountId, refreshToken } = await signedIn();
		const [jti = ''] = refreshToken.split('.');
		const record = await records.get('session', jti);
		assert(record !== undefined);
		const { accountCv, ...before } = record.value;
		assert.equal(accountCv, 0);
		await records.write([{ op: 'put', kind: 'session', id: jti, value: before, expected: 'present' }]);
		const next = (await auth.refresh(refreshToken)).refreshToken;
		await auth.accounts.change(accountId, { password: 'another one' });
		await refused(() => auth.refresh(next), 'invalid_credentials', 'invalid refresh token');
	});

	test('a scoped token of a key, as 0.3.0 wrote both', async () => {
		const { auth, clock, records, accountId, key } = await signedIn();
		const record = await records.get('api-key', key.keyId);
		assert(record !== undefined);
		const secrets = (record.value['secrets'] as { hash: string }[]).map(({ hash }) => ({ hash, expiresAtMs: null }));
		await records.write([
			{ op: 'put', kind: 'api-key', id: key.keyId, value: { ...record.value, secrets }, expected: 'present' },
		]);
		const iat = Math.floor(clock.nowMs() / 1000) + 1;
		const claims = {
			sub: accountId,
			username: 'bob',
			scopes: [{ actions: ['subscribe'], topics: [`${accountId}/a`] }],
			key: key.keyId,
			iat,
			exp: iat + 3600,
			jti: 'scoped',
		};
		const signingKey = new Uint8Array(hkdfSync('sha256', SECRET, '', 'pulsar-relay scoped token', 32));
		const token = forge({ alg: 'HS256', typ: 'scoped+jwt' }, claims, signingKey);
		await good(auth, token);
		clock.advance(5000);
		await auth.keys.rotate(accountId, key.keyId, 60);
		await good(auth, token);
		clock.advance(60_000);
		await ended(auth, token);
	});
});

test('no session begins by a password that is replaced while it is checked', async () => {
	const { auth, account, accountId } = await signedIn();
	await auth.changeAccount(accountId, { password: 'another one' });
	assert.equal(await auth.begin(account, null), null);
	assert.deepEqual(await auth.sessions.list(accountId), []);
});
