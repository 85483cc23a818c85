/** Access tokens of a real provider, on every wire, with the settings that turn them on. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { SignJWT } from 'jose';
import { type AuthRelay, JWT_SECRET, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { HttpBrowser } from '../support/http-browser.ts';
import { CLIENT_ID, CLIENT_SECRET, type IdentityProvider, startIdentityProvider } from '../support/identity-provider.ts';
import { freePort } from '../support/valkey.ts';

const AUDIENCE = 'https://relay.example.org';

let provider: IdentityProvider;
let world: AuthRelay;
let base: string;

before(async () => {
	const port = await freePort();
	base = `http://127.0.0.1:${port}`;
	provider = await startIdentityProvider({ redirectUris: [`${base}/auth/oidc/example/callback`] });
	world = await startAuthRelay({
		PULSAR_PORT: String(port),
		PULSAR_OIDC__ENABLED: '1',
		PULSAR_OIDC__BASE_URL: base,
		PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_ID: CLIENT_ID,
		PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_SECRET: CLIENT_SECRET,
		PULSAR_OIDC__PROVIDERS__EXAMPLE__DISCOVERY_URL: provider.discoveryUrl,
		PULSAR_TOKEN_ISSUER: provider.issuer,
		PULSAR_TOKEN_AUDIENCE: AUDIENCE,
		PULSAR_TOKEN_JWKS_URI: provider.jwksUri,
		PULSAR_TOKEN_CLAIM_USERNAME: 'preferred_username',
	});
});
after(async () => {
	await world.close();
	await provider.close();
});

function tokenOf(sub: string, more: Readonly<Record<string, unknown>> = {}): Promise<string> {
	const nowS = Math.floor(Date.now() / 1000);
	return provider.sign({ iss: provider.issuer, aud: AUDIENCE, sub, iat: nowS, exp: nowS + 600, ...more });
}

test('a token publishes, reads and subscribes as the account that it names, and a logout ends what is open', async () => {
	const bob = await world.person('bob');
	const token = await tokenOf('service-1', { preferred_username: 'bob' });
	assert.equal((await world.call('POST', '/api/v1/messages', token, { topic: 'jobs', payload: 1 })).status, 201);
	const kept = await world.call('GET', '/api/v1/topics/jobs/messages', bob);
	assert.equal(kept.json<{ messages: unknown[] }>().messages.length, 1, 'it is in the topic of the account');
	const socket = await world.socket(token);
	assert.equal((await socket.ask({ type: 'subscribe', topics: ['jobs'] })).type, 'subscribed');
	assert.equal((await world.call('POST', '/auth/logout', token)).status, 204);
	assert.equal(await socket.closed, 4401);
	assert.equal((await world.call('GET', '/auth/me', token)).json()['detail'], 'Token has been revoked');
	assert.equal(await Socket.refused(world.url, token), 401);
});

test('a token of somebody who has signed in is for the account that this made', async () => {
	assert.equal((await world.call('GET', '/auth/me', await tokenOf('ann'))).json()['detail'], 'User not found');
	const browser = new HttpBrowser();
	const callback = `${base}/auth/oidc/example/callback`;
	const visit = await browser.open(await browser.signIn(`${base}/auth/oidc/example/login`, 'ann', callback));
	assert.equal(visit.status, 200, visit.text);
	const me = await world.call('GET', '/auth/me', await tokenOf('ann'));
	assert.equal(me.json()['username'], 'ann@example.org');
});

test('a token goes on while the issuer is away', async () => {
	await world.person('carol');
	await provider.down();
	const token = await tokenOf('service-2', { preferred_username: 'carol' });
	assert.equal((await world.call('GET', '/auth/me', token)).status, 200);
	await provider.up();
});

test('a token for somebody else is refused like any that is wrong', async () => {
	const answer = await world.call('GET', '/auth/me', await tokenOf('service-1', { preferred_username: 'bob', aud: 'another' }));
	assert.equal(answer.status, 401);
	assert.equal(answer.json()['detail'], 'Invalid or expired token');
});

test('the log says at debug which check a token has failed, and nothing of the token', async () => {
	const own = (claims: Record<string, unknown>, secret = JWT_SECRET) =>
		new SignJWT({ sub: 'x', username: 'x', ...claims })
			.setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
			.sign(Buffer.from(secret));
	const nowS = Math.floor(Date.now() / 1000);
	const good = { preferred_username: 'bob' };
	const cases: readonly (readonly [token: string, check: RegExp])[] = [
		[
			await tokenOf('s', { ...good, iss: 'https://other.example.org' }),
			/claim iss is wrong: iss is "https:\/\/other\.example\.org"/,
		],
		[await tokenOf('s', { ...good, aud: 'another' }), /claim aud is wrong: aud is "another"/],
		[await tokenOf('s', { ...good, exp: nowS - 600 }), /has expired: exp is \d+/],
		[await tokenOf('s', { ...good, iat: nowS + 3600 }), /issued in the future/],
		[await tokenOf('s', { ...good, exp: undefined }), /claim exp is missing/],
		[await tokenOf('s', { preferred_username: 'nobody-of-this-name' }), /PULSAR_TOKEN_CLAIM_USERNAME names no account/],
		[(await tokenOf('s', good)).replace(/.{8}\.([^.]{8})[^.]*$/, '.$1'), /malformed|signature/],
		[
			`${(await tokenOf('s', good)).split('.').slice(0, 2).join('.')}.${'A'.repeat(342)}`,
			/signature is not by the key|malformed/,
		],
		[await own({ iat: nowS, exp: nowS + 60 }, 'a secret of another relay, of enough characters'), /signature is not by the key/],
		[await own({ iat: nowS - 100, exp: nowS - 50 }), /has expired: exp is \d+/],
		[await own({ iat: nowS, exp: nowS + 60, username: 5 }), /claims are not those/],
		[await own({ iat: nowS, exp: nowS + 60 }), /no account of this id/],
		['planted-nonsense-token', /no JWT/],
		['prk_0123456789abcdef_planted-nonsense-secret-of-a-key-0123456789abcde', /no such key|form of a key/],
	];
	for (const [token, check] of cases) {
		const before = world.relay.log().length;
		const answer = await world.call('GET', '/auth/me', token);
		assert.equal(answer.status, 401);
		assert(!/check|claim|issuer|signature/.test(answer.text), 'the client is not told');
		const lines = world.relay.log().slice(before).split('\n');
		const line = lines.find((each) => each.includes('"a request was refused"')) ?? assert.fail('no line');
		assert.match(String(JSON.parse(line).check), check);
		assert(!lines.join('').includes(token), 'the token is not in the log');
	}
});
