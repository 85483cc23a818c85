/** API keys: what is stored of them, which secrets are good, and whose they are. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { API_KEYS_MAX } from '../../../src/auth/api-keys.ts';
import { createWorld, refused } from './world.ts';

const scopes = [{ actions: ['publish'] as const, topics: ['*'] }];

async function withKey() {
	const world = createWorld();
	const { accountId } = await world.account('bob');
	const { keys } = world.auth;
	const { key, secret } = await keys.create(accountId, { name: 'a producer', scopes, expiresAtMs: null });
	return { ...world, accountId, keys, key, secret };
}

test('a key is shown once; only a digest of it is stored', async () => {
	const { secret, key, keys, records } = await withKey();
	assert.match(secret, /^prk_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$/);
	assert.equal((await keys.verify(secret)).keyId, key.keyId);
	for (const kind of ['api-key', 'account-api-key', 'api-key-use']) {
		const stored = JSON.stringify(await records.list(kind, { prefix: '', after: null, limit: 10 }));
		assert(!stored.includes(secret.split('_')[2] ?? 'none'), kind);
	}
	assert(!JSON.stringify(key).includes('hash'));
});

describe('guesses are refused alike', () => {
	for (const [title, guess] of [
		['the id alone', (secret: string) => secret.slice(0, 20)],
		['another secret', (secret: string) => `${secret.slice(0, 21)}${'A'.repeat(43)}`],
		['another id', (secret: string) => `prk_0000000000000000_${secret.slice(21)}`],
		['one character changed', (secret: string) => `${secret.slice(0, -1)}${secret.endsWith('A') ? 'E' : 'A'}`],
		['one character less', (secret: string) => secret.slice(0, -1)],
		['one character more', (secret: string) => `${secret}A`],
		['another case', (secret: string) => secret.toUpperCase()],
		['not ASCII', (secret: string) => `${secret.slice(0, -1)}é`],
		['64 KB', (secret: string) => secret + 'A'.repeat(65_536)],
		['the prefix', () => 'prk_'],
		['a record name', () => 'prk___proto_______'],
	] as const) {
		test(title, async () => {
			const { secret, keys } = await withKey();
			await refused(() => keys.verify(guess(secret)), 'invalid_credentials', 'Invalid or expired token');
		});
	}
});

test('a rotated key has two secrets that are good until the overlap is over, and never three', async () => {
	const { secret, key, keys, accountId, clock } = await withKey();
	const second = (await keys.rotate(accountId, key.keyId, 60))?.secret ?? '';
	assert.equal((await keys.verify(secret)).liveSecrets, 2);
	assert.equal((await keys.verify(second)).keyId, key.keyId);
	const third = (await keys.rotate(accountId, key.keyId, 60))?.secret ?? '';
	await refused(() => keys.verify(secret), 'invalid_credentials');
	await keys.verify(second);
	clock.advance(60_000);
	await refused(() => keys.verify(second), 'invalid_credentials');
	assert.equal((await keys.verify(third)).liveSecrets, 1);
	const fourth = (await keys.rotate(accountId, key.keyId, 0))?.secret ?? '';
	await refused(() => keys.verify(third), 'invalid_credentials');
	await keys.verify(fourth);
});

test('a key ends at its time, and on every node when it is deleted', async () => {
	const { keys, accountId, clock, node } = await withKey();
	const expiresAtMs = clock.nowMs() + 1000;
	const short = await keys.create(accountId, { name: 'short', scopes, expiresAtMs });
	const deleted = await keys.create(accountId, { name: 'deleted', scopes, expiresAtMs: null });
	const other = node().keys;
	await other.verify(short.secret);
	await other.verify(deleted.secret);
	await keys.delete(accountId, deleted.key.keyId);
	await refused(() => other.verify(deleted.secret), 'invalid_credentials');
	clock.advance(1000);
	await refused(async () => other.peek(short.secret), 'invalid_credentials');
	await refused(() => other.verify(short.secret), 'invalid_credentials');
});

test('an account sees, changes and deletes its own keys only', async () => {
	const { keys, key, accountId, account, secret } = await withKey();
	const eve = await account('eve');
	assert.deepEqual(await keys.list(eve.accountId), []);
	assert.equal(await keys.change(eve.accountId, key.keyId, { name: 'mine' }), null);
	assert.equal(await keys.rotate(eve.accountId, key.keyId, 0), null);
	assert.equal(await keys.delete(eve.accountId, key.keyId), false);
	const changed = await keys.change(accountId, key.keyId, { scopes: [{ actions: ['subscribe'], topics: ['*'] }] });
	assert.equal(changed?.name, 'a producer');
	assert.deepEqual((await keys.verify(secret)).scopes, [{ actions: ['subscribe'], topics: ['*'] }]);
});

test('the last use is noted, now and then, and never brings a deleted key back', async () => {
	const { keys, key, accountId, clock, records } = await withKey();
	assert.equal((await keys.list(accountId))[0]?.lastUsedAtMs, null);
	const firstMs = clock.nowMs();
	keys.used(key);
	clock.advance(59_000);
	keys.used(key);
	assert.equal((await keys.list(accountId))[0]?.lastUsedAtMs, firstMs);
	clock.advance(1000);
	keys.used(key);
	assert.equal((await keys.list(accountId))[0]?.lastUsedAtMs, clock.nowMs());
	await keys.delete(accountId, key.keyId);
	clock.advance(60_000);
	keys.used(key);
	for (const kind of ['api-key', 'api-key-use']) assert.equal(await records.get(kind, key.keyId), undefined);
});

test('an account has so many keys at most', async () => {
	const { keys, accountId } = await withKey();
	for (let i = 1; i < API_KEYS_MAX; i++) await keys.create(accountId, { name: `${i}`, scopes, expiresAtMs: null });
	await refused(() => keys.create(accountId, { name: 'one more', scopes, expiresAtMs: null }), 'forbidden');
});
