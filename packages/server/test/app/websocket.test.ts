/** The WebSocket wire (PROTOCOL.md, "WebSocket"): commands, their answers, and what a peer that misbehaves gets. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import { exchange, postBytes } from '../support/raw-http.ts';
import { openRaw, upgradeRequest } from '../support/raw-websocket.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { badFrames, badHandshakes, badMessages } from './bad-websocket.ts';

interface Answer {
	readonly type: string;
	readonly [name: string]: unknown;
}

/** A client that keeps every frame and hands them out in order. */
class Client {
	readonly socket: WebSocket;
	readonly #frames: Answer[] = [];
	#arrived: () => void = () => {};

	constructor(url: string) {
		this.socket = new WebSocket(`${url.replace('http', 'ws')}/ws`);
		this.socket.on('message', (data: Buffer) => {
			this.#frames.push(JSON.parse(data.toString()) as Answer);
			this.#arrived();
		});
	}

	static async open(url: string): Promise<Client> {
		const client = new Client(url);
		await once(client.socket, 'open');
		return client;
	}

	send(frame: object | string): void {
		this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
	}

	async next(): Promise<Answer> {
		while (this.#frames.length === 0) {
			await new Promise<void>((resolve) => {
				this.#arrived = resolve;
			});
		}
		return this.#frames.shift() as Answer;
	}

	async ask(frame: object | string): Promise<Answer> {
		this.send(frame);
		return this.next();
	}

	async close(): Promise<void> {
		const closed = once(this.socket, 'close');
		this.socket.close();
		await closed;
	}
}

describe('WebSocket', () => {
	let relay: TestRelay;
	before(async () => {
		relay = await startRelay({
			PULSAR_STORAGE_BACKEND: 'memory',
			PULSAR_WS_MAX_MESSAGE_BYTES: '65536',
			PULSAR_MAX_SUBSCRIPTIONS_PER_CONNECTION: '3',
		});
	});
	after(() => relay.close());

	test('answers ping, subscribe, publish and unsubscribe, repeating `ref`', async () => {
		const client = await Client.open(relay.url);
		assert.equal((await client.ask({ type: 'ping', ref: 1 })).type, 'pong');
		const subscribed = await client.ask({ type: 'subscribe', topics: ['a', 'a'], ref: 'sub' });
		assert.deepEqual([subscribed.type, subscribed['ref'], subscribed['topics']], ['subscribed', 'sub', ['a']]);
		assert.deepEqual(subscribed['cursors'], { a: '0-0' });
		assert.match(String(subscribed['session_id']), /^sess_[0-9a-f]{12}$/);
		client.send({ type: 'publish', topic: 'a', payload: { n: 1 }, metadata: { k: 'v' }, ref: 'p' });
		const both = [await client.next(), await client.next()].toSorted((x, y) => (x.type < y.type ? -1 : 1));
		const [message, published] = both as [Answer, Answer];
		assert.deepEqual([published.type, published['ref'], published['topic']], ['published', 'p', 'a']);
		assert.deepEqual([message.type, message['payload'], message['metadata']], ['message', { n: 1 }, { k: 'v' }]);
		assert.equal(message['message_id'], published['message_id']);
		assert.deepEqual((await client.ask({ type: 'unsubscribe', topics: ['a', 'b'] }))['topics'], ['a']);
		await relay.publish('a', '2');
		assert.equal((await client.ask({ type: 'ping' })).type, 'pong');
		await client.close();
	});

	test('takes subscribe any number of times, and a topic anew from the position given', async () => {
		const client = await Client.open(relay.url);
		const first = await relay.publish('again', '1');
		assert.deepEqual((await client.ask({ type: 'subscribe', topics: ['again'] }))['cursors'], { again: first });
		assert.equal((await client.ask({ topics: ['again'], offset: 'earliest' })).type, 'subscribed');
		assert.equal((await client.next())['message_id'], first);
		assert.equal((await client.ask({ type: 'subscribe', topics: ['other'], since: { again: 'ignored' } })).type, 'subscribed');
		await client.close();
	});

	test('stores pipelined publishes in the order they came', async () => {
		const client = await Client.open(relay.url);
		for (let i = 0; i < 500; i++) client.send({ type: 'publish', topic: 'pipelined', payload: i, ref: i });
		for (let i = 0; i < 500; i++) assert.equal((await client.next())['ref'], i);
		const reader = await Client.open(relay.url);
		await reader.ask({ type: 'subscribe', topics: ['pipelined'], offset: 'earliest' });
		for (let i = 0; i < 500; i++) assert.equal((await reader.next())['payload'], i);
		await Promise.all([client.close(), reader.close()]);
	});

	test('stores a publish once per idempotency key, and refuses the key for another message', async () => {
		const client = await Client.open(relay.url);
		const publish = { type: 'publish', topic: 'keyed', payload: 1, idempotency_key: 'k1' };
		const first = await client.ask({ ...publish, ref: 1 });
		const again = await client.ask({ ...publish, ref: 2 });
		assert.equal(again['message_id'], first['message_id']);
		assert.equal((await client.ask({ ...publish, payload: 2 }))['code'], 'idempotency_conflict');
		assert.equal((await client.ask({ ...publish, idempotency_key: 7 }))['code'], 'bad_request');
		await client.close();
	});

	test('refuses more topics than a connection may follow, and changes nothing then', async () => {
		const client = await Client.open(relay.url);
		assert.equal((await client.ask({ type: 'subscribe', topics: ['1', '2', '3', '4'] }))['code'], 'subscription_limit');
		assert.equal((await client.ask({ type: 'subscribe', topics: ['1', '2', '3'] })).type, 'subscribed');
		await client.close();
	});

	test('echoes the subprotocol of existing clients without the token', async () => {
		const socket = new WebSocket(`${relay.url.replace('http', 'ws')}/ws`, ['bearer', 'bearer.some-token']);
		await once(socket, 'open');
		assert.equal(socket.protocol, 'bearer');
		socket.terminate();
	});

	for (const { name, frame, code } of badMessages) {
		test(`answers ${name} with ${code} and goes on`, async () => {
			const client = await Client.open(relay.url);
			if (typeof frame === 'string') client.send(frame);
			else client.socket.send(frame, { binary: true });
			const answer = await client.next();
			assert.deepEqual([answer.type, answer['code']], ['error', code]);
			assert.equal((await client.ask({ type: 'ping' })).type, 'pong');
			await client.close();
		});
	}

	for (const { name, bytes, closeCode } of badFrames) {
		test(`closes with ${closeCode} on ${name}`, async () => {
			const peer = await openRaw(relay.url);
			for (const chunk of bytes()) peer.socket.write(chunk);
			assert.equal(await peer.closeCode(), closeCode);
			assert.equal((await relay.request('GET', '/health')).status, 200);
		});
	}

	for (const { name, change, status } of badHandshakes) {
		test(`refuses a handshake with ${name}: ${status}`, async () => {
			const answer = await upgradeRequest(relay.url, change);
			assert.equal(answer.status, status);
			const body = JSON.parse(answer.body) as { error: string; request_id: string };
			assert.match(body.error, /^[a-z_]+$/);
			assert.match(body.request_id, /./);
		});
	}
});

