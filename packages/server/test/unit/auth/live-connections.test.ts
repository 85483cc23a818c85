/** Connections that stay open: each change that takes a right away ends them, or the one subscription, and nothing else does. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { LiveConnection } from '../../../src/auth/live-connections.ts';
import type { KnownPrincipal } from '../../../src/auth/principal.ts';
import type { RecordListener, Records } from '../../../src/ports/records.ts';
import { createWorld, logOut, mint, PASSWORD, refused } from './world.ts';

interface Watched extends LiveConnection {
	principal: KnownPrincipal;
	topics: Set<string>;
	ended: string | null;
}

async function connected() {
	const world = createWorld();
	const [bob, alice] = [await world.account('bob'), await world.account('alice')];
	const { auth } = world;
	const connect = async (credential: string, ...topics: string[]): Promise<Watched> => {
		const connection: Watched = {
			principal: await auth.authenticator.authenticate(credential),
			topics: new Set(topics),
			ended: null,
			end: ({ code }) => {
				connection.ended = code;
			},
			endTopic: (topic) => void connection.topics.delete(topic),
			renewed: (principal) => {
				connection.principal = principal;
			},
		};
		auth.live.add(connection);
		await settle();
		return connection;
	};
	const token = async (username: string) => (await auth.login(username, PASSWORD)).accessToken;
	return { ...world, auth, bob, alice, connect, token };
}

/** The checks under way are made of reads in memory: some turns, and they are over. */
async function settle(): Promise<void> {
	for (let i = 0; i < 20; i++) await turn();
}

test('a connection stays while its rights do', async () => {
	const { connect, token, bob, auth, clock } = await connected();
	const one = await connect(await token('bob'), `${bob.accountId}/a`);
	await auth.accounts.change(bob.accountId, { email: 'new@x.org', permissions: ['read'] });
	clock.advance(35_000);
	await settle();
	assert.equal(one.ended, null);
	assert.equal(one.topics.size, 1);
	assert.deepEqual(one.principal.permissions, ['read'], 'and has the rights it has now');
});

describe('a connection ends', () => {
	test('with the time of its token, within a second', async () => {
		const { connect, token, clock } = await connected();
		const one = await connect(await token('bob'));
		clock.advance(599_000);
		assert.equal(one.ended, null);
		clock.advance(2000);
		assert.equal(one.ended, 'credentials_expired');
	});

	test('with the logout of its token, and the others of the account do not', async () => {
		const { connect, token, auth } = await connected();
		const [first, second] = [await token('bob'), await token('bob')];
		const [one, other] = [await connect(first), await connect(second)];
		await logOut(auth, first);
		await settle();
		assert.equal(one.ended, 'credentials_expired');
		assert.equal(other.ended, null);
	});

	for (const [title, change, code] of [
		['when its account is disabled', { isActive: false }, 'access_revoked'],
		['when its account may no longer read and it follows topics', { permissions: ['write'] }, 'access_revoked'],
	] as const) {
		test(title, async () => {
			const { connect, token, bob, node } = await connected();
			const one = await connect(await token('bob'), `${bob.accountId}/a`);
			const other = await connect(await token('alice'), 'x');
			await node().accounts.change(bob.accountId, change);
			await settle();
			assert.equal(one.ended, code);
			assert.equal(other.ended, null);
		});
	}

	test('when its account is deleted', async () => {
		const { connect, token, bob, auth } = await connected();
		const one = await connect(await token('bob'));
		await auth.deleteAccount(bob.accountId);
		await settle();
		assert.equal(one.ended, 'credentials_expired');
	});

	test('with its key, and with the key that minted its token', async () => {
		const { connect, bob, auth } = await connected();
		const scopes = [{ actions: ['subscribe'] as const, topics: [`${bob.accountId}/*`] }];
		const { key, secret } = await auth.keys.create(bob.accountId, { name: 'k', scopes, expiresAtMs: null });
		const token = await mint(auth, secret, 'subscribe', ['*']);
		const connections = [await connect(secret), await connect(token)];
		await auth.keys.delete(bob.accountId, key.keyId);
		await settle();
		for (const { ended } of connections) assert.equal(ended, 'credentials_expired');
	});

	test('of a scoped token, with the scopes of the key that minted it, which may not be used anew either', async () => {
		const { connect, bob, auth } = await connected();
		const scopesOf = (pattern: string) => [{ actions: ['subscribe'] as const, topics: [`${bob.accountId}/${pattern}`] }];
		const { key, secret } = await auth.keys.create(bob.accountId, { name: 'k', scopes: scopesOf('*'), expiresAtMs: null });
		const minted = (pattern: string) => mint(auth, secret, 'subscribe', [pattern]);
		const [beyond, within] = [await minted('private.*'), await minted('jobs.a')];
		const [one, other] = [await connect(beyond), await connect(within)];
		await auth.keys.change(bob.accountId, key.keyId, { scopes: scopesOf('jobs.*') });
		await settle();
		assert.deepEqual([one.ended, other.ended], ['credentials_expired', null]);
		await refused(async () => auth.authenticator.authenticate(beyond), 'invalid_credentials');
		await auth.authenticator.authenticate(within);
	});

	test('of a scoped token, with the logout of the session that minted it', async () => {
		const { connect, token, auth } = await connected();
		const [accessToken, another] = [await token('bob'), await token('bob')];
		const connectBy = async (minter: string) => connect(await mint(auth, minter, 'subscribe', ['*']));
		const [one, other] = [await connectBy(accessToken), await connectBy(another)];
		await logOut(auth, accessToken);
		await settle();
		assert.deepEqual([one.ended, other.ended], ['credentials_expired', null]);
	});

	test('at once when it is added after its right was taken away', async () => {
		const { token, bob, auth } = await connected();
		const accessToken = await token('bob');
		const principal = await auth.authenticator.authenticate(accessToken);
		await auth.accounts.change(bob.accountId, { isActive: false });
		const ended: string[] = [];
		auth.live.add({ principal, topics: [], end: ({ code }) => void ended.push(code), endTopic: () => {}, renewed: () => {} });
		await settle();
		assert.deepEqual(ended, ['access_revoked']);
	});
});

