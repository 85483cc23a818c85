/** What the log says of clients at debug: who, from where, how long, what and why; and nothing of it at other levels. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { type TestContext, test } from 'node:test';
import { type AuthRelay, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { send } from '../support/http-client.ts';
import { startRelay } from '../support/relay.ts';

type Line = Readonly<Record<string, unknown>>;

const FORWARDED = '203.0.113.9';

function lines(log: string, message: string): Line[] {
	return log
		.split('\n')
		.filter((line) => line !== '')
		.map((line) => JSON.parse(line) as Line)
		.filter(({ msg }) => msg === message);
}

async function until(relay: { log(): string }, message: string, fits: (line: Line) => boolean): Promise<Line> {
	for (let tries = 0; ; tries++) {
		const found = lines(relay.log(), message).find(fits);
		if (found !== undefined) return found;
		assert(tries < 20_000, `no line "${message}" in\n${relay.log()}`);
		await new Promise((resolve) => setImmediate(resolve));
	}
}

async function start(t: TestContext): Promise<AuthRelay> {
	const world = await startAuthRelay({ PULSAR_TRUSTED_PROXIES: '["127.0.0.1"]' });
	t.after(() => world.close());
	return world;
}

test('the end of a WebSocket is one line: who, from where, how long, what and why', async (t) => {
	const { relay, ...world } = await start(t);
	const person = await world.person('person');
	const { keyId, secret } = await world.key(person, ['subscribe', 'publish'], ['*']);
	const socket = await world.socket(secret);
	const { session_id: session } = await socket.ask({ type: 'subscribe', topics: ['a', 'b'] });
	await socket.ask({ type: 'publish', topic: 'a', payload: 'x' });
	await socket.next();
	socket.ws.close(1000, 'bye\u009b\nforged');
	const line = await until(relay, 'a connection has ended', ({ session_id }) => session_id === session);
	assert.equal(line['level'], 'debug');
	const expected = {
		transport: 'websocket',
		account_id: person.userId,
		username: 'person',
		key_id: keyId,
		client: '127.0.0.1',
		topics: 2,
		frames_in: 2,
		messages_out: 1,
		close_code: 1000,
		close_reason: 'bye??forged',
	};
	for (const [name, value] of Object.entries(expected)) assert.deepEqual(line[name], value, name);
	for (const number of ['ms', 'bytes_in', 'bytes_out']) assert.equal(typeof line[number], 'number', number);
	assert(!relay.log().includes(secret));
});

test('a connection that the relay ends says for what', async (t) => {
	const { relay, ...world } = await start(t);
	const person = await world.person('person');
	const { keyId, secret } = await world.key(person, ['subscribe'], ['*']);
	const socket = await world.socket(secret);
	await world.call('DELETE', `/auth/keys/${keyId}`, person);
	assert.equal(await socket.closed, 4401);
	const line = await until(relay, 'a connection has ended', ({ key_id }) => key_id === keyId);
	assert.deepEqual([line['close_code'], line['closed_for']], [4401, 'credentials_expired']);
});

test('a refused upgrade and a bad frame are a line each', async (t) => {
	const { relay, ...world } = await start(t);
	const person = await world.person('person');
	assert.equal(await Socket.refused(world.url, 'nonsense'), 401);
	const upgrade = await until(relay, 'an upgrade was refused', () => true);
	assert.deepEqual([upgrade['code'], upgrade['path'], upgrade['client']], ['invalid_credentials', '/ws', '127.0.0.1']);
	assert.match(String(upgrade['check']), /form of a token/);
	const socket = await world.socket(person.token);
	await socket.ask({ type: 'dance\n\u001b[31m', x: 1 });
	socket.ws.send('no json');
	await socket.next();
	const frame = await until(relay, 'a frame was refused', ({ code }) => code === 'unknown_frame');
	assert.deepEqual([frame['frame'], frame['account_id']], ['dance??[31m', person.userId]);
	await until(relay, 'a frame was refused', ({ code, frame }) => code === 'invalid_json' && frame === undefined);
	await socket.end();
});

test('the end of an event stream is one line', async (t) => {
	const { relay, ...world } = await start(t);
	const person = await world.person('person');
	const token = await world.scoped(person, ['subscribe'], ['*']);
	const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': FORWARDED };
	const request = get(`${world.url}/api/v1/events?topics=a,b`, { headers, agent: false });
	const [response] = (await once(request, 'response')) as [IncomingMessage];
	const arrived = new Promise((resolve) => response.on('data', (chunk: Buffer) => chunk.includes('"hello"') && resolve(null)));
	await world.call('POST', '/api/v1/messages', person, { topic: 'a', payload: 'hello' });
	await arrived;
	request.destroy();
	request.on('error', () => {});
	const line = await until(relay, 'a connection has ended', ({ transport }) => transport === 'sse');
	assert.deepEqual(
		[line['account_id'], line['client'], line['topics'], line['messages_out'], line['closed_by']],
		[person.userId, FORWARDED, 2, 1, 'client'],
	);
	assert.match(String(line['token_id']), /^[0-9a-f]{32}$/);
	assert(!relay.log().includes(token));
});

test('a request is one line with its topics, account and address', async (t) => {
	const { relay, ...world } = await start(t);
	const person = await world.person('person');
	const headers = {
		authorization: `Bearer ${person.token}`,
		'x-forwarded-for': `1.2.3.4, ${FORWARDED}`,
		'content-type': 'application/json',
	};
	const request = async (method: string, path: string, body?: object) => {
		await send(`${world.url}${path}`, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
	};
	await request('POST', '/api/v1/messages', { topic: 'single', payload: 1 });
	await request('POST', '/api/v1/messages/bulk', { messages: ['x', 'y', 'x'].map((topic) => ({ topic, payload: 1 })) });
	await request('POST', '/api/v1/topics', { topic_name: 'in-path' });
	await request('GET', '/api/v1/topics/in-path');
	await request('GET', '/api/v1/poll?topics=in,query&timeout=0');
	await request('GET', '/api/v1/poll?topics=%0Aforged%1b%5b31m&timeout=0');
	await request('POST', '/messages/poll', { topics: ['in-body'], timeout: 1, since: { 'in-body': '0-0' } });
	await request('GET', '/nowhere');
	// What is no topic may be a secret in the wrong place.
	await request('GET', '/api/v1/topics/planted.secret');
	await request('GET', `/api/v1/topics/${person.token}/messages`);
	await request('GET', `/api/v1/poll?topics=${person.token}&timeout=0`);
	for (const [topics, status] of [
		['single', 201],
		['x,y', 207],
		['in-path', 200],
		['in,query', 200],
		['in-body', 200],
		[undefined, 404],
	]) {
		const line = await until(
			relay,
			'request',
			(each) => each['topics'] === topics && each['status'] === status && each['client'] === FORWARDED,
		);
		if (topics !== undefined) assert.deepEqual([line['account_id'], line['username']], [person.userId, 'person']);
	}
	for (const secret of ['planted.secret', person.token]) assert(!relay.log().includes(secret));
});

test('at info nothing is said of what clients do', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_LOG_LEVEL: 'info' });
	t.after(() => relay.close());
	await relay.publish('a', '1');
	const socket = new Socket(relay.url, null);
	await once(socket.ws, 'open');
	socket.send({ type: 'dance' });
	await socket.next();
	await socket.end();
	await relay.request('GET', '/nowhere');
	for (const message of ['request', 'a connection has ended', 'a frame was refused']) {
		assert.deepEqual(lines(relay.log(), message), [], message);
	}
});
