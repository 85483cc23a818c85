/** Tokens that somebody made up, stretched or stole: none gets in, and all get the same answer. */

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import { ATTACKS, type Claims, HEADER, without } from './jwt-attacks.ts';
import { base64url, createWorld, forge, refused, SECRET } from './world.ts';

async function withClaims() {
	const world = createWorld();
	const { accountId, username, permissions } = await world.account('bob');
	const iat = Math.floor(world.clock.nowMs() / 1000);
	const claims: Claims = { sub: accountId, username, permissions, exp: iat + 600, iat, jti: 'ab'.repeat(16) };
	return { ...world, accountId, claims };
}

const hs256 = (signed: string, key: string) => `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;

describe('a token is refused', () => {
	for (const [title, attack] of ATTACKS) {
		test(title, async () => {
			const { auth, claims } = await withClaims();
			const token = attack(claims);
			await refused(() => auth.authenticator.authenticate(token), 'invalid_credentials', 'Invalid or expired token');
			// Being refused once teaches nothing to the memory of good tokens.
			await refused(() => auth.authenticator.authenticate(token), 'invalid_credentials', 'Invalid or expired token');
		});
	}
});

test('the corpus is not refused for a mistake of its own: what it changes is good unchanged', async () => {
	const { auth, claims, accountId } = await withClaims();
	for (const token of [
		forge(HEADER, claims),
		forge({ alg: 'HS256' }, claims),
		forge({ typ: 'JWT', alg: 'HS256' }, claims),
		forge(HEADER, { ...claims, nbf: claims.iat }),
		forge(HEADER, { ...claims, iat: claims.iat + 5 }),
		forge(HEADER, { ...claims, aud: 'anybody', iss: 'anybody' }),
		hs256(`${base64url(HEADER)}.${base64url(claims)}`, SECRET),
	]) {
		const principal = await auth.authenticator.authenticate(token);
		assert.equal(principal.accountId, accountId);
	}
	assert(ATTACKS.length >= 45);
});

test('what a token says of permissions counts for nothing', async () => {
	const { auth, claims } = await withClaims();
	const principal = await auth.authenticator.authenticate(forge(HEADER, { ...claims, permissions: ['admin'], username: 'root' }));
	assert.deepEqual(principal.permissions, ['read', 'write']);
	assert.equal(principal.username, 'bob');
});

test('of claims given twice the last counts, as the signature covers both', async () => {
	const { auth, claims } = await withClaims();
	const text = JSON.stringify(claims).replace('{', '{"sub":"somebody",');
	assert.equal((await auth.authenticator.authenticate(forge(HEADER, text))).accountId, claims.sub);
});

test('a token of the earlier server without a name is good, and cannot be revoked', async () => {
	const { auth, claims } = await withClaims();
	const token = forge(HEADER, without(claims, 'jti'));
	const principal = await auth.authenticator.authenticate(token);
	assert(principal.kind === 'account');
	await auth.logout(principal);
	await auth.authenticator.authenticate(token);
});