test('a grant that is taken back ends the one subscription; so does a key whose scopes shrink', async () => {
	const { connect, token, bob, alice, auth } = await connected();
	const granted = `${alice.accountId}/jobs`;
	await auth.topics.grant(granted, bob.accountId, 'read');
	const own = `${bob.accountId}/own`;
	const one = await connect(await token('bob'), granted, own);
	const scopes = [{ actions: ['subscribe'] as const, topics: [own, granted] }];
	const { key, secret } = await auth.keys.create(bob.accountId, { name: 'k', scopes, expiresAtMs: null });
	const byKey = await connect(secret, granted, own);
	assert.deepEqual([...one.topics, ...byKey.topics], [granted, own, granted, own]);
	await auth.topics.revoke(granted, bob.accountId, null);
	await settle();
	assert.deepEqual([[...one.topics], [...byKey.topics]], [[own], [own]]);
	await auth.keys.change(bob.accountId, key.keyId, { scopes: [{ actions: ['publish'], topics: [own] }] });
	await settle();
	assert.deepEqual([...byKey.topics], []);
	assert.deepEqual([one.ended, byKey.ended], [null, null]);
});

test('a connection that was removed hears nothing, and nothing is held of it', async () => {
	const { connect, token, bob, auth } = await connected();
	const one = await connect(await token('bob'));
	auth.live.remove(one);
	auth.live.remove(one);
	await auth.accounts.change(bob.accountId, { isActive: false });
	await settle();
	assert.equal(one.ended, null);
});

test('a connection that closed while its token was refreshed is not watched again', async () => {
	const { connect, token, auth, clock } = await connected();
	const one = await connect(await token('bob'));
	auth.live.remove(one);
	auth.live.replaced(one);
	await settle();
	clock.advance(700_000);
	await settle();
	assert.equal(one.ended, null);
});

test('while the records cannot be read, a connection waits for one check, however often one is due', async () => {
	const { token, records, clock, node } = await connected();
	const credential = await token('bob');
	const listeners: RecordListener[] = [];
	let away = false;
	const view: Records = {
		get: (kind, id) => (away ? Promise.reject(new Error('away')) : records.get(kind, id)),
		list: (kind, query) => records.list(kind, query),
		write: (ops) => records.write(ops),
		purge: () => records.purge(),
		close: () => records.close(),
		listen: (heard) => {
			listeners.push(heard);
			return records.listen(heard);
		},
	};
	const other = node(view);
	const principal = await other.authenticator.authenticate(credential);
	other.live.add({ principal, topics: [], end: () => {}, endTopic: () => {}, renewed: () => {} });
	await settle();
	away = true;
	clock.advance(5000);
	await settle();
	const before = clock.timers;
	for (let i = 0; i < 10; i++) {
		for (const listener of listeners) listener.missed();
		await settle();
	}
	assert(clock.timers <= before + 1, `${clock.timers - before} more timers`);
});
