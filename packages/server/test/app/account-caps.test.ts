/** What one account may hold open at a node, and keep in the store. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type AuthRelay, type Person, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { assertFailure } from '../support/http-client.ts';

async function start(t: TestContext, env: Readonly<Record<string, string>>): Promise<AuthRelay> {
	const world = await startAuthRelay(env);
	t.after(() => world.close());
	return world;
}

async function openStream({ url }: AuthRelay, { token }: Person, topics = 'a'): Promise<IncomingMessage> {
	const headers = { authorization: `Bearer ${token}` };
	const [response] = (await once(get(`${url}/api/v1/events?topics=${topics}`, { headers, agent: false }), 'response')) as [
		IncomingMessage,
	];
	response.resume();
	return response;
}

/** Opens a stream as soon as there is room for it. */
async function untilOpen(world: AuthRelay, person: Person): Promise<void> {
	await until(async () => (await openStream(world, person)).statusCode === 200);
}

/** Asks until the answer is yes: what a client closes the relay notices in its own time. */
async function until(ask: () => Promise<boolean>): Promise<void> {
	for (let tries = 0; !(await ask()); tries++) {
		assert(tries < 10_000, 'it never was');
		await new Promise((resolve) => setImmediate(resolve));
	}
}

test('sockets and event streams of an account, by whichever credential, share a cap; closing one makes room', async (t) => {
	const world = await start(t, { PULSAR_WS_MAX_PER_USER: '3' });
	const person = await world.person('person');
	const other = await world.person('other');
	const { secret } = await world.key(person, ['subscribe'], ['*']);
	const scoped = await world.scoped(person, ['subscribe'], ['*']);
	const first = await world.socket(secret);
	const stream = await openStream(world, person);
	assert.equal(stream.statusCode, 200);
	await world.socket(scoped);
	for (const credential of [person.token, secret, scoped]) assert.equal(await Socket.refused(world.url, credential), 429);
	const refused = await world.call('GET', '/api/v1/events?topics=a', person);
	assertFailure(refused, 429, 'account_limit');
	assert(refused.headers.has('retry-after'));
	await world.socket(other.token);
	await first.end();
	await until(async () => (await openStream(world, person)).statusCode === 200);
	stream.destroy();
	await until(async () => (await openStream(world, person)).statusCode === 200);
	assert.equal(await Socket.refused(world.url, person.token), 429);
});

test('an event stream whose client leaves while its rights are read is not counted for ever', async (t) => {
	const world = await start(t, { PULSAR_WS_MAX_PER_USER: '3', PULSAR_STORAGE_BACKEND: 'embedded' });
	const person = await world.person('person');
	const owner = await world.person('owner');
	for (let i = 0; i < 40; i++) {
		const body = { topic_name: `t${i}`, is_public: true };
		assert.equal((await world.call('POST', '/api/v1/topics', owner, body)).status, 201);
	}
	const { hostname, port } = new URL(world.url);
	for (let i = 0; i < 40; i++) {
		// Who may read this topic is not in memory yet.
		const socket = connect(Number(port), hostname);
		await once(socket, 'connect');
		const head = `GET /api/v1/events?topics=owner/t${i} HTTP/1.1\r\nHost: ${hostname}:${port}\r\n`;
		socket.write(`${head}Authorization: Bearer ${person.token}\r\n\r\n`, () => socket.resetAndDestroy());
		await once(socket, 'close');
	}
	for (let i = 0; i < 3; i++) await untilOpen(world, person);
});

test('polls that wait are capped as existing clients know it', async (t) => {
	const world = await start(t, { PULSAR_MAX_POLLS_PER_USER: '2' });
	const person = await world.person('person');
	const other = await world.person('other');
	const poll = (of: Person, timeout: number) => world.call('POST', '/messages/poll', of, { topics: ['a'], timeout });
	const waiting = [poll(person, 30), poll(person, 30)];
	await until(
		async () =>
			(await world.call('GET', '/messages/poll/stats', world.admin)).json<{ active_waiters: number }>().active_waiters === 2,
	);
	assert.equal(assertFailure(await poll(person, 1), 429, 'account_limit'), 'Too many concurrent poll connections');
	assert.equal((await world.call('GET', '/api/v1/poll?topics=a&timeout=0', other)).status, 200);
	await world.call('POST', '/api/v1/messages', person, { topic: 'a', payload: 1 });
	for (const answer of await Promise.all(waiting)) assert.equal(answer.status, 200);
	assert.equal((await poll(person, 1)).status, 200);
});

