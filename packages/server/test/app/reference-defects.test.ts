/**
 * Defects that the earlier server had and that a client could see; each once, so that none comes back. Others of them have tests of their
 * own: thirteen and fifteen in delivery/slow-reader.test.ts and stores/valkey-nodes.test.ts, twenty-one in app/http-operations.test.ts and
 * stores/valkey-outage.test.ts, twenty-six and twenty-seven in unit/config, twenty-nine in delivery/delivery-suite.ts and
 * unit/ops/logger.test.ts, nine and forty-three in app/galaxy-pulsar.test.ts and app/drain.test.ts,
 * twenty-eight and thirty-two in app/edge.test.ts, thirty in app/oidc.test.ts.
 */

import assert from 'node:assert/strict';
import { performance } from 'node:perf_hooks';
import { after, before, test } from 'node:test';
import { type AuthRelay, type Person, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { send } from '../support/http-client.ts';

let world: AuthRelay;
let bob: Person;
before(async () => {
	world = await startAuthRelay();
	bob = await world.person('bob');
});
after(() => world.close());

const publish = (topic: string, payload: unknown, headers: Record<string, string> = {}, body?: string) =>
	send(`${world.url}/api/v1/messages`, {
		method: 'POST',
		headers: { authorization: `Bearer ${bob.token}`, 'content-type': 'application/json', ...headers },
		body: body ?? JSON.stringify({ topic, payload }),
	});
const kept = async (topic: string) =>
	(await world.call('GET', `/api/v1/topics/${topic}/messages?limit=100`, bob)).json<{ messages: { payload: unknown }[] }>()
		.messages;

/** Polls a topic from a cursor on, once. */
const pollAfter = async (topic: string, since: string, timeout = 10) => {
	const answer = await world.call('POST', '/messages/poll', bob, { topics: [topic], since: { [topic]: since }, timeout });
	assert.equal(answer.status, 200, answer.text);
	return answer.json<{ messages: { message_id: string; payload: { n: number } }[]; has_more: boolean }>();
};
const untilPolled = async (topic: string) => {
	while (!(await world.call('GET', '/messages/poll/stats', bob)).text.includes(topic));
};

test('one: hundreds of publishes and a score of logins and refreshes from one address in a minute are nothing special', async () => {
	const person = await world.person('galaxy');
	const publishes = Array.from({ length: 200 }, (_, n) =>
		world.call('POST', '/api/v1/messages', person, { topic: 'job_setup', payload: { n } }),
	);
	for (const answer of await Promise.all(publishes)) assert.equal(answer.status, 201, answer.text);
	for (const answer of await Promise.all(Array.from({ length: 20 }, () => world.login('galaxy', person.password)))) {
		assert.equal(answer.status, 200, answer.text);
		const { refresh_token } = answer.json<{ refresh_token: string }>();
		assert.equal((await world.call('POST', '/auth/token/refresh', null, { refresh_token })).status, 200);
	}
});

test('two: a final status of 24 MiB is stored and delivered', async () => {
	const payload = { stdout: 'x'.repeat(24 * 1024 * 1024) };
	assert.equal((await publish('large', payload)).status, 201);
	const poll = await world.call('POST', '/messages/poll', bob, { topics: ['large'], since: { large: '' }, timeout: 30.0 });
	assert.equal(poll.json<{ messages: { payload: { stdout: string } }[] }>().messages[0]?.payload.stdout.length, 24 * 1024 * 1024);
});

test('three: a refresh whose answer was lost can be repeated, and the session lives on', async () => {
	const refresh = async (token: string) => {
		const answer = await world.call('POST', '/auth/token/refresh', null, { refresh_token: token });
		assert.equal(answer.status, 200, answer.text);
		return answer.json<{ refresh_token: string }>().refresh_token;
	};
	const next = await refresh(bob.refreshToken);
	assert.equal(await refresh(bob.refreshToken), next);
	assert.notEqual(await refresh(next), next);
});

test('six, seven: polls that wait while others publish at once miss nothing and see one order', async () => {
	const reader = async () => {
		const seen: number[] = [];
		let since: Record<string, string> = { busy: '' };
		while (seen.length < 200) {
			const answer = await world.call('POST', '/messages/poll', bob, { topics: ['busy'], since, timeout: 10 });
			for (const { message_id: id, payload } of answer.json<{ messages: { message_id: string; payload: { n: number } }[] }>()
				.messages) {
				seen.push(payload.n);
				since = { busy: id };
			}
		}
		return seen;
	};
	const readers = [reader(), reader(), reader()];
	await Promise.all(Array.from({ length: 200 }, (_, n) => publish('busy', { n })));
	const [first, ...others] = await Promise.all(readers);
	assert.equal(new Set(first).size, 200);
	for (const other of others) assert.deepEqual(other, first);
});

test('ten, eleven: a key in flight stores once; with another topic or route it is a conflict, not a silent drop', async () => {
	const key = { 'idempotency-key': 'one-key' };
	const answers = await Promise.all(Array.from({ length: 5 }, () => publish('once', { n: 1 }, key)));
	assert.equal(new Set(answers.map((answer) => answer.json()['message_id'])).size, 1);
	assert.equal((await kept('once')).length, 1);
	assert.equal((await publish('elsewhere', { n: 1 }, key)).status, 422);
	const bulk = await send(`${world.url}/api/v1/messages/bulk`, {
		method: 'POST',
		headers: { authorization: `Bearer ${bob.token}`, 'content-type': 'application/json', ...key },
		body: JSON.stringify({ messages: [{ topic: 'once', payload: { n: 1 } }] }),
	});
	assert.equal(bulk.status, 422);
});

test('twelve: a WebSocket that was away goes on after the last message it saw', async () => {
	const ids: unknown[] = [];
	for (const n of [1, 2, 3]) ids.push((await publish('resumed', { n })).json()['message_id']);
	const socket = await world.socket(bob.token);
	await socket.ask({ type: 'subscribe', topics: ['resumed'], client_id: 'c', offset: ids[0] });
	assert.deepEqual([(await socket.next())['message_id'], (await socket.next())['message_id']], ids.slice(1));
	await socket.end();
});

test('fourteen: a subscriber that is torn away in the middle of a delivery takes nobody’s message with it', async () => {
	const sockets = await Promise.all(Array.from({ length: 5 }, () => world.socket(bob.token)));
	for (const socket of sockets) await socket.ask({ type: 'subscribe', topics: ['torn'], client_id: 'c' });
	const poll = pollAfter('torn', '0-0');
	await untilPolled('torn');
	const stored = publish('torn', { n: 1 });
	for (const socket of sockets.slice(1)) socket.ws.terminate();
	assert.equal((await stored).status, 201);
	assert.equal((await poll).messages.length, 1);
	assert.equal((await sockets[0]?.next())?.['topic'], 'torn');
	await sockets[0]?.end();
});

test('sixteen: a burst far larger than an answer is polled to its end', async () => {
	const first = pollAfter('burst', '0-0');
	await untilPolled('burst');
	const line = (n: number) => `{"topic":"burst","payload":{"n":${n}}}\n`;
	const body = Array.from({ length: 3000 }, (_, n) => line(n)).join('');
	const headers = { authorization: `Bearer ${bob.token}`, 'content-type': 'application/x-ndjson' };
	assert.equal((await send(`${world.url}/api/v1/messages/stream`, { method: 'POST', headers, body })).status, 200);
	const seen = [...(await first).messages];
	while (seen.length < 3000) seen.push(...(await pollAfter('burst', seen.at(-1)?.message_id ?? '')).messages);
	assert(seen.every(({ payload }, n) => payload.n === n));
});

test('seventeen: deleting a topic deletes its messages, also for one made anew under its name', async () => {
	await publish('gone', { n: 1 });
	assert.equal((await world.call('DELETE', '/api/v1/topics/gone', bob)).status, 204);
	await world.call('POST', '/api/v1/topics', bob, { topic_name: 'gone' });
	assert.deepEqual(await kept('gone'), []);
});

test('eighteen: lone surrogates and NaN are refused before they are stored, by every way to publish', async () => {
	const socket = await world.socket(bob.token);
	for (const payload of ['"\\ud800"', '{"a":"\\udc00x"}', '{"\\ud800":1}', 'NaN', '{"a":Infinity}', '{"a":-Infinity}']) {
		const message = `{"topic":"poison","payload":${payload}}`;
		assert.equal((await publish('', null, {}, message)).status, 422, payload);
		const bulk = await world.call(
			'POST',
			'/api/v1/messages/bulk',
			bob,
			`{"messages":[{"topic":"poison","payload":{}},${message}]}`,
		);
		assert.equal(bulk.status, 422, payload);
		const headers = { authorization: `Bearer ${bob.token}`, 'content-type': 'application/x-ndjson' };
		const stream = await send(`${world.url}/api/v1/messages/stream`, { method: 'POST', headers, body: `${message}\n` });
		assert.match(stream.text, /invalid_json/, payload);
		socket.ws.send(`{"type":"publish","topic":"poison","payload":${payload}}`);
		assert.equal((await socket.next()).type, 'error', payload);
	}
	await socket.end();
	assert.equal((await world.call('GET', '/api/v1/topics/poison', bob)).status, 404);
});

test('nineteen: a cursor of another server, of the past or of the future is never a 5xx, in any way to read', async () => {
	const id = String((await publish('cursors', { n: 1 })).json()['message_id']);
	const garbage = ['msg_0123456789ab', 'x', '99999999999999999999-0', '1-', '-1', '\u0000', '%', '1-0-0', '1e3-0'];
	for (const cursor of [...garbage, '0-0', '1-0', `9${id}`, '9007199254740991-9007199254740991']) {
		const isId = /^\d{1,16}-\d{1,16}$/.test(cursor);
		const poll = await world.call('POST', '/messages/poll', bob, { topics: ['cursors'], since: { cursors: cursor }, timeout: 1 });
		assert.equal(poll.status, 200, poll.text);
		const inQuery = encodeURIComponent(cursor);
		const history = await world.call('GET', `/api/v1/topics/cursors/messages?cursor=${inQuery}`, bob);
		const get = await world.call('GET', `/api/v1/poll?topics=cursors&timeout=0&since=${inQuery}`, bob);
		for (const { status, text } of [history, get]) assert.equal(status, isId ? 200 : 400, `${cursor}: ${text}`);
		if (isId) continue;
		assert.equal((await world.call('GET', `/api/v1/events?topics=cursors&since=${inQuery}`, bob)).status, 400);
		const socket = await world.socket(bob.token);
		const refused = await socket.ask({ type: 'subscribe', topics: ['cursors'], client_id: 'c', offset: cursor });
		assert.deepEqual([refused.type, refused['code']], ['error', 'invalid_cursor']);
		await socket.end();
	}
	assert.equal((await pollAfter('cursors', 'msg_0123456789ab')).messages.length, 1, 'the client starts at what is kept');
});

test('twenty: a logout works, and the token is worth nothing after it', async () => {
	const person = await world.person('leaver');
	assert.equal((await world.call('POST', '/auth/logout', person)).status, 204);
	for (const path of ['/auth/me', '/api/v1/topics']) {
		assert.match((await world.call('GET', path, person)).text, /Token has been revoked/);
	}
});

test('twenty-two: an account that is disabled while it publishes stays so', async () => {
	const person = await world.person('busy');
	const change = world.call('PATCH', `/auth/users/${person.userId}`, world.admin, { is_active: false });
	await Promise.all(
		Array.from({ length: 50 }, (_, n) => world.call('POST', '/api/v1/messages', person, { topic: `new${n}`, payload: {} })),
	);
	assert.equal((await change).status, 200);
	assert.equal((await world.call('GET', '/auth/me', person)).status, 403);
	const users = (await world.call('GET', '/auth/users', world.admin)).json<{ username: string; is_active: boolean }[]>();
	assert.equal(users.find(({ username }) => username === 'busy')?.is_active, false);
});

test('twenty-three: a change to null breaks neither the account nor the list', async () => {
	const person = await world.person('nulled');
	for (const body of [{ is_active: null }, { permissions: null }, { password: null }]) {
		assert.equal((await world.call('PATCH', `/auth/users/${person.userId}`, world.admin, body)).status, 422);
	}
	assert.equal((await world.call('GET', '/auth/me', person)).status, 200);
	assert.equal((await world.call('GET', '/auth/users', world.admin)).status, 200);
});

test('twenty-four: a token that was logged out opens no WebSocket, and ends the one it had opened', async () => {
	const person = await world.person('watcher');
	const socket = await world.socket(person.token);
	assert.equal((await world.call('POST', '/auth/logout', person)).status, 204);
	assert.equal(await socket.closed, 4401);
	assert([401, 403].includes(await Socket.refused(world.url, person.token)));
});

test('twenty-five: reading kept messages needs the permission to read', async () => {
	const person = await world.person('writer-only', ['write']);
	await world.call('POST', '/api/v1/messages', person, { topic: 'a', payload: {} });
	const answer = await world.call('GET', '/api/v1/topics/a/messages', person);
	assert.deepEqual([answer.status, answer.json()['detail']], [403, "Permission 'read' required"]);
});

test('thirty-three: those who sign in do not hold up those who poll', async () => {
	const delays: number[] = [];
	let done = false;
	const logins = Promise.all(Array.from({ length: 30 }, () => world.login('bob', 'wrong'))).then(() => {
		done = true;
	});
	while (!done) {
		const startMs = performance.now();
		await send(`${world.url}/health`);
		delays.push(performance.now() - startMs);
	}
	await logins;
	assert(delays.length >= 3, 'there was time to ask while passwords were checked');
	// One check on the event loop takes longer than the median answer beside thirty of them.
	const median = delays.sort((a, b) => a - b)[Math.floor(delays.length / 2)] ?? 0;
	assert(median < 100, `${median} ms`);
});

test('thirty-four: statistics do not show one account what another waits for', async () => {
	const [one, other] = [await world.person('one'), await world.person('other')];
	const poll = world.call('POST', '/messages/poll', one, { topics: ['secret-name'], timeout: 10 });
	const stats = (person: Person) => world.call('GET', '/messages/poll/stats', person).then(({ text }) => text);
	while (!(await stats(one)).includes('secret-name'));
	assert(!(await stats(other)).includes('secret-name'));
	await world.call('POST', '/api/v1/messages', one, { topic: 'secret-name', payload: {} });
	assert.equal((await poll).status, 200);
});

test('thirty-five: an unexpected failure in a bulk tells nothing of the inside', async () => {
	const answer = await world.call('POST', '/api/v1/messages/bulk', bob, {
		messages: [{ topic: 'a', payload: {} }, { topic: 'b' }],
	});
	assert.equal(answer.status, 422);
	assert(!/Error:|at .*\.ts/.test(answer.text));
});

test('thirty-five: a bulk counts in the metrics like as many publishes', async () => {
	const received = async () => {
		const text = (await world.call('GET', '/metrics', world.admin)).text;
		return Number(/^relay_messages_received_total (\d+)$/m.exec(text)?.[1]);
	};
	const before = await received();
	const messages = Array.from({ length: 10 }, () => ({ topic: 'counted', payload: {} }));
	assert.equal((await world.call('POST', '/api/v1/messages/bulk', bob, { messages })).status, 207);
	assert.equal((await received()) - before, 10);
});

test('forty: a session is one entry however often it is renewed', async () => {
	const person = await world.person('renewer');
	let token = person.refreshToken;
	for (let i = 0; i < 50; i++) {
		const answer = await world.call('POST', '/auth/token/refresh', null, { refresh_token: token });
		assert.equal(answer.status, 200, answer.text);
		token = answer.json<{ refresh_token: string }>().refresh_token;
	}
	assert.equal((await world.call('GET', '/auth/sessions', person)).json<unknown[]>().length, 1);
});

test('forty-two: an answer is bounded in bytes, and says that there is more', async () => {
	for (let n = 0; n < 6; n++) assert.equal((await publish('bulky', { n, text: 'x'.repeat(3 * 1024 * 1024) })).status, 201);
	const first = await pollAfter('bulky', '0-0');
	assert(first.messages.length < 6 && first.has_more);
	const seen = [...first.messages];
	while (seen.length < 6) seen.push(...(await pollAfter('bulky', seen.at(-1)?.message_id ?? '')).messages);
	assert.deepEqual(
		seen.map(({ payload }) => payload.n),
		[0, 1, 2, 3, 4, 5],
	);
});

test('every time in every answer is UTC and ends in Z', async () => {
	const person = await world.person('timely');
	await world.call('POST', '/api/v1/messages', person, { topic: 'timely', payload: {} });
	const socket = await world.socket(person.token);
	socket.send({ type: 'subscribe', topics: ['timely'], client_id: 'c', offset: 'earliest' });
	const answers = [
		...(await Promise.all(
			['/health', '/auth/me', '/auth/sessions', '/api/v1/topics', '/api/v1/topics/timely', '/api/v1/topics/timely/messages'].map(
				(path) => world.call('GET', path, person).then(({ text }) => text),
			),
		)),
		(await world.call('GET', '/auth/users', world.admin)).text,
		(await world.call('POST', '/messages/poll', person, { topics: ['timely'], since: { timely: '' } })).text,
		(await world.call('POST', '/api/v1/messages', person, { topic: 'timely', payload: {} })).text,
		JSON.stringify(await socket.next()),
		JSON.stringify(await socket.next()),
	];
	await socket.end();
	for (const answer of answers) {
		const times = answer.match(/\d{4}-\d\d-\d\dT[^"]*/g) ?? assert.fail(answer);
		for (const time of times) assert.match(time, /^[\d-]+T[\d:]+(\.\d+)?Z$/);
	}
});

// Thirty takes a provider, and is in oidc.test.ts.
test('thirty-one: nobody ends the request of a device without an account', async () => {
	const denial = await send(`${world.url}/auth/device/deny`, {
		method: 'POST',
		body: new URLSearchParams({ user_code: 'BBBB-BBBB' }),
	});
	assert.equal(denial.status, 401);
});
