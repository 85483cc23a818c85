/** Health, readiness, metrics, documentation, and what holds for every answer: request ids, 404, 405, draining. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ERRORS, type ErrorCode, RelayError } from '@pulsar-relay/protocol/errors';
import { Type } from 'typebox';
import { createFailingStore, type FailingStore } from '../support/failing-store.ts';
import { assertFailure, send, sendJson } from '../support/http-client.ts';
import { type HttpUnderTest, startHttp, VERSION } from '../support/start-http.ts';

let http: HttpUnderTest;
let failing: FailingStore;

before(async () => {
	http = await startHttp({
		wrapStore: (store) => {
			failing = createFailingStore(store);
			return failing.store;
		},
		// What a transport from outside does: routes added to the finished server.
		addRoutes: (server) => {
			const open = { config: { access: { who: 'open' } } } as const;
			server.get<{ Params: { code: ErrorCode } }>('/test/fail/:code', open, async ({ params }) => {
				throw new RelayError(params.code, 'on purpose', { cause: new Error('the secret cause') });
			});
			server.get('/test/throw', open, async () => {
				throw Object.assign(new Error('a secret message'), { statusCode: 418 });
			});
			const schema = {
				tags: ['subscribe'],
				querystring: Type.Object({ wait: Type.Integer({ minimum: 0, default: 7 }) }),
			};
			server.get('/test/documented', { schema, ...open }, async ({ query }) => query);
		},
	});
});
after(() => http.close());

describe('health', () => {
	test('is 200 while the process lives, also when the store does not work', async () => {
		failing.unhealthy = 'the disk is full';
		const answer = await send(`${http.url}/health`);
		failing.unhealthy = null;
		assert.equal(answer.status, 200);
		const { timestamp, ...rest } = answer.json();
		assert.deepEqual(rest, { status: 'healthy', version: VERSION });
		assert.equal(new Date(String(timestamp)).toISOString(), timestamp);
	});
});

describe('readiness', () => {
	test('is 200 with what an acknowledgement survives', async () => {
		const answer = await send(`${http.url}/ready`);
		assert.equal(answer.status, 200);
		assert.deepEqual(answer.json(), { ready: true, checks: { storage: 'ok' }, durability: 'memory' });
	});

	test('is 503 with the reason when the store cannot append', async () => {
		failing.unhealthy = 'the disk is full';
		const answer = await send(`${http.url}/ready`);
		failing.unhealthy = null;
		assertFailure(answer, 503, 'storage_unavailable');
		const { ready, checks } = answer.json();
		assert.deepEqual({ ready, checks }, { ready: false, checks: { storage: 'the disk is full' } });
	});

	test('is 503 while the node drains, and its connections are closed', async (t) => {
		const draining = await startHttp();
		t.after(() => draining.close());
		await draining.relay.drain();
		const answer = await send(`${draining.url}/ready`);
		assertFailure(answer, 503, 'shutting_down');
		assert.equal(answer.headers.get('connection'), 'close');
		const health = await send(`${draining.url}/health`);
		assert.deepEqual([health.status, health.headers.get('connection')], [200, 'close']);
	});
});

describe('metrics', () => {
	test('count requests by route, method and status, and failures by code, without names that clients choose', async () => {
		await sendJson('POST', `${http.url}/api/v1/messages`, { topic: 'metrics-topic', payload: 1 });
		await send(`${http.url}/api/v1/topics/metrics-topic`);
		await send(`${http.url}/api/v1/topics/metrics-missing`);
		await send(`${http.url}/metrics-nowhere`);
		const answer = await send(`${http.url}/metrics`);
		assert.equal(answer.status, 200);
		assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
		const value = (line: string) =>
			Number(
				answer.text
					.split('\n')
					.find((text) => text.startsWith(`${line} `))
					?.slice(line.length + 1),
			);
		assert(value('http_requests_total{method="POST",status="2xx",handler="/api/v1/messages"}') >= 1);
		assert(value('http_requests_total{method="GET",status="4xx",handler="/api/v1/topics/:topic_name"}') >= 1);
		assert(value('http_requests_total{method="any",status="4xx",handler="none"}') >= 1);
		assert(value('http_request_duration_seconds_count{method="POST",handler="/api/v1/messages"}') >= 1);
		assert(value('relay_errors_total{type="http",code="not_found"}') >= 2);
		assert(value('relay_messages_received_total') >= 1);
		assert.equal(value('relay_storage_up'), 1);
		assert(!answer.text.includes('metrics-'), 'a name from a request');
	});
});

describe('the documentation', () => {
	interface Operation {
		readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[];
		readonly responses: Readonly<Record<string, { readonly description?: string; readonly content?: object }>>;
		readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: unknown }>> };
		readonly operationId?: string;
		readonly tags?: readonly string[];
	}
	interface Document {
		readonly openapi: string;
		readonly info: { readonly title: string; readonly version: string };
		readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
		readonly components: { readonly schemas: Readonly<Record<string, unknown>> };
	}
	const read = async () => (await send(`${http.url}/openapi.json`)).json<Document>();
	const operations = ({ paths }: Document) =>
		Object.entries(paths).flatMap(([path, methods]) =>
			Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
		);

	test('has every route, also those of transports', async () => {
		const document = await read();
		assert.deepEqual([document.openapi, document.info.title, document.info.version], ['3.1.0', 'Relay under test', VERSION]);
		const routes = operations(document).map(({ path, method }) => `${method.toUpperCase()} ${path}`);
		assert.deepEqual(routes.filter((route) => !route.includes('/test/')).sort(), [
			'DELETE /api/v1/topics/{topic_name}',
			'GET /',
			'GET /api/v1/topics',
			'GET /api/v1/topics/stats',
			'GET /api/v1/topics/{topic_name}',
			'GET /api/v1/topics/{topic_name}/messages',
			'GET /health',
			'GET /metrics',
			'GET /ready',
			'POST /api/v1/messages',
			'POST /api/v1/messages/bulk',
			'POST /api/v1/messages/stream',
			'POST /api/v1/topics',
			'PUT /api/v1/topics/{topic_name}',
		]);
		assert(routes.includes('GET /test/documented'));
	});

	test('is well-formed: references resolve, path parameters are declared, bodies have schemas, every failure has the error body', async () => {
		const document = await read();
		for (const [, ref] of JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)) {
			const found = String(ref)
				.slice(2)
				.split('/')
				.reduce<unknown>((at, key) => (at as Record<string, unknown> | undefined)?.[key], document);
			assert(String(ref).startsWith('#/') && found !== undefined, `${ref} leads nowhere`);
		}
		const ids = new Set<string>();
		for (const { path, method, operation } of operations(document)) {
			const where = `${method} ${path}`;
			const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
			const declared = (operation.parameters ?? []).filter((parameter) => parameter.in === 'path' && parameter.required === true);
			assert.deepEqual(
				declared.map(({ name }) => name),
				inPath,
				where,
			);
			for (const media of Object.values(operation.requestBody?.content ?? {})) assert(media.schema !== undefined, where);
			assert(
				Object.keys(operation.responses).some((status) => status.startsWith('2')),
				where,
			);
			for (const [status, response] of Object.entries(operation.responses)) {
				assert(typeof response.description === 'string', `${where} ${status}`);
				if (/^[45]|default/.test(status)) {
					assert.deepEqual(
						response.content,
						{ 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
						`${where} ${status}`,
					);
				}
			}
			if (operation.operationId !== undefined) {
				assert(!ids.has(operation.operationId), operation.operationId);
				ids.add(operation.operationId);
			}
		}
		assert(!JSON.stringify(document).includes('"nullable"'), 'a word of OpenAPI 3.0');
	});

	test('describes what validates: the schemas of the publish routes', async () => {
		const { paths } = await read();
		const body = paths['/api/v1/messages']?.['post']?.requestBody?.content['application/json']?.schema as {
			required: string[];
			properties: object;
		};
		assert.deepEqual(body.required, ['topic', 'payload']);
		assert.deepEqual(Object.keys(body.properties), ['topic', 'payload', 'ttl', 'metadata']);
		assert(paths['/api/v1/messages/stream']?.['post']?.requestBody?.content['application/x-ndjson'] !== undefined);
	});

	test('asks for no parameter that has a default', async () => {
		const { paths } = await read();
		const limit = paths['/api/v1/topics/{topic_name}/messages']?.['get']?.parameters?.find(({ name }) => name === 'limit');
		assert.deepEqual([limit?.in, limit?.required ?? false], ['query', false]);
	});

	test('has a page that loads nothing from elsewhere', async () => {
		const page = await send(`${http.url}/docs`);
		assert.equal(page.status, 200);
		assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
		assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'self'/);
		const assets = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? '');
		assert(assets.length > 3);
		for (const asset of assets) assert.equal((await send(new URL(asset, `${http.url}/docs`).href)).status, 200, asset);
	});
});

describe('every answer', () => {
	test('carries a request id: the one the client chose when it is a plain word, else a new one', async () => {
		for (const id of ['abc', 'A-b_c.9', 'x'.repeat(128)]) {
			assert.equal((await send(`${http.url}/health`, { headers: { 'x-request-id': id } })).headers.get('x-request-id'), id);
		}
		const made = new Set<string | null>();
		for (const id of ['', 'a b', 'x'.repeat(129), 'a"b', '{}']) {
			const answer = await send(`${http.url}/nowhere`, { headers: { 'x-request-id': id } });
			assertFailure(answer, 404, 'not_found');
			made.add(answer.headers.get('x-request-id'));
			assert.match(answer.headers.get('x-request-id') ?? '', /^[0-9a-f]{12}-[0-9a-z]+$/);
		}
		assert.equal(made.size, 5);
	});

	test('to an unknown path is 404, whatever the method and the body', async () => {
		for (const path of ['/nowhere', '/api/v1', '/api/v1/topics/a/b/c', '/API/V1/TOPICS', '//health']) {
			for (const method of ['GET', 'POST', 'DELETE', 'OPTIONS']) {
				const detail = assertFailure(await send(`${http.url}${path}`, { method }), 404, 'not_found');
				assert.equal(detail, 'Not Found');
			}
		}
		assertFailure(await sendJson('POST', `${http.url}/nowhere`, 'not json'), 404, 'not_found');
	});

	test('to a path of accounts is 404 where there are none, and names the setting', async () => {
		const answer = await send(`${http.url}/auth/login`, { method: 'POST', body: new URLSearchParams({ username: 'a' }) });
		assert.equal(assertFailure(answer, 404, 'not_found'), 'Not Found');
		assert.match(answer.json<{ message: string }>().message, /PULSAR_AUTH=required/);
	});

	test('to a known path with another method is 405 with the methods there are', async () => {
		const cases: readonly [method: string, path: string, allow: string][] = [
			['GET', '/api/v1/messages', 'POST'],
			['PUT', '/api/v1/messages/', 'POST'],
			['DELETE', '/api/v1/messages/stream', 'POST'],
			['PATCH', '/api/v1/topics/abc', 'DELETE, GET, HEAD, PUT'],
			['OPTIONS', '/api/v1/topics/', 'GET, HEAD, POST'],
			['POST', '/api/v1/topics/abc/messages?limit=1', 'GET, HEAD'],
			['POST', '/health', 'GET, HEAD'],
		];
		for (const [method, path, allow] of cases) {
			const answer = await send(`${http.url}${path}`, { method });
			assert.equal(assertFailure(answer, 405, 'method_not_allowed'), 'Method Not Allowed', `${method} ${path}`);
			assert.equal(answer.headers.get('allow'), allow);
		}
		assert.equal((await send(`${http.url}/api/v1/messages`, { method: 'HEAD' })).status, 405);
	});

	test('to a path with a slash at its end is the answer without it', async () => {
		for (const path of ['/health/', '/ready/', '/api/v1/topics/', '/api/v1/topics/stats/']) {
			assert.equal((await send(`${http.url}${path}`)).status, 200, path);
		}
		assert.equal((await sendJson('POST', `${http.url}/api/v1/messages/`, { topic: 'slash', payload: 1 })).status, 201);
	});

	test('to a failure has the status and the retry advice of the error table', async () => {
		for (const [code, { status, retryable }] of Object.entries(ERRORS)) {
			const answer = await send(`${http.url}/test/fail/${code}`);
			assert.equal(assertFailure(answer, status, code), 'on purpose');
			assert.equal(answer.headers.has('retry-after'), retryable && (status === 503 || status === 429), code);
			assert(!answer.text.includes('secret'));
		}
	});

	test('to a defect is 500 and tells nothing of it', async () => {
		const answer = await send(`${http.url}/test/throw`, { headers: { 'x-request-id': 'thrown' } });
		assertFailure(answer, 500, 'internal_error');
		assert(!answer.text.includes('secret'));
		const line = http.logLine('"request_id":"thrown"');
		assert(line.includes('a secret message'), 'the log has the cause');
	});

	test('of a route with a schema has validated queries: decimal strings are numbers, defaults are filled in', async () => {
		assert.deepEqual((await send(`${http.url}/test/documented`)).json(), { wait: 7 });
		assert.deepEqual((await send(`${http.url}/test/documented?wait=3`)).json(), { wait: 3 });
		assertFailure(await send(`${http.url}/test/documented?wait=x`), 422, 'invalid_request');
	});
});
