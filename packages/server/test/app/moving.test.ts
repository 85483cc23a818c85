/** The differences to pulsar-relay 0.2 that docs/moving.md lists: each row against a running relay, and no row without a check. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import packageJson from '../../package.json' with { type: 'json' };
import { SETTINGS } from '../../src/config/schema.ts';
import { type AuthRelay, type Person, type Socket, startAuthRelay } from '../support/auth-relay.ts';
import { type Answer, assertFailure, send } from '../support/http-client.ts';
import { exchange } from '../support/raw-http.ts';

const PAGE = readFileSync(new URL('../../../../docs/moving.md', import.meta.url), 'utf8');
const ORIGIN = 'https://app.example.org';

let world: AuthRelay;
let bob: Person;
before(async () => {
	world = await startAuthRelay({ PULSAR_ALLOWED_ORIGINS: JSON.stringify([ORIGIN]), PULSAR_RATE_LIMIT_LOGIN: '3' });
	bob = await world.person('bob');
});
after(() => world.close());

interface Polled {
	readonly messages: readonly { readonly message_id: string; readonly payload: unknown; readonly [name: string]: unknown }[];
	readonly has_more: boolean;
}

const call = (method: string, path: string, body?: unknown, credential: Person | string | null = bob) =>
	world.call(method, path, credential, body);
const publish = async (topic: string, payload: unknown = 1, more: object = {}) => {
	const answer = await call('POST', '/api/v1/messages', { topic, payload, ...more });
	assert.equal(answer.status, 201, answer.text);
	return answer.json<{ message_id: string; timestamp: string }>();
};
const poll = async (topic: string, since: string | null, timeout = 1) => {
	const body = { topics: [topic], timeout, ...(since === null ? {} : { since: { [topic]: since } }) };
	const answer = await call('POST', '/messages/poll', body);
	assert.equal(answer.status, 200, answer.text);
	return answer.json<Polled>();
};
/** A publish with headers of its own. */
const post = (body: string, headers: Readonly<Record<string, string>> = {}) =>
	send(`${world.url}/api/v1/messages`, {
		method: 'POST',
		headers: { authorization: `Bearer ${bob.token}`, 'content-type': 'application/json', ...headers },
		body,
	});
const keyed = (body: object, key: string) => post(JSON.stringify(body), { 'idempotency-key': key });
/** What a plain socket gets for a request without a body; fetch would set the host, and follow redirects. */
const raw = async (line: string, ...headers: string[]) =>
	(await exchange(
		Number(new URL(world.url).port),
		`${line} HTTP/1.1\r\n${[...headers, 'Connection: close'].join('\r\n')}\r\n\r\n`,
	)) ?? assert.fail('no answer');
const authorized = () => [`Host: localhost`, `Authorization: Bearer ${bob.token}`];
const withSocket = async (check: (socket: Socket) => Promise<void>, person = bob) => {
	const socket = await world.socket(person.token);
	try {
		await check(socket);
	} finally {
		await socket.end();
	}
};
const upgrade = async (headers: Readonly<Record<string, string>>) => {
	const refused = new WebSocket(`${world.url.replace('http', 'ws')}/ws`, { headers });
	refused.on('error', () => {});
	const [, response] = await once(refused, 'unexpected-response');
	const chunks: Buffer[] = [];
	for await (const chunk of response) chunks.push(chunk as Buffer);
	return { status: response.statusCode as number, body: JSON.parse(Buffer.concat(chunks).toString()) as { error: string } };
};
const refresh = async (refreshToken: string): Promise<Answer> =>
	call('POST', '/auth/token/refresh', { refresh_token: refreshToken }, null);
const untilWaiting = async (topic: string, waits: boolean) => {
	while ((await call('GET', '/messages/poll/stats', undefined, world.admin)).text.includes(`/${topic}"`) !== waits);
};