test('subscriptions of all connections of an account share a cap; unsubscribing and closing make room', async (t) => {
	const world = await start(t, { PULSAR_MAX_SUBSCRIPTIONS_PER_USER: '4' });
	const person = await world.person('person');
	const [one, two] = [await world.socket(person.token), await world.socket(person.token)];
	const subscribe = (socket: Socket, topics: readonly string[]) => socket.ask({ type: 'subscribe', topics });
	assert.equal((await subscribe(one, ['a', 'b'])).type, 'subscribed');
	assert.equal((await subscribe(one, ['a', 'b'])).type, 'subscribed', 'the same again is no more');
	assert.equal((await subscribe(two, ['a'])).type, 'subscribed');
	const refused = await subscribe(two, ['b', 'c']);
	assert.deepEqual([refused.type, refused['code']], ['error', 'account_limit']);
	const { statusCode } = await openStream(world, person, 'x,y');
	assert.equal(statusCode, 429);
	await one.ask({ type: 'unsubscribe', topics: ['a'] });
	assert.equal((await subscribe(two, ['b', 'c'])).type, 'subscribed');
	await one.end();
	await until(async () => (await openStream(world, person, 'x')).statusCode === 200);
	const socket = await world.socket((await world.person('other')).token);
	assert.equal((await subscribe(socket, ['a', 'b', 'c', 'd'])).type, 'subscribed');
});

test('an account has no more topics than it may, made by a publish or by name; deleting one makes room', async (t) => {
	const world = await start(t, { PULSAR_MAX_TOPICS_PER_USER: '3' });
	const person = await world.person('person');
	const other = await world.person('other');
	const publish = (topic: string, by = person) => world.call('POST', '/api/v1/messages', by, { topic, payload: 1 });
	assert.equal((await publish('a')).status, 201);
	assert.equal((await world.call('POST', '/api/v1/topics', person, { topic_name: 'b' })).status, 201);
	assert.equal((await publish('c')).status, 201);
	assertFailure(await publish('d'), 403, 'topic_limit');
	assertFailure(await world.call('POST', '/api/v1/topics', person, { topic_name: 'd' }), 403, 'topic_limit');
	const bulk = await world.call('POST', '/api/v1/messages/bulk', person, { messages: [{ topic: 'e', payload: 1 }] });
	assertFailure(bulk, 403, 'topic_limit');
	const socket = await world.socket(person.token);
	assert.equal((await socket.ask({ type: 'publish', topic: 'f', payload: 1 }))['code'], 'topic_limit');
	for (const topic of ['a', 'b', 'c']) assert.equal((await publish(topic)).status, 201);
	assert.equal((await publish('d', other)).status, 201);
	// Whose topic it is counts, not who publishes to it.
	await world.call('POST', '/api/v1/topics/a/permissions', person, { username: 'other', permission: 'write' });
	assert.equal((await publish('person/a', other)).status, 201);
	assert.equal((await world.call('DELETE', '/api/v1/topics/b', person)).status, 204);
	await until(async () => (await publish('d')).status === 201);
	assertFailure(await publish('e'), 403, 'topic_limit');
});

