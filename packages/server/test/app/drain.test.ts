/** SIGTERM: nothing acknowledged is lost, nobody is left hanging, and everybody is told where to go. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { WebSocket } from 'ws';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';

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

test('a publish whose body is still arriving is finished or refused with 503, never cut off', async () => {
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
	assert.equal(response.statusCode, 503);
	assert.equal(response.headers['connection'], 'close');
	assert(response.headers['retry-after'] !== undefined);
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
