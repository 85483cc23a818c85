/** The device flow over HTTP, as existing clients use it, and its page, as far as that takes no browser. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type AuthNodes, type AuthRelay, type Person, startAuthNodes, startAuthRelay } from '../support/auth-relay.ts';
import { type Backend, backends } from '../support/backends.ts';
import { type Answer, assertFailure, send } from '../support/http-client.ts';

const BASE = 'https://relay.example.org/relay';
const GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

/** Where devices ask. */
let first: AuthRelay;
/** Where people decide: another node, if there may be several. */
let world: AuthRelay;
let bob: Person;

interface Codes {
	readonly device_code: string;
	readonly user_code: string;
	readonly [name: string]: unknown;
}

function post(path: string, form: Record<string, string>, headers: Record<string, string> = {}): Promise<Answer> {
	const { url } = path === '/auth/device/code' || path === '/auth/device/token' ? first : world;
	return send(`${url}${path}`, { method: 'POST', body: new URLSearchParams(form), headers });
}

async function begin(form: Record<string, string> = {}): Promise<Codes> {
	const answer = await post('/auth/device/code', form);
	assert.equal(answer.status, 200, answer.text);
	return answer.json<Codes>();
}

const poll = (deviceCode: string, grant = GRANT) => post('/auth/device/token', { grant_type: grant, device_code: deviceCode });

function ticketIn({ status, text }: Answer): string {
	assert.equal(status, 200, text);
	return /name="ticket" value="([\w-]+)"/.exec(text)?.[1] ?? assert.fail(text);
}

async function signIn(userCode: string, { username, password }: Pick<Person, 'username' | 'password'> = bob): Promise<string> {
	return ticketIn(await post('/auth/device', { user_code: userCode, username, password }));
}

function assertOauthFailure(answer: Answer, code: string, description?: string): void {
	assertFailure(answer, 400, code);
	const told = answer.json()['error_description'];
	assert.equal(typeof told, 'string');
	if (description !== undefined) assert.equal(told, description);
}

