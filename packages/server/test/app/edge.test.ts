/** The edge: under which hosts the relay is reached, by which web pages, and what it tells browsers. */

import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { send } from '../support/http-client.ts';
import { exchange, type RawAnswer } from '../support/raw-http.ts';
import { startRelay } from '../support/relay.ts';

const MEMORY = { PULSAR_STORAGE_BACKEND: 'memory' };
/** Reached over loopback by the tests, but told that it is not only there. */
const BEYOND_LOOPBACK = { ...MEMORY, PULSAR_HOST: '0.0.0.0', PULSAR_AUTH: 'open' };
const HANDSHAKE = [
	'Connection: Upgrade',
	'Upgrade: websocket',
	'Sec-WebSocket-Version: 13',
	'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];

type Ask = (host: string | null, path?: string, headers?: readonly string[], method?: string) => Promise<RawAnswer>;

async function start(t: TestContext, env: Readonly<Record<string, string>>): Promise<{ url: string; port: string; ask: Ask }> {
	const relay = await startRelay({ ...MEMORY, ...env });
	t.after(() => relay.close());
	const { port } = new URL(relay.url);
	const ask: Ask = async (host, path = '/api/v1/topics', headers = [], method = 'GET') => {
		const hostLine = host === null ? [] : [`Host: ${host}`];
		const lines = [`${method} ${path} HTTP/${host === null ? '1.0' : '1.1'}`, ...hostLine, ...headers];
		const answer = await exchange(Number(port), `${lines.join('\r\n')}\r\n\r\n`);
		assert(answer !== null, 'no answer');
		return answer;
	};
	return { url: relay.url, port, ask };
}

/** Whether a host gets in: by a plain request, an event stream and a WebSocket alike. */
async function admits(ask: Ask, host: string): Promise<boolean> {
	const answers = [
		[200, await ask(host)],
		[200, await ask(host, '/api/v1/events?topics=a')],
		[101, await ask(host, '/ws', HANDSHAKE)],
	] as const;
	const admitted = answers.map(([status, answer]) => {
		if (answer.status === status) return true;
		assert.equal(answer.status, 400, answer.body);
		const { error, message, request_id: requestId } = JSON.parse(answer.body) as Record<string, string>;
		assert.equal(error, 'untrusted_host');
		assert(message !== undefined && requestId === answer.headers.get('x-request-id'));
		return false;
	});
	assert.equal(new Set(admitted).size, 1, `${host}: ${admitted}`);
	return admitted[0] === true;
}

describe('the Host of a request', () => {
	test('is one of the list, exactly, or below one with a star, whatever its case and port', async (t) => {
		const { ask } = await start(t, { PULSAR_TRUSTED_HOSTS: '["relay.example.org","*.apps.example.org","[::1]"]' });
		for (const host of [
			'relay.example.org',
			'RELAY.example.org:8443',
			'relay.example.org.',
			'a.apps.example.org',
			'[::1]:80',
			'[0:0::1]',
		]) {
			assert(await admits(ask, host), host);
		}
		for (const host of [
			'evil.example.com',
			'127.0.0.1',
			'localhost',
			'example.org',
			'apps.example.org',
			'x.relay.example.org',
			'evilapps.example.org',
			'relay.example.org.evil.example.com',
			'relay.example.org@evil',
			'[::2]',
			'',
		]) {
			assert(!(await admits(ask, host)), host);
		}
	});

	test('may be anything with a star, and beyond loopback without a list', async (t) => {
		for (const env of [{ PULSAR_TRUSTED_HOSTS: '["*"]' }, BEYOND_LOOPBACK]) {
			const { ask } = await start(t, env);
			assert(await admits(ask, 'anything.example.com'));
		}
	});

	test('is this machine on a loopback address without a list: a page of a foreign name that leads here is refused', async (t) => {
		const { ask, port } = await start(t, {});
		for (const host of [`127.0.0.1:${port}`, 'localhost', 'app.localhost:80', '127.8.8.8', '[::1]']) {
			assert(await admits(ask, host), host);
		}
		for (const host of ['evil.example.com', 'localhost.evil.example.com', '127.0.0.1.evil.example.com', '10.0.0.1', '[::2]']) {
			assert(!(await admits(ask, host)), host);
		}
	});

	test('of a probe may be an address, or missing, as orchestrators and load balancers ask; but no other name', async (t) => {
		const { ask } = await start(t, { PULSAR_TRUSTED_HOSTS: '["relay.example.org"]' });
		for (const path of ['/health', '/ready', '/ready?x', '/metrics']) {
			for (const host of ['10.1.2.3:8080', '[fd00::1]:8080', 'localhost', '127.0.0.1:8080', null]) {
				assert.equal((await ask(host, path)).status, 200, `${host} ${path}`);
			}
			assert.equal((await ask('evil.example.com', path)).status, 400);
		}
		for (const path of ['/api/v1/topics', '/healthy', '/metricsx', '/docs']) {
			assert.equal((await ask('10.1.2.3', path)).status, 400, path);
			assert.equal((await ask(null, path)).status, 400, path);
		}
	});
});

const APP = 'https://app.example.org';

describe('a web page', () => {
	test('of an allowed origin is told so in every answer, with the headers it may read', async (t) => {
		const { url } = await start(t, { PULSAR_ALLOWED_ORIGINS: `["${APP}","http://localhost:3000"]` });
		for (const [path, status] of [
			['/api/v1/topics', 200],
			['/api/v1/topics/unknown', 404],
			['/nowhere', 404],
			['/api/v1/poll', 422],
			['/health', 200],
		] as const) {
			const answer = await send(`${url}${path}`, { headers: { origin: APP } });
			assert.equal(answer.status, status);
			assert.equal(answer.headers.get('access-control-allow-origin'), APP, path);
			assert.equal(answer.headers.get('access-control-allow-credentials'), 'true');
			assert.equal(answer.headers.get('vary'), 'Origin');
			const exposed = answer.headers.get('access-control-expose-headers')?.split(', ') ?? [];
			for (const name of ['X-Request-Id', 'Retry-After', 'X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset']) {
				assert(exposed.includes(name), name);
			}
		}
	});

	test('of an allowed origin may read an event stream and a streamed publish', async (t) => {
		const { ask, url } = await start(t, { PULSAR_ALLOWED_ORIGINS: `["${APP}"]` });
		const events = await ask('localhost', '/api/v1/events?topics=a', [`Origin: ${APP}`]);
		assert.equal(events.headers.get('access-control-allow-origin'), APP);
		assert.equal(events.headers.get('content-type'), 'text/event-stream; charset=utf-8');
		assert.equal(events.headers.get('cache-control'), 'no-cache, no-transform');
		const headers = { origin: APP, 'content-type': 'application/x-ndjson' };
		const stream = await send(`${url}/api/v1/messages/stream`, { method: 'POST', headers, body: '{"topic":"a","payload":1}\n' });
		assert.equal(stream.status, 200);
		assert.equal(stream.headers.get('access-control-allow-origin'), APP);
	});

	test('of another origin is served like anybody, and told nothing that would let it read the answer', async (t) => {
		const { url } = await start(t, { PULSAR_ALLOWED_ORIGINS: `["${APP}"]` });
		for (const origin of [
			'https://evil.example.com',
			`${APP}.evil.example.com`,
			'http://app.example.org',
			`${APP}:8443`,
			'null',
		]) {
			const answer = await send(`${url}/api/v1/topics`, { headers: { origin } });
			assert.equal(answer.status, 200);
			assert.equal(answer.headers.get('access-control-allow-origin'), null, origin);
			assert.equal(answer.headers.get('vary'), 'Origin');
		}
	});

	test('asks before it publishes, changes or deletes: yes to the allowed ones, no to the others, 405 to what is no such question', async (t) => {
		const { ask } = await start(t, { PULSAR_ALLOWED_ORIGINS: `["${APP}"]` });
		const preflight = (origin: string, path: string, method: string) =>
			ask('localhost', path, [`Origin: ${origin}`, `Access-Control-Request-Method: ${method}`], 'OPTIONS');
		for (const [path, method] of [
			['/api/v1/messages', 'POST'],
			['/auth/users/x', 'PATCH'],
			['/api/v1/topics/x', 'DELETE'],
			['/api/v1/topics/x', 'PUT'],
		] as const) {
			const yes = await preflight(APP, path, method);
			assert.equal(yes.status, 204);
			assert.equal(yes.headers.get('access-control-allow-origin'), APP);
			assert(yes.headers.get('access-control-allow-methods')?.split(', ').includes(method));
			const allowed = yes.headers.get('access-control-allow-headers')?.toLowerCase().split(', ') ?? [];
			for (const name of ['authorization', 'content-type', 'idempotency-key', 'last-event-id'])
				assert(allowed.includes(name), name);
			assert.equal(yes.headers.get('access-control-max-age'), '7200');
			const no = await preflight('https://evil.example.com', path, method);
			assert.equal(no.status, 403);
			assert.equal((JSON.parse(no.body) as { error: string }).error, 'foreign_origin');
			assert.equal(no.headers.get('access-control-allow-origin'), undefined);
		}
		assert.equal((await ask('localhost', '/api/v1/messages', [], 'OPTIONS')).status, 405);
		assert.equal((await ask('localhost', '/api/v1/messages', [`Origin: ${APP}`], 'OPTIONS')).status, 405);
	});

	test('of any origin is welcome with a star, but not with credentials of the browser', async (t) => {
		const { url, ask } = await start(t, { PULSAR_ALLOWED_ORIGINS: '["*"]' });
		const answer = await send(`${url}/api/v1/topics`, { headers: { origin: 'https://any.example.com' } });
		assert.equal(answer.headers.get('access-control-allow-origin'), '*');
		assert.equal(answer.headers.get('access-control-allow-credentials'), null);
		assert.equal((await ask('localhost', '/ws', [...HANDSHAKE, 'Origin: https://any.example.com'])).status, 101);
	});

	test('opens a WebSocket only when its origin is allowed or the relay itself', async (t) => {
		const { ask, port } = await start(t, { PULSAR_ALLOWED_ORIGINS: `["${APP}"]` });
		const open = async (origin: string, host = `127.0.0.1:${port}`) => {
			const answer = await ask(host, '/ws', [...HANDSHAKE, `Origin: ${origin}`]);
			if (answer.status === 101) return true;
			assert.equal(answer.status, 403);
			assert.equal((JSON.parse(answer.body) as { error: string }).error, 'foreign_origin');
			return false;
		};
		assert(await open(APP));
		assert(await open('HTTPS://APP.example.org'));
		assert(await open(`http://127.0.0.1:${port}`));
		// A proxy in front speaks TLS, and leaves the default port out or not.
		assert(await open(`https://127.0.0.1:${port}`));
		assert(await open('https://localhost', 'localhost'));
		assert(await open('https://localhost', 'localhost:443'));
		assert(await open('http://localhost:80', 'localhost'));
		// A proxy on a port of its own passes on the name alone.
		assert(await open('http://localhost:8081', 'localhost'));
		assert(await open('https://LOCALHOST:8443', 'localhost'));
		assert(await open('http://[::1]:8081', '[::1]'));
		assert(!(await open('http://other.localhost:8081', 'localhost')));
		assert(!(await open('http://localhost:8081', 'localhost:8082')));
		assert(!(await open('http://[::1]:8081', '[::1]:8082')));
		for (const origin of [
			'https://evil.example.com',
			'null',
			'file://',
			'http://127.0.0.1',
			`http://127.0.0.1:${Number(port) + 1}`,
			`http://localhost:${port}`,
			`${APP}:444`,
			`${APP}.evil.example.com`,
			`https://evil.example.com#${APP}`,
			`http://evil@127.0.0.1:${port}`,
			`http://127.0.0.1:${port}/`,
			'http://127.0.0.1:99999999',
			'*',
			'',
		]) {
			assert(!(await open(origin)), origin);
		}
	});
});

test('no page is to guess, frame or keep what the relay answers, whatever it is', async (t) => {
	const { url, ask } = await start(t, {});
	const answers = [
		await ask('localhost', '/health'),
		await ask('localhost', '/nowhere'),
		await ask('evil.example.com', '/health'),
		await ask('localhost', '/api/v1/topics/%zz'),
		await ask('localhost', '/metrics'),
		await ask('localhost', '/api/v1/events?topics=a'),
		await ask('localhost', '/ws', [...HANDSHAKE, 'Origin: https://evil.example.com']),
		await ask('localhost', '/\0'),
	];
	for (const { headers, status } of answers) {
		assert.equal(headers.get('x-content-type-options'), 'nosniff', String(status));
		assert.match(headers.get('content-security-policy') ?? '', /default-src 'none'.*frame-ancestors 'none'/);
		assert.match(headers.get('cache-control') ?? '', /^no-(store|cache)/);
		assert.equal(headers.get('strict-transport-security'), undefined, 'not without TLS');
	}
	const docs = await send(`${url}/docs/`);
	assert.match(docs.headers.get('content-security-policy') ?? '', /default-src 'self'.*frame-ancestors 'none'/);
	assert.equal(docs.headers.get('x-content-type-options'), 'nosniff');
});

test('refused hosts and origins are logged with the reason, a few of them', async (t) => {
	const relay = await startRelay({ ...MEMORY, PULSAR_ALLOWED_ORIGINS: `["${APP}"]` });
	t.after(() => relay.close());
	const port = Number(new URL(relay.url).port);
	const ask = (path: string, ...headers: readonly string[]) =>
		exchange(port, `GET ${path} HTTP/1.1\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n`);
	const lines = () =>
		relay
			.log()
			.split('\n')
			.filter((line) => line.includes('"reason"'))
			.map((line) => JSON.parse(line) as Record<string, unknown>);
	await ask('/ws?access_token=secret', 'Host: localhost', ...HANDSHAKE, 'Origin: https://evil.example.com');
	await ask('/api/v1/topics', 'Host: localhost', 'Origin: https://evil.example.com');
	await ask('/api/v1/topics', 'Host: evil.example.com');
	// The relay's own pages, and those that are allowed.
	await ask('/api/v1/topics', `Host: localhost:${port}`, `Origin: http://localhost:${port}`);
	await ask('/api/v1/topics', 'Host: localhost', `Origin: ${APP}`);
	const picked = lines().map(({ level, reason, origin, host, path, upgrade, peer }) => ({
		level,
		reason,
		origin,
		host,
		path,
		upgrade,
		peer,
	}));
	const foreign = { reason: 'foreign_origin', origin: 'https://evil.example.com', host: 'localhost', peer: '127.0.0.1' };
	const level = 'warning';
	assert.deepEqual(picked, [
		{ level, ...foreign, path: '/ws', upgrade: 'websocket' },
		{ level, ...foreign, path: '/api/v1/topics', upgrade: undefined },
		{
			level,
			reason: 'untrusted_host',
			origin: undefined,
			host: 'evil.example.com',
			path: '/api/v1/topics',
			upgrade: undefined,
			peer: '127.0.0.1',
		},
	]);
	assert(!relay.log().includes('secret'));
	for (let i = 0; i < 20; i++) await ask('/api/v1/topics', 'Host: localhost', `Origin: https://${'x'.repeat(1000)}\xa0`);
	assert.equal(lines().length, 10);
	assert(lines().every((line) => JSON.stringify(line).length < 700));
});
