/** Bad input: each case gets a clear answer, nothing is stored, and the server goes on serving. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { exchange, postBytes, RawConnection } from '../support/raw-http.ts';
import { type HttpUnderTest, startHttp } from '../support/start-http.ts';
import { BAD_PUBLISHES, type BadCase, MALFORMED_HTTP } from './bad-http.ts';

let http: HttpUnderTest;
before(async () => {
	http = await startHttp();
});
after(() => http.close());

async function refuses({ bytes, status, code }: BadCase): Promise<void> {
	const answer = await exchange(http.port, bytes);
	assert(answer !== null, 'closed without an answer');
	assert.equal(answer.status, status, answer.body);
	const body = JSON.parse(answer.body) as { error: string; message: unknown; detail: unknown; request_id: string };
	assert.equal(body.error, code, answer.body);
	assert.equal(typeof body.message, 'string');
	assert(body.detail !== undefined);
	assert.equal(body.request_id, answer.headers.get('x-request-id'));
	assert(!answer.body.includes('    at '), 'a stack trace');
	assert.deepEqual(http.store.stats(), { topics: 0, messages: 0, bytes: 0 });
}

describe('malformed HTTP is refused', () => {
	for (const bad of MALFORMED_HTTP) test(bad.name, () => refuses(bad));
});

describe('a bad publish is refused', () => {
	for (const bad of BAD_PUBLISHES) test(bad.name, () => refuses(bad));
});

test('an answer does not repeat the input', async () => {
	const secret = 'S3CRET-INPUT';
	for (const path of ['/api/v1/messages', '/api/v1/topics', '/api/v1/messages/bulk']) {
		for (const body of [
			`{"topic":"${secret}!","topic_name":"${secret}!","payload":1}`,
			`{"${secret}`,
			`"${secret}"`,
			`{"messages":[{"topic":"${secret}!","payload":1}]}`,
		]) {
			const answer = await exchange(http.port, postBytes(path, body));
			assert(answer !== null);
			assert(answer.status === 422, answer.body);
			assert(!answer.body.includes(secret), answer.body);
		}
	}
});

test('a client that goes away in the middle of a body leaves nothing behind', async () => {
	const connection = new RawConnection(http.port);
	const requested = new Promise((resolve) => http.server.server.once('request', resolve));
	connection.send(
		`POST /api/v1/messages HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"topic"`,
	);
	await requested;
	connection.end();
	await connection.closed();
	assert.equal((await fetch(`${http.url}/health`)).status, 200);
	assert.equal(http.store.stats().messages, 0);
});

test('a publish that is followed by something that is no request gets its own answer, and the connection ends', async () => {
	const { messages } = http.store.stats();
	const connection = new RawConnection(http.port);
	connection.send(
		Buffer.concat([postBytes('/api/v1/messages', '{"topic":"first","payload":1}'), Buffer.from('{"topic":"x","payload":1}')]),
	);
	const answer = await connection.answer();
	assert.equal(answer?.status, 201);
	assert.equal(answer.headers.get('connection'), 'close');
	await connection.closed();
	assert.equal(http.store.stats().messages, messages + 1);
});

test('any bytes whatever are answered or refused, and the server goes on', async () => {
	const fragments = fc.constantFrom(
		'POST ',
		'GET ',
		'/api/v1/messages',
		' HTTP/1.1\r\n',
		'Host: relay\r\n',
		'Content-Length: 5\r\n',
		'\r\n',
		'{"topic":',
		'"a"',
		'Transfer-Encoding: chunked\r\n',
		'\0',
		'\xff',
		'%00',
		'é',
	);
	await fc.assert(
		fc.asyncProperty(fc.array(fc.oneof(fragments, fc.string()), { minLength: 1, maxLength: 12 }), async (parts) => {
			const connection = new RawConnection(http.port);
			connection.send(parts.join(''));
			connection.socket.end();
			const answer = await connection.answer();
			connection.end();
			assert(answer === null || answer.status < 500, answer?.body ?? '');
		}),
		{ numRuns: 150 },
	);
	assert.equal((await fetch(`${http.url}/health`)).status, 200);
});

test('any JSON whatever as a publish is stored or refused, and never a defect', async () => {
	const field = fc.oneof(
		fc.json().map((text): unknown => JSON.parse(text)),
		fc.constantFrom<unknown>('topic', 5, null, {}),
	);
	await fc.assert(
		fc.asyncProperty(
			fc.record({ topic: field, payload: field, ttl: field, metadata: field }, { requiredKeys: [] }),
			async (message) => {
				const response = await fetch(`${http.url}/api/v1/messages`, {
					method: 'POST',
					headers: { 'content-type': 'application/json' },
					body: JSON.stringify(message),
				});
				await response.arrayBuffer();
				assert(response.status === 201 || response.status === 422, `${response.status}`);
			},
		),
		{ numRuns: 300 },
	);
	assert(!http.log().includes('a request failed'), http.log());
});
