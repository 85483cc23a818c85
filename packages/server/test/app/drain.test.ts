/** SIGTERM: nothing acknowledged is lost, nobody is left hanging, and everybody is told where to go. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http, { type IncomingMessage, request } from 'node:http';
import https from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { WebSocket } from 'ws';
import { makeCertificates, opensslUnavailable } from '../support/certificates.ts';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';
import { RawConnection } from '../support/raw-http.ts';
import { startValkey, valkeyUnavailable } from '../support/valkey.ts';

let relay: RelayProcess;
const dataDirs: string[] = [];
beforeEach(async () => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-drain-'));
	dataDirs.push(dataDir);
	relay = await startRelayProcess(dataDir, { PULSAR_DRAIN_TIMEOUT: '5' });
});
after(() => Promise.all(dataDirs.map((dataDir) => rm(dataDir, { recursive: true, force: true }))));

async function subscribed(): Promise<WebSocket> {
	const socket = new WebSocket(`${relay.url.replace('http', 'ws')}/ws`);
	await once(socket, 'open');
	socket.send('{"type":"subscribe","topics":["t"]}');
	await once(socket, 'message');
	return socket;
}

test('subscribers are closed with 1012 and told when to come back', async () => {
	const socket = await subscribed();
	const closed = once(socket, 'close') as Promise<[number, Buffer]>;
	assert.equal(await relay.end('SIGTERM'), 0);
	const [code, reason] = await closed;
	assert.equal(code, 1012);
	assert.match(reason.toString(), /^restarting; reconnect after [0-9]+ ms$/);
});

test('an event stream ends with a time to reconnect, and a waiting poll is answered', async () => {
	const events = await fetch(`${relay.url}/api/v1/events?topics=t`);
	const poll = fetch(`${relay.url}/api/v1/poll?topics=t&timeout=60`);
	const old = fetch(`${relay.url}/messages/poll`, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: '{"topics":["t"],"timeout":60.0}',
	});
	let waiting = 0;
	while (waiting < 2) {
		const stats = await fetch(`${relay.url}/messages/poll/stats`);
		waiting = ((await stats.json()) as { active_waiters: number }).active_waiters;
	}
	const ended = relay.end('SIGTERM');
	assert.deepEqual(await (await poll).json(), { messages: [], next_offset: '0-0', has_more: false, gaps: [] });
	assert.deepEqual(await (await old).json(), { messages: [], has_more: false, gaps: [] });
	assert.match(await events.text(), /\nretry: [0-9]+\n\n$/);
	assert.equal(await ended, 0);
});

test('a publish whose body is still arriving is finished', async () => {
	const publish = request(`${relay.url}/api/v1/messages`, { method: 'POST', headers: { 'content-type': 'application/json' } });
	publish.write('{"topic":"t",');
	const socket = await subscribed();
	const closed = once(socket, 'close');
	const ended = relay.end('SIGTERM');
	await closed;
	publish.end('"payload":1}');
	const [response] = (await once(publish, 'response')) as [
		{ statusCode: number; headers: Record<string, string>; resume(): void },
	];
	response.resume();
	assert.equal(response.statusCode, 201);
	assert.equal(response.headers['connection'], 'close');
	assert.equal(await ended, 0);
});

test('a subscriber that never answers the close does not hold up the end beyond the drain timeout', {
	timeout: 15_000,
}, async () => {
	const socket = await subscribed();
	socket.pause();
	assert.equal(await relay.end('SIGTERM'), 0);
	socket.terminate();
});

const PUBLISH = '{"topic":"t","payload":1}';

/** A client that publishes over and over on a connection that it keeps. Resolves with how it ended: by an answer that closes, or cut off. */
async function publishUntilClosed(url: string, answered: (status: number) => void): Promise<string> {
	const scheme = url.startsWith('https:') ? https : http;
	using agent = Object.assign(new scheme.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false }), {
		[Symbol.dispose]: () => agent.destroy(),
	});
	for (;;) {
		const publish = scheme.request(`${url}/api/v1/messages`, {
			agent,
			method: 'POST',
			headers: { 'content-type': 'application/json', 'content-length': PUBLISH.length },
		});
		publish.end(PUBLISH);
		try {
			const [response] = (await once(publish, 'response')) as [IncomingMessage];
			response.resume();
			await once(response, 'end');
			answered(response.statusCode ?? 0);
			if (response.headers.connection === 'close') return 'closed by an answer';
		} catch (error) {
			return String(error);
		}
	}
}

/** Drains a relay while clients publish over it: each of their requests must be answered. */
async function drainUnderLoad(relay: RelayProcess): Promise<void> {
	let answers = 0;
	const enough = Promise.withResolvers<void>();
	const clients = Array.from({ length: 20 }, () =>
		publishUntilClosed(relay.url, (status) => {
			assert.equal(status, 201);
			if (++answers === 500) enough.resolve();
		}),
	);
	await enough.promise;
	const ended = relay.end('SIGTERM');
	assert.deepEqual(new Set(await Promise.all(clients)), new Set(['closed by an answer']));
	assert.equal(await ended, 0);
}

test('busy keep-alive connections are closed by an answer, none is reset', () => drainUnderLoad(relay));

test('busy keep-alive connections over TLS are closed by an answer, none is reset', {
	skip: opensslUnavailable() ?? false,
}, async () => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-drain-'));
	dataDirs.push(dataDir);
	const { certificate, key } = await makeCertificates(dataDir);
	await drainUnderLoad(await startRelayProcess(dataDir, { PULSAR_TLS_CERT: certificate, PULSAR_TLS_KEY: key }));
	await relay.end('SIGKILL');
});

test('busy keep-alive connections of several workers are closed by an answer, none is reset', {
	skip: valkeyUnavailable() ?? false,
}, async () => {
	await using valkey = await startValkey();
	const workers = await startRelayProcess(dataDirs.at(-1) ?? assert.fail(), { ...valkey.relayEnv, PULSAR_WORKERS: '2' });
	await drainUnderLoad(workers);
	await relay.end('SIGKILL');
});

test('a request on a connection that was idle when the drain began is answered', async () => {
	const port = Number(new URL(relay.url).port);
	const connections = [1, 2, 3].map(() => new RawConnection(port));
	const [used, fresh, pipelined] = connections;
	assert(used !== undefined && fresh !== undefined && pipelined !== undefined);
	const health = 'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n';
	used.send(health);
	assert.equal((await used.answer())?.headers.get('connection'), 'keep-alive');
	const socket = await subscribed();
	const closed = once(socket, 'close');
	const ended = relay.end('SIGTERM');
	await closed;
	for (const connection of [used, fresh]) {
		connection.send(health);
		const answer = await connection.answer();
		assert.deepEqual([answer?.status, answer?.headers.get('connection')], [200, 'close']);
		await connection.closed();
	}
	pipelined.send(health + health);
	const answers = [await pipelined.answer(), await pipelined.answer()];
	assert.deepEqual(
		answers.map((answer) => [answer?.status, answer?.headers.get('connection')]),
		[
			[200, 'keep-alive'],
			[200, 'close'],
		],
	);
	assert.equal(await ended, 0);
});

test('a connection without requests is closed by an end, not by a reset, and holds up nothing', async () => {
	const socket = connect(Number(new URL(relay.url).port), '127.0.0.1');
	await once(socket, 'connect');
	const fetched = await fetch(`${relay.url}/health`);
	await fetched.text();
	const ended = relay.end('SIGTERM');
	socket.resume();
	await once(socket, 'end');
	assert.equal(await ended, 0);
});
