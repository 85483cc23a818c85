/** Bounds on what one client can take of the server: sizes, times, and how connections end. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { createFakeClock } from '../support/clock.ts';
import { assertFailure, send, sendJson } from '../support/http-client.ts';
import { exchange, postBytes, RawConnection } from '../support/raw-http.ts';
import { startHttp } from '../support/start-http.ts';

const LIMIT = 4096;
const PATH = '/api/v1/messages';
const HEAD = `POST ${PATH} HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\n`;

function bodyOf(bytes: number): string {
	const around = '{"topic":"a","payload":""}'.length;
	return `{"topic":"a","payload":"${'x'.repeat(bytes - around)}"}`;
}

test('a body of the limit is taken, one byte more is refused before it is sent', async (t) => {
	const http = await startHttp({ limits: { maxBodyBytes: LIMIT } });
	t.after(() => http.close());
	assert.equal((await exchange(http.port, postBytes(PATH, bodyOf(LIMIT))))?.status, 201);
	const connection = new RawConnection(http.port);
	connection.send(`${HEAD}Content-Length: ${LIMIT + 1}\r\n\r\n`);
	const answer = await connection.answer();
	assert.equal(answer?.status, 413);
	assert.equal((JSON.parse(answer.body) as { error: string }).error, 'payload_too_large');
	// The rest is dropped as it comes, and the connection serves the next request.
	connection.send(bodyOf(LIMIT + 1));
	connection.send(postBytes(PATH, bodyOf(100)));
	assert.equal((await connection.answer())?.status, 201);
	connection.end();
	assert.equal(http.store.stats().messages, 2);
});

test('a body without a length is counted as it comes', async (t) => {
	const http = await startHttp({ limits: { maxBodyBytes: LIMIT } });
	t.after(() => http.close());
	const connection = new RawConnection(http.port);
	connection.send(`${HEAD}Transfer-Encoding: chunked\r\n\r\n`);
	for (let sent = 0; sent <= LIMIT; sent += 512) connection.send(`200\r\n${'x'.repeat(512)}\r\n`);
	assert.equal((await connection.answer())?.status, 413);
	connection.end();
});

test('a client that goes on sending what was refused is cut off', async (t) => {
	const clock = createFakeClock();
	const http = await startHttp({ limits: { maxBodyBytes: LIMIT }, clock });
	t.after(() => http.close());
	for (const head of [
		HEAD,
		HEAD.replace('POST /api/v1/messages', 'POST /nowhere'),
		HEAD.replace('POST /api/v1/messages', 'GET /health'),
	]) {
		const connection = new RawConnection(http.port);
		connection.send(`${head}Transfer-Encoding: chunked\r\n\r\n`);
		for (let sent = 0; sent <= LIMIT; sent += 512) connection.send(`200\r\n${'x'.repeat(512)}\r\n`);
		assert(((await connection.answer())?.status ?? 0) >= 200);
		clock.advance(6000);
		await connection.closed();
	}
});

test('a body that does not arrive in time is answered 408, and the connection ends', async (t) => {
	const clock = createFakeClock();
	const http = await startHttp({ limits: { bodyTimeoutS: 60 }, clock });
	t.after(() => http.close());
	for (const [path, part] of [
		[PATH, ''],
		[PATH, '{"topic"'],
		['/api/v1/topics', '{'],
	] as const) {
		const connection = new RawConnection(http.port);
		const requested = once(http.server.server, 'request');
		connection.send(
			`POST ${path} HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n${part}`,
		);
		await requested;
		clock.advance(59_000);
		assert.equal((await send(`${http.url}/health`)).status, 200);
		clock.advance(1500);
		const answer = await connection.answer();
		assert.equal(answer?.status, 408);
		assert.equal((JSON.parse(answer.body) as { error: string }).error, 'request_timeout');
		assert.equal(answer.headers.get('connection'), 'close');
		await connection.closed();
	}
});

test('all bodies that are arriving share a bound', async (t) => {
	const http = await startHttp({ limits: { maxBodyBytes: LIMIT } });
	t.after(() => http.close());
	const connections = Array.from({ length: 9 }, () => new RawConnection(http.port));
	const body = bodyOf(LIMIT);
	for (const connection of connections) connection.send(`${HEAD}Content-Length: ${LIMIT}\r\n\r\n${body.slice(0, LIMIT - 1)}`);
	const refused = await Promise.any(connections.map(async (connection) => ({ connection, answer: await connection.answer() })));
	assert.equal(refused.answer?.status, 503);
	assert.equal((JSON.parse(refused.answer.body) as { error: string }).error, 'overloaded');
	const rest = connections.filter((connection) => connection !== refused.connection);
	for (const connection of rest) connection.send(body.slice(LIMIT - 1));
	assert.deepEqual(
		new Set(await Promise.all(rest.map(async (connection) => (await connection.answer())?.status))),
		new Set([201]),
	);
	// What the others held is given back, also by those that were cut off in the middle.
	for (const connection of connections) connection.end();
	await Promise.all(connections.map((connection) => connection.closed()));
	assert.equal((await sendJson('POST', `${http.url}${PATH}`, body)).status, 201);
});

test('bodies that their clients gave up on no longer count', async (t) => {
	const http = await startHttp({ limits: { maxBodyBytes: LIMIT } });
	t.after(() => http.close());
	const body = bodyOf(LIMIT);
	for (let i = 0; i < 20; i++) {
		const connection = new RawConnection(http.port);
		const closed = once(http.server.server, 'connection').then(([socket]) => once(socket, 'close'));
		const requested = once(http.server.server, 'request');
		connection.send(`${HEAD}Content-Length: ${LIMIT}\r\n\r\n${body.slice(0, LIMIT - 1)}`);
		await requested;
		connection.end();
		await closed;
	}
	const connection = new RawConnection(http.port);
	connection.send(`${HEAD}Content-Length: ${LIMIT}\r\n\r\n${body.slice(0, LIMIT - 1)}`);
	connection.send(body.slice(LIMIT - 1));
	assert.equal((await connection.answer())?.status, 201);
	connection.end();
});

test('a request that expects 100 Continue gets it, and is served', async (t) => {
	const http = await startHttp();
	t.after(() => http.close());
	const connection = new RawConnection(http.port);
	const body = bodyOf(100);
	connection.send(`${HEAD}Expect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`);
	await once(connection.socket, 'data');
	connection.send(body);
	assert.equal((await connection.answer())?.status, 201);
	connection.end();
});

test('requests on one connection are answered in order', async (t) => {
	const http = await startHttp();
	t.after(() => http.close());
	const connection = new RawConnection(http.port);
	const requests = Array.from({ length: 20 }, (_, i) =>
		i % 3 === 0 ? Buffer.from('GET /health HTTP/1.1\r\nHost: relay\r\n\r\n') : postBytes(PATH, bodyOf(40 + i)),
	);
	connection.send(Buffer.concat(requests));
	for (let i = 0; i < 20; i++) assert.equal((await connection.answer())?.status, i % 3 === 0 ? 200 : 201);
	connection.end();
});

test('a failed request leaves its connection open for the next one', async (t) => {
	const http = await startHttp();
	t.after(() => http.close());
	const connection = new RawConnection(http.port);
	for (const [body, status] of [
		['not json', 422],
		['{"topic":"a b","payload":1}', 422],
		[bodyOf(50), 201],
	] as const) {
		connection.send(postBytes(PATH, body));
		assert.equal((await connection.answer())?.status, status);
	}
	connection.end();
});

test('an idle connection may stay for the keep-alive timeout', async (t) => {
	const http = await startHttp({ limits: { keepAliveTimeoutS: 90 } });
	t.after(() => http.close());
	const answer = await send(`${http.url}/health`);
	assert.equal(answer.headers.get('keep-alive'), 'timeout=90');
	assertFailure(await sendJson('POST', `${http.url}/api/v1/topics`, {}), 422, 'invalid_request');
});
