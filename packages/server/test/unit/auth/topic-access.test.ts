/** Whose topics are whose: names, grants, scopes, and the one decision over all of them. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Account } from '../../../src/auth/accounts.ts';
import type { KnownPrincipal, Scope } from '../../../src/auth/principal.ts';
import { mintScopedToken, resolveScopes } from '../../../src/auth/scoped-tokens.ts';
import { isTopicPattern, matches, scopesAllow, shownScopes, uncovered } from '../../../src/auth/scopes.ts';
import { authorize, GRANTS_MAX } from '../../../src/auth/topic-access.ts';
import { createWorld, refused } from './world.ts';

const as = ({ accountId, username, permissions, cv }: Account): KnownPrincipal & { kind: 'account' } => ({
	kind: 'account',
	accountId,
	username,
	permissions,
	cv,
	jti: null,
	sessionId: null,
	expiresAtMs: null,
	credential: { kind: 'key', keyId: 'k', secretCv: 1 },
});

const withScopes = (account: Account, scopes: readonly Scope[]): KnownPrincipal => ({
	...as(account),
	kind: 'apiKey',
	keyId: 'k',
	secretCv: 1,
	scopes,
});

async function people() {
	const world = createWorld();
	const [alice, bob, reader] = await Promise.all([
		world.account('alice'),
		world.account('bob'),
		world.account('reader', ['read']),
	]);
	return { ...world, topics: world.auth.topics, alice, bob, reader };
}

test('a bare name is one’s own topic; `owner/name` is the owner’s, by id and by name', async () => {
	const { topics, alice, bob } = await people();
	const own = `${alice.accountId}/jobs`;
	assert.deepEqual(topics.allow(as(alice), 'publish', 'jobs'), { topic: own, shown: 'jobs' });
	assert.deepEqual(await topics.allow(as(alice), 'publish', 'alice/jobs'), { topic: own, shown: 'alice/jobs' });
	await topics.grant(own, bob.accountId, 'write');
	for (const shown of ['alice/jobs', own]) {
		assert.deepEqual(await topics.allow(as(bob), 'publish', shown), { topic: own, shown });
	}
	assert.deepEqual(topics.allow({ kind: 'open' }, 'publish', 'jobs'), { topic: 'jobs', shown: 'jobs' });
});

test('a grant gives what it says, and no more, until it is taken back', async () => {
	const { topics, alice, bob } = await people();
	const topic = `${alice.accountId}/jobs`;
	const can = async (action: 'publish' | 'subscribe' | 'look' | 'manage') => topics.stillAllowed(as(bob), action, topic);
	const all = async () => [await can('publish'), await can('subscribe'), await can('look'), await can('manage')];
	assert.deepEqual(await all(), [false, false, false, false]);
	await topics.grant(topic, bob.accountId, 'read');
	assert.deepEqual(await all(), [false, true, true, false]);
	await topics.grant(topic, bob.accountId, 'write');
	assert.deepEqual(await all(), [true, true, true, false]);
	assert.equal(await topics.revoke(topic, bob.accountId, 'read'), true);
	assert.deepEqual(await all(), [true, false, true, false]);
	assert.equal(await topics.revoke(topic, bob.accountId, 'read'), false);
	await topics.setPublic(topic, true);
	assert.deepEqual(await all(), [true, true, true, false]);
	assert.equal(await topics.revoke(topic, bob.accountId, null), true);
	assert.deepEqual(await all(), [false, true, true, false]);
	await topics.forget(topic);
	assert.deepEqual(await all(), [false, false, false, false]);
});

test('grants made at the same time are all kept, and a topic has so many at most', async () => {
	const { topics, alice } = await people();
	const topic = `${alice.accountId}/jobs`;
	await Promise.all(Array.from({ length: 10 }, (_, i) => topics.grant(topic, `account-${i}`, 'read')));
	assert.equal(Object.keys((await topics.grants(topic)).byAccount).length, 10);
	for (let i = 10; i < GRANTS_MAX; i++) await topics.grant(topic, `account-${i}`, 'read');
	await refused(() => topics.grant(topic, 'one more', 'read'), 'forbidden');
	await topics.grant(topic, 'account-0', 'write');
});

describe('a topic of another that is not granted cannot be told from one that does not exist', () => {
	for (const action of ['publish', 'subscribe', 'look', 'manage'] as const) {
		test(action, async () => {
			const { topics, alice, bob } = await people();
			await topics.grant(`${alice.accountId}/other`, bob.accountId, 'read');
			const code = action === 'look' || action === 'manage' ? 'not_found' : 'forbidden';
			for (const shown of [
				'alice/jobs',
				`${alice.accountId}/jobs`,
				'nobody/jobs',
				'00000000-0000-4000-8000-000000000000/jobs',
				'__proto__/jobs',
			]) {
				const detail = {
					publish: `Access denied to topic '${shown}' (requires write permission)`,
					subscribe: `Access denied to topic '${shown}' (requires read permission)`,
					look: `Topic '${shown}' not found`,
					manage: `Topic '${shown}' not found`,
				}[action];
				await refused(() => topics.allow(as(bob), action, shown), code, detail);
			}
		});
	}
});

test('a grant does not replace the permission of the account', async () => {
	const { topics, alice, reader } = await people();
	await topics.grant(`${alice.accountId}/jobs`, reader.accountId, 'write');
	await refused(() => topics.allow(as(reader), 'publish', 'alice/jobs'), 'forbidden', "Permission 'write' required");
	await refused(() => topics.allow(as(reader), 'publish', 'mine'), 'forbidden', "Permission 'write' required");
	await topics.allow(as(reader), 'subscribe', 'mine');
});

test('an admin has no right to the topics of others by that', async () => {
	const { topics, account } = await people();
	await refused(() => topics.allow(as({ ...admin, accountId: 'x' }), 'subscribe', 'alice/jobs'), 'forbidden');
	const root = await account('root', ['admin']);
	await refused(() => topics.allow(as(root), 'subscribe', 'mine'), 'forbidden', "Permission 'read' required");
});

const admin: Account = {
	accountId: 'x',
	username: 'root',
	email: null,
	passwordHash: null,
	isActive: true,
	permissions: ['admin', 'read', 'write'],
	createdAtMs: 0,
	cv: 0,
	raisedAtMs: null,
	version: 1,
};

test('an id that another id begins with is not its owner', () => {
	const short: KnownPrincipal = as({ ...admin, accountId: 'ab' });
	assert.equal(authorize(short, 'publish', 'abc/jobs', null).status, 'denied');
	assert.equal(authorize(short, 'publish', 'ab/jobs', null).status, 'allowed');
});

test('scopes limit a key to actions and topics, and a missing one is named', async () => {
	const { topics, alice, bob } = await people();
	const key = withScopes(alice, [
		{ actions: ['publish'], topics: [`${alice.accountId}/jobs.*`] },
		{ actions: ['subscribe'], topics: [`${bob.accountId}/news`] },
	]);
	await topics.allow(key, 'publish', 'jobs.europe');
	await topics.allow(key, 'look', 'jobs.europe');
	await refused(() => topics.allow(key, 'publish', 'jobs'), 'forbidden', "Scope 'publish' for topic 'jobs' required");
	await refused(
		() => topics.allow(key, 'subscribe', 'jobs.europe'),
		'forbidden',
		"Scope 'subscribe' for topic 'jobs.europe' required",
	);
	await refused(() => topics.allow(key, 'look', 'other'), 'forbidden', "Scope 'publish or subscribe' for topic 'other' required");
	await refused(() => topics.allow(key, 'manage', 'jobs.europe'), 'forbidden');
	await refused(
		() => topics.allow(key, 'subscribe', 'bob/news'),
		'forbidden',
		"Access denied to topic 'bob/news' (requires read permission)",
	);
	await topics.grant(`${bob.accountId}/news`, alice.accountId, 'read');
	await topics.allow(key, 'subscribe', 'bob/news');
});

test('patterns: a name, or the beginning of one', () => {
	for (const good of ['jobs', 'jobs.*', '*', 'j*', 'jobs*', 'alice/*', 'alice/jobs.*', 'alice/jobs'])
		assert(isTopicPattern(good), good);
	for (const bad of ['', '**', 'a*b', '*a', '.*', 'a/b/*', '/*', 'jobs.**', 'a b*', 'jobs,*', `${'a'.repeat(255)}*`]) {
		assert(!isTopicPattern(bad), bad);
	}
	assert(
		matches('o/jobs.*', 'o/jobs.eu') &&
			!matches('o/jobs.*', 'o/jobs') &&
			!matches('o/jobs.*', 'o/jobsx') &&
			matches('o/*', 'o/x'),
	);
	assert(!matches('o/jobs', 'o/jobs.eu') && !matches('o/*', 'op/x'));
	assert(scopesAllow([{ actions: ['publish'], topics: ['o/*'] }], 'publish', 'o/x'));
});

test('one set of scopes is seen to contain another, or what it lacks', () => {
	const outer: Scope[] = [
		{ actions: ['publish', 'subscribe'], topics: ['o/jobs.*'] },
		{ actions: ['subscribe'], topics: ['o/news'] },
	];
	const inner = (action: 'publish' | 'subscribe', topic: string) => uncovered(outer, [{ actions: [action], topics: [topic] }]);
	for (const topic of ['o/jobs.*', 'o/jobs.eu', 'o/jobs.eu.*']) assert.equal(inner('publish', topic), undefined);
	assert.equal(inner('subscribe', 'o/news'), undefined);
	for (const topic of ['o/*', 'o/jobs*', 'o/jobs', 'o/news*', 'p/jobs.*']) {
		assert.deepEqual(inner('subscribe', topic), { action: 'subscribe', topic });
	}
	assert.deepEqual(inner('publish', 'o/news'), { action: 'publish', topic: 'o/news' });
});

test('a key or an account mints tokens for a part of what it may do, and for no more', async () => {
	const { auth, topics, alice, reader } = await people();
	const mint = (minter: KnownPrincipal, actions: readonly ('publish' | 'subscribe')[], pattern: string) =>
		mintScopedToken(auth, minter, { scopes: [{ actions, topics: [pattern] }], lifetimeS: 60 });
	const { token } = await mint(as(alice), ['publish', 'subscribe'], 'jobs.*');
	const scoped = await auth.authenticator.authenticate(token);
	assert(scoped.kind === 'scoped');
	await topics.allow(scoped, 'publish', 'jobs.eu');
	await refused(() => topics.allow(scoped, 'publish', 'jobs'), 'forbidden');
	await refused(() => mint(scoped, ['publish'], 'jobs.eu'), 'forbidden');
	await refused(() => mint(as(reader), ['publish'], 'x'), 'forbidden', "Permission 'write' required");
	const key = withScopes(alice, [{ actions: ['subscribe'], topics: [`${alice.accountId}/jobs.*`] }]);
	await refused(() => mint(key, ['subscribe'], '*'), 'forbidden', "Scope 'subscribe' for topic '*' required");
	await refused(() => mint(key, ['publish'], 'jobs.eu'), 'forbidden', "Scope 'publish' for topic 'jobs.eu' required");
});

describe('who has an account does not show', () => {
	test('in a scoped token for the topics of a name, nor in what it may do', async () => {
		const { auth, topics, alice, bob } = await people();
		const mint = (minter: KnownPrincipal, name: string) =>
			mintScopedToken(auth, minter, { scopes: [{ actions: ['subscribe'], topics: [`${name}/*`] }], lifetimeS: 60 });
		for (const name of ['bob', 'nobody']) {
			const { token } = await mint(as(alice), name);
			const claims = Buffer.from(token.split('.')[1] ?? '', 'base64url').toString();
			assert(claims.includes(`"topics":["${name}/*"]`), claims);
			assert(!claims.includes(bob.accountId));
			const scoped = await auth.authenticator.authenticate(token);
			for (const [topic, detail] of [
				[`${name}/x`, `Access denied to topic '${name}/x' (requires read permission)`],
				['reader/x', "Scope 'subscribe' for topic 'reader/x' required"],
				['nobody else/x', "Scope 'subscribe' for topic 'nobody else/x' required"],
			] as const) {
				await refused(() => topics.allow(scoped, 'subscribe', topic), 'forbidden', detail);
			}
			const key = withScopes(alice, [{ actions: ['subscribe'], topics: [`${alice.accountId}/*`] }]);
			await refused(() => mint(key, name), 'forbidden', `Scope 'subscribe' for topic '${name}/*' required`);
		}
	});

	test('and a token for the topics of a name is good for them once they are granted, also those of a later account', async () => {
		const { auth, topics, alice, bob, account } = await people();
		const mint = async (name: string) => {
			const scopes = [{ actions: ['subscribe'] as const, topics: [`${name}/*`] }];
			return (await mintScopedToken(auth, as(alice), { scopes, lifetimeS: 60 })).token;
		};
		const [early, now] = [await mint('carol'), await mint('bob')];
		const follow = async (token: string, topic: string) =>
			topics.allow(await auth.authenticator.authenticate(token), 'subscribe', topic);
		await refused(() => follow(early, 'carol/news'), 'forbidden');
		const carol = await account('carol');
		for (const owner of [bob, carol]) await topics.grant(`${owner.accountId}/news`, alice.accountId, 'read');
		assert.equal((await follow(now, 'bob/news')).topic, `${bob.accountId}/news`);
		assert.equal((await follow(early, 'carol/news')).topic, `${carol.accountId}/news`);
		await refused(() => follow(now, 'carol/news'), 'forbidden');
	});
});

test('scopes are stored with the owner in front and shown as they were written', async () => {
	const { topics, alice, bob } = await people();
	const stored = await resolveScopes(topics, alice.accountId, [
		{ actions: ['publish', 'publish'], topics: ['a', 'a', 'bob/b*'] },
	]);
	assert.deepEqual(stored, [{ actions: ['publish'], topics: [`${alice.accountId}/a`, `${bob.accountId}/b*`] }]);
	assert.deepEqual(shownScopes(alice.accountId, stored), [{ actions: ['publish'], topics: ['a', `${bob.accountId}/b*`] }]);
});