function suite(backend: Backend): void {
	let nodes: AuthNodes;
	before(async () => {
		nodes = await startAuthNodes(backend, {
			PULSAR_OIDC__BASE_URL: `${BASE}/`,
			PULSAR_APP_NAME: 'Relay & <more>',
			PULSAR_DEVICE_CODE_POLL_INTERVAL: '60',
			PULSAR_RATE_LIMIT_DEVICE: '1000',
		});
		({ first, last: world } = nodes);
		bob = await world.person('bob');
	});
	after(() => nodes.close());

	test('a device is approved by somebody who signs in by password, and gets tokens once', async () => {
		const codes = await begin({ client_hint: 'pulsar on host' });
		const { device_code, user_code, ...others } = codes;
		assert.deepEqual(others, {
			verification_uri: `${BASE}/auth/device`,
			verification_uri_complete: `${BASE}/auth/device?user_code=${user_code}`,
			expires_in: 600,
			interval: 60,
		});
		const page = await post('/auth/device/decision', { ticket: await signIn(user_code), decision: 'approve' });
		assert.equal(page.status, 200);
		assert.match(page.text, /complete/);
		const answer = await poll(device_code);
		assert.equal(answer.status, 200, answer.text);
		assert.equal(answer.headers.get('cache-control'), 'no-store');
		const tokens = answer.json<Record<string, string>>();
		assert.deepEqual(Object.keys(tokens), ['access_token', 'token_type', 'expires_in', 'refresh_token']);
		assert.equal((await world.call('GET', '/auth/me', tokens['access_token'])).json()['username'], 'bob');
		assertOauthFailure(await poll(device_code), 'expired_token', 'Unknown device_code');
		const sessions = (await world.call('GET', '/auth/sessions', bob)).json<{ client_hint: string }[]>();
		assert(sessions.some(({ client_hint: hint }) => hint === 'pulsar on host'));
	});

	test('a device is told to wait, and when it asks too soon, to ask less often', async () => {
		const { device_code } = await begin();
		assertOauthFailure(await poll(device_code), 'authorization_pending');
		assertOauthFailure(await poll(device_code), 'slow_down');
	});

	test('a pair is two sessions, and the end of one is nothing to the other', async () => {
		const { device_code, user_code } = await begin({ client_hint: 'twin', pair: 'TRUE' });
		await post('/auth/device/decision', { ticket: await signIn(user_code), decision: 'approve' });
		const { refresh_token, refresh_token_secondary } = (await poll(device_code)).json<Record<string, string>>();
		assert(refresh_token !== undefined && refresh_token_secondary !== undefined);
		assert.equal((await world.call('POST', '/auth/token/revoke', null, { refresh_token })).status, 204);
		const refreshed = await world.call('POST', '/auth/token/refresh', null, { refresh_token: refresh_token_secondary });
		assert.equal(refreshed.status, 200, refreshed.text);
		const sessions = (await world.call('GET', '/auth/sessions', bob)).json<{ client_hint: string }[]>();
		assert(sessions.some(({ client_hint: hint }) => hint === 'twin-secondary'));
	});

	test('without a hint a program is called by its User-Agent', async () => {
		const answer = await post('/auth/device/code', {}, { 'user-agent': 'example/1.0' });
		const page = await send(`${world.url}/auth/device?user_code=${answer.json<Codes>().user_code}`);
		assert.match(page.text, /<dd>example\/1\.0<\/dd>/);
	});

	describe('a program is refused', () => {
		test('when the grant is another, a field is missing, or pair is neither yes nor no', async () => {
			const { device_code } = await begin();
			assertOauthFailure(await poll(device_code, 'password'), 'unsupported_grant_type');
			assertOauthFailure(await poll('unknown'), 'expired_token', 'Unknown device_code');
			for (const form of [{ grant_type: GRANT }, { device_code }, {}] as Record<string, string>[]) {
				assertFailure(await post('/auth/device/token', form), 422, 'invalid_request');
			}
			const [problem] = assertFailure(await post('/auth/device/code', { pair: 'maybe' }), 422, 'invalid_request') as {
				type: string;
			}[];
			assert.equal(problem?.type, 'bool_parsing');
		});

		test('when it was denied, on the page or with an access token', async () => {
			const onPage = await begin();
			const page = await post('/auth/device/decision', { ticket: await signIn(onPage.user_code), decision: 'deny' });
			assert.match(page.text, /denied/);
			const byToken = await begin();
			const headers = { authorization: `Bearer ${bob.token}` };
			const denial = await post('/auth/device/deny', { user_code: byToken.user_code }, headers);
			assert.deepEqual([denial.status, denial.json()], [200, { status: 'denied' }]);
			for (const { device_code } of [onPage, byToken]) {
				assertOauthFailure(await poll(device_code), 'access_denied');
				assertOauthFailure(await poll(device_code), 'expired_token');
			}
			const again = await post('/auth/device/deny', { user_code: byToken.user_code }, headers);
			assert.equal(assertFailure(again, 404, 'not_found'), 'Unknown user_code');
		});

		test('when the account that approved it was disabled meanwhile', async () => {
			const carol = await world.person('carol');
			const { device_code, user_code } = await begin();
			await post('/auth/device/decision', { ticket: await signIn(user_code, carol), decision: 'approve' });
			await world.call('PATCH', `/auth/users/${carol.userId}`, world.admin, { is_active: false });
			assertOauthFailure(await poll(device_code), 'access_denied');
			const other = await begin();
			const page = await post('/auth/device', { user_code: other.user_code, username: 'carol', password: carol.password });
			assert.equal(page.status, 403);
			assert(!page.text.includes('ticket'));
		});

		test('where the relay has no address for browsers', async (t) => {
			const relay = await startAuthRelay();
			t.after(() => relay.close());
			const at = (path: string, form: Record<string, string>) =>
				send(`${relay.url}${path}`, { method: 'POST', body: new URLSearchParams(form) });
			assertOauthFailure(await at('/auth/device/code', {}), 'device_authorization_unavailable');
			assertOauthFailure(await at('/auth/device/token', { grant_type: GRANT, device_code: 'x' }), 'expired_token');
			const page = await send(`${relay.url}/auth/device`);
			assert.equal(page.status, 503);
			assert.match(page.text, /<h1>Devices cannot be connected here<\/h1>/);
		});
	});

	describe('nobody decides', () => {
		test('without signing in: a denial needs a token, and a decision what a sign-in gave', async () => {
			const { device_code, user_code } = await begin();
			assertFailure(await post('/auth/device/deny', { user_code }), 401, 'not_authenticated');
			for (const decision of ['approve', 'deny']) {
				assert.equal((await post('/auth/device/decision', { ticket: 'A'.repeat(43), decision })).status, 400);
				assert.equal((await post('/auth/device/decision', { user_code, decision })).status, 400);
			}
			const wrong = await post('/auth/device', { user_code, username: 'bob', password: 'wrong' });
			assert.equal(wrong.status, 401);
			assert.match(wrong.text, /role="alert">Incorrect username or password/);
			assert(!wrong.text.includes('ticket'));
			assertOauthFailure(await poll(device_code), 'authorization_pending');
		});

		test('twice', async () => {
			const { user_code } = await begin();
			const ticket = await signIn(user_code);
			assert.equal((await post('/auth/device/decision', { ticket, decision: 'maybe' })).status, 400);
			assert.equal((await post('/auth/device/decision', { ticket, decision: 'approve' })).status, 200);
			assert.equal((await post('/auth/device/decision', { ticket, decision: 'deny' })).status, 400);
			assert.equal((await send(`${world.url}/auth/device?user_code=${user_code}`)).status, 404);
		});

		test('from a page of another site', async () => {
			const { user_code } = await begin();
			const ticket = await signIn(user_code);
			for (const headers of [
				{ 'sec-fetch-site': 'cross-site' },
				{ 'sec-fetch-site': 'same-site' },
				{ origin: 'https://evil.example.org' },
				{ origin: 'null' },
			] as Record<string, string>[]) {
				assert.equal((await post('/auth/device/decision', { ticket, decision: 'approve' }, headers)).status, 403);
				const { username, password } = bob;
				assert.equal((await post('/auth/device', { user_code, username, password }, headers)).status, 403);
			}
			const own = { origin: 'https://relay.example.org', 'sec-fetch-site': 'same-origin' };
			assert.equal((await post('/auth/device/decision', { ticket, decision: 'deny' }, own)).status, 200);
		});
	});

	describe('the page', () => {
		const HOSTILE = `"><script>alert(1)</script><img src=x onerror='x'>&amp;`;

		test('asks for the code when there is none, with a slash at its end, too', async () => {
			for (const path of ['/auth/device', '/auth/device/']) {
				const page = await send(`${world.url}${path}`);
				assert.equal(page.status, 200);
				assert.match(page.text, /<form method="get" action="\/relay\/auth\/device">/);
			}
		});

		test('shows whatever a program calls itself as a text', async () => {
			const { user_code } = await begin({ client_hint: HOSTILE });
			const pages = [
				await send(`${world.url}/auth/device?user_code=${user_code}`),
				await post('/auth/device', { user_code, username: 'bob', password: 'wrong' }),
				await post('/auth/device', { user_code, username: 'bob', password: bob.password }),
			];
			pages.push(await post('/auth/device/decision', { ticket: ticketIn(pages[2] as Answer), decision: 'deny' }));
			for (const { text } of pages) {
				assert(!text.includes('<script') && !text.includes('<img'), text);
				assert(text.includes('&lt;script&gt;alert(1)') && text.includes('Relay &amp; &lt;more&gt;'), text);
			}
		});

		test('loads nothing, runs nothing, is kept and framed nowhere, whatever its status', async () => {
			for (const page of [
				await send(`${world.url}/auth/device`),
				await send(`${world.url}/auth/device?user_code=${encodeURIComponent(HOSTILE)}`),
				await post('/auth/device/decision', {}),
			]) {
				const policy = page.headers.get('content-security-policy') ?? '';
				assert.match(policy, /^default-src 'none'; style-src 'sha256-[\w+/]+=*'; /);
				for (const part of ["form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"]) assert(policy.includes(part));
				assert(!policy.includes('unsafe') && !policy.includes('script-src'));
				assert.equal(page.headers.get('cache-control'), 'no-store');
				assert.equal(page.headers.get('x-frame-options'), 'DENY');
				assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
				assert(!page.text.includes('<script'));
			}
		});
	});
}

