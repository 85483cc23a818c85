/** Bounds of messages: frames that are no publishes, metadata, size and time of what comes in part, and what size costs. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { WebSocket } from 'ws';
import { type AuthRelay, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { assertFailure, sendJson } from '../support/http-client.ts';
import { clientFrame, openRaw } from '../support/raw-websocket.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

let relay: TestRelay;
before(async () => {
	relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_BODY_TIMEOUT: '1' });
});
after(() => relay.close());

interface Client {
	readonly ws: WebSocket;
	readonly closed: Promise<number>;
	/** Sends a text and resolves with the text of the next frame. */
	ask(text: string): Promise<string>;
}

async function connect(): Promise<Client> {
	const ws = new WebSocket(`${relay.url.replace('http', 'ws')}/ws`);
	const closed = once(ws, 'close').then(([code]) => code as number);
	await once(ws, 'open');
	return {
		ws,
		closed,
		async ask(text) {
			const answered = once(ws, 'message');
			ws.send(text);
			const [data] = (await answered) as [Buffer];
			return data.toString();
		},
	};
}

/** A member that makes a frame as long. */
const filler = (bytes: number) => `"x":"${'x'.repeat(bytes)}"`;

for (const [type, bytesMax] of [
	['ack', 32 * KIB],
	['ping', 32 * KIB],
	['refresh', 32 * KIB],
	['launch', 32 * KIB],
	['subscribe', MIB],
	['unsubscribe', MIB],
] as const) {
	test(`a frame of type ${type} is at most ${bytesMax} bytes, wherever its type stands`, async () => {
		for (const text of [`{"type":"${type}",${filler(bytesMax)}}`, `{${filler(bytesMax)},"type":"${type}"}`]) {
			const client = await connect();
			const { code, message } = JSON.parse(await client.ask(text)) as { code: string; message: string };
			assert.deepEqual([code, message], ['payload_too_large', `a frame of this type is at most ${bytesMax} bytes`]);
			assert.equal(await client.closed, 1009);
		}
	});
}

