/** Access tokens of another issuer: whose they are, what is none, and how its keys are kept. */

import assert from 'node:assert/strict';
import { createHmac, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from 'jose';
import { base64url, createWorld, logOut, refused, SECRET, type World } from './world.ts';

const ISSUER = 'https://id.example.org/';
const AUDIENCE = 'https://relay.example.org';

interface Key {
	readonly alg: string;
	readonly kid: string;
	readonly privateKey: CryptoKey | KeyObject;
	readonly publicKey: CryptoKey;
	readonly jwk: JWK;
}

const KEYS = new Map<string, Key>();
/** What the issuer publishes now; null = it answers 500. */
let published: readonly JWK[] | null = [];
let requests = 0;
/** Whether it sends whoever asks somewhere else. */
let redirect = false;
const issuer = createServer((request, response) => {
	requests++;
	if (redirect && request.url === '/keys') return void response.writeHead(302, { location: '/elsewhere' }).end();
	response.statusCode = published === null ? 500 : 200;
	response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: published }));
});

before(async () => {
	for (const [alg, kid] of [
		['RS256', 'rsa'],
		['ES256', 'ec'],
		['EdDSA', 'ed'],
		['RS256', 'new'],
		['RS256', 'strange'],
	] as const) {
		const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
		KEYS.set(kid, { alg, kid, privateKey, publicKey, jwk: { ...(await exportJWK(publicKey)), kid, use: 'sig' } });
	}
	issuer.listen(0, '127.0.0.1');
	await once(issuer, 'listening');
});
after(() => {
	issuer.closeAllConnections();
	issuer.close();
});
beforeEach(() => {
	published = ['rsa', 'ec', 'ed'].map((kid) => key(kid).jwk);
	requests = 0;
});

function key(kid: string): Key {
	return KEYS.get(kid) ?? assert.fail(kid);
}

async function withIssuer(claimUsername: string | null = 'preferred_username') {
	const { port } = issuer.address() as AddressInfo;
	const world = createWorld({
		outsideTokens: { issuer: ISSUER, audience: AUDIENCE, jwksUri: `http://127.0.0.1:${port}/keys`, claimUsername },
	});
	const { accountId } = await world.account('bob');
	const nowS = Math.floor(world.clock.nowMs() / 1000);
	const claims = { iss: ISSUER, aud: AUDIENCE, sub: 'subject of bob', iat: nowS, exp: nowS + 300, preferred_username: 'bob' };
	return { ...world, accountId, claims };
}

function sign(claims: object, kid = 'rsa', header: object = {}): Promise<string> {
	const { alg, privateKey } = key(kid);
	return new SignJWT({ ...claims }).setProtectedHeader({ alg, kid, typ: 'at+jwt', ...header }).sign(privateKey);
}

const authenticate = async ({ auth }: Pick<World, 'auth'>, token: string) => auth.authenticator.authenticate(token);
const invalid = (world: Pick<World, 'auth'>, token: string) =>
	refused(() => authenticate(world, token), 'invalid_credentials', 'Invalid or expired token');

describe('a token is accepted', () => {
	for (const kid of ['rsa', 'ec', 'ed']) {
		test(`that is signed by ${kid}`, async () => {
			const world = await withIssuer();
			const principal = await authenticate(world, await sign(world.claims, kid));
			assert(principal.kind === 'account');
			assert.deepEqual(
				[principal.accountId, principal.permissions, principal.expiresAtMs],
				[world.accountId, ['read', 'write'], world.claims.exp * 1000],
			);
		});
	}

	for (const [title, change, header] of [
		['for several audiences', { aud: ['another', AUDIENCE] }, {}],
		['of no particular type', {}, { typ: undefined }],
		['of the plain type', {}, { typ: 'JWT' }],
		['with a thumbprint in its header', {}, { x5t: 'abc' }],
		['from a clock that is a minute ahead', { iat: 60, nbf: 60 }, {}],
	] as const) {
		test(title, async () => {
			const world = await withIssuer();
			const nowS = world.claims.iat;
			const moved = Object.fromEntries(
				Object.entries(change).map(([name, value]) => [name, typeof value === 'number' ? nowS + value : value]),
			);
			await authenticate(world, await sign({ ...world.claims, ...moved }, 'rsa', header));
		});
	}

	test('from memory the next time, until it ends', async () => {
		const world = await withIssuer();
		const token = await sign(world.claims);
		await authenticate(world, token);
		assert(!(world.auth.authenticator.authenticate(token) instanceof Promise));
		world.clock.advance(299_999);
		await authenticate(world, token);
		world.clock.advance(1);
		await invalid(world, token);
		assert.equal(requests, 1);
	});
});

