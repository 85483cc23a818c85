/**
 * Two relays over one Valkey: a right that is taken away on one ends on the other, at once, and within seconds when the way between
 * them is cut. And what it costs to know that: nothing per request.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, type TestContext, test } from 'node:test';
import { startProxy } from '../faults/proxy.ts';
import { type AuthRelay, type Person, type Socket, startAuthRelay } from '../support/auth-relay.ts';
import { startValkey, untilAnswer, type Valkey, valkeyUnavailable } from '../support/valkey.ts';

/** For new requests; measured at 2 to 20 ms. */
const AT_ONCE_MS = 500;
/** For connections that are open, whatever is lost. */
const LIVE_MS = 5000;

let valkey: Valkey;
let near: AuthRelay;
let far: AuthRelay;
let count = 0;
const newPerson = (permissions?: readonly string[]) => near.person(`person${++count}`, permissions);

/** Asks until the status is another one; gives that, and how long it took. */
async function statusAfter(ask: () => Promise<{ readonly status: number }>, before: number) {
	const startedMs = performance.now();
	for (;;) {
		const { status } = await ask();
		const tookMs = performance.now() - startedMs;
		if (status !== before || tookMs > 10_000) return { status, tookMs };
	}
}

const publish = (node: AuthRelay, credential: Person | string, topic = 'a') =>
	node.call('POST', '/api/v1/messages', credential, { topic, payload: 1 });

/** A right, a use of it, and how it ends: the use is allowed before, and has the status afterwards. */
interface Right {
	readonly title: string;
	readonly status: number;
	prepare(): Promise<{ use(): Promise<{ readonly status: number }>; end(): Promise<{ readonly status: number }> }>;
}

const RIGHTS: readonly Right[] = [
	{
		title: 'an account that is disabled',
		status: 403,
		async prepare() {
			const person = await newPerson();
			const path = `/auth/users/${person.userId}`;
			return { use: () => publish(far, person), end: () => near.call('PATCH', path, near.admin, { is_active: false }) };
		},
	},
	{
		title: 'a permission',
		status: 403,
		async prepare() {
			const person = await newPerson();
			const path = `/auth/users/${person.userId}`;
			return { use: () => publish(far, person), end: () => near.call('PATCH', path, near.admin, { permissions: ['read'] }) };
		},
	},
	{
		title: 'a token that is logged out',
		status: 401,
		async prepare() {
			const person = await newPerson();
			return { use: () => publish(far, person), end: () => near.call('POST', '/auth/logout', person) };
		},
	},
	{
		title: 'an account that is deleted',
		status: 401,
		async prepare() {
			const person = await newPerson();
			return { use: () => publish(far, person), end: () => near.call('DELETE', `/auth/users/${person.userId}`, near.admin) };
		},
	},
	{
		title: 'a key that is deleted',
		status: 401,
		async prepare() {
			const person = await newPerson();
			const { keyId, secret } = await near.key(person, ['publish'], ['*']);
			return { use: () => publish(far, secret), end: () => near.call('DELETE', `/auth/keys/${keyId}`, person) };
		},
	},
	{
		title: 'a scoped token whose session is logged out',
		status: 401,
		async prepare() {
			const person = await newPerson();
			const token = await near.scoped(person, ['publish'], ['a']);
			return { use: () => publish(far, token), end: () => near.call('POST', '/auth/logout', person) };
		},
	},
	{
		title: 'a scoped token whose key is deleted',
		status: 401,
		async prepare() {
			const person = await newPerson();
			const { keyId, secret } = await near.key(person, ['publish'], ['*']);
			const token = await near.scoped(secret, ['publish'], ['a']);
			return { use: () => publish(far, token), end: () => near.call('DELETE', `/auth/keys/${keyId}`, person) };
		},
	},
	{
		title: 'a grant',
		status: 403,
		async prepare() {
			const [owner, guest] = [await newPerson(), await newPerson()];
			await near.call('POST', '/api/v1/topics', owner, { topic_name: 'lent' });
			const path = '/api/v1/topics/lent/permissions';
			await near.call('POST', path, owner, { username: guest.username, permission: 'write' });
			return {
				use: () => publish(far, guest, `${owner.username}/lent`),
				end: () => near.call('DELETE', `${path}/${guest.username}`, owner),
			};
		},
	},
];

async function subscribed(node: AuthRelay, credential: string): Promise<Socket> {
	const socket = await node.socket(credential);
	assert.equal((await socket.ask({ type: 'subscribe', topics: ['a'] })).type, 'subscribed');
	return socket;
}

async function within<T>(promise: Promise<T>, limitMs: number): Promise<T> {
	const late = Promise.withResolvers<never>();
	const timer = setTimeout(() => late.reject(new Error(`not within ${limitMs} ms`)), limitMs);
	return Promise.race([promise, late.promise]).finally(() => clearTimeout(timer));
}

async function startFar(t: TestContext, env: Readonly<Record<string, string>>): Promise<AuthRelay> {
	const node = await startAuthRelay({ ...valkey.relayEnv, ...env });
	t.after(() => node.close());
	return node;
}

/** Keeps every command that the server runs, also those that scripts run. */
class Monitor {
	readonly #socket = connect({ host: valkey.host, port: valkey.port });
	#text = '';