test('frames up to these bounds, and publishes of any size, are served', async () => {
	const client = await connect();
	assert.match(await client.ask(`{${filler(31 * KIB)},"type":"ping"}`), /^\{"type":"pong"/);
	const topics = Array.from({ length: 1000 }, (_, i) => `${'x'.repeat(240)}-${i}`);
	const since = Object.fromEntries(topics.map((topic) => [topic, '0-0']));
	const subscribed = JSON.parse(await client.ask(JSON.stringify({ topics, since, type: 'subscribe' }))) as { topics: string[] };
	assert.equal(subscribed.topics.length, 1000);
	const unsubscribed = JSON.parse(await client.ask(JSON.stringify({ type: 'unsubscribe', topics }))) as { topics: string[] };
	assert.equal(unsubscribed.topics.length, 1000);
	const payload = JSON.stringify({ text: 'é'.repeat(MIB), numbers: Array.from({ length: 100_000 }, (_, i) => i) });
	const frame = `{"payload":${payload},"topic":"large","ref":1,"type":"publish","idempotency_key":"k"}`;
	const published = await client.ask(frame);
	assert.match(published, /"published"/);
	assert.equal(await client.ask(frame), published, 'the same key, the same message');
	const { json } = await relay.request('GET', '/api/v1/topics/large/messages');
	const [message] = (json as { messages: { payload: unknown }[] }).messages;
	assert.equal(JSON.stringify(message?.payload), payload);
	client.ws.terminate();
});

test('a subscribe names a thousand topics, and `since` ten thousand, of which nothing else is read', async () => {
	const client = await connect();
	const many = `{"type":"subscribe","topics":["a"],"since":{${Array.from({ length: 10_001 }, (_, i) => `"t${i}":0`).join(',')}}}`;
	assert.match(await client.ask(many), /"invalid_request".*`since` is not an object of at most 10000 message ids/);
	assert.match(await client.ask(`{"type":"subscribe","topics":["a"],"since":{"b":[1,{}],"a":"1-1"}}`), /"subscribed"/);
	assert.match(await client.ask(`{"topics":[${'"a",'.repeat(1000)}"a"]}`), /`topics` is not a list of 1 to 1000 topic names/);
	client.ws.terminate();
});

test('a ref comes back as it was written', async () => {
	const client = await connect();
	for (const ref of ['1795812906123456789', '-0.0', '1e2', '0.10', '"\\u00e9\\/"', '"é 😀"', `"${'x'.repeat(128)}"`]) {
		assert((await client.ask(`{"type":"ping","ref": ${ref} }`)).endsWith(`,"ref":${ref}}`), ref);
		assert((await client.ask(`{"ref":${ref},"type":"subscribe","topics":[]}`)).endsWith(`,"ref":${ref}}`), 'in an error, too');
	}
	for (const ref of [`"${'x'.repeat(129)}"`, '1'.repeat(129), 'true', '[1]', 'null', '{}']) {
		assert(!(await client.ask(`{"type":"ping","ref":${ref}}`)).includes('"ref"'), ref);
	}
	client.ws.terminate();
});

test('one byte order mark is passed over', async () => {
	const client = await connect();
	assert.match(await client.ask('\ufeff{"type":"ping"}'), /"pong"/);
	assert.match(await client.ask('\ufeff\ufeff{"type":"ping"}'), /"invalid_json"/);
	client.ws.terminate();
	for (const [path, body, status] of [
		['/api/v1/messages', '{"topic":"marked","payload":1}', 201],
		['/api/v1/messages/bulk', '{"messages":[{"topic":"marked","payload":1}]}', 207],
		['/api/v1/topics', '{"topic_name":"marked-topic"}', 201],
	] as const) {
		const answer = await sendJson('POST', `${relay.url}${path}`, `\ufeff${body}`);
		assert.equal(answer.status, status, answer.text);
	}
});

test('an unpaired surrogate is named, with its place', async () => {
	const body = '{"topic":"t","payload":"\\ud83d"}';
	const place = body.indexOf('\\');
	const answer = await sendJson('POST', `${relay.url}/api/v1/messages`, body);
	assertFailure(answer, 422, 'invalid_json');
	assert.equal(answer.json()['message'], `the JSON escapes an unpaired surrogate (half of a character) at byte ${place}`);
	const client = await connect();
	assert.match(await client.ask(`{"type":"publish",${body.slice(1)}`), /unpaired surrogate \(half of a character\) at byte 41/);
	client.ws.terminate();
});

test('metadata has at most 64 entries and 16 KiB, however it is published', async () => {
	const entries = (count: number, bytes = 1) =>
		JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 'x'.repeat(bytes)])));
	const message = (metadata: string) => `{"topic":"described","payload":1,"metadata":${metadata}}`;
	const client = await connect();
	for (const [metadata, reason] of [
		[entries(65), 'should have at most 64 items after validation, not 65'],
		[entries(1, 16 * KIB), 'etadata should have at most 16384 bytes of JSON, not 16393'],
		[`{"a":[${'1,'.repeat(20_000)}1]}`, 'etadata should have at most 16384 bytes'],
	] as const) {
		const body = message(metadata);
		const answers = [
			await sendJson('POST', `${relay.url}/api/v1/messages`, body),
			await sendJson('POST', `${relay.url}/api/v1/messages/bulk`, `{"messages":[${body}]}`),
		];
		for (const answer of answers) {
			assertFailure(answer, 422, 'invalid_request');
			assert(answer.text.includes(reason), answer.text);
		}
		assert((await client.ask(`{"type":"publish",${body.slice(1)}`)).includes(reason));
		const stream = await fetch(`${relay.url}/api/v1/messages/stream`, {
			method: 'POST',
			headers: { 'content-type': 'application/x-ndjson' },
			body,
		});
		assert((await stream.text()).includes(reason));
	}
	const largest = entries(64, 240);
	assert.equal((await sendJson('POST', `${relay.url}/api/v1/messages`, message(largest))).status, 201);
	client.ws.terminate();
});

