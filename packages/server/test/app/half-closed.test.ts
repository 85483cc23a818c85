/** Clients that close their sending side once they have sent a request, and those that wait to be asked for its body. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { Store } from '../../src/ports/store.ts';
import { startAuthRelay } from '../support/auth-relay.ts';
import { makeCertificates, opensslUnavailable } from '../support/certificates.ts';
import { RawConnection } from '../support/raw-http.ts';
import { startRelay } from '../support/relay.ts';
import { startHttp } from '../support/start-http.ts';
import { overlay } from '../unit/relay/support/fixture.ts';

const BODY = '{"topic":"t","payload":1}';
const POST = `POST /api/v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`;

/** Sends a text, closes the sending side, and resolves with all that comes back until the other side has closed, too. */
async function sendAndEnd(socket: Socket, bytes: string): Promise<string> {
	socket.end(bytes);
	return text(socket);
}

const statusesOf = (answers: string) => [...answers.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => Number(status));

test('a request is answered also when the client has closed its side before it was stored', async (t) => {
	const asked = Promise.withResolvers<void>();
	const release = Promise.withResolvers<void>();
	const wrapStore = (store: Store) =>
		overlay(store, {
			append: async (topic, entries) => {
				asked.resolve();
				await release.promise;
				return store.append(topic, entries);
			},
		});
	const http = await startHttp({ wrapStore });
	t.after(() => http.close());
	const [accepted, socket] = [
		once(http.server.server, 'connection') as Promise<[Socket]>,
		connect({ port: http.port, host: '127.0.0.1', allowHalfOpen: true }),
	];
	const answers = sendAndEnd(socket, POST + POST);
	const [peer] = await accepted;
	const ended = once(peer, 'end');
	await asked.promise;
	await ended;
	release.resolve();
	assert.deepEqual(statusesOf(await answers), [201, 201]);
});

test('so it is over TLS', { skip: opensslUnavailable() ?? false }, async (t) => {
	const directory = await mkdtemp(join(tmpdir(), 'pulsar-relay-half-closed-'));
	t.after(() => rm(directory, { recursive: true, force: true }));
	const { certificate, key } = await makeCertificates(directory);
	const relay = await startRelay({ PULSAR_TLS_CERT: certificate, PULSAR_TLS_KEY: key });
	t.after(() => relay.close());
	const below = connect({ port: Number(new URL(relay.url).port), host: '127.0.0.1', allowHalfOpen: true });
	const socket = connectTls({ socket: below, rejectUnauthorized: false });
	await once(socket, 'secureConnect');
	assert.deepEqual(statusesOf(await sendAndEnd(socket, POST + POST)), [201, 201]);
});

test('what would wait for messages does not wait for a client that has closed its side', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.close());
	const id = await relay.publish('t', '1');
	const port = Number(new URL(relay.url).port);
	const ask = (path: string) =>
		sendAndEnd(connect({ port, host: '127.0.0.1', allowHalfOpen: true }), `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
	const startedMs = performance.now();
	const waiting = await ask('/api/v1/poll?topics=t&timeout=50');
	assert.match(waiting, /^HTTP\/1\.1 200 .*"messages":\[\],"next_offset":"/s);
	assert.match(await ask('/api/v1/poll?topics=t&timeout=50&since=earliest'), new RegExp(`"message_id":"${id}"`));
	await ask('/api/v1/events?topics=t');
	assert(performance.now() - startedMs < 20_000);
	const metrics = await (await fetch(`${relay.url}/metrics`)).text();
	assert.match(metrics, /^relay_connections\{type="sse"\} 0$/m);
	assert.match(metrics, /^relay_connections\{type="longpoll"\} 0$/m);
});

test('a body that is too large is refused without being asked for', async (t) => {
	const http = await startHttp();
	t.after(() => http.close());
	const head = (request: string, ...headers: readonly string[]) =>
		`${[`${request} HTTP/1.1`, 'Host: localhost', 'Expect: 100-continue', 'Content-Length: 2000000', ...headers].join('\r\n')}\r\n\r\n`;
	for (const [bytes, status] of [
		[head('POST /api/v1/messages', 'Content-Type: application/json'), 413],
		[head('POST /api/v1/messages/bulk', 'Content-Type: application/json'), 413],
		[head('POST /api/v1/topics', 'Content-Type: application/json'), 413],
		[head('POST /api/v1/messages', 'Content-Type: text/plain'), 415],
		[head('POST /nowhere'), 404],
		[head('PUT /api/v1/messages'), 405],
	] as const) {
		const socket = connect(http.port, '127.0.0.1');
		socket.write(bytes);
		// The client sends nothing, and the answer comes and ends the connection.
		const answer = await text(socket);
		assert.deepEqual(statusesOf(answer), [status]);
		assert.match(answer, /\r\nconnection: close\r\n/i);
	}
});

test('a body without good credentials is refused without being asked for', async (t) => {
	const world = await startAuthRelay();
	t.after(() => world.close());
	const socket = connect(Number(new URL(world.url).port), '127.0.0.1');
	const head = POST.slice(0, -BODY.length - 2);
	socket.write(`${head}Expect: 100-continue\r\n\r\n`);
	assert.deepEqual(statusesOf(await text(socket)), [401]);
});

test('a body that is asked for is read, and the connection goes on', async (t) => {
	const http = await startHttp();
	t.after(() => http.close());
	const connection = new RawConnection(http.port);
	const head = POST.slice(0, -BODY.length - 2);
	for (let i = 0; i < 2; i++) {
		connection.send(`${head}Expect: 100-continue\r\n\r\n`);
		const [asked] = (await once(connection.socket, 'data')) as [Buffer];
		assert.equal(asked.toString(), 'HTTP/1.1 100 Continue\r\n\r\n');
		connection.send(BODY);
		const answer = await connection.answer();
		assert.deepEqual([answer?.status, answer?.headers.get('connection')], [201, 'keep-alive']);
	}
	connection.end();
});
