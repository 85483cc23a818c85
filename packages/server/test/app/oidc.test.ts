/** Signing in at a real provider: what it gives, and what nobody gets in by. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SignJWT } from 'jose';
import { type AuthRelay, startAuthNodes, startAuthRelay } from '../support/auth-relay.ts';
import { backends } from '../support/backends.ts';
import { HttpBrowser, type Visit } from '../support/http-browser.ts';
import { assertFailure, send } from '../support/http-client.ts';
import { CLIENT_ID, CLIENT_SECRET, type IdentityProvider, startIdentityProvider } from '../support/identity-provider.ts';
import { freePort } from '../support/valkey.ts';

const COOKIE = 'pulsar-sign-in';
const APP = 'https://app.example.org';

let provider: IdentityProvider;
let world: AuthRelay;
let base: string;
let callback: string;
/** What the token endpoint answers instead of the provider; null = the provider does. */
let tokenAnswer: { readonly status: number; readonly body: string } | null = null;

before(async () => {
	const port = await freePort();
	base = `http://127.0.0.1:${port}`;
	callback = `${base}/auth/oidc/example/callback`;
	provider = await startIdentityProvider({
		redirectUris: [callback, callback.replace('example', 'second')],
		instead: (path, respond) => {
			if (path !== '/token' || tokenAnswer === null) return false;
			respond(tokenAnswer.status, tokenAnswer.body);
			return true;
		},
	});
	world = await startAuthRelay({
		PULSAR_PORT: String(port),
		PULSAR_ALLOWED_ORIGINS: JSON.stringify([APP]),
		...settings(base, provider.discoveryUrl),
		PULSAR_OIDC__PROVIDERS__SECOND__CLIENT_ID: CLIENT_ID,
		PULSAR_OIDC__PROVIDERS__SECOND__CLIENT_SECRET: CLIENT_SECRET,
		PULSAR_OIDC__PROVIDERS__SECOND__ISSUER: provider.issuer,
		PULSAR_OIDC__PROVIDERS__SECOND__AUTHORIZATION_ENDPOINT: `${provider.issuer}/auth`,
		PULSAR_OIDC__PROVIDERS__SECOND__TOKEN_ENDPOINT: `${provider.issuer}/token`,
		PULSAR_OIDC__PROVIDERS__SECOND__JWKS_URI: provider.jwksUri,
	});
});
after(async () => {
	await world.close();
	await provider.close();
});

function settings(baseUrl: string, discoveryUrl: string): Record<string, string> {
	return {
		PULSAR_OIDC__ENABLED: '1',
		PULSAR_OIDC__BASE_URL: baseUrl,
		PULSAR_OIDC__PROVIDERS__EXAMPLE__DISPLAY_NAME: 'Example <ID>',
		PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_ID: CLIENT_ID,
		PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_SECRET: CLIENT_SECRET,
		PULSAR_OIDC__PROVIDERS__EXAMPLE__DISCOVERY_URL: discoveryUrl,
	};
}

const login = (query = '') => `${base}/auth/oidc/example/login${query}`;
const bodyOf = ({ text }: Visit) => JSON.parse(text) as Record<string, unknown>;

/** Signs in as far as the way back to the relay, and gives the address there. */
async function comeBack(name: string, browser = new HttpBrowser(), query = ''): Promise<[address: string, browser: HttpBrowser]> {
	return [await browser.signIn(login(query), name, callback), browser];
}

async function signIn(name: string): Promise<Visit> {
	const [address, browser] = await comeBack(name);
	return browser.open(address);
}

async function me({ text }: Visit): Promise<Record<string, unknown>> {
	const { access_token: token } = JSON.parse(text) as { access_token: string };
	return (await world.call('GET', '/auth/me', token)).json();
}

function assertRefused(visit: Visit, status: number, detail: string | RegExp): void {
	assert.equal(visit.status, status, visit.text);
	const told = String(bodyOf(visit)['detail']);
	if (typeof detail === 'string') assert.equal(told, detail);
	else assert.match(told, detail);
	assert(!visit.text.includes('access_token'));
}