test('pings, and drops a peer that stays silent for two intervals', { timeout: 10_000 }, async () => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_WS_PING_INTERVAL: '1' });
	const answering = await Client.open(relay.url);
	const silent = await openRaw(relay.url);
	await once(silent.socket, 'close');
	assert.equal((await answering.ask({ type: 'ping' })).type, 'pong');
	await answering.close();
	await relay.close();
});

test('a peer that does not read its answers is not read either, and is served once it reads', async () => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	const client = await Client.open(relay.url);
	client.socket.pause();
	// Answers repeat the frame's type only in part; half a million of them are more than the sockets' buffers take.
	const frame = JSON.stringify({ type: 'ping', ref: 'x'.repeat(100) });
	const total = 100_000;
	for (let i = 0; i < total; i++) client.send(frame);
	assert.equal((await relay.request('GET', '/health')).status, 200);
	client.socket.resume();
	for (let i = 0; i < total; i++) assert.equal((await client.next()).type, 'pong');
	await client.close();
	await relay.close();
});

describe('A client of the relay', () => {
	let relay: TestRelay;
	before(async () => {
		relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	});
	after(() => relay.close());

	test('may nest a payload as deep over WebSocket as over HTTP', async () => {
		const nested = (levels: number) => `{"type":"publish","topic":"deep","payload":${'['.repeat(levels)}${']'.repeat(levels)}}`;
		const client = await Client.open(relay.url);
		assert.equal((await client.ask(nested(256))).type, 'published');
		assert.equal((await client.ask(nested(257)))['code'], 'payload_too_deep');
		await client.close();
	});

	test('may offer another protocol with a request, and is served in this one', async () => {
		const port = Number(new URL(relay.url).port);
		const offer = ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA'];
		assert.equal((await exchange(port, `GET /health HTTP/1.1\r\nHost: localhost\r\n${offer.join('\r\n')}\r\n\r\n`))?.status, 200);
		assert.equal((await exchange(port, postBytes('/api/v1/messages', '{"topic":"a","payload":1}', offer)))?.status, 201);
	});
});
