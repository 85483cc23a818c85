/**
 * Rights that end while a connection is open: it ends with a code that says whether to come back, and so does what waits. Where nodes
 * share a store the connections are on one, and the rights are taken away on another.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { type AuthNodes, type AuthRelay, type Person, type Socket, startAuthNodes } from '../support/auth-relay.ts';
import { type Backend, backends } from '../support/backends.ts';
import { postBytes, RawConnection } from '../support/raw-http.ts';
import { clientFrame, dialWebSocket } from '../support/raw-websocket.ts';

/** What the issue allows; the checks are announced, so that it takes milliseconds. */
const WITHIN_MS = 5000;
const RECONNECT = 4401;
const TERMINAL = 4403;

let world: AuthRelay;
/** Where the connections are. */
let far: AuthRelay;

let count = 0;
const newPerson = (permissions?: readonly string[]) => world.person(`person${++count}`, permissions);

async function within<T>(promise: Promise<T>): Promise<T> {
	const late = Promise.withResolvers<never>();
	const timer = setTimeout(() => late.reject(new Error(`not within ${WITHIN_MS} ms`)), WITHIN_MS);
	try {
		return await Promise.race([promise, late.promise]);
	} finally {
		clearTimeout(timer);
	}
}

async function subscribed(credential: string, topic: string): Promise<Socket> {
	const socket = await far.socket(credential);
	const answer = await socket.ask({ type: 'subscribe', topics: [topic] });
	assert.equal(answer.type, 'subscribed', JSON.stringify(answer));
	return socket;
}

/** Ways for a right to end, and the close code that each deserves. */
const ENDS: readonly (readonly [title: string, end: (person: Person) => Promise<unknown>, code: number])[] = [
	['a logout', (person) => world.call('POST', '/auth/logout', person), RECONNECT],
	['a deleted account', ({ userId }) => world.call('DELETE', `/auth/users/${userId}`, world.admin), RECONNECT],
	[
		'a disabled account',
		({ userId }) => world.call('PATCH', `/auth/users/${userId}`, world.admin, { is_active: false }),
		TERMINAL,
	],
	[
		'a lost permission',
		({ userId }) => world.call('PATCH', `/auth/users/${userId}`, world.admin, { permissions: ['write'] }),
		TERMINAL,
	],
];