test('the providers are listed, with where to sign in', async () => {
	assert.deepEqual((await send(`${base}/auth/oidc/providers`)).json(), [
		{ name: 'example', display_name: 'Example <ID>', login_url: login() },
		{ name: 'second', display_name: 'second', login_url: `${base}/auth/oidc/second/login` },
	]);
});

test('whoever signs in for the first time gets an account and a session, and the same account the next time', async () => {
	const first = await signIn('ann');
	assert.equal(first.status, 200, first.text);
	assert.equal(first.headers.get('cache-control'), 'no-store');
	const { token_type, expires_in, refresh_token, refresh_token_secondary } = bodyOf(first);
	assert.deepEqual([token_type, expires_in, refresh_token_secondary], ['bearer', 600, null]);
	const account = await me(first);
	assert.deepEqual(
		[account['username'], account['email'], account['permissions'], account['is_active']],
		['ann@example.org', 'ann@example.org', ['read', 'write'], true],
	);
	assert.match(String(account['created_at']), /Z$/);
	assert.equal((await me(await signIn('ann')))['user_id'], account['user_id']);
	const refreshed = await world.call('POST', '/auth/token/refresh', null, { refresh_token });
	assert.equal(refreshed.status, 200, refreshed.text);
	assert.equal((await world.login('ann@example.org', '')).status, 401, 'no password opens it');
});

test('a provider that does not describe itself can be described', async () => {
	const browser = new HttpBrowser();
	const address = await browser.signIn(`${base}/auth/oidc/second/login`, 'ann', callback.replace('example', 'second'));
	const visit = await browser.open(address);
	assert.equal(visit.status, 200, visit.text);
	assert.equal((await me(visit))['username'], 'ann@example.org', 'the same issuer and subject are the same person');
});

test('the way to the provider has PKCE, state and nonce, all new each time', async () => {
	const ways = await Promise.all([1, 2].map(async () => new URL((await new HttpBrowser().open(login())).location ?? '')));
	for (const { origin, searchParams } of ways) {
		assert.equal(origin, provider.issuer);
		assert.deepEqual(
			['response_type', 'client_id', 'redirect_uri', 'scope', 'code_challenge_method'].map((name) => searchParams.get(name)),
			['code', CLIENT_ID, callback, 'openid email profile', 'S256'],
		);
	}
	for (const name of ['state', 'nonce', 'code_challenge']) {
		const values = ways.map(({ searchParams }) => searchParams.get(name));
		for (const value of values) assert.match(value ?? '', /^[A-Za-z0-9_-]{43}$/, name);
		assert.notEqual(values[0], values[1]);
	}
	const visit = await new HttpBrowser().open(login());
	assert.match(
		visit.headers.get('set-cookie') ?? '',
		/^pulsar-sign-in=[^;]+; Path=\/auth\/oidc; Max-Age=600; HttpOnly; SameSite=Lax$/,
	);
});