for (const backend of backends) {
	describe(`on the ${backend.name} store`, { skip: backend.unavailable ?? false }, () => suite(backend));
}

test('an approval outlives the relay', async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-device-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	const settings = { PULSAR_STORAGE_BACKEND: 'embedded', PULSAR_DATA_DIR: dataDir, PULSAR_OIDC__BASE_URL: BASE };
	const at = (relay: AuthRelay, path: string, form: Record<string, string>) =>
		send(`${relay.url}${path}`, { method: 'POST', body: new URLSearchParams(form) });
	const first = await startAuthRelay(settings);
	const { device_code, user_code } = (await at(first, '/auth/device/code', {})).json<Codes>();
	const { username, password } = first.admin;
	const ticket = ticketIn(await at(first, '/auth/device', { user_code, username, password }));
	assert.equal((await at(first, '/auth/device/decision', { ticket, decision: 'approve' })).status, 200);
	await first.close();
	const second = await startAuthRelay(settings);
	t.after(() => second.close());
	const answer = await at(second, '/auth/device/token', { grant_type: GRANT, device_code });
	assert.equal(answer.status, 200, answer.text);
});

test('whoever types too many wrong codes is not heard for a while, and whoever types right ones is', async (t) => {
	const relay = await startAuthRelay({ PULSAR_OIDC__BASE_URL: BASE });
	t.after(() => relay.close());
	const open = (code: string) => send(`${relay.url}/auth/device?user_code=${code}`);
	const begun = await send(`${relay.url}/auth/device/code`, { method: 'POST', body: new URLSearchParams() });
	const { user_code } = begun.json<Codes>();
	for (let i = 0; i < 40; i++) assert.equal((await open(user_code)).status, 200);
	const wrong = 'BCDF-GHJ';
	const statuses: number[] = [];
	for (let i = 0; i < 11; i++) statuses.push((await open(`${wrong}${i % 8 === 0 ? 'K' : 'L'}`)).status);
	assert.deepEqual(statuses, [...Array(10).fill(404), 429]);
	const refused = await open(user_code);
	assert.equal(refused.status, 429);
	assert.match(refused.headers.get('retry-after') ?? '', /^[1-9]\d?$/);
	const denial = await send(`${relay.url}/auth/device/deny`, {
		method: 'POST',
		headers: { authorization: `Bearer ${relay.admin.token}` },
		body: new URLSearchParams({ user_code }),
	});
	assertFailure(denial, 429, 'rate_limited');
});

test('whoever tries passwords on the page is held to the limit of the login', async (t) => {
	const relay = await startAuthRelay({ PULSAR_OIDC__BASE_URL: BASE });
	t.after(() => relay.close());
	const begun = await send(`${relay.url}/auth/device/code`, { method: 'POST', body: new URLSearchParams() });
	const { user_code } = begun.json<Codes>();
	const statuses: number[] = [];
	for (let i = 0; i < 6; i++) {
		const body = new URLSearchParams({ user_code, username: 'root', password: `guess ${i}` });
		statuses.push((await send(`${relay.url}/auth/device`, { method: 'POST', body })).status);
	}
	assert.deepEqual(statuses, [401, 401, 401, 401, 401, 429]);
	assert.equal((await relay.login('root', 'guess')).status, 429);
});
