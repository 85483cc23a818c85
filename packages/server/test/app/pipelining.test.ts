/** Requests that are sent before the ones before them are answered. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { RawConnection } from '../support/raw-http.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';

let relay: TestRelay;
before(async () => {
	relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_MAX_WAITING_POLLS: '200' });
});
after(() => relay.close());

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
const POLL = get('/api/v1/poll?topics=quiet&timeout=60');

async function waitingPolls(): Promise<number> {
	const { json } = await relay.request('GET', '/messages/poll/stats');
	return (json as { active_waiters: number }).active_waiters;
}

/** Resolves once so many polls wait; fails when it takes longer than polls of clients that left may. */
async function untilWaiting(count: number): Promise<void> {
	const endMs = Date.now() + 5000;
	while ((await waitingPolls()) !== count) assert(Date.now() < endMs, `${await waitingPolls()} polls wait`);
}

const connect = () => new RawConnection(Number(new URL(relay.url).port));

test('polls of a client that left are released at once', async () => {
	const connection = connect();
	connection.send(POLL.repeat(50));
	await untilWaiting(50);
	connection.end();
	await untilWaiting(0);
});

test('so are they when more answers wait behind them than the relay buffers, and it has stopped reading', async () => {
	const connection = connect();
	let closed = false;
	connection.socket.on('close', () => {
		closed = true;
	});
	connection.send(POLL.repeat(50));
	await untilWaiting(50);
	// One at a time, as each must have its answer before the next can find that too much is buffered.
	for (let i = 0; i < 200 && !closed; i++) {
		connection.send(get('/openapi.json'));
		await relay.request('GET', '/health');
	}
	connection.end();
	await untilWaiting(0);
});

test('a connection with more requests unanswered than it may have is cut off', async () => {
	const connection = connect();
	connection.send(POLL.repeat(300));
	assert.equal(await Promise.race([connection.closed(), once(AbortSignal.timeout(5000), 'abort')]), undefined, 'still open');
	await untilWaiting(0);
});

test('requests that are answered do not count', async () => {
	const connection = connect();
	for (let i = 0; i < 20; i++) {
		connection.send(get('/health').repeat(50));
		for (let answers = 0; answers < 50; answers++) assert.equal((await connection.answer())?.status, 200);
	}
	connection.end();
});