describe('nobody gets in with', () => {
	test('an answer of the provider that has been used', async () => {
		const [address, browser] = await comeBack('bob');
		const cookie = browser.cookie(base, COOKIE) ?? '';
		assert.equal((await browser.open(address)).status, 200);
		assertRefused(await browser.open(address), 400, 'Invalid or expired state');
		browser.cookie(base, COOKIE, cookie);
		assertRefused(await browser.open(address), 400, 'Invalid or expired state');
	});

	test('one of two uses of the same answer at the same time', async () => {
		const [address, browser] = await comeBack('bob');
		const statuses = (await Promise.all([browser.open(address), browser.open(address)])).map(({ status }) => status);
		assert.deepEqual(statuses.toSorted(), [200, 400]);
	});

	test('an answer that was given to another browser', async () => {
		const [address] = await comeBack('bob');
		assertRefused(await new HttpBrowser().open(address), 400, 'Invalid or expired state');
		const [, other] = await comeBack('carol');
		assertRefused(await other.open(address), 400, 'Invalid or expired state');
	});

	test('another state, a missing one, or a missing code', async () => {
		for (const [change, detail] of [
			[(url: URL) => url.searchParams.set('state', 'A'.repeat(43)), 'Invalid or expired state'],
			[(url: URL) => url.searchParams.delete('state'), 'Missing code or state'],
			[(url: URL) => url.searchParams.delete('code'), 'Missing code or state'],
		] as const) {
			const [address, browser] = await comeBack('bob');
			const url = new URL(address);
			change(url);
			assertRefused(await browser.open(url.href), 400, detail);
		}
	});

	test('an answer that was given for another provider', async () => {
		const [address, browser] = await comeBack('bob');
		assertRefused(await browser.open(address.replace('example', 'second')), 400, 'State/provider mismatch');
	});

	test("another sign-in's code: the verifier is not the one of its challenge", async () => {
		const [stolen] = await comeBack('bob');
		const [address, browser] = await comeBack('carol');
		const url = new URL(address);
		url.searchParams.set('code', new URL(stolen).searchParams.get('code') ?? '');
		assertRefused(await browser.open(url.href), 400, /^OIDC validation failed: /);
	});

	test('an ID token for another sign-in: its nonce is another', async () => {
		const [address, browser] = await comeBack('bob');
		const nowS = Math.floor(Date.now() / 1000);
		const id = { iss: provider.issuer, aud: CLIENT_ID, sub: 'bob', iat: nowS, exp: nowS + 60, nonce: 'another' };
		tokenAnswer = await tokensWith(await provider.sign(id, { typ: 'JWT' }));
		assertRefused(await browser.open(address), 400, /^OIDC validation failed: /);
		tokenAnswer = null;
	});

	test('a cookie that somebody made, or changed', async () => {
		const [address, browser] = await comeBack('bob');
		const cookie = browser.cookie(base, COOKIE) ?? '';
		for (const value of ['x', `${cookie.slice(0, -4)}AAAA`, 'eyJhbGciOiJub25lIn0..', 'a'.repeat(8000)]) {
			browser.cookie(base, COOKIE, value);
			assertRefused(await browser.open(address), 400, 'Invalid or expired state');
		}
	});

	test('a disabled account', async () => {
		const { user_id: id } = await me(await signIn('dora'));
		await world.call('PATCH', `/auth/users/${id}`, world.admin, { is_active: false });
		assertRefused(await signIn('dora'), 403, 'User account is inactive');
	});
});

async function tokensWith(idToken: string): Promise<{ status: number; body: string }> {
	return { status: 200, body: JSON.stringify({ access_token: 'x', token_type: 'Bearer', expires_in: 60, id_token: idToken }) };
}

describe('an ID token', () => {
	let nonce = '';
	const claims = () => {
		const nowS = Math.floor(Date.now() / 1000);
		return { iss: provider.issuer, aud: CLIENT_ID, sub: 'erik', iat: nowS, exp: nowS + 60, nonce };
	};
	async function answerWith(idToken: () => Promise<string>): Promise<Visit> {
		const browser = new HttpBrowser();
		nonce = '';
		const address = await browser.signIn(login(), 'erik', callback);
		// The nonce is only in the cookie and in the way to the provider; it is taken from a sign-in that goes on in the same way.
		const way = await browser.open(login());
		nonce = new URL(way.location ?? '').searchParams.get('nonce') ?? '';
		const state = new URL(way.location ?? '').searchParams.get('state') ?? '';
		const url = new URL(address);
		url.searchParams.set('state', state);
		tokenAnswer = await tokensWith(await idToken());
		try {
			return await browser.open(url.href);
		} finally {
			tokenAnswer = null;
		}
	}

	test('that is right in all is accepted', async () => {
		const visit = await answerWith(() => provider.sign(claims(), { typ: 'JWT' }));
		assert.equal(visit.status, 200, visit.text);
	});

	for (const [title, idToken] of [
		['for somebody else', () => provider.sign({ ...claims(), aud: 'another' }, { typ: 'JWT' })],
		['of another issuer', () => provider.sign({ ...claims(), iss: 'https://other.example.org' }, { typ: 'JWT' })],
		['that has expired', () => provider.sign({ ...claims(), exp: Math.floor(Date.now() / 1000) - 120 }, { typ: 'JWT' })],
		['without a subject', () => provider.sign({ ...claims(), sub: '' }, { typ: 'JWT' })],
		[
			'that is not signed',
			async () =>
				`${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from(JSON.stringify(claims())).toString('base64url')}.`,
		],
		[
			'signed with the secret of the client',
			() => new SignJWT(claims()).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from(CLIENT_SECRET)),
		],
		["signed with a key that is not the provider's", () => provider.sign(claims(), { typ: 'JWT', kid: 'another' })],
	] as const) {
		test(`${title} is refused`, async () => assertRefused(await answerWith(idToken), 400, /^OIDC validation failed: /));
	}
});

