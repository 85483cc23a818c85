/**
 * Clients of pulsar-relay 0.2, which take their cursors from messages only: what is published between two of their polls comes with the
 * second, on whichever node, until an answer is known to have arrived.
 */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type AuthNodes, type AuthRelay, type Person, startAuthNodes, startAuthRelay } from '../support/auth-relay.ts';
import { type Backend, backends } from '../support/backends.ts';
import { RawConnection } from '../support/raw-http.ts';
import { startRelay } from '../support/relay.ts';

const MEMORY: Backend = {
	name: 'memory',
	unavailable: null,
	nodes: 1,
	start: () => Promise.resolve({ env: { PULSAR_STORAGE_BACKEND: 'memory' }, stop: () => Promise.resolve() }),
};

interface Polled {
	readonly messages: readonly { readonly topic: string; readonly message_id: string; readonly payload: unknown }[];
}

interface Asked {
	readonly topics: readonly string[];
	readonly timeout?: number;
	readonly since?: Readonly<Record<string, string>>;
	readonly headers?: readonly string[];
}

/** A connection of a client with its credential. */
class Connection extends RawConnection {
	readonly #credential: string | null;

	constructor(url: string, credential: string | null) {
		super(Number(new URL(url).port));
		this.#credential = credential;
	}

	ask({ topics, timeout = 1, since, headers = [] }: Asked): void {
		const body = JSON.stringify({ topics, timeout, ...(since === undefined ? {} : { since }) });
		const credentials = this.#credential === null ? [] : [`Authorization: Bearer ${this.#credential}`];
		const head = ['POST /messages/poll HTTP/1.1', 'Host: localhost', ...credentials, ...headers];
		this.send(`${head.join('\r\n')}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
	}

	/** The payloads of the next answer. */
	async payloads(): Promise<readonly unknown[]> {
		const answer = await this.answer();
		assert(answer?.status === 200, answer?.body ?? 'the connection closed without an answer');
		return (JSON.parse(answer.body) as Polled).messages.map(({ payload }) => payload);
	}

	poll(asked: Asked): Promise<readonly unknown[]> {
		this.ask(asked);
		return this.payloads();
	}

	/** Closes in order, as a client that has all it wants. */
	async finish(): Promise<void> {
		this.socket.end();
		await this.closed();
	}
}

let topicCount = 0;
const newTopic = () => `job_status_${++topicCount}`;

for (const backend of [MEMORY, ...backends]) {
	describe(`polls without cursors, on the ${backend.name} store`, {
		skip: backend.unavailable ?? false,
		concurrency: true,
		timeout: 120_000,
	}, () => {
		let nodes: AuthNodes;
		let first: AuthRelay;
		let last: AuthRelay;
		let galaxy: Person;
		before(async () => {
			nodes = await startAuthNodes(backend);
			({ first, last } = nodes);
			galaxy = await first.person('galaxy');
		});
		after(() => nodes.close());

		const publish = async (topic: string, payload: unknown, node = last) => {
			const answer = await node.call('POST', '/api/v1/messages', galaxy, { topic, payload });
			assert.equal(answer.status, 201, answer.text);
			return answer.json<{ message_id: string }>().message_id;
		};
		const connect = (credential: string, node = first) => new Connection(node.url, credential);
		const newSession = async () => (await first.login('galaxy', galaxy.password)).json<{ access_token: string }>().access_token;
		/** Polls once on a connection of its own and closes that in order. */
		const pollOnce = async (credential: string, asked: Asked, node = first) => {
			const connection = connect(credential, node);
			const payloads = await connection.poll(asked);
			await connection.finish();
			return payloads;
		};
		const untilWaiting = async (topic: string, node = first) => {
			for (;;) {
				const { topic_subscriber_counts: counts } = (await node.call('GET', '/messages/poll/stats', node.admin)).json<{
					topic_subscriber_counts: Record<string, number>;
				}>();
				if (Object.keys(counts).some((name) => name.endsWith(`/${topic}`))) return;
			}
		};

		test('what comes between two polls comes with the second, on another node as well, in order', async () => {
			const token = await newSession();
			const topic = newTopic();
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), []);
			await publish(topic, 1, first);
			await publish(topic, 2, last);
			assert.deepEqual(await pollOnce(token, { topics: [topic] }, last), [1, 2]);
		});

		test('what comes while the connection is broken comes with the next poll', async () => {
			const token = await newSession();
			const topic = newTopic();
			const broken = connect(token);
			broken.ask({ topics: [topic], timeout: 30 });
			await untilWaiting(topic);
			broken.socket.resetAndDestroy();
			await publish(topic, 1);
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), [1]);
		});

		test('an answer that went into a broken connection comes again, until one arrives', async () => {
			const token = await newSession();
			const topic = newTopic();
			for (let n = 0; n < 5; n++) {
				const broken = connect(token);
				broken.ask({ topics: [topic], timeout: 30 });
				if (n === 0) {
					await untilWaiting(topic);
					await publish(topic, 1);
				}
				assert.deepEqual(await broken.payloads(), [1]);
				broken.socket.resetAndDestroy();
			}
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), [1]);
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), []);
		});

		test('a client that has closed before the answer went out gets it the next time', async () => {
			const token = await newSession();
			const topic = newTopic();
			const left = connect(token);
			left.ask({ topics: [topic], timeout: 30 });
			await untilWaiting(topic);
			const published = publish(topic, 1, first);
			left.socket.destroy();
			await published;
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), [1]);
		});

		describe('an answer has arrived', { concurrency: true }, () => {
			const arrive = async (arrived: (connection: Connection, topic: string, id: string, token: string) => Promise<unknown>) => {
				const token = await newSession();
				const topic = newTopic();
				const connection = connect(token);
				assert.deepEqual(await connection.poll({ topics: [topic] }), []);
				const id = await publish(topic, 'first');
				assert.deepEqual(await connection.poll({ topics: [topic] }), ['first']);
				await arrived(connection, topic, id, token);
				// It begins anew: what comes from now on, and what comes between its polls.
				assert.deepEqual(await pollOnce(token, { topics: [topic] }), []);
				await publish(topic, 'second');
				assert.deepEqual(await pollOnce(token, { topics: [topic] }), ['second']);
				connection.end();
			};

			test('when its connection is used again', () =>
				arrive(async (connection, topic) => assert.deepEqual(await connection.poll({ topics: [topic] }), [])));

			test('when its connection is used for something else', () =>
				arrive(async (connection, _topic, _id, token) => {
					connection.send(`GET /auth/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${token}\r\n\r\n`);
					assert.equal((await connection.answer())?.status, 200);
				}));

			test('when its connection is closed in order', () => arrive((connection) => connection.finish()));

			test('when the client comes with a cursor, from wherever', () =>
				arrive(async (_connection, topic, id, token) => {
					const other = connect(token, last);
					assert.deepEqual(await other.poll({ topics: [topic], since: { [topic]: id } }), []);
					await other.finish();
				}));
		});

		test('an answer that ends its connection has arrived when the client closes too', async () => {
			const token = await newSession();
			const topic = newTopic();
			const close = { topics: [topic], headers: ['Connection: close'] };
			assert.deepEqual(await pollOnce(token, close), []);
			await publish(topic, 1);
			const broken = connect(token);
			assert.deepEqual(await broken.poll(close), [1]);
			broken.socket.resetAndDestroy();
			assert.deepEqual(await pollOnce(token, close), [1]);
			assert.deepEqual(await pollOnce(token, close), []);
		});

		test('a request that was sent before the answer shows nothing', async () => {
			const token = await newSession();
			const topic = newTopic();
			const eager = connect(token);
			eager.ask({ topics: [topic], timeout: 30 });
			eager.ask({ topics: ['another'], timeout: 30 });
			await untilWaiting(topic);
			await publish(topic, 1);
			assert.deepEqual(await eager.payloads(), [1]);
			eager.socket.resetAndDestroy();
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), [1]);
		});

		test('behind a proxy only a cursor shows that an answer has arrived; without one it comes three times', async () => {
			const token = await newSession();
			const topic = newTopic();
			const forwarded = { topics: [topic], headers: ['X-Forwarded-For: 192.0.2.7'] };
			assert.deepEqual(await pollOnce(token, forwarded), []);
			const id = await publish(topic, 1);
			const upstream = connect(token);
			assert.deepEqual(await upstream.poll(forwarded), [1]);
			assert.deepEqual(await upstream.poll(forwarded), [1]);
			assert.deepEqual(await upstream.poll({ ...forwarded, since: { [topic]: id } }), []);
			assert.deepEqual(await upstream.poll(forwarded), []);

			await publish(topic, 2);
			for (let times = 0; times < 3; times++) assert.deepEqual(await pollOnce(token, forwarded), [2]);
			assert.deepEqual(await pollOnce(token, forwarded), []);
		});

		test("another client's request on the same connection shows that a proxy is in front", async () => {
			const [token, other] = [await newSession(), await newSession()];
			const topic = newTopic();
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), []);
			await publish(topic, 1);
			const upstream = connect(token);
			assert.deepEqual(await upstream.poll({ topics: [topic] }), [1]);
			upstream.send(`GET /auth/me HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${other}\r\n\r\n`);
			assert.equal((await upstream.answer())?.status, 200);
			upstream.end();
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), [1]);
		});

		test('each session, each key and each set of topics begins by itself', async () => {
			const [mine, another] = [await newSession(), await newSession()];
			const [a, b] = [newTopic(), newTopic()];
			const key = (await first.key(galaxy, ['subscribe'], ['*'])).secret;
			const otherKey = (await first.key(galaxy, ['subscribe'], ['*'])).secret;
			assert.deepEqual(await pollOnce(mine, { topics: [a] }), []);
			assert.deepEqual(await pollOnce(key, { topics: [a, b] }), []);
			await publish(a, 1);
			for (const credential of [another, otherKey]) assert.deepEqual(await pollOnce(credential, { topics: [a] }), []);
			assert.deepEqual(await pollOnce(mine, { topics: [a, b] }), []);
			// In any order, by any name.
			assert.deepEqual(await pollOnce(key, { topics: [b, `${galaxy.username}/${a}`, b] }), [1]);
			assert.deepEqual(await pollOnce(mine, { topics: [`${galaxy.userId}/${a}`] }), [1]);
		});

		test('the messages come in the order of the topics asked for, and of the log', async () => {
			const token = await newSession();
			const [a, b] = [newTopic(), newTopic()];
			assert.deepEqual(await pollOnce(token, { topics: [b, a] }), []);
			for (const [topic, n] of [
				[a, 1],
				[b, 2],
				[a, 3],
			] as const)
				await publish(topic, n);
			assert.deepEqual(await pollOnce(token, { topics: [b, a] }), [2, 1, 3]);
		});

		test('a scoped token has no memory', async () => {
			const topic = newTopic();
			const token = await first.scoped(galaxy, ['subscribe'], ['*']);
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), []);
			await publish(topic, 1);
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), []);
		});

		test('a topic that is deleted meanwhile goes on with what comes after', async () => {
			const token = await newSession();
			const topic = newTopic();
			await publish(topic, 0);
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), []);
			assert.equal((await first.call('DELETE', `/api/v1/topics/${topic}`, galaxy)).status, 204);
			await publish(topic, 1);
			assert.deepEqual(await pollOnce(token, { topics: [topic] }), [1]);
		});

		test('who may not read any more is refused, and goes on from there when they may again', async () => {
			const topic = newTopic();
			await publish(topic, 0);
			const reader = await first.person(`reader-of-${topic}`);
			const permissions = `/api/v1/topics/${topic}/permissions`;
			const grant = () => first.call('POST', permissions, galaxy, { username: reader.username, permission: 'read' });
			const shown = `galaxy/${topic}`;
			assert.equal((await grant()).status, 201);
			assert.deepEqual(await pollOnce(reader.token, { topics: [shown] }), []);
			assert.equal((await first.call('DELETE', `${permissions}/${reader.username}`, galaxy)).status, 204);
			const refused = connect(reader.token);
			refused.ask({ topics: [shown] });
			assert.equal((await refused.answer())?.status, 403);
			refused.end();
			await publish(topic, 1);
			assert.equal((await grant()).status, 201);
			assert.deepEqual(await pollOnce(reader.token, { topics: [shown] }), [1]);
		});
	});
}

test('a client that signs in anew for each poll goes on where its session before began', async (t) => {
	const world = await startAuthRelay({ PULSAR_ACCESS_TOKEN_EXPIRE_MINUTES: '5' });
	t.after(() => world.close());
	const galaxy = await world.person('galaxy');
	const poll = async () => {
		const { access_token: token } = (await world.login('galaxy', galaxy.password)).json<{ access_token: string }>();
		const connection = new Connection(world.url, token);
		const payloads = await connection.poll({ topics: ['status'] });
		await connection.finish();
		return payloads;
	};
	assert.deepEqual(await poll(), []);
	assert.deepEqual(await poll(), []);
	await world.call('POST', '/api/v1/messages', galaxy, { topic: 'status', payload: 1 });
	assert.deepEqual(await poll(), [1]);
	// Once more, for the session before, of which nothing tells that it was this client's; then no more.
	assert.deepEqual(await poll(), [1]);
	assert.deepEqual(await poll(), []);
});

test('a client that signs in anew after a restart goes on, though each process signs its tokens with a secret of its own', async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-polls-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	const world = () => startAuthRelay({ PULSAR_STORAGE_BACKEND: 'embedded', PULSAR_DATA_DIR: dataDir, PULSAR_JWT_SECRET_KEY: '' });
	const poll = async ({ url, admin }: AuthRelay) => {
		const connection = new Connection(url, admin.token);
		const payloads = await connection.poll({ topics: ['status'] });
		await connection.finish();
		return payloads;
	};
	const first = await world();
	assert.deepEqual(await poll(first), []);
	await first.close();
	const next = await world();
	t.after(() => next.close());
	await next.call('POST', '/api/v1/messages', next.admin, { topic: 'status', payload: 1 });
	assert.deepEqual(await poll(next), [1]);
});

test('without accounts nothing is remembered, as in 0.2', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.close());
	const connection = new Connection(relay.url, null);
	assert.deepEqual(await connection.poll({ topics: ['a'] }), []);
	await relay.publish('a', '1');
	assert.deepEqual(await connection.poll({ topics: ['a'] }), []);
	await connection.finish();
});
