/** Signing in, accounts, sessions, keys and grants over the wire, as existing clients know it; and with what does not fit. */

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
	ADMIN_PASSWORD,
	type AuthNodes,
	type AuthRelay,
	JWT_SECRET,
	type Person,
	startAuthNodes,
} from '../support/auth-relay.ts';
import { type Backend, backends } from '../support/backends.ts';
import { type Answer, send } from '../support/http-client.ts';
import { startRelayProcess } from '../support/process.ts';

let world: AuthRelay;
let bob: Person;

const detailOf = (answer: Answer) => answer.json<{ detail: unknown }>().detail;

/** Asserts a failure as existing clients read it. */
async function fails(call: Promise<Answer>, status: number, detail?: string): Promise<Answer> {
	const answer = await call;
	assert.equal(answer.status, status, answer.text);
	if (detail !== undefined) assert.equal(detailOf(answer), detail);
	assert.equal(answer.headers.get('www-authenticate'), status === 401 ? 'Bearer' : null);
	return answer;
}

/** The places of the problems of a 422. */
async function problems(call: Promise<Answer>): Promise<string[]> {
	const answer = await fails(call, 422);
	const detail = detailOf(answer);
	assert(Array.isArray(detail), answer.text);
	return detail.map(({ type, loc }: { type: string; loc: string[] }) => `${loc.join('.')} ${type}`).sort();
}

const post = (type: string, body: string | FormData | URLSearchParams) =>
	send(`${world.url}/auth/login`, { method: 'POST', ...(type === '' ? {} : { headers: { 'content-type': type } }), body });