describe('whose account it is', () => {
	test('an account with a password never becomes theirs who are called the same', async () => {
		await world.person('mallory@example.org');
		assertRefused(
			await signIn('mallory'),
			409,
			'OIDC sign-in collides with an existing local account. Contact an administrator.',
		);
	});

	test('two people of one name have two accounts', async () => {
		provider.claims.set('frank-1', { email: 'frank@example.org' });
		provider.claims.set('frank-2', { email: 'frank@example.org' });
		const [first, second, again] = [
			await me(await signIn('frank-1')),
			await me(await signIn('frank-2')),
			await me(await signIn('frank-2')),
		];
		assert.deepEqual([first['username'], second['username']], ['frank@example.org', 'frank@example.org-example']);
		assert.equal(again['user_id'], second['user_id']);
	});

	test('an e-mail address that is not verified counts for nothing', async () => {
		provider.claims.set('gina', { email: 'boss@example.org', email_verified: false });
		provider.claims.set('hans', { email: 'boss@example.org', email_verified: 'true', preferred_username: '' });
		const [gina, hans] = [await me(await signIn('gina')), await me(await signIn('hans'))];
		assert.deepEqual([gina['username'], gina['email']], ['gina', null]);
		assert.deepEqual([hans['username'], hans['email']], ['hans', null]);
	});

	test('a name is made fit, and long enough', async () => {
		provider.claims.set('ivy', { email: undefined, preferred_username: ' Ivy Ärger/<script> ' });
		provider.claims.set('jo', { email: undefined, preferred_username: 'jo' });
		assert.equal((await me(await signIn('ivy')))['username'], 'Ivy--rger--script');
		assert.equal((await me(await signIn('jo')))['username'], 'jo-user');
	});

	test('a name that looks like a user id, or like the name of another, becomes a different one', async () => {
		const id = world.admin.userId;
		provider.claims.set('ida', { email: undefined, preferred_username: id });
		provider.claims.set('ira', { email: undefined, preferred_username: `{${id.toUpperCase()}}` });
		assert.equal((await me(await signIn('ida')))['username'], 'ida');
		assert.equal((await me(await signIn('ira')))['username'], 'ira');
		const uuid = '3f0d2c9e-7a55-4e0b-9c57-0e3a3d1f5b6a';
		provider.claims.set(uuid, { email: undefined });
		assert.equal((await me(await signIn(uuid)))['username'], `${uuid}-example`);
		provider.claims.set('kay', { email: undefined, preferred_username: 'ROOT' });
		assert.equal((await signIn('kay')).status, 409);
	});

	test('the same person who signs in twice at once has one account', async () => {
		const ways = await Promise.all([comeBack('kim'), comeBack('kim'), comeBack('kim')]);
		const visits = await Promise.all(ways.map(([address, browser]) => browser.open(address)));
		const ids = await Promise.all(visits.map(async (visit) => (await me(visit))['user_id']));
		assert.equal(new Set(ids).size, 1);
	});
});