const respelled = (token: string) => {
	const last = token.at(-1) ?? '';
	const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
	return `${token.slice(0, -1)}${alphabet[alphabet.indexOf(last) ^ 1]}`;
};
const hmac = (header: object, claims: object, secret: string | Buffer) => {
	const signed = `${base64url(header)}.${base64url(claims)}`;
	return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
};

type Claims = Awaited<ReturnType<typeof withIssuer>>['claims'];
const ATTACKS: readonly (readonly [title: string, token: (claims: Claims) => string | Promise<string>])[] = [
	['is not signed', (claims) => `${base64url({ alg: 'none', kid: 'rsa' })}.${base64url(claims)}.`],
	[
		'is signed with the public key as a secret, as PEM',
		async (claims) => hmac({ alg: 'HS256' }, claims, await exportSPKI(key('rsa').publicKey)),
	],
	[
		'is signed with the public key as a secret, as PEM, by its kid',
		async (claims) => hmac({ alg: 'HS256', kid: 'rsa' }, claims, await exportSPKI(key('rsa').publicKey)),
	],
	[
		'is signed with the public key as a secret, as JWK',
		(claims) => hmac({ alg: 'HS256', kid: 'rsa', typ: 'JWT' }, claims, JSON.stringify(key('rsa').jwk)),
	],
	[
		'is signed with the modulus as a secret',
		(claims) => hmac({ alg: 'HS256', kid: 'rsa' }, claims, Buffer.from(key('rsa').jwk.n ?? '', 'base64url')),
	],
	[
		"is signed with the relay's secret, in the name of the issuer",
		(claims) => hmac({ alg: 'HS256', typ: 'at+jwt' }, claims, SECRET),
	],
	['is signed with a key that is not published', (claims) => sign(claims, 'strange')],
	[
		'is signed with a key that is not published, under the name of one that is',
		(claims) => sign(claims, 'strange', { kid: 'rsa' }),
	],
	['is signed with one key under the name of another', (claims) => sign(claims, 'ec', { kid: 'rsa' })],
	['says another algorithm than it is signed by', async (claims) => swapHeader(await sign(claims), { alg: 'ES256', kid: 'rsa' })],
	[
		'says an algorithm that is not accepted: RS512',
		async (claims) => swapHeader(await sign(claims), { alg: 'RS512', kid: 'rsa' }),
	],
	[
		'says an algorithm that is not accepted: PS256',
		async (claims) => swapHeader(await sign(claims), { alg: 'PS256', kid: 'rsa' }),
	],
	['brings its key along', (claims) => sign(claims, 'strange', { jwk: key('strange').jwk })],
	['brings its key along, signed by a good one', (claims) => sign(claims, 'rsa', { jwk: key('strange').jwk })],
	['says where its key is', (claims) => sign(claims, 'strange', { jku: 'http://127.0.0.1:1/keys' })],
	['brings a certificate', (claims) => sign(claims, 'rsa', { x5c: ['MIIB'] })],
	['says where its certificate is', (claims) => sign(claims, 'rsa', { x5u: 'http://127.0.0.1:1/cert' })],
	['has a critical extension', async (claims) => swapHeader(await sign(claims), { alg: 'RS256', kid: 'rsa', crit: ['x'], x: 1 })],
	['has a kid that is no text', async (claims) => swapHeader(await sign(claims), { alg: 'RS256', kid: ['rsa'] })],
	['has a kid that is __proto__', (claims) => sign(claims, 'strange', { kid: '__proto__' })],
	['is of another kind', (claims) => sign(claims, 'rsa', { typ: 'logout+jwt' })],
	['is of the kind of scoped tokens', (claims) => sign(claims, 'rsa', { typ: 'scoped+jwt' })],
	['is of another issuer', (claims) => sign({ ...claims, iss: 'https://evil.example.org/' })],
	['is of an issuer that is nearly the same', (claims) => sign({ ...claims, iss: ISSUER.slice(0, -1) })],
	['is of no issuer', ({ iss: _, ...claims }) => sign(claims)],
	['is for somebody else', (claims) => sign({ ...claims, aud: 'another' })],
	['is for nobody', ({ aud: _, ...claims }) => sign(claims)],
	['is for an audience that begins like ours', (claims) => sign({ ...claims, aud: `${AUDIENCE}.evil.example.org` })],
	['never ends', ({ exp: _, ...claims }) => sign(claims)],
	['ends at a text', (claims) => sign({ ...claims, exp: `${claims.exp}` })],
	['has ended', (claims) => sign({ ...claims, exp: claims.iat })],
	['is not good yet', (claims) => sign({ ...claims, nbf: claims.iat + 61 })],
	['was issued in the future', (claims) => sign({ ...claims, iat: claims.iat + 61 })],
	['has no subject', ({ sub: _, ...claims }) => sign(claims)],
	['has an empty subject', (claims) => sign({ ...claims, sub: '' })],
	['has a subject that is no text', (claims) => sign({ ...claims, sub: 7 })],
	[
		'was changed',
		async (claims) => (await sign(claims)).replace(/\.[^.]*\./, `.${base64url({ ...claims, preferred_username: 'root' })}.`),
	],
	['has no signature', async (claims) => (await sign(claims)).replace(/[^.]*$/, '')],
	['is as long as a book', (claims) => sign({ ...claims, more: 'x'.repeat(20_000) })],
	['is encrypted', () => `${base64url({ alg: 'RSA-OAEP', enc: 'A256GCM', kid: 'rsa' })}.a.b.c.d`],
];

