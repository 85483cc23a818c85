/** What a WebSocket peer can make the relay hold: answers that it does not read, and sockets of handshakes that were refused. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { Duplex, PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { OPEN_RIGHTS } from '../../src/auth/topic-access.ts';
import { systemClock } from '../../src/ops/clock.ts';
import { createLogger } from '../../src/ops/logger.ts';
import { serveWebSockets } from '../../src/transports/websocket/handler.ts';
import { type HttpUnderTest, PLAIN_EDGE, startHttp } from '../support/start-http.ts';

const SOCKET_BUFFER_BYTES = 16 * 1024;
const EMPTY_BINARY_FRAME = Buffer.from([0x82, 0x80, 0, 0, 0, 0]);
const PING_FRAME = Buffer.concat([Buffer.from([0x89, 0x80 | 125, 0, 0, 0, 0]), Buffer.alloc(125)]);

const HANDSHAKE = {
	host: 'relay',
	connection: 'Upgrade',
	upgrade: 'websocket',
	'sec-websocket-version': '13',
	'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

async function startWebSockets(t: TestContext): Promise<HttpUnderTest> {
	const http = await startHttp();
	const terminate = serveWebSockets(http.server.server, {
		relay: http.relay,
		clock: systemClock,
		logger: createLogger({ level: 'critical', format: 'json', to: new PassThrough() }),
		metrics: http.metrics,
		messageBytesMax: 65_536,
		payloadDepthMax: 64,
		socketBufferBytes: SOCKET_BUFFER_BYTES,
		pingIntervalS: 25,
		edge: PLAIN_EDGE,
		auth: null,
		limiting: null,
		caps: null,
		rights: OPEN_RIGHTS,
		budgets: http.budgets,
		partyOf: http.partyOf,
	});
	t.after(async () => {
		terminate();
		await http.close();
	});
	return http;
}

/** A peer that has shaken hands and whose window is closed from then on: no write to it ever ends. */
function connectDeafPeer({ server }: HttpUnderTest): Duplex {
	let handshaken = false;
	const socket = new Duplex({
		read() {},
		write(_chunk, _encoding, done) {
			if (!handshaken) done();
			handshaken = true;
		},
	});
	const request = new IncomingMessage(socket as Socket);
	Object.assign(request, { method: 'GET', url: '/ws', httpVersion: '1.1', headers: HANDSHAKE });
	request.rawHeaders = Object.entries(HANDSHAKE).flat();
	server.server.emit('upgrade', request, socket, Buffer.alloc(0));
	return socket;
}

/** Gives the relay every chance to take what was pushed: each chunk takes it a turn or two. */
async function pushAll(socket: Duplex, chunk: Buffer, times: number): Promise<void> {
	for (let i = 0; i < times; i++) {
		socket.push(chunk);
		await turn();
		await turn();
	}
}

test('a peer that sends binary frames and reads no answer is not read either', async (t) => {
	const socket = connectDeafPeer(await startWebSockets(t));
	await pushAll(socket, Buffer.concat(Array<Buffer>(1000).fill(EMPTY_BINARY_FRAME)), 20);
	assert(socket.writableLength > SOCKET_BUFFER_BYTES / 2, 'the peer was answered');
	assert(socket.writableLength < 2 * SOCKET_BUFFER_BYTES, `${socket.writableLength} bytes wait for the peer`);
	assert(socket.isPaused());
});

test('pongs are not heaped up for a peer that does not read', async (t) => {
	const socket = connectDeafPeer(await startWebSockets(t));
	await pushAll(socket, Buffer.concat(Array<Buffer>(1000).fill(EMPTY_BINARY_FRAME)), 1);
	const waiting = socket.writableLength;
	await pushAll(socket, Buffer.concat(Array<Buffer>(50).fill(PING_FRAME)), 1);
	assert.equal(socket.writableLength, waiting);
});

test('a refused handshake leaves no socket behind, also when the peer keeps its side open', { timeout: 10_000 }, async (t) => {
	const http = await startWebSockets(t);
	for (const head of [
		'GET /elsewhere HTTP/1.1\r\nHost: relay\r\n',
		'GET /ws HTTP/1.1\r\nHost: relay\r\nSec-WebSocket-Key: no\r\n',
	]) {
		const accepted = once(http.server.server, 'connection') as Promise<[Socket]>;
		const peer = connect({ port: http.port, host: '127.0.0.1', allowHalfOpen: true });
		t.after(() => peer.destroy());
		peer.resume();
		peer.write(`${head}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`);
		const [socket] = await accepted;
		t.after(() => socket.destroy());
		await once(socket, 'close');
	}
});