test('members that are too long are refused for what they are, and not parsed', async () => {
	const long = 'x'.repeat(100_000);
	for (const [body, code] of [
		[`{"topic":"${long}","payload":1}`, 'invalid_topic'],
		[`{"topic":[${'0,'.repeat(50_000)}0],"payload":1}`, 'invalid_request'],
		[`{"topic":"t","payload":1,"ttl":"${long}"}`, 'invalid_request'],
		[`{"topic":"t","payload":1,"ttl":1${'0'.repeat(50_000)}}`, 'invalid_request'],
		[`{"topic":"t","payload":1,"ttl":{${'"a":1,'.repeat(20_000)}"b":1}}`, 'invalid_request'],
	] as const) {
		assertFailure(await sendJson('POST', `${relay.url}/api/v1/messages`, body), 422, code);
	}
});

test('a WebSocket message must be complete in time, whatever comes between its parts', async () => {
	const { socket, closeCode } = await openRaw(relay.url);
	socket.write(clientFrame(0x01, Buffer.from('{"type"')));
	const ping = setInterval(() => socket.write(clientFrame(0x89, Buffer.alloc(0))), 50);
	socket.on('close', () => clearInterval(ping));
	assert.equal(await closeCode(), 1008);
	clearInterval(ping);
});

test('a WebSocket that sends more than its share has room for is cut off, and its share is free again', async (t) => {
	const small = await startRelay({
		PULSAR_STORAGE_BACKEND: 'memory',
		PULSAR_MAX_BODY_BYTES: String(2 * MIB),
		PULSAR_WS_MAX_MESSAGE_BYTES: String(2 * MIB),
	});
	t.after(() => small.close());
	const peers = await Promise.all(Array.from({ length: 4 }, () => openRaw(small.url)));
	for (const { socket } of peers) socket.write(clientFrame(0x01, Buffer.alloc(MIB, 0x20)));
	assert.equal(await Promise.any(peers.map(({ closeCode }) => closeCode())), 1013);
	for (const { socket } of peers) socket.destroy();
	const body = `{"topic":"t","payload":"${'x'.repeat(1_500_000)}"}`;
	for (;;) {
		const { status } = await sendJson('POST', `${small.url}/api/v1/messages`, body);
		if (status === 201) break;
		assert.equal(status, 503);
	}
});

test('who may not publish sends no long frames; size costs of the rate limit before anything is read', async (t) => {
	const auth: AuthRelay = await startAuthRelay({ PULSAR_RATE_LIMIT: '100' });
	t.after(() => auth.close());
	const person = await auth.person('alice');
	const reader = await Socket.open(auth.url, await auth.scoped(person, ['subscribe'], ['jobs']));
	reader.send({ type: 'publish', topic: 'jobs', payload: 'x'.repeat(MIB) });
	assert.equal((await reader.next())['code'], 'payload_too_large');
	assert.equal(await reader.closed, 1009);

	const { secret } = await auth.key(person, ['publish', 'subscribe'], ['*']);
	const left = async (body: string) => {
		const answer = await auth.call('POST', '/api/v1/messages', secret, body);
		return [answer.status, Number(answer.headers.get('x-ratelimit-remaining'))];
	};
	const payload = (bytes: number) => `{"topic":"jobs","payload":"${'x'.repeat(bytes)}"}`;
	assert.deepEqual(await left(payload(1)), [201, 99]);
	assert.deepEqual(await left(payload(160 * KIB)), [201, 88]);
	const socket = await Socket.open(auth.url, secret);
	socket.send({ type: 'ping', x: 'x'.repeat(20 * KIB) });
	await socket.next();
	assert.deepEqual(await left(payload(1)), [201, 85], 'an upgrade, a long ping and a publish');
	socket.send({ type: 'publish', topic: 'jobs', payload: 'x'.repeat(2 * MIB) });
	assert.equal((await socket.next())['code'], 'rate_limited');
	assert.equal((await left(payload(2 * MIB)))[0], 429);
	await socket.end();
});