function swapHeader(token: string, header: object): string {
	return token.replace(/^[^.]*/, base64url(header));
}

describe('a token is refused that', () => {
	for (const [title, token] of ATTACKS) {
		test(title, async () => {
			const world = await withIssuer();
			// The keys are known: it is refused for what it is.
			await authenticate(world, await sign(world.claims));
			await invalid(world, await token(world.claims));
			// An unknown name, or none, has the keys read again, once.
			assert(requests <= 2, 'and the issuer is not asked for more than its keys');
		});
	}

	test('is of another issuer when none is set up', async () => {
		const { claims } = await withIssuer();
		await invalid(createWorld(), await sign(claims));
	});
});

test("the relay's own tokens are as good as before, and the issuer is not asked about them", async () => {
	const world = await withIssuer();
	const { accessToken } = await world.auth.login('bob', 'correct horse');
	await authenticate(world, accessToken);
	assert.equal(requests, 0);
});

describe('whose token it is', () => {
	const introduction = { provider: 'example', names: ['ann'], email: null, permissions: ['read'] as const };

	test('theirs first who have signed in by that identity, whatever name it says', async () => {
		const world = await withIssuer();
		const { federated } = world.auth;
		const ann = await federated.findOrMake({ issuer: ISSUER, subject: 'subject of ann' }, introduction);
		const { accountId } = await authenticate(world, await sign({ ...world.claims, sub: 'subject of ann' }));
		assert.equal(accountId, ann.accountId);
	});

	test('nobody’s when it says no name, or one that nobody has, and no account is made', async () => {
		const world = await withIssuer();
		const { preferred_username: _, ...nameless } = world.claims;
		for (const claims of [
			nameless,
			{ ...nameless, preferred_username: 'nobody' },
			{ ...nameless, preferred_username: ['bob'] },
		]) {
			const token = await sign(claims);
			await refused(() => authenticate(world, token), 'invalid_credentials', 'User not found');
		}
		assert.equal((await world.auth.accounts.count()).total, 1);
	});

	test('nobody’s by its name when no claim for names is set', async () => {
		const world = await withIssuer(null);
		const token = await sign(world.claims);
		await refused(() => authenticate(world, token), 'invalid_credentials', 'User not found');
	});

	test('theirs by an e-mail address only if that is verified', async () => {
		const world = await withIssuer('email');
		await world.account('bob@example.org');
		const named = { ...world.claims, email: 'bob@example.org' };
		await authenticate(world, await sign({ ...named, email_verified: true }));
		for (const verified of [false, 'true', undefined]) {
			const token = await sign({ ...named, email_verified: verified });
			await refused(() => authenticate(world, token), 'invalid_credentials', 'User not found');
		}
	});
});

describe('what ends a token', () => {
	test('a logout, for every spelling of its signature, on every node', async () => {
		const world = await withIssuer();
		const token = await sign(world.claims, 'ec');
		const other = world.node();
		await other.authenticator.authenticate(token);
		await logOut(world.auth, token);
		for (const node of [world.auth, other]) {
			await refused(() => node.authenticator.authenticate(token), 'invalid_credentials', 'Token has been revoked');
			await refused(() => node.authenticator.authenticate(respelled(token)), 'invalid_credentials');
		}
		await authenticate(world, await sign({ ...world.claims, jti: 'the next one' }, 'ec'));
	});

	test('a disabled account', async () => {
		const world = await withIssuer();
		const token = await sign(world.claims);
		await authenticate(world, token);
		await world.auth.accounts.change(world.accountId, { isActive: false });
		await refused(() => authenticate(world, token), 'forbidden', 'User is inactive');
	});
});