/** By the first cell of a row: what the last cell says. Those that are shown elsewhere name the test that does. */
const CHECKS: Readonly<Record<string, (() => Promise<void>) | `test/${string}`>> = {
	'Error bodies': async () => {
		assert.equal(assertFailure(await call('GET', '/nowhere'), 404, 'not_found'), 'Not Found');
		assert.equal(assertFailure(await call('GET', '/auth/me', undefined, null), 401, 'not_authenticated'), 'Not authenticated');
	},
	'Wrong fields': async () => {
		const detail = assertFailure(await call('POST', '/api/v1/messages', {}), 422, 'invalid_request') as object[];
		assert.deepEqual(Object.keys(detail[0] ?? {}).sort(), ['loc', 'msg', 'type']);
	},
	'Trailing slash': async () => {
		for (const path of ['/api/v1/topics', '/api/v1/topics/', '/health/']) {
			assert.equal((await raw(`GET ${path}`, ...authorized())).status, 200, path);
		}
	},
	'`HEAD`': async () => assert.equal((await call('HEAD', '/api/v1/topics')).status, 200),
	'`Content-Type` of a JSON body': async () => {
		const message = '{"topic":"types","payload":1}';
		assert.equal((await post(message, { 'content-type': 'application/vnd.example+json' })).status, 201);
		assertFailure(await post(message, { 'content-type': 'text/plain' }), 415, 'unsupported_media_type');
	},
	'Size of a body': async () => {
		await publish('large', 'x'.repeat(2 * 1024 * 1024));
		const tooLarge = `{"topic":"large","payload":"${'x'.repeat(33 * 1024 * 1024)}"}`;
		assertFailure(await post(tooLarge), 413, 'payload_too_large');
	},
	'`NaN`, `Infinity` and half a surrogate pair in JSON': async () => {
		for (const payload of ['NaN', 'Infinity', '"\\ud800"']) {
			assertFailure(await post(`{"topic":"nan","payload":{"x":${payload}}}`), 422, 'invalid_json');
		}
	},
	'Rate limits': async () => {
		for (let n = 0; n < 150; n++) await publish('many');
		const wrong = () => world.login('nobody', 'wrong password');
		let answer = await wrong();
		for (let n = 0; n < 10 && answer.status === 401; n++) answer = await wrong();
		assertFailure(answer, 429, 'rate_limited');
		assert(Number(answer.headers.get('retry-after')) > 0);
	},
	'An untrusted `Host`': async () => {
		const answer = await raw('GET /auth/me', 'Host: evil.example.org');
		assert.deepEqual([answer.status, JSON.parse(answer.body).error], [400, 'untrusted_host']);
		assert.equal((await raw('GET /health', 'Host: localhost')).status, 200);
	},
	CORS: async () => {
		const preflight = (origin: string) =>
			send(`${world.url}/auth/users/x`, {
				method: 'OPTIONS',
				headers: {
					origin,
					'access-control-request-method': 'PATCH',
					'access-control-request-headers': 'idempotency-key',
				},
			});
		const allowed = await preflight(ORIGIN);
		assert.equal(allowed.status, 204);
		assert.match(allowed.headers.get('access-control-allow-methods') ?? '', /PATCH/);
		assert.match(allowed.headers.get('access-control-allow-headers') ?? '', /idempotency-key/i);
		assertFailure(await preflight('https://evil.example.org'), 403, 'foreign_origin');
	},
	Times: async () => {
		const { timestamp } = await publish('times');
		assert.match(timestamp, /\.\d{3}Z$/);
		assert.equal((await poll('times', '0-0')).messages[0]?.['timestamp'], timestamp);
	},
	'`/health`': async () => assert.equal((await call('GET', '/health')).json<{ version: string }>().version, packageJson.version),
	'`/ready`': 'test/app/http-operations.test.ts',
	'`/metrics`': async () => {
		await publish('metrics');
		assert.equal((await call('GET', '/metrics', undefined, null)).status, 401);
		const { status, text } = await call('GET', '/metrics', undefined, world.admin);
		assert.equal(status, 200);
		assert.match(text, /^relay_messages_received_total \d+$/m);
	},

	'Message ids': async () => assert.match((await publish('ids')).message_id, /^\d+-\d+$/),
	'`timestamp` of a message': async () => {
		const { message_id: id, timestamp } = await publish('times');
		assert.equal(new Date(timestamp).getTime(), Number(id.split('-')[0]));
	},
	'Topic names': async () => {
		await publish('jobs.europe_1-a');
		for (const topic of ['tópic', 'job²', '.hidden']) {
			assert.equal((await call('POST', '/api/v1/messages', { topic, payload: 1 })).status, 422, topic);
		}
	},
	'`payload`': async () => {
		for (const payload of [1, 'text', null, [1], { a: 1 }]) await publish('values', payload);
	},
	'`metadata`': async () => {
		const entries = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, 'v']));
		await publish('metadata', 1, { metadata: entries(64) });
		for (const metadata of [entries(65), { k: 'x'.repeat(16 * 1024) }]) {
			assert.equal((await call('POST', '/api/v1/messages', { topic: 'metadata', payload: 1, metadata })).status, 422);
		}
	},
	'`ttl`': 'test/delivery/delivery-suite.ts',
	'An `Idempotency-Key` with another body, topic or route': async () => {
		const message = { topic: 'keys', payload: 1 };
		assert.equal((await keyed(message, 'k1')).status, 201);
		for (const other of [
			{ topic: 'keys', payload: 2 },
			{ topic: 'keys2', payload: 1 },
		])
			assertFailure(await keyed(other, 'k1'), 422, 'idempotency_conflict');
		const bulk = await send(`${world.url}/api/v1/messages/bulk`, {
			method: 'POST',
			headers: { authorization: `Bearer ${bob.token}`, 'content-type': 'application/json', 'idempotency-key': 'k1' },
			body: JSON.stringify({ messages: [message] }),
		});
		assertFailure(bulk, 422, 'idempotency_conflict');
	},
	'An `Idempotency-Key` while the first request is under way': async () => {
		const answers = await Promise.all([1, 2, 3].map(() => keyed({ topic: 'under-way', payload: 1 }, 'k2')));
		assert.equal(new Set(answers.map(({ text }) => text)).size, 1);
		assert.equal((await poll('under-way', '0-0')).messages.length, 1);
	},
	'How long an `Idempotency-Key` is known': async () => {
		const setting = SETTINGS.find(({ env }) => env === 'PULSAR_IDEMPOTENCY_WINDOW');
		assert.equal(setting?.default, 24 * 3600);
	},
	'Deleting a topic': async () => {
		await publish('deleted', 'before');
		assert.equal((await call('DELETE', '/api/v1/topics/deleted')).status, 204);
		await publish('deleted', 'after');
		assert.deepEqual(
			(await poll('deleted', '0-0')).messages.map(({ payload }) => payload),
			['after'],
		);
	},
	'The list of topics': async () => {
		const lister = await world.person('lister');
		for (let from = 0; from <= 1000; from += 100) {
			const messages = Array.from({ length: 100 }, (_, n) => ({ topic: `t${from + n + 1000}`, payload: 1 }));
			assert.equal((await call('POST', '/api/v1/messages/bulk', { messages }, lister)).status, 207);
		}
		const names = async (query: string) =>
			(await call('GET', `/api/v1/topics${query}`, undefined, lister))
				.json<{ topic_name: string }[]>()
				.map(({ topic_name: name }) => name);
		const first = await names('');
		assert.deepEqual([first.length, first[0], first.at(-1)], [1000, 't1000', 't1999']);
		assert.equal((await names('?after=t1999')).length, 100);
		assert.equal((await names('?limit=10000')).length, 1100);
	},
	'Reading kept messages': async () => {
		const writer = await world.person('writer', ['write']);
		await call('POST', '/api/v1/messages', { topic: 'kept', payload: 1 }, writer);
		assertFailure(await call('GET', '/api/v1/topics/kept/messages', undefined, writer), 403, 'forbidden');
	},
	'A `cursor` of kept messages that is no message id': async () => {
		await publish('pages');
		assertFailure(await call('GET', '/api/v1/topics/pages/messages?cursor=msg_abc'), 400, 'invalid_cursor');
	},

	'`POST /messages/poll` without `since`': 'test/app/polls-without-cursors.test.ts',
	'An id in `since` that is none': async () => {
		await publish('old-cursor', 'first');
		assert.equal((await poll('old-cursor', 'msg_0123456789ab')).messages[0]?.payload, 'first');
	},
	'A wait of 60 seconds': 'test/app/reading-queries.test.ts',
	'A message in an answer': async () => {
		await publish('forms');
		const [message] = (await poll('forms', '0-0')).messages;
		assert.deepEqual([message?.['type'], message?.['stream_id'], message?.['metadata']], ['message', message?.message_id, {}]);
	},
	'`has_more`': async () => {
		const ids: string[] = [];
		for (let n = 0; n < 101; n++) ids.push((await publish('more')).message_id);
		assert.deepEqual([(await poll('more', '0-0')).has_more, (await poll('more', ids[0] ?? '')).has_more], [true, false]);
	},
	'A client that leaves': async () => {
		const agent = new Agent();
		const headers = { authorization: `Bearer ${bob.token}`, 'content-type': 'application/json' };
		const leaving = request(`${world.url}/messages/poll`, { method: 'POST', agent, headers });
		leaving.on('error', () => {});
		leaving.end('{"topics":["left"],"timeout":60}');
		await untilWaiting('left', true);
		leaving.destroy();
		await untilWaiting('left', false);
	},
	'`/messages/poll/stats`': 'test/app/reference-defects.test.ts',

	'A refused upgrade': async () => {
		assert.deepEqual((await upgrade({})).status, 401);
		assert.equal((await upgrade({ authorization: 'Bearer wrong' })).body.error, 'invalid_credentials');
		const writer = await world.person('writer-only', ['write']);
		assert.equal((await upgrade({ authorization: `Bearer ${writer.token}` })).status, 403);
	},
	'How a credential is given': async () => {
		const ws = new WebSocket(`${world.url.replace('http', 'ws')}/ws`, { headers: { authorization: `Bearer ${bob.token}` } });
		await once(ws, 'open');
		ws.terminate();
	},
	'`subscribe`': () =>
		withSocket(async (socket) => {
			const topics = Array.from({ length: 1000 }, (_, n) => `s${n}`);
			assert.equal((await socket.ask({ type: 'subscribe', topics })).type, 'subscribed');
			assert.equal((await socket.ask({ type: 'subscribe', topics: ['s0'] })).type, 'subscribed');
		}),
	'`offset`': () =>
		withSocket(async (socket) => {
			const { message_id: id } = await publish('offsets', 'seen');
			await publish('offsets', 'missed');
			assert.equal((await socket.ask({ type: 'subscribe', topics: ['offsets'], offset: id })).type, 'subscribed');
			assert.equal((await socket.next())['payload'], 'missed');
		}),
	'`unsubscribe`': () =>
		withSocket(async (socket) => {
			await socket.ask({ type: 'subscribe', topics: ['a', 'b'] });
			const { type, topics } = await socket.ask({ type: 'unsubscribe', topics: ['a'] });
			assert.deepEqual([type, topics], ['unsubscribed', ['a']]);
		}),
	'Error codes in frames': () =>
		withSocket(async (socket) => {
			assert.equal((await socket.ask({ type: 'what' }))['code'], 'unknown_frame');
			assert.equal((await socket.ask({ type: 'subscribe', topics: [] }))['code'], 'invalid_request');
		}),
	'A first frame that is wrong': () =>
		withSocket(async (socket) => {
			assert.equal((await socket.ask({ type: 'subscribe', topics: 7 })).type, 'error');
			assert.equal((await socket.ask({ type: 'ping' })).type, 'pong');
		}),
	'A client that sends nothing': 'test/app/websocket.test.ts',
	'A token that ends, is revoked, or whose account is disabled': 'test/app/live-rights.test.ts',
	'A relay that stops': 'test/app/drain.test.ts',
	'`GET /ws` without an upgrade': async () => assert.equal((await call('GET', '/ws')).status, 426),

	'A username': async () => {
		const register = (username: string) =>
			call('POST', '/auth/register', { username, password: 'password-of-somebody', permissions: [] }, world.admin);
		assert.equal((await register('alice')).status, 201);
		for (const username of ['Alice', 'a1ice', 'ålice', 'alice\u200b']) assert((await register(username)).status >= 400, username);
	},
	'A new password, a disabled account': async () => {
		for (const change of [{ password: 'another-password' }, { is_active: false }]) {
			const person = await world.person(`changed-${Object.keys(change)[0]}`);
			assert.equal((await call('PATCH', `/auth/users/${person.userId}`, change, world.admin)).status, 200);
			assert.notEqual((await call('GET', '/auth/me', undefined, person)).status, 200);
			assert.equal((await refresh(person.refreshToken)).status, 401);
		}
	},
	'A refresh token that comes again': async () => {
		const { refreshToken } = await world.person('refresher');
		const next = async (token: string) => (await refresh(token)).json<{ refresh_token: string }>().refresh_token;
		const successor = await next(refreshToken);
		assert.equal(await next(refreshToken), successor);
		await next(successor);
		assert.equal((await refresh(refreshToken)).status, 401);
		assert.equal((await refresh(successor)).status, 401, 'the session has ended');
	},
	'`jti` of a session': async () => {
		const { refreshToken } = await world.person('renewer');
		const { refresh_token: next } = (await refresh(refreshToken)).json<{ refresh_token: string }>();
		assert.equal(next.split('.')[0], refreshToken.split('.')[0]);
	},
	'`POST /auth/logout`': async () => {
		const { token } = await world.person('leaver');
		assert.equal((await call('POST', '/auth/logout', undefined, token)).status, 204);
		assertFailure(await call('GET', '/auth/me', undefined, token), 401, 'invalid_credentials');
	},
	'`PATCH /auth/users/{user_id}` with `null`': async () => {
		const { userId } = await world.person('nullable');
		const patch = (body: object) => call('PATCH', `/auth/users/${userId}`, body, world.admin);
		for (const body of [{ is_active: null }, { permissions: null }, { password: null }])
			assertFailure(await patch(body), 422, 'invalid_request');
		assert.equal((await patch({ email: null })).status, 200);
	},
	'`GET /auth/users/stats`, `GET /api/v1/topics/stats`': async () => {
		const stats = async (path: string) => (await call('GET', path, undefined, world.admin)).json<Record<string, number>>();
		assert(Number((await stats('/auth/users/stats'))['total_users']) > 1);
		assert(Number((await stats('/api/v1/topics/stats'))['total_topics']) > 0);
	},
	'`POST /auth/device/deny`': async () => {
		const body = new URLSearchParams({ user_code: 'BCDF-GHJK' });
		assert.equal((await send(`${world.url}/auth/device/deny`, { method: 'POST', body })).status, 401);
	},
	'The device flow': 'test/app/device.test.ts',
	'A browser that signs in at a provider': 'test/app/oidc.test.ts',
	'A provider that does not answer': 'test/app/oidc.test.ts',
};

test('every difference that the page lists has a check, and every check is of one that it lists', () => {
	const [, list = ''] = PAGE.split('## What differs on the wire');
	const rows = [...list.matchAll(/^\| (.+?) \| .+ \| .+ \|$/gm)].map(([, what = '']) => what).filter((what) => what !== 'what');
	assert.deepEqual(rows, Object.keys(CHECKS));
});

for (const [what, check] of Object.entries(CHECKS)) {
	if (typeof check === 'string') {
		test(`${what}: shown by ${check}`, () => {
			assert(readFileSync(new URL(`../../${check}`, import.meta.url), 'utf8').includes('test('), check);
		});
	} else {
		test(what, check);
	}
}