	static async start(): Promise<Monitor> {
		const monitor = new Monitor();
		monitor.#socket.on('data', (chunk: Buffer) => {
			monitor.#text += chunk.toString();
		});
		monitor.#socket.write('MONITOR\r\n');
		await once(monitor.#socket, 'data');
		return monitor;
	}

	async end(): Promise<readonly string[]> {
		await valkey.cli('ECHO', 'the end of monitoring');
		while (!this.#text.includes('the end of monitoring')) await once(this.#socket, 'data');
		this.#socket.destroy();
		return this.#text.split('\r\n');
	}
}

function suite(): void {
	before(async () => {
		valkey = await startValkey({ settings: { user: 'far on >secret ~* &* +@all' } });
		near = await startAuthRelay(valkey.relayEnv);
		far = await startAuthRelay(valkey.relayEnv);
	});
	after(async () => {
		await near.close();
		await far.close();
		await valkey.stop();
	});

	for (const { title, status, prepare } of RIGHTS) {
		test(`${title} ends for new requests to another node at once`, async () => {
			const { use, end } = await prepare();
			assert.equal((await use()).status, 201);
			const ended = await end();
			assert([200, 204].includes(ended.status), `${ended.status}`);
			const after = await statusAfter(use, 201);
			assert.equal(after.status, status);
			assert.ok(after.tookMs < AT_ONCE_MS, `after ${after.tookMs} ms`);
		});
	}

	test('with its connections to the server gone dead, a node ends what lost its right as soon as it has new ones', async (t) => {
		const proxy = await startProxy(valkey);
		t.after(() => proxy.close());
		const cut = await startFar(t, { PULSAR_VALKEY_PORT: String(proxy.port) });
		const person = await newPerson();
		const socket = await subscribed(cut, person.token);
		const events = await fetch(`${cut.url}/api/v1/events?topics=a`, { headers: { authorization: `Bearer ${person.token}` } });
		const poll = cut.call('GET', '/api/v1/poll?topics=a&timeout=60', person);
		type Stats = { topic_subscriber_counts: Record<string, number> };
		const waits = async () => (await cut.call('GET', '/messages/poll/stats', cut.admin)).json<Stats>();
		while ((await waits()).topic_subscriber_counts[`${person.userId}/a`] !== 1);
		proxy.deaden();
		await near.call('PATCH', `/auth/users/${person.userId}`, near.admin, { is_active: false });
		const all = Promise.all([socket.closed, events.text(), poll]);
		const ready = async () => (await fetch(`${cut.url}/ready`)).status === 200;
		await untilAnswer(async () => !(await ready()), 'cut off');
		await untilAnswer(ready, 'ready again');
		const [code, text, answer] = await within(all, 1000);
		assert.equal(code, 4403);
		assert.match(text, /"code":"access_revoked"/);
		assert.equal(answer.status, 403);
	});

	test('with its subscription refused, a node finds out by itself within 5 s; restored, it hears at once again', async (t) => {
		const deaf = await startFar(t, { PULSAR_VALKEY_USERNAME: 'far', PULSAR_VALKEY_PASSWORD: 'secret' });
		const [person, other] = [await newPerson(), await newPerson()];
		const [socket, stays] = [await subscribed(deaf, person.token), await subscribed(deaf, other.token)];
		const subscribers = async () => Number((await valkey.cli('PUBSUB', 'NUMSUB', '{relay}:records:changed')).split('\n')[1]);
		const before = await subscribers();
		// The server closes connections that are subscribed to what they may not hear any more.
		await valkey.cli('ACL', 'SETUSER', 'far', 'resetchannels');
		await untilAnswer(async () => (await subscribers()) === before - 1, 'deaf');
		await near.call('POST', '/auth/logout', person);
		assert.equal(await within(socket.closed, LIVE_MS), 4401);
		await valkey.cli('ACL', 'SETUSER', 'far', 'allchannels');
		await untilAnswer(async () => (await subscribers()) === before, 'subscribed again');
		await near.call('POST', '/auth/logout', other);
		assert.equal(await within(stays.closed, LIVE_MS), 4401);
	});

	test('2,000 authenticated publishes read no record but now and then', async () => {
		const person = await newPerson();
		const { secret } = await near.key(person, ['publish'], ['*']);
		const credentials = [
			person.token,
			secret,
			await near.scoped(person, ['publish'], ['a']),
			await near.scoped(secret, ['publish'], ['a']),
		];
		for (const credential of credentials) assert.equal((await publish(far, credential)).status, 201);
		const [monitor, startedMs] = [await Monitor.start(), performance.now()];
		for (let i = 0; i < 2000; i += 20) {
			await Promise.all(Array.from({ length: 20 }, (_, j) => publish(far, credentials[(i + j) % 4] ?? '')));
		}
		const tookMs = performance.now() - startedMs;
		const lines = await monitor.end();
		assert.equal(lines.filter((line) => / lua\] "XADD" /.test(line)).length, 2000);
		// What is cached is read again every four seconds: an account, a key, and that three tokens and a session are not denied.
		const reads = lines.filter((line) => line.includes('"HMGET" "{relay}:records"'));
		assert.ok(reads.length <= 6 * (1 + Math.floor(tookMs / 4000)), `${reads.length} reads in ${tookMs} ms`);
	});
}

describe('two relays over one Valkey', { skip: valkeyUnavailable() ?? false }, suite);