function suite(backend: Backend): void {
	let nodes: AuthNodes;
	before(async () => {
		nodes = await startAuthNodes(backend);
		world = nodes.first;
		far = nodes.last;
	});
	after(() => nodes.close());

	describe('a WebSocket closes', () => {
		for (const [title, end, code] of ENDS) {
			test(`on ${title}, with ${code}`, async () => {
				const person = await newPerson();
				const socket = await subscribed(person.token, 'a');
				await end(person);
				const frame = await within(socket.next());
				assert.equal(frame.type, 'error');
				assert.equal(frame['code'], code === RECONNECT ? 'credentials_expired' : 'access_revoked');
				assert.equal(await within(socket.closed), code);
			});
		}

		test('when its token ends, unless it was refreshed before', async () => {
			const person = await newPerson();
			// Its end is a whole second: of one second, next to nothing might be left.
			const short = await world.scoped(person, ['subscribe'], ['a'], 2);
			const [one, two] = [await subscribed(short, 'a'), await subscribed(short, 'a')];
			const answer = await two.ask({ type: 'refresh', token: person.token, ref: 7 });
			assert.deepEqual([answer.type, answer['ref']], ['refreshed', 7]);
			assert(Date.parse(String(answer['expires_at'])) > Date.now() + 500_000);
			assert.equal(await within(one.closed), RECONNECT);
			await world.call('POST', '/api/v1/messages', person, { topic: 'a', payload: 1 });
			assert.equal((await within(two.next())).type, 'message', 'the refreshed one goes on');
			await two.end();
		});

		test('with the logout of the session that minted its token', async () => {
			const person = await newPerson();
			const socket = await subscribed(await world.scoped(person, ['subscribe'], ['a']), 'a');
			await world.call('POST', '/auth/logout', person);
			assert.equal(await within(socket.closed), RECONNECT);
		});

		test('with a deleted key', async () => {
			const person = await newPerson();
			const { keyId, secret } = await world.key(person, ['subscribe'], ['*']);
			const socket = await subscribed(secret, 'a');
			await world.call('DELETE', `/auth/keys/${keyId}`, person);
			assert.equal(await within(socket.closed), RECONNECT);
		});
	});

	test('a WebSocket that does not answer the close of a deleted key publishes and receives nothing more', async () => {
		const person = await newPerson();
		const { keyId, secret } = await world.key(person, ['subscribe', 'publish'], ['*']);
		const socket = dialWebSocket(far.url, [`Authorization: Bearer ${secret}`]);
		let received = '';
		socket.on('data', (chunk: Buffer) => {
			received += chunk.toString('latin1');
		});
		const frame = (first: number, text: string) => clientFrame(first, Buffer.from(text));
		const until = async (text: string) => {
			while (!received.includes(text)) await once(socket, 'data');
		};
		await until('\r\n\r\n');
		socket.write(frame(0x81, '{"type":"subscribe","topics":["a"]}'));
		await until('"subscribed"');
		await world.call('DELETE', `/auth/keys/${keyId}`, person);
		await within(until('expired or was revoked; reconnect'));
		assert.equal((await far.call('POST', '/api/v1/messages', person, { topic: 'a', payload: 'for others' })).status, 201);
		socket.write(Buffer.concat([frame(0x81, '{"type":"publish","topic":"a","payload":"late"}'), frame(0x88, '')]));
		await once(socket, 'close');
		assert(!received.includes('for others'), received);
		const kept = await far.call('GET', '/api/v1/topics/a/messages', person);
		assert.deepEqual(
			kept.json<{ messages: { payload: unknown }[] }>().messages.map(({ payload }) => payload),
			['for others'],
		);
	});

	describe('a request whose body comes after the end of its credential is refused', () => {
		/** Sends all but the body, which the relay asks for once it reads it. */
		const begin = async (path: string, credential: string, body: string) => {
			const connection = new RawConnection(Number(new URL(far.url).port));
			const head = [`Authorization: Bearer ${credential}`, 'Expect: 100-continue'];
			const bytes = postBytes(path, body, head);
			connection.send(bytes.subarray(0, bytes.byteLength - body.length));
			await once(connection.socket, 'data');
			return connection;
		};
		const KEY = '{"name":"a key","scopes":[{"actions":["publish"],"topics":["*"]}]}';

		test('a new key, by a token from before a reset of the password', async () => {
			const person = await newPerson();
			const request = await begin('/auth/keys', person.token, KEY);
			await world.call('PATCH', `/auth/users/${person.userId}`, world.admin, { password: 'another one' });
			request.send(KEY);
			assert.equal((await request.answer())?.status, 401);
			request.end();
		});

		for (const path of ['/api/v1/messages', '/api/v1/messages/bulk']) {
			test(`${path}, by a deleted key`, async () => {
				const person = await newPerson();
				const { keyId, secret } = await world.key(person, ['publish'], ['*']);
				const message = '{"topic":"a","payload":1}';
				const body = path.endsWith('bulk') ? `{"messages":[${message}]}` : message;
				const begunMs = performance.now();
				const request = await begin(path, secret, body);
				await world.call('DELETE', `/auth/keys/${keyId}`, person);
				// Then it is known on the other node, too, and the request has taken its time.
				const ended = async () => (await far.call('GET', '/api/v1/topics/a', secret)).status === 401;
				while (!(await ended()) || performance.now() - begunMs < 200);
				request.send(body);
				assert.equal((await request.answer())?.status, 401);
				request.end();
			});
		}
	});

	describe('a refresh frame', () => {
		test('takes tokens of the same account only, and a bad one changes nothing', async () => {
			const [person, other] = [await newPerson(), await newPerson()];
			const socket = await subscribed(person.token, 'a');
			for (const [token, code] of [
				[other.token, 'forbidden'],
				['nonsense', 'invalid_credentials'],
				[7, 'invalid_request'],
				[undefined, 'invalid_request'],
			] as const) {
				assert.equal((await socket.ask({ type: 'refresh', token }))['code'], code);
			}
			assert.equal((await socket.ask({ type: 'ping' })).type, 'pong');
			await socket.end();
		});

		test('takes no token from before a new password', async () => {
			const person = await newPerson();
			const { secret } = await world.key(person, ['subscribe'], ['*']);
			const scoped = await world.scoped(person, ['subscribe'], ['a']);
			const socket = await subscribed(secret, 'a');
			await world.call('PATCH', `/auth/users/${person.userId}`, world.admin, { password: 'another password' });
			for (const token of [person.token, scoped]) {
				assert.equal((await socket.ask({ type: 'refresh', token }))['code'], 'invalid_credentials');
			}
			const { access_token: token } = (await world.login(person.username, 'another password')).json<{ access_token: string }>();
			assert.equal((await socket.ask({ type: 'refresh', token })).type, 'refreshed');
			await socket.end();
		});

		test('with a narrower token ends what that may not follow', async () => {
			const person = await newPerson();
			const socket = await subscribed(person.token, 'wide');
			const narrow = await world.scoped(person, ['subscribe'], ['narrow']);
			assert.equal((await socket.ask({ type: 'refresh', token: narrow })).type, 'refreshed');
			const frame = await within(socket.next());
			assert.deepEqual([frame.type, frame['code'], frame['details']], ['error', 'forbidden', { topic: 'wide' }]);
			await world.call('POST', '/api/v1/messages', person, { topic: 'wide', payload: 1 });
			assert.equal((await socket.ask({ type: 'ping' })).type, 'pong', 'nothing of it comes any more');
			await socket.end();
		});
	});

	test('a grant that is taken back ends the one subscription, in each transport', async () => {
		const [owner, guest] = [await newPerson(), await newPerson()];
		await world.call('POST', '/api/v1/topics', owner, { topic_name: 'lent' });
		await world.call('POST', '/api/v1/topics/lent/permissions', owner, { username: guest.username, permission: 'read' });
		const topic = `${owner.username}/lent`;
		const socket = await far.socket(guest.token);
		await socket.ask({ type: 'subscribe', topics: [topic, 'own'] });
		const events = await fetch(`${far.url}/api/v1/events?topics=${topic},own`, {
			headers: { authorization: `Bearer ${guest.token}` },
		});
		const poll = far.call('GET', `/api/v1/poll?topics=${topic}&timeout=60`, guest);
		await waiting(`${owner.userId}/lent`);
		await world.call('DELETE', `/api/v1/topics/lent/permissions/${guest.username}`, owner);
		const frame = await within(socket.next());
		assert.deepEqual([frame.type, frame['code'], frame['details']], ['error', 'forbidden', { topic }]);
		assert.equal((await within(poll)).status, 403);
		assert.match(await textUntil(events, 'topic_forbidden'), /event: topic_forbidden\ndata: \{"topic":"person\d+\/lent"\}/);
		await world.call('POST', '/api/v1/messages', owner, { topic: 'lent', payload: 1 });
		await world.call('POST', '/api/v1/messages', guest, { topic: 'own', payload: 2 });
		const next = await within(socket.next());
		assert.deepEqual([next.type, next['topic']], ['message', 'own']);
		await socket.end();
	});

	describe('an event stream and a waiting poll end', () => {
		for (const [title, end, code] of ENDS) {
			test(`on ${title}`, async () => {
				const person = await newPerson();
				const events = await fetch(`${far.url}/api/v1/events?topics=a`, { headers: { authorization: `Bearer ${person.token}` } });
				const polls = [
					far.call('GET', '/api/v1/poll?topics=a&timeout=60', person),
					far.call('POST', '/messages/poll', person, { topics: ['a'], timeout: 60 }),
				];
				await waiting(`${person.userId}/a`, polls.length);
				await end(person);
				const text = await within(events.text());
				assert.match(text, code === RECONNECT ? /"code":"credentials_expired"/ : /"code":"access_revoked"/);
				for (const answer of await within(Promise.all(polls))) {
					assert.equal(answer.status, code === RECONNECT ? 401 : 403, answer.text);
				}
			});
		}
	});

	test('a change of rights leaves everybody else connected', async () => {
		const [person, other] = [await newPerson(), await newPerson()];
		const socket = await subscribed(other.token, 'a');
		for (const [, end] of ENDS.slice(2)) await end(person);
		await world.call('PATCH', `/auth/users/${other.userId}`, world.admin, { email: 'new@x.org', permissions: ['read'] });
		assert.equal((await socket.ask({ type: 'ping' })).type, 'pong');
		await socket.end();
	});
}

/** Waits until a topic has waiting polls. */
async function waiting(topic: string, polls = 1): Promise<void> {
	type Stats = { topic_subscriber_counts: Record<string, number> };
	for (;;) {
		const stats = (await far.call('GET', '/messages/poll/stats', far.admin)).json<Stats>();
		if (stats.topic_subscriber_counts[topic] === polls) return;
	}
}

async function textUntil(response: Response, end: string): Promise<string> {
	let text = '';
	const decoder = new TextDecoder();
	for await (const chunk of response.body ?? assert.fail('no body')) {
		text += decoder.decode(chunk as Uint8Array, { stream: true });
		if (text.includes(end) && text.endsWith('\n\n')) break;
	}
	return text;
}

for (const backend of backends) {
	describe(`on the ${backend.name} store`, { skip: backend.unavailable ?? false }, () => suite(backend));
}