function suite(backend: Backend): void {
	let nodes: AuthNodes;
	before(async () => {
		nodes = await startAuthNodes(backend);
		world = nodes.first;
		bob = await world.person('bob');
	});
	after(() => nodes.close());

	describe('login', () => {
		test('takes a form of either kind and gives the tokens', async () => {
			const form = new FormData();
			form.set('username', 'bob');
			form.set('password', bob.password);
			for (const body of [form, new URLSearchParams({ username: 'bob', password: bob.password, scope: '', client_id: 'x' })]) {
				const answer = await post('', body);
				assert.equal(answer.status, 200, answer.text);
				const { access_token: token, refresh_token: refresh, ...others } = answer.json<Record<string, unknown>>();
				assert.deepEqual(others, { token_type: 'bearer', expires_in: 600, refresh_token_secondary: null });
				const [, claims = ''] = String(token).split('.');
				assert.equal(JSON.parse(Buffer.from(claims, 'base64url').toString()).sub, bob.userId);
				assert.match(String(refresh), /^[0-9a-f-]{36}\.[A-Za-z0-9_-]{43}$/);
			}
		});

		test('answers the same for a wrong password and for nobody', async () => {
			await fails(world.login('bob', 'wrong'), 401, 'Incorrect username or password');
			await fails(world.login('nobody', bob.password), 401, 'Incorrect username or password');
			await fails(world.login('__proto__', bob.password), 401, 'Incorrect username or password');
		});

		test('says which fields are missing, also to who sends JSON', async () => {
			const missing = ['body.password missing', 'body.username missing'];
			assert.deepEqual(await problems(post('application/json', '{"username":"bob","password":"x"}')), missing);
			assert.deepEqual(await problems(post('application/x-www-form-urlencoded', '')), missing);
			assert.deepEqual(await problems(send(`${world.url}/auth/login`, { method: 'POST' })), missing);
			assert.deepEqual(await problems(post('application/x-www-form-urlencoded', 'username=bob')), ['body.password missing']);
			const grant = 'username=bob&password=x&grant_type=refresh_token';
			assert.deepEqual(await problems(post('application/x-www-form-urlencoded', grant)), [
				'body.grant_type string_pattern_mismatch',
			]);
			assert.deepEqual(await problems(world.login('bob', 'x'.repeat(1025))), ['body.password string_too_long']);
		});

		test('refuses a broken multipart form and a large one', async () => {
			await fails(post('multipart/form-data', 'x'), 400);
			await fails(post('multipart/form-data; boundary=x', '--x\r\nbroken'), 400);
			await fails(post('application/x-www-form-urlencoded', `username=${'x'.repeat(100_000)}`), 413);
		});
	});

	describe('accounts', () => {
		test('are made by administrators, and show no hash', async () => {
			const body = { username: 'carol', password: 'password-of-carol', email: 'c@x.org', is_active: false, extra: 1 };
			const answer = await world.call('POST', '/auth/register', world.admin, body);
			assert.equal(answer.status, 201, answer.text);
			const { user_id: userId, created_at: createdAt, ...others } = answer.json<Record<string, unknown>>();
			assert.match(String(userId), /^[0-9a-f-]{36}$/);
			assert.match(String(createdAt), /Z$/);
			assert.deepEqual(others, { username: 'carol', email: 'c@x.org', is_active: true, permissions: [], owned_topics: [] });
			await fails(world.call('POST', '/auth/register', world.admin, body), 400, "Username 'carol' already exists");
			for (const path of ['/auth/me', '/auth/users']) {
				assert(!(await world.call('GET', path, world.admin)).text.includes('argon2'), path);
			}
			await fails(world.call('POST', '/auth/register', bob, body), 403, "Permission 'admin' required");
		});

		test('are refused when a field does not fit', async () => {
			const register = (change: object) =>
				problems(world.call('POST', '/auth/register', world.admin, { username: 'dave', password: 'password', ...change }));
			assert.deepEqual(await register({ username: 'ab' }), ['body.username string_too_short']);
			assert.deepEqual(await register({ username: 'x'.repeat(51) }), ['body.username string_too_long']);
			assert.deepEqual(await register({ username: 'a\nb' }), ['body.username string_pattern_mismatch']);
			assert.deepEqual(await register({ username: null, password: 7 }), [
				'body.password string_type',
				'body.username string_type',
			]);
			assert.deepEqual(await register({ password: 'short' }), ['body.password string_too_short']);
			assert.deepEqual(await register({ permissions: ['root'] }), ['body.permissions.0 literal_error']);
			assert.deepEqual(await register({ email: 7 }), ['body.email string_type']);
			assert.deepEqual(await problems(world.call('POST', '/auth/register', world.admin, '{"username":"\\ud800ab"}')), [
				'body.13 json_invalid',
			]);
		});

		test('change by what is given and by nothing else; null is a value of the e-mail only', async () => {
			const { userId } = await world.person('erin');
			const patch = (body: unknown) => world.call('PATCH', `/auth/users/${userId}`, world.admin, body);
			const before = (await patch({})).json();
			assert.deepEqual((await patch({ email: 'e@x.org' })).json(), { ...before, email: 'e@x.org' });
			assert.deepEqual((await patch({ email: null })).json(), before);
			for (const field of ['password', 'permissions', 'is_active']) {
				const [problem = ''] = await problems(patch({ [field]: null }));
				assert.match(problem, new RegExp(`^body.${field} `));
			}
			assert.equal((await world.call('GET', '/auth/users', world.admin)).status, 200, 'no account is broken by that');
			await fails(world.call('PATCH', '/auth/users/unknown', world.admin, {}), 404, "User with ID 'unknown' not found");
		});

		test('sign in with a new password, whose making ended the sessions; not at all while disabled', async () => {
			const { userId, password, refreshToken } = await world.person('frank');
			const patch = (body: unknown) => world.call('PATCH', `/auth/users/${userId}`, world.admin, body);
			assert.equal((await patch({ password: 'another-password' })).status, 200);
			await fails(world.login('frank', password), 401);
			assert.equal((await world.login('frank', 'another-password')).status, 200);
			await fails(world.call('POST', '/auth/token/refresh', null, { refresh_token: refreshToken }), 401, 'invalid refresh token');
			await patch({ is_active: false });
			await fails(world.login('frank', 'another-password'), 403, 'User account is inactive');
			await fails(world.login('frank', 'wrong'), 401, 'Incorrect username or password');
		});

		test('are listed and counted, and deleted, but not by themselves', async () => {
			const { userId, token } = await world.person('grace');
			const total = () =>
				world.call('GET', '/auth/users/stats', world.admin).then((answer) => answer.json<{ total_users: number }>().total_users);
			const before = await total();
			assert.equal((await world.call('GET', '/auth/users', world.admin)).json<unknown[]>().length, before);
			assert.equal((await world.call('DELETE', `/auth/users/${userId}`, world.admin)).status, 204);
			assert.equal(await total(), before - 1);
			await fails(world.call('DELETE', `/auth/users/${userId}`, world.admin), 404);
			await fails(world.call('GET', '/auth/me', token), 401, 'User not found');
			const own = `/auth/users/${world.admin.userId}`;
			await fails(world.call('DELETE', own, world.admin), 400, 'Cannot delete your own user account');
		});

		test('tell their topics', async () => {
			const helen = await world.person('helen');
			for (const topic of ['b', 'a']) await world.call('POST', '/api/v1/messages', helen, { topic, payload: {} });
			assert.deepEqual((await world.call('GET', '/auth/me', helen)).json()['owned_topics'], ['a', 'b']);
			const topics = (await world.call('GET', '/api/v1/topics', helen)).json<{ topic_name: string; owner_id: string }[]>();
			assert.deepEqual(
				topics.map((topic) => [topic.topic_name, topic.owner_id]),
				[
					['a', helen.userId],
					['b', helen.userId],
				],
			);
			const detail = `Topic 'a' already exists for owner ${helen.userId}`;
			await fails(world.call('POST', '/api/v1/topics', helen, { topic_name: 'a' }), 400, detail);
			assert.equal((await world.call('GET', '/api/v1/topics/a', helen)).json()['owner_id'], helen.userId);
			await fails(world.call('GET', '/api/v1/topics/unknown', helen), 404, "Topic 'unknown' not found");
		});
	});

	describe('refresh', () => {
		const refresh = (token: unknown) => world.call('POST', '/auth/token/refresh', null, { refresh_token: token });

		test('gives a successor, the same again to who asks twice at once, and ends the session on a late replay', async () => {
			const { refreshToken } = await world.person('ivan');
			const [first, again] = await Promise.all([refresh(refreshToken), refresh(refreshToken)]);
			assert.deepEqual([first.status, again.status], [200, 200]);
			const next = first.json<{ refresh_token: string }>().refresh_token;
			assert.equal(again.json()['refresh_token'], next);
			assert.equal((await refresh(next)).status, 200);
			await fails(refresh(refreshToken), 401, 'invalid refresh token');
			assert.match(world.relay.log(), /a used refresh token came again/);
		});

		test('says nothing of what was wrong with a token', async () => {
			for (const token of ['', 'x', '.', `${randomUUID()}.x`, `${bob.refreshToken.slice(0, 37)}${'A'.repeat(43)}`]) {
				await fails(refresh(token), 401, 'invalid refresh token');
			}
			assert.equal((await refresh(bob.refreshToken)).status, 200);
			assert.deepEqual(await problems(world.call('POST', '/auth/token/refresh', null, {})), ['body.refresh_token missing']);
			assert.deepEqual(await problems(refresh(7)), ['body.refresh_token string_type']);
			assert.deepEqual(await problems(world.call('POST', '/auth/token/refresh', null, '{')), ['body.1 json_invalid']);
		});

		test('revoking has one answer for all that have the form of a token', async () => {
			const { refreshToken } = await world.person('judy');
			const revoke = (token: string) =>
				world.call('POST', '/auth/token/revoke', null, { refresh_token: token, revoke_chain: true });
			const forged = `${refreshToken.slice(0, 37)}${'A'.repeat(43)}`;
			for (const token of [`${randomUUID()}.x`, forged]) assert.equal((await revoke(token)).status, 204);
			const next = (await refresh(refreshToken)).json<{ refresh_token: string }>().refresh_token;
			assert.equal((await revoke(next)).status, 204);
			await fails(refresh(next), 401);
			await fails(revoke('no-dot'), 400, 'malformed refresh token');
		});

		test('sessions are listed and ended by their account only', async () => {
			const kim = await world.person('kim');
			const list = async (person: Person) =>
				(await world.call('GET', '/auth/sessions', person)).json<Record<string, unknown>[]>();
			const [session, ...others] = await list(kim);
			assert.equal(others.length, 0);
			const { jti, issued_at: issuedAt, expires_at: expiresAt, ...rest } = session ?? {};
			assert.equal(jti, kim.refreshToken.split('.')[0]);
			assert.equal(Date.parse(String(expiresAt)) - Date.parse(String(issuedAt)), 90 * 86_400_000);
			assert.deepEqual(rest, { last_used_at: null, client_hint: 'password-login' });
			await fails(world.call('DELETE', `/auth/sessions/${jti}`, bob), 404, 'session not found');
			const elsewhere = (await world.login('kim', kim.password)).json<{ access_token: string }>().access_token;
			assert.equal((await world.call('DELETE', `/auth/sessions/${jti}`, kim)).status, 204);
			await fails(refresh(kim.refreshToken), 401);
			await fails(world.call('GET', '/auth/me', kim), 401, 'Token has been revoked');
			const left = (await world.call('GET', '/auth/sessions', elsewhere)).json<{ jti: string }[]>();
			assert.equal(left.length, 1);
			assert.notEqual(left[0]?.jti, jti);
		});
	});

	describe('API keys', () => {
		test('are shown once, listed without their secret, changed, rotated and deleted', async () => {
			const { keyId, secret } = await world.key(bob, ['publish'], ['jobs.*', 'root/x']);
			const publish = (key: string, topic = 'jobs.eu') => world.call('POST', '/api/v1/messages', key, { topic, payload: 1 });
			assert.equal((await publish(secret)).status, 201);
			const list = await world.call('GET', '/auth/keys', bob);
			assert(!list.text.includes(secret.slice(21)));
			const key = list.json<Record<string, unknown>[]>().find(({ key_id: id }) => id === keyId);
			assert.deepEqual(key?.['scopes'], [{ actions: ['publish'], topics: ['jobs.*', 'root/x'] }]);
			assert.equal(key?.['live_secrets'], 1);
			await fails(publish(secret, 'other'), 403, "Scope 'publish' for topic 'other' required");
			await fails(
				world.call('GET', '/api/v1/poll?topics=jobs.eu&timeout=0', secret),
				403,
				"Scope 'subscribe' for topic 'jobs.eu' required",
			);
			await fails(world.call('GET', '/auth/me', secret), 403);
			const scopes = [{ actions: ['publish'], topics: ['*'] }];
			assert.equal((await world.call('PATCH', `/auth/keys/${keyId}`, bob, { scopes })).status, 200);
			assert.equal((await publish(secret, 'other')).status, 201);
			const rotated = (await world.call('POST', `/auth/keys/${keyId}/rotate`, bob, { overlap: 60 })).json<
				Record<string, unknown>
			>();
			assert.equal(rotated['live_secrets'], 2);
			for (const good of [secret, String(rotated['api_key'])]) assert.equal((await publish(good)).status, 201);
			const now = await world.call('POST', `/auth/keys/${keyId}/rotate`, bob, { overlap: 0 });
			await fails(publish(String(rotated['api_key'])), 401, 'Invalid or expired token');
			assert.equal((await world.call('DELETE', `/auth/keys/${keyId}`, bob)).status, 204);
			await fails(publish(String(now.json()['api_key'])), 401, 'Invalid or expired token');
			await fails(world.call('DELETE', `/auth/keys/${keyId}`, bob), 404);
		});

		test('are refused with scopes that are none', async () => {
			const create = (scopes: unknown) => problems(world.call('POST', '/auth/keys', bob, { name: 'k', scopes }));
			assert.deepEqual(await create([]), ['body.scopes too_short']);
			assert.deepEqual(await create([{ actions: [], topics: ['x'] }]), ['body.scopes.0.actions too_short']);
			assert.deepEqual(await create([{ actions: ['manage'], topics: ['x'] }]), ['body.scopes.0.actions.0 literal_error']);
			const bad = ['body.scopes.0.topics.1 string_pattern_mismatch'];
			assert.deepEqual(await create([{ actions: ['publish'], topics: ['x', 'a*b'] }]), bad);
		});

		test('of one account are nothing to another', async () => {
			const { keyId } = await world.key(bob, ['publish'], ['*']);
			for (const [method, path] of [
				['PATCH', ''],
				['DELETE', ''],
				['POST', '/rotate'],
			] as const) {
				const body = method === 'DELETE' ? undefined : {};
				await fails(world.call(method, `/auth/keys/${keyId}${path}`, world.admin, body), 404);
			}
		});
	});

	describe('scoped tokens', () => {
		test('do what they are for in a browser: an event stream takes one in its query', async () => {
			const token = await world.scoped(bob, ['subscribe'], ['news']);
			await world.call('POST', '/api/v1/messages', bob, { topic: 'news', payload: 1 });
			const stream = async (query: string, headers = {}) => {
				const stop = new AbortController();
				const response = await fetch(`${world.url}/api/v1/events?topics=news${query}`, { headers, signal: stop.signal });
				stop.abort();
				return response.status;
			};
			assert.equal(await stream(`&access_token=${token}`), 200);
			assert.equal(await stream(`&access_token=${bob.token}`), 401, 'an access token is too much for a query');
			assert.equal(await stream(`&access_token=${token}`, { authorization: `Bearer ${token}` }), 400, 'one credential');
			assert.equal(await stream(`&access_token=${token}&access_token=${token}`), 400);
			await fails(world.call('GET', `/api/v1/poll?topics=news&access_token=${token}`), 401, 'Not authenticated');
		});

		test('of a key end with it', async () => {
			const { keyId, secret } = await world.key(bob, ['publish'], ['*']);
			const token = await world.scoped(secret, ['publish'], ['x']);
			const publish = () => world.call('POST', '/api/v1/messages', token, { topic: 'x', payload: 1 });
			assert.equal((await publish()).status, 201);
			await world.call('DELETE', `/auth/keys/${keyId}`, bob);
			await fails(publish(), 401);
		});
	});

	describe('grants', () => {
		test('are given by name, listed and taken back', async () => {
			const lee = await world.person('lee');
			await world.call('POST', '/api/v1/messages', bob, { topic: 'lent', payload: { n: 1 } });
			const grants = '/api/v1/topics/lent/permissions';
			const grant = (username: string, permission: string) => world.call('POST', grants, bob, { username, permission });
			const given = { username: 'lee', user_id: lee.userId, permission: 'read' };
			assert.deepEqual((await grant('lee', 'read')).json(), { topic_name: 'lent', ...given });
			assert.equal((await grant('lee', 'write')).status, 201);
			await fails(grant('nobody', 'read'), 404, 'User not found');
			assert.deepEqual(await problems(grant('lee', 'admin')), ['body.permission literal_error']);
			await fails(world.call('POST', '/api/v1/topics/unknown/permissions', bob, { username: 'lee', permission: 'read' }), 404);
			assert.deepEqual((await world.call('GET', grants, bob)).json(), {
				topic_name: 'lent',
				is_public: false,
				permissions: [given, { ...given, permission: 'write' }],
			});
			const read = await world.call('GET', '/api/v1/poll?topics=bob/lent&since=earliest', lee);
			assert.match(read.text, /"topic":"bob\/lent".*"payload":\{"n":1\}/);
			assert.equal((await world.call('DELETE', `${grants}/lee?permission=read`, bob)).status, 204);
			await fails(world.call('GET', '/api/v1/poll?topics=bob/lent&timeout=0', lee), 403);
			assert.equal((await world.call('DELETE', `${grants}/lee`, bob)).status, 204);
			await fails(world.call('DELETE', `${grants}/lee`, bob), 404);
		});

		test('go with their topic: one made anew under its name is nobody else’s', async () => {
			const mia = await world.person('mia');
			await world.call('POST', '/api/v1/topics', bob, { topic_name: 'again' });
			await world.call('POST', '/api/v1/topics/again/permissions', bob, { username: 'mia', permission: 'read' });
			await world.call('PUT', '/api/v1/topics/again', bob, { is_public: true });
			assert.equal((await world.call('GET', '/api/v1/topics/bob%2Fagain', mia)).status, 200);
			await world.call('DELETE', '/api/v1/topics/again', bob);
			await world.call('POST', '/api/v1/topics', bob, { topic_name: 'again' });
			await fails(world.call('GET', '/api/v1/topics/bob%2Fagain', mia), 404, "Topic 'bob/again' not found");
		});
	});

	describe('the order of checks', () => {
		const path = '/api/v1/messages';
		test('broken JSON, then credentials, then permission, then fields', async () => {
			const nina = await world.person('nina', ['read']);
			assert.deepEqual(await problems(world.call('POST', path, null, '{"topic":')), ['body.9 json_invalid']);
			await fails(world.call('POST', path, null, {}), 401, 'Not authenticated');
			await fails(world.call('POST', path, 'x', {}), 401, 'Invalid or expired token');
			await fails(world.call('POST', path, nina, {}), 403, "Permission 'write' required");
			assert.deepEqual(await problems(world.call('POST', path, bob, {})), ['body.payload missing', 'body.topic missing']);
			assert.deepEqual(await problems(world.call('POST', path, bob, { topic: 'a/b/c', payload: 1 })), ['body.topic value_error']);
		});

		test('a large body of who has no credentials is not read first', async () => {
			const answer = await world.call('POST', path, null, `{"x":"${'x'.repeat(1_000_000)}`);
			assert.equal(answer.status, 401);
		});

		test('an inactive account is told so before its permissions', async () => {
			const oscar = await world.person('oscar', []);
			await world.call('PATCH', `/auth/users/${oscar.userId}`, world.admin, { is_active: false });
			await fails(world.call('POST', path, oscar, {}), 403, 'User is inactive');
		});
	});

	test('an idempotency key is one account’s, and one key’s', async () => {
		const paul = await world.person('paul');
		const { secret } = await world.key(bob, ['publish'], ['*']);
		const publish = async (credential: string) => {
			const answer = await send(`${world.url}/api/v1/messages`, {
				method: 'POST',
				headers: { authorization: `Bearer ${credential}`, 'content-type': 'application/json', 'idempotency-key': 'the-same' },
				body: '{"topic":"idempotent","payload":1}',
			});
			assert.equal(answer.status, 201, answer.text);
			return answer.json<{ message_id: string }>().message_id;
		};
		const ids = [await publish(bob.token), await publish(paul.token), await publish(secret)];
		assert.deepEqual([await publish(bob.token), await publish(paul.token), await publish(secret)], ids);
		assert.notEqual(ids[0], ids[2], 'in one topic, by two producers');
	});

	test('poll statistics show an account its own topics, and an administrator all, with the owner in front', async () => {
		const quinn = await world.person('quinn');
		const wait = world.call('POST', '/messages/poll', quinn, { topics: ['job_setup', 'job_kill'], timeout: 30.0 });
		type Stats = { active_waiters: number; topic_subscriber_counts: Record<string, number> };
		const stats = async (person: Person) => (await world.call('GET', '/messages/poll/stats', person)).json<Stats>();
		const key = `${quinn.userId}/job_setup`;
		while ((await stats(world.admin)).topic_subscriber_counts[key] !== 1);
		assert.equal((await stats(quinn)).topic_subscriber_counts[key], 1);
		assert.deepEqual((await stats(bob)).topic_subscriber_counts, {});
		await world.call('POST', '/api/v1/messages', quinn, { topic: 'job_setup', payload: {} });
		assert.equal((await wait).json<{ messages: { topic: string }[] }>().messages[0]?.topic, 'job_setup');
	});

	test('what is stored survives kill -9: accounts, sessions, keys and denials', async (t) => {
		const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-accounts-'));
		t.after(() => rm(dataDir, { recursive: true }));
		const store = await backend.start();
		t.after(() => store.stop());
		const env = {
			...store.env,
			PULSAR_JWT_SECRET_KEY: JWT_SECRET,
			PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'root',
			PULSAR_BOOTSTRAP_ADMIN_PASSWORD: ADMIN_PASSWORD,
		};
		const request = (url: string, method: string, path: string, token: string | null, body?: unknown) =>
			send(`${url}${path}`, {
				method,
				headers: {
					...(token === null ? {} : { authorization: `Bearer ${token}` }),
					...(body === undefined ? {} : { 'content-type': 'application/json' }),
				},
				...(body === undefined ? {} : { body: JSON.stringify(body) }),
			});
		const signIn = async (url: string) => {
			const body = new URLSearchParams({ username: 'root', password: ADMIN_PASSWORD });
			return (await send(`${url}/auth/login`, { method: 'POST', body })).json<{ access_token: string; refresh_token: string }>();
		};
		const first = await startRelayProcess(dataDir, env);
		const tokens = await signIn(first.url);
		const scopes = [{ actions: ['publish'], topics: ['*'] }];
		const made = await request(first.url, 'POST', '/auth/keys', tokens.access_token, { name: 'k', scopes });
		const denied = await signIn(first.url);
		assert.equal((await request(first.url, 'POST', '/auth/logout', denied.access_token)).status, 204);
		await first.end('SIGKILL');
		const second = await startRelayProcess(dataDir, env);
		t.after(() => second.end('SIGKILL'));
		assert.equal((await request(second.url, 'GET', '/auth/me', tokens.access_token)).status, 200);
		assert.equal((await request(second.url, 'GET', '/auth/me', denied.access_token)).json()['detail'], 'Token has been revoked');
		const key = made.json<{ api_key: string }>().api_key;
		assert.equal((await request(second.url, 'POST', '/api/v1/messages', key, { topic: 'x', payload: 1 })).status, 201);
		const refreshed = await request(second.url, 'POST', '/auth/token/refresh', null, { refresh_token: tokens.refresh_token });
		assert.equal(refreshed.status, 200, refreshed.text);
	});
}

for (const backend of backends) {
	describe(`on the ${backend.name} store`, { skip: backend.unavailable ?? false }, () => suite(backend));
}
