/** Rate limits as clients meet them: on HTTP, WebSocket and streams, by account and by address. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { RateLimits } from '../../src/limits/rate-limits.ts';
import { clientAddresses } from '../../src/transports/http/client-address.ts';
import { Limiting } from '../../src/transports/http/limiting.ts';
import { type AuthRelay, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { createFakeClock } from '../support/clock.ts';
import { type Answer, assertFailure, send } from '../support/http-client.ts';
import { startRelay } from '../support/relay.ts';
import { startHttp } from '../support/start-http.ts';

const message = (topic = 'a') => ({ topic, payload: 1 });

async function start(t: TestContext, env: Readonly<Record<string, string>>): Promise<AuthRelay> {
	const world = await startAuthRelay(env);
	t.after(() => world.close());
	return world;
}

function limitsOf({ headers }: Answer): (number | null)[] {
	return ['x-ratelimit-limit', 'x-ratelimit-remaining', 'x-ratelimit-reset'].map((name) => {
		const value = headers.get(name);
		return value === null ? null : Number(value);
	});
}

/** Asks until the answer is 429; a few more may be let in than the limit says, as tokens come meanwhile. */
async function untilRefused(ask: () => Promise<Answer>): Promise<{ readonly allowed: number; readonly refused: Answer }> {
	for (let allowed = 0; ; allowed++) {
		const answer = await ask();
		if (answer.status === 429) return { allowed, refused: answer };
		assert(answer.status < 300, answer.text);
		assert(allowed < 200, 'it is never refused');
	}
}

describe('an account', () => {
	test('is told with every answer what it has left, and when it has nothing left, until when', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT: '20' });
		const person = await world.person('person');
		let before = 20;
		const { allowed, refused } = await untilRefused(async () => {
			const answer = await world.call('GET', '/auth/me', person);
			const [limit, remaining, reset] = limitsOf(answer);
			assert.equal(limit, 20);
			// A token may have come meanwhile.
			assert(remaining === before - 1 || remaining === before || remaining === before - 2, `${remaining} after ${before}`);
			before = remaining ?? 0;
			assert(reset !== undefined && reset !== null && reset >= 1 && reset <= 60, String(reset));
			return answer;
		});
		// Signing in has asked who it is.
		assert(allowed >= 19 && allowed <= 25, String(allowed));
		assert.equal(assertFailure(refused, 429, 'rate_limited'), 'Rate limit exceeded: 20 per 1 minute');
		const wait = Number(refused.headers.get('retry-after'));
		assert(wait >= 1 && wait <= 3, String(wait));
		assert.deepEqual(limitsOf(refused).slice(0, 2), [20, 0]);
		assert.equal((await world.call('POST', '/api/v1/messages', person, message())).status, 429);
		// Nobody else is concerned, and probes are not counted.
		assert.equal((await world.call('GET', '/auth/me', world.admin)).status, 200);
		const probe = await send(`${world.url}/health`);
		assert.deepEqual(limitsOf(probe), [null, null, null]);
	});

	test('does not share with its keys, nor these with each other, nor with its scoped tokens', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT: '30' });
		const person = await world.person('person');
		const keys = [await world.key(person, ['publish'], ['*']), await world.key(person, ['publish'], ['*'])];
		const scoped = await world.scoped(person, ['publish'], ['*']);
		const publishUntilRefused = async (credential: string) =>
			(await untilRefused(() => world.call('POST', '/api/v1/messages', credential, message()))).allowed;
		assert((await publishUntilRefused(scoped)) >= 30);
		for (const { secret } of keys) assert((await publishUntilRefused(secret)) >= 30);
		assert.equal((await world.call('GET', '/auth/me', person)).status, 200);
		// Another scoped token is no other bucket.
		const another = await world.scoped(person, ['publish'], ['*']);
		assert((await publishUntilRefused(another)) < 5);
	});

	test('pays by the message, in one request or in many', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT: '100' });
		const person = await world.person('person');
		const bulk = (count: number) =>
			world.call('POST', '/api/v1/messages/bulk', person, { messages: Array(count).fill(message()) });
		const first = await bulk(60);
		assert.equal(first.status, 207);
		const [, left] = limitsOf(first);
		assert(left !== null && left !== undefined && left >= 39 && left < 50, String(left));
		assertFailure(await bulk(60), 429, 'rate_limited');
		assert.equal((await bulk(30)).status, 207);
		const page = await world.call('GET', '/api/v1/topics/a', person);
		assert.equal(page.json<{ message_count: number }>().message_count, 90, page.text);
	});

	test('is not charged for what is no request: no JSON, no right, no such field', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT: '20' });
		const person = await world.person('person', []);
		for (let i = 0; i < 30; i++) {
			assert.equal((await world.call('POST', '/api/v1/topics', person, '{"topic_name"')).status, 422);
			assert.equal((await world.call('POST', '/api/v1/topics', person, { topic_name: 'a' })).status, 403);
		}
		assert.equal((await world.call('GET', '/auth/me', person)).status, 200);
	});

	test('that streams is not refused, but read no faster than it may', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT: '600' });
		const person = await world.person('person');
		const stream = (lines: number) =>
			send(`${world.url}/api/v1/messages/stream`, {
				method: 'POST',
				headers: { authorization: `Bearer ${person.token}`, 'content-type': 'application/x-ndjson' },
				body: `${JSON.stringify(message())}\n`.repeat(lines),
			});
		assert.match((await stream(590)).text, /"accepted":590,"rejected":0,"complete":true/);
		const startedMs = performance.now();
		// Ten a second: there are hardly any left, and 21 take two seconds.
		assert.match((await stream(30)).text, /"accepted":30,"rejected":0,"complete":true/);
		const tookMs = performance.now() - startedMs;
		assert(tookMs > 1500, `${tookMs} ms`);
	});

	test('pays on a WebSocket for what it asks, but not for signs of life, and goes on when it may again', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT: '60' });
		const person = await world.person('person');
		const socket = await world.socket(person.token);
		await socket.ask({ type: 'subscribe', topics: ['b'] });
		for (let i = 0; i < 100; i++) assert.equal((await socket.ask({ type: 'ping' })).type, 'pong');
		let published = 0;
		let refused: { readonly type: string; readonly [name: string]: unknown };
		do {
			refused = await socket.ask({ type: 'publish', ...message(), ref: published });
			if (refused.type === 'published') published++;
		} while (refused.type === 'published');
		assert(published >= 50 && published <= 62, String(published));
		assert.equal(refused.type, 'error');
		assert.equal(refused['code'], 'rate_limited');
		assert.equal(refused['ref'], published);
		const { retry_after: wait } = refused['details'] as { retry_after: number };
		assert(wait >= 1 && wait <= 2);
		assert.equal((await world.call('POST', '/api/v1/messages', person, message())).status, 429, 'it is the same bucket');
		await assert.rejects(world.socket(person.token), 'an upgrade is a request');
		for (let tries = 0; ; tries++) {
			const answer = await socket.ask({ type: 'publish', ...message() });
			if (answer.type === 'published') break;
			assert(tries < 100_000);
			await new Promise((resolve) => setImmediate(resolve));
		}
		await socket.end();
	});
});