describe('the page to go back to', () => {
	test('gets a code that it exchanges for tokens, once', async () => {
		const [address, browser] = await comeBack('lea', new HttpBrowser(), `?next=${encodeURIComponent(`${APP}/back?mine=1`)}`);
		const { status, location } = await browser.open(address);
		assert.equal(status, 303);
		const url = new URL(location ?? '');
		assert.equal(`${url.origin}${url.pathname}`, `${APP}/back`);
		assert.equal(url.searchParams.get('mine'), '1');
		const code = url.searchParams.get('sign_in_code');
		const exchange = () => world.call('POST', '/auth/oidc/token', null, { code });
		const tokens = await exchange();
		assert.equal(tokens.status, 200, tokens.text);
		const { access_token: token = '' } = tokens.json<Record<string, string>>();
		assert.equal((await world.call('GET', '/auth/me', token)).json()['username'], 'lea@example.org');
		assertFailure(await exchange(), 401, 'invalid_credentials');
		assertFailure(await world.call('POST', '/auth/oidc/token', null, { code: 'x' }), 401, 'invalid_credentials');
	});

	test('may be one of the relay itself, by its path', async () => {
		const [address, browser] = await comeBack('lea', new HttpBrowser(), '?next=/docs');
		assert(((await browser.open(address)).location ?? '').startsWith(`${base}/docs?sign_in_code=`));
	});

	for (const next of [
		'https://evil.example.org/',
		'//evil.example.org/',
		'/\\evil.example.org',
		'\\\\evil.example.org',
		'https:evil.example.org',
		`${APP}.evil.example.org/`,
		`${APP}@evil.example.org/`,
		'https://someone@app.example.org/',
		'http://app.example.org/',
		'javascript:alert(1)',
		'data:text/html,x',
		'\thttps://evil.example.org',
		`${APP}/${'a'.repeat(2000)}`,
	]) {
		test(`is refused when it is ${JSON.stringify(next.slice(0, 40))}`, async () => {
			const visit = await new HttpBrowser().open(login(`?next=${encodeURIComponent(next)}`));
			assertRefused(visit, 400, 'next is not a page that this relay sends people to');
			assert.equal(visit.headers.get('set-cookie'), null);
		});
	}
});

describe('failures of the provider', () => {
	test('what it says is told, in one line that can be shown', async () => {
		const visit = await new HttpBrowser().open(`${callback}?error=access_denied&error_description=no%0d%0a%3Cb%3E`);
		assertRefused(visit, 400, 'OIDC error: access_denied: no??<b>');
		const page = await new HttpBrowser('text/html').open(`${callback}?error=%3Cb%3Ex&error_description=%3Cb%3Ey`);
		assert.equal(page.status, 400);
		assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
		assert(!page.text.includes('<b>') && page.text.includes('Sign-in failed'));
	});

	test('an unknown provider is not there, and neither is the answer of another', async () => {
		assertRefused(await new HttpBrowser().open(`${base}/auth/oidc/other/login`), 404, 'Unknown OIDC provider: other');
		assertRefused(
			await new HttpBrowser().open(`${base}/auth/oidc/other/callback?code=x&state=y`),
			404,
			'Unknown OIDC provider: other',
		);
	});

	test('it is away when the code is exchanged: 502, and the same address works when it is back', async () => {
		const [address, browser] = await comeBack('nils');
		await provider.down();
		assertRefused(await browser.open(address), 502, 'OIDC provider unreachable');
		await provider.up();
		tokenAnswer = { status: 503, body: '{}' };
		assertRefused(await browser.open(address), 502, 'OIDC provider unreachable');
		tokenAnswer = null;
		assert.equal((await browser.open(address)).status, 200);
	});

	test('it refuses the code, or answers nonsense', async () => {
		for (const body of ['{"error":"invalid_grant"}', '{}', 'nonsense', '[]']) {
			const [address, browser] = await comeBack('nils');
			tokenAnswer = { status: body.includes('grant') ? 400 : 200, body };
			assertRefused(await browser.open(address), 400, /^OIDC validation failed: /);
			tokenAnswer = null;
		}
	});
});