test('an account keeps no more bytes than it may; deleting messages makes room', async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-caps-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	const env = { PULSAR_STORAGE_BACKEND: 'embedded', PULSAR_DATA_DIR: dataDir };
	const before = await startAuthRelay(env);
	const people = [await before.person('person'), await before.person('other')] as const;
	const publish = (world: AuthRelay, topic: string, by: Person) =>
		world.call('POST', '/api/v1/messages', by, { topic, payload: 'x'.repeat(10_000) });
	for (let i = 0; i < 11; i++) assert.equal((await publish(before, i % 2 === 0 ? 'a' : 'b', people[0])).status, 201);
	await before.close();

	const world = await start(t, { ...env, PULSAR_MAX_BYTES_PER_USER: '100000' });
	const [person, other] = people;
	// The first is let in while the relay counts.
	await until(async () => (await publish(world, 'a', person)).status !== 201);
	assertFailure(await publish(world, 'a', person), 507, 'account_full');
	const bulk = await world.call('POST', '/api/v1/messages/bulk', person, { messages: [{ topic: 'c', payload: 1 }] });
	assertFailure(bulk, 507, 'account_full');
	assert.equal((await publish(world, 'a', other)).status, 201);
	assert.equal((await world.call('DELETE', '/api/v1/topics/a', person)).status, 204);
	await until(async () => (await publish(world, 'b', person)).status === 201);
});

for (const what of ['a scoped token', 'an API key'] as const) {
	test(`${what} cannot use up the connections, polls and subscriptions of its account`, async (t) => {
		const world = await start(t, {
			PULSAR_WS_MAX_PER_USER: '8',
			PULSAR_MAX_POLLS_PER_USER: '8',
			PULSAR_MAX_SUBSCRIPTIONS_PER_USER: '8',
		});
		const person = await world.person('person');
		const credential =
			what === 'an API key'
				? (await world.key(person, ['subscribe'], ['*'])).secret
				: await world.scoped(person, ['subscribe'], ['*']);
		const most = what === 'an API key' ? 4 : 2;
		const sockets = [];
		for (let i = 0; i < most; i++) sockets.push(await world.socket(credential));
		assert.equal(await Socket.refused(world.url, credential), 429);
		const [first] = sockets;
		assert(first !== undefined);
		const topics = ['a', 'b', 'c', 'd', 'e'].slice(0, most);
		assert.equal((await first.ask({ type: 'subscribe', topics })).type, 'subscribed');
		assert.equal((await first.ask({ type: 'subscribe', topics: ['x'] }))['code'], 'account_limit');
		const poll = (as: string, timeout: number) => world.call('GET', `/api/v1/poll?topics=p&timeout=${timeout}`, as);
		const waiting = Array.from({ length: most }, () => poll(credential, 30));
		await until(async () => (await poll(credential, 0)).status === 429);
		assert.equal((await poll(person.token, 0)).status, 200);
		const own = await world.socket(person.token);
		assert.equal((await own.ask({ type: 'subscribe', topics: ['a'] })).type, 'subscribed');
		await world.call('POST', '/api/v1/messages', person, { topic: 'p', payload: 1 });
		for (const answer of await Promise.all(waiting)) assert.equal(answer.status, 200);
	});
}

for (const backend of ['memory', 'embedded']) {
	test(`topics of one account leave room for those of others (${backend})`, async (t) => {
		const world = await start(t, { PULSAR_MAX_TOPICS: '20', PULSAR_STORAGE_BACKEND: backend });
		const [flood, victim] = [await world.person('flood'), await world.person('victim')];
		const publish = async (person: Person, topic: string) =>
			(await world.call('POST', '/api/v1/messages', person, { topic, payload: 1 })).status;
		assert.equal(await publish(victim, 'before'), 201);
		const statuses = await Promise.all(Array.from({ length: 40 }, (_, i) => publish(flood, `t${i}`)));
		assert(statuses.filter((status) => status === 201).length <= 10, statuses.join(' '));
		const create = { topic_name: 'another', description: null };
		assertFailure(await world.call('POST', '/api/v1/topics', flood, create), 403, 'topic_limit');
		for (let i = 0; i < 3; i++) assert.equal(await publish(victim, `t${i}`), 201);
		assert.equal(await publish(flood, 't0'), 201, 'it goes on with those that it has');
	});
}

test('one account does not use up the connections of a node', async (t) => {
	const world = await start(t, { PULSAR_MAX_CONNECTIONS: '8' });
	const [flood, victim] = [await world.person('flood'), await world.person('victim')];
	const open = [];
	for (let i = 0; i < 4; i++) open.push(await world.socket(flood.token));
	assert.equal(await Socket.refused(world.url, flood.token), 429);
	await world.socket(victim.token);
	await world.socket(victim.token);
});
