/** Names of accounts and what is known by them, over HTTP: impostors are refused, and who has an account does not show. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type AuthRelay, type Person, startAuthRelay } from '../support/auth-relay.ts';
import { assertFailure } from '../support/http-client.ts';

let world: AuthRelay;
let alice: Person;
let bob: Person;
before(async () => {
	world = await startAuthRelay();
	[alice, bob] = [await world.person('alice'), await world.person('bob')];
});
after(() => world.close());

const register = (username: string) =>
	world.call('POST', '/auth/register', world.admin, { username, password: 'long enough', permissions: ['read'] });

test('an impostor of a user id, or of a name, gets no account', async () => {
	for (const name of [
		alice.userId,
		alice.userId.toUpperCase(),
		alice.userId.replaceAll('-', ''),
		`al\u200bice`,
		'аlice',
		'ａlice',
	]) {
		assertFailure(await register(name), 422, 'invalid_request');
	}
	for (const name of ['Alice', 'ALICE', 'aIice', 'a1ice']) {
		const answer = await register(name);
		assertFailure(answer, 400, 'account_exists');
		assert.equal(answer.json()['detail'], `Username '${name}' already exists`);
	}
});

test('a grant to an id is to the account of that id, and can be taken back by it', async () => {
	await world.call('POST', '/api/v1/topics', alice, { topic_name: 'lent' });
	const path = '/api/v1/topics/lent/permissions';
	const grant = await world.call('POST', path, alice, { username: bob.userId, permission: 'write' });
	assert.equal(grant.status, 201, grant.text);
	assert.deepEqual(grant.json(), { topic_name: 'lent', username: 'bob', user_id: bob.userId, permission: 'write' });
	const publish = () => world.call('POST', '/api/v1/messages', bob, { topic: `${alice.userId}/lent`, payload: 1 });
	assert.equal((await publish()).status, 201);
	assert.equal((await world.call('DELETE', `${path}/${bob.userId}`, alice)).status, 204);
	assert.equal((await publish()).status, 403);
	const nobody = '3f0d2c9e-7a55-4e0b-9c57-0e3a3d1f5b6a';
	assertFailure(await world.call('POST', path, alice, { username: nobody, permission: 'write' }), 404, 'not_found');
});

test('tokens and keys for the topics of a name are the same whether there is such an account', async () => {
	const shapes = await Promise.all(
		['bob', 'nobody'].map(async (name) => {
			const scopes = [{ actions: ['publish', 'subscribe'], topics: [`${name}/*`, `${name}/x`] }];
			const token = await world.call('POST', '/auth/token/scoped', alice, { scopes });
			const key = await world.call('POST', '/auth/keys', alice, { name: 'k', scopes });
			const { key_id: keyId, api_key: secret } = key.json<Record<string, string>>();
			const listed = (await world.call('GET', '/auth/keys', alice)).json<{ key_id: string; scopes: unknown }[]>();
			const byKey = await world.call('POST', '/auth/token/scoped', secret, {
				scopes: [{ actions: ['publish'], topics: [`${name}/y`] }],
			});
			const beyond = await world.call('POST', '/auth/token/scoped', secret, {
				scopes: [{ actions: ['publish'], topics: [`${name}x/y`] }],
			});
			const changed = await world.call('PATCH', `/auth/keys/${keyId}`, alice, {
				scopes: [{ actions: ['publish'], topics: [`${name}/z`] }],
			});
			const texts = [token, key, byKey, changed].map(({ text }) => text).join();
			const claims = [token, byKey].map((answer) => {
				const [, middle = ''] = answer.json<{ access_token: string }>().access_token.split('.');
				return Buffer.from(middle, 'base64url').toString();
			});
			assert(![texts, ...claims].some((text) => text.includes(bob.userId)), 'an id');
			const uses = await Promise.all(
				['/x', '/y'].map(async (topic) => {
					const use = await world.call('POST', '/api/v1/messages', token.json<{ access_token: string }>().access_token, {
						topic: `${name}${topic}`,
						payload: 1,
					});
					return [use.status, use.json()['error'], String(use.json()['detail']).replaceAll(name, 'NAME')];
				}),
			);
			return {
				statuses: [token, key, byKey, beyond, changed].map(({ status }) => status),
				beyond: String(beyond.json()['detail']).replaceAll(name, 'NAME'),
				scopes: JSON.stringify(listed.find((one) => one.key_id === keyId)?.scopes).replaceAll(name, 'NAME'),
				claims: claims.map((text) => Object.keys(JSON.parse(text))),
				uses,
			};
		}),
	);
	assert.deepEqual(shapes[0]?.statuses, [201, 201, 201, 403, 200]);
	assert.deepEqual(shapes[0], shapes[1]);
});