describe('a client address', () => {
	test('that shows wrong credentials too often is told to wait, on HTTP and at upgrades; right ones are served', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT_ADDRESS: '30' });
		const person = await world.person('person');
		const statuses: number[] = [];
		for (let i = 0; i < 40; i++) statuses.push((await world.call('GET', '/auth/me', `prk_0123456789abcdef_${i}`)).status);
		assert(
			statuses.slice(0, 20).every((status) => status === 401),
			statuses.join(),
		);
		assert(
			statuses.slice(-5).every((status) => status === 429),
			statuses.join(),
		);
		const refused = await world.call('GET', '/api/v1/topics', null);
		assertFailure(refused, 429, 'rate_limited');
		assert(Number(refused.headers.get('retry-after')) >= 1);
		assert.equal(await Socket.refused(world.url, 'nonsense'), 429);
		assert.equal((await world.call('GET', '/auth/me', person)).status, 200, 'its neighbours are not locked out');
		assert.equal((await world.call('GET', '/openapi.json')).status, 429, 'what is open counts, too');
		for (const path of ['/health', '/ready']) assert.equal((await send(`${world.url}${path}`)).status, 200);
		assert.equal((await world.call('GET', '/metrics', world.admin)).status, 200);
	});

	test('behind a trusted proxy is the one that the proxy names', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT_ADDRESS: '20', PULSAR_TRUSTED_PROXIES: '["127.0.0.1"]' });
		const open = (forwarded: string) => send(`${world.url}/openapi.json`, { headers: { 'x-forwarded-for': forwarded } });
		// What the client made up does not help it.
		let madeUp = 0;
		const { allowed } = await untilRefused(() => open(`198.51.100.${madeUp++}, 203.0.113.1`));
		assert(allowed >= 20 && allowed <= 30, String(allowed));
		assert.equal((await open('203.0.113.2')).status, 200);
	});

	test('that is no trusted proxy cannot say that it is another', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT_ADDRESS: '20' });
		let madeUp = 0;
		const { allowed } = await untilRefused(() =>
			send(`${world.url}/openapi.json`, { headers: { 'x-forwarded-for': `203.0.113.${madeUp++}` } }),
		);
		assert(allowed >= 20 && allowed <= 30, String(allowed));
	});
});