describe('the keys of the issuer', () => {
	test('are read again at once for a token that names a new one, and the old ones are gone', async () => {
		const world = await withIssuer();
		await authenticate(world, await sign(world.claims));
		published = [key('new').jwk];
		await authenticate(world, await sign(world.claims, 'new'));
		assert.equal(requests, 2);
		await invalid(world, await sign({ ...world.claims, jti: 'another' }));
	});

	test('are read again, once, for a token that names none, when none of those known has signed it', async () => {
		const world = await withIssuer();
		const nameless = ({ kid: _, ...jwk }: JWK) => jwk;
		published = [nameless(key('rsa').jwk)];
		await authenticate(world, await sign(world.claims, 'rsa', { kid: undefined }));
		published = [nameless(key('new').jwk)];
		await authenticate(world, await sign(world.claims, 'new', { kid: undefined }));
		assert.equal(requests, 2);
		const forged = await sign({ ...world.claims, jti: 'forged' }, 'strange', { kid: undefined });
		for (let i = 0; i < 5; i++) await invalid(world, forged);
		assert(requests <= 3, `${requests} requests`);
	});

	test('are read again once for one unknown name, however often it comes', async () => {
		const world = await withIssuer();
		await authenticate(world, await sign(world.claims));
		const forged = await sign({ ...world.claims, exp: world.claims.exp + 3600 }, 'strange');
		for (let i = 0; i < 20; i++) await invalid(world, forged);
		assert.equal(requests, 2);
		// A name that is published a little later than its first token is found then.
		published = [key('strange').jwk];
		world.clock.advance(10_000);
		await authenticate(world, forged);
		assert.equal(requests, 3);
	});

	test('are read a few times and then every ten seconds while made-up names pour in, and a new one is found by then', async () => {
		const world = await withIssuer();
		const lasting = { ...world.claims, exp: world.claims.exp + 86_400 };
		const forge = (count: number, prefix: string) =>
			Promise.all(Array.from({ length: count }, (_, i) => sign(lasting, 'strange', { kid: `${prefix} ${i}` })));
		await authenticate(world, await sign(lasting));
		for (const token of await forge(50, 'one by one')) await invalid(world, token);
		assert.equal(requests, 1 + 4);
		published = [key('new').jwk];
		const rotated = await sign(lasting, 'new');
		world.clock.advance(9_999);
		await invalid(world, rotated);
		assert.equal(requests, 1 + 4);
		world.clock.advance(1);
		const forged = await forge(50, 'at once');
		await Promise.all(forged.map((token) => invalid(world, token)));
		assert.equal(requests, 1 + 4 + 1);
		await authenticate(world, rotated);
		assert.equal(requests, 1 + 4 + 1);
	});

	test('go on while the issuer is away, for a day', async () => {
		const world = await withIssuer();
		const lasting = (jti: number) => sign({ ...world.claims, exp: world.claims.exp + 2 * 86_400, jti: `${jti}` });
		await authenticate(world, await lasting(0));
		published = null;
		for (let hour = 1; hour < 24; hour++) {
			world.clock.advance(3_600_000);
			await authenticate(world, await lasting(hour));
		}
		await invalid(world, await sign({ ...world.claims, exp: world.claims.exp + 2 * 86_400 }, 'new'));
		assert(world.warnings.some((line) => line.includes('the keys of the token issuer could not be read')));
		world.clock.advance(3_600_000);
		const late = await lasting(99);
		await refused(() => authenticate(world, late), 'provider_unavailable');
	});

	test('that could not be read yet are a failure that passes, asked for every five seconds at most', async () => {
		const world = await withIssuer();
		published = null;
		const token = await sign(world.claims);
		for (let i = 0; i < 5; i++) await refused(() => authenticate(world, token), 'provider_unavailable');
		assert.equal(requests, 1);
		published = [key('rsa').jwk];
		world.clock.advance(5000);
		await authenticate(world, token);
		assert.equal(requests, 2);
	});

	test('are read once for many who come at once', async () => {
		const world = await withIssuer();
		const tokens = await Promise.all(Array.from({ length: 20 }, (_, i) => sign({ ...world.claims, jti: `${i}` })));
		await Promise.all(tokens.map((token) => authenticate(world, token)));
		assert.equal(requests, 1);
	});

	test('are not taken from an answer that never ends, or from where it sends one', async () => {
		const world = await withIssuer();
		published = [{ ...key('rsa').jwk, more: 'x'.repeat(1024 * 1024) } as JWK];
		const token = await sign(world.claims);
		await refused(() => authenticate(world, token), 'provider_unavailable');
		published = [key('rsa').jwk];
		redirect = true;
		world.clock.advance(5000);
		await refused(() => authenticate(world, token), 'provider_unavailable');
		redirect = false;
		world.clock.advance(5000);
		await authenticate(world, token);
	});

	test('are not taken from an answer that is none', async () => {
		for (const keys of ['x', 7, [{}], [{ kty: 'oct', k: base64url('mine'), kid: 'rsa' }]]) {
			const world = await withIssuer();
			published = keys as never;
			const token = await sign(world.claims);
			await assert.rejects(
				() => authenticate(world, token),
				({ code }: { code: string }) => code === 'provider_unavailable' || code === 'invalid_credentials',
			);
		}
	});
});