test('nothing that lets somebody in is in any log or metric', async () => {
	const [address, browser] = await comeBack('olga', new HttpBrowser(), '?next=/docs');
	const cookie = browser.cookie(base, COOKIE) ?? '';
	const { location } = await browser.open(address);
	const code = new URL(location ?? '').searchParams.get('sign_in_code') ?? '';
	const tokens = (await world.call('POST', '/auth/oidc/token', null, { code })).json<Record<string, string>>();
	const begun = await send(`${base}/auth/device/code`, { method: 'POST', body: new URLSearchParams() });
	const { device_code: deviceCode = '', user_code: userCode = '' } = begun.json<Record<string, string>>();
	const [back, again] = await comeBack('olga', browser, `?device_user_code=${userCode}`);
	const [, ticket = ''] = /name="ticket" value="([\w-]+)"/.exec((await again.open(back)).text) ?? [];
	const { searchParams } = new URL(address);
	const secrets = {
		'the secret of the client': CLIENT_SECRET,
		'a code of the provider': searchParams.get('code') ?? '',
		'a state': searchParams.get('state') ?? '',
		'a cookie': cookie,
		'a handed-over code': code,
		'an access token': tokens['access_token'] ?? '',
		'a device code': deviceCode,
		'a user code': userCode,
		'a ticket': ticket,
	};
	const written = world.relay.log() + (await world.call('GET', '/metrics', world.admin)).text;
	assert(written.includes('/auth/oidc/:provider/callback'), 'it is at its most talkative');
	for (const [what, value] of Object.entries(secrets)) {
		assert(value.length >= 9, `${what} is there`);
		assert(!written.includes(value), `${what} is written down`);
	}
});

test('a relay starts while its provider is away, says so when somebody signs in, and asks it again later only', async (t) => {
	const port = await freePort();
	const own = `http://127.0.0.1:${port}`;
	const away = `http://127.0.0.1:${await freePort()}`;
	const relay = await startAuthRelay({ PULSAR_PORT: String(port), ...settings(own, `${away}/.well-known/openid-configuration`) });
	t.after(() => relay.close());
	const tries = await Promise.all([1, 2, 3].map(() => new HttpBrowser().open(`${own}/auth/oidc/example/login`)));
	for (const visit of tries) assertRefused(visit, 502, 'OIDC provider unreachable');
	assertRefused(await new HttpBrowser().open(`${own}/auth/oidc/example/login`), 502, 'OIDC provider unreachable');
	const told = relay.relay
		.log()
		.split('\n')
		.filter((line) => line.includes('the identity provider could not be asked about itself'));
	assert.equal(told.length, 1, 'it was asked once');
	assert.match(told[0] ?? '', /ECONNREFUSED/);
	assert.equal((await send(`${own}/ready`)).status, 200);
});

for (const backend of backends) {
	test(`what begins at one relay ends at another, once, on the ${backend.name} store`, {
		skip: backend.unavailable ?? false,
	}, async (t) => {
		const nodes = await startAuthNodes(backend, settings(base, provider.discoveryUrl));
		t.after(() => nodes.close());
		const browser = new HttpBrowser();
		const address = await browser.signIn(`${nodes.first.url}/auth/oidc/example/login`, 'two-nodes', callback);
		const cookie = browser.cookie(nodes.first.url, COOKIE) ?? '';
		const statuses: number[] = [];
		for (const { url } of [nodes.last, nodes.first, nodes.last]) {
			const there = new HttpBrowser();
			there.cookie(url, COOKIE, cookie);
			statuses.push((await there.open(address.replace(base, url))).status);
		}
		assert.deepEqual(statuses, [200, 400, 400]);
	});
}

test('behind a proxy, over https and under a path, what the sign-in takes goes there and nowhere else', async (t) => {
	const relay = await startAuthRelay(settings('https://relay.example.org/relay/', provider.discoveryUrl));
	t.after(() => relay.close());
	const { status, headers, location } = await new HttpBrowser().open(`${relay.url}/auth/oidc/example/login`);
	assert.equal(status, 302);
	const { searchParams } = new URL(location ?? '');
	assert.equal(searchParams.get('redirect_uri'), 'https://relay.example.org/relay/auth/oidc/example/callback');
	assert.match(
		headers.get('set-cookie') ?? '',
		/^__Secure-pulsar-sign-in=[^;]+; Path=\/relay\/auth\/oidc; Max-Age=600; HttpOnly; SameSite=Lax; Secure$/,
	);
});

test('without providers there is nothing to sign in at', async (t) => {
	const relay = await startAuthRelay();
	t.after(() => relay.close());
	assert.deepEqual((await send(`${relay.url}/auth/oidc/providers`)).json(), []);
	assertRefused(await new HttpBrowser().open(`${relay.url}/auth/oidc/example/login`), 404, 'OIDC disabled');
	assertRefused(await new HttpBrowser().open(`${relay.url}/auth/oidc/example/callback?code=x&state=y`), 404, 'OIDC disabled');
});