describe('signing in', () => {
	test('by a wrong password may be tried five times a minute, for each account; the right one then does not help either', async (t) => {
		const world = await start(t, {});
		const person = await world.person('person');
		const other = await world.person('other');
		for (let i = 0; i < 5; i++) {
			const answer = await world.login('person', `wrong-${i}`);
			assert.equal(answer.status, 401, answer.text);
			assert.equal(limitsOf(answer)[0], 5);
		}
		for (const password of ['wrong-again', person.password]) {
			const refused = await world.login('person', password);
			assert.equal(assertFailure(refused, 429, 'rate_limited'), 'Rate limit exceeded: 5 per 1 minute');
			const wait = Number(refused.headers.get('retry-after'));
			assert(wait >= 10 && wait <= 12, String(wait));
		}
		assert.equal((await world.login('other', other.password)).status, 200);
		assert.equal((await world.login('nobody', 'x')).status, 401);
	});

	test('by a right password is not counted: a host with fifty clients signs in at once', async (t) => {
		const world = await start(t, { PULSAR_RATE_LIMIT_ADDRESS: '10' });
		const person = await world.person('person');
		const answers = await Promise.all(Array.from({ length: 50 }, () => world.login('person', person.password)));
		assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
	});

	test('is not to be guessed by a hundred at once, nor by trying one password for many accounts', async (t) => {
		const world = await start(t, {});
		const guesses = await Promise.all(Array.from({ length: 100 }, (_, i) => world.login('root', `guess-${i}`)));
		assert.equal(guesses.filter(({ status }) => status === 401).length, 5);
		assert.equal(guesses.filter(({ status }) => status === 429).length, 95);
		const sprayed: Answer[] = [];
		for (let i = 0; i < 60; i++) sprayed.push(await world.login(`account-${i}`, 'password1'));
		const tried = sprayed.filter(({ status }) => status === 401).length;
		assert(tried >= 45 && tried < 55, String(tried));
	});

	test('with refresh tokens: wrong ones are limited for each session, right ones are not', async (t) => {
		const world = await start(t, {});
		const person = await world.person('person');
		const refresh = (token: string) => world.call('POST', '/auth/token/refresh', null, { refresh_token: token });
		const [jti] = person.refreshToken.split('.');
		const other = (await world.login('person', person.password)).json<{ refresh_token: string }>();
		for (let i = 0; i < 10; i++) assert.equal((await refresh(`${jti}.wrong-${i}`)).status, 401);
		const refused = await refresh(`${jti}.wrong`);
		assertFailure(refused, 429, 'rate_limited');
		assert(Number(refused.headers.get('retry-after')) >= 1);
		let token = other.refresh_token;
		for (let i = 0; i < 30; i++) {
			const answer = await refresh(token);
			assert.equal(answer.status, 200, answer.text);
			token = answer.json<{ refresh_token: string }>().refresh_token;
		}
	});
});

test('device codes are few for each address', async (t) => {
	const clock = createFakeClock();
	const perMinute = { principal: 1000, address: 1000, login: 5, refresh: 10, device: 3 };
	const limiting = new Limiting(new RateLimits({ clock, perMinute, shared: null }), clientAddresses(['127.0.0.1']));
	const http = await startHttp({
		limiting,
		addRoutes: (server) =>
			void server.get('/test/device', { config: { access: { who: 'open', limit: 'device' } } }, async () => 'a code'),
	});
	t.after(() => http.close());
	const ask = (address: string) => send(`${http.url}/test/device`, { headers: { 'x-forwarded-for': address } });
	for (let i = 0; i < 3; i++) assert.equal((await ask('203.0.113.1')).status, 200);
	const refused = await ask('203.0.113.1');
	assertFailure(refused, 429, 'rate_limited');
	assert.equal(refused.headers.get('retry-after'), '20');
	assert.equal((await ask('203.0.113.2')).status, 200);
	clock.advance(20_000);
	assert.equal((await ask('203.0.113.1')).status, 200);
});

test('where nobody is asked for credentials nothing is counted', async (t) => {
	const open = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_RATE_LIMIT: '1', PULSAR_RATE_LIMIT_ADDRESS: '1' });
	t.after(() => open.close());
	for (let i = 0; i < 20; i++) await open.publish('a', '1');
	assert.deepEqual(limitsOf(await send(`${open.url}/api/v1/topics`)), [null, null, null]);
});
