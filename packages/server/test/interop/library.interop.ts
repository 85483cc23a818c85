/**
 * The published Python client library, unmodified, against a running relay. What it sends and expects is its own business here: the
 * tests call it as its users do.
 */

import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { backends } from '../support/backends.ts';
import { send } from '../support/http-client.ts';
import { installClient, PythonClient } from './python.ts';
import { type Credentials, startWorld, type World } from './world.ts';

const python = installClient();
const SUITE_TIMEOUT_MS = 300_000;

interface Message {
	readonly topic: string;
	readonly message_id: string;
	readonly payload: { readonly n: number };
	readonly metadata: Readonly<Record<string, string>> | null;
}

interface Page {
	readonly messages: readonly Message[];
	readonly total: number;
	readonly next_cursor: string | null;
}

interface BulkAnswer {
	readonly results: readonly { readonly status: string; readonly error: string | null }[];
	readonly summary: object;
}

const numbersOf = (messages: readonly Message[]) => messages.map(({ payload }) => payload.n);
const idsOf = (messages: readonly Message[]) => messages.map(({ message_id: id }) => id);
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

for (const backend of backends) {
	const skip = backend.unavailable ?? (python.status === 'missing' ? python.reason : false);
	const title = `the Python client library, on the ${backend.name} store`;
	if (skip !== false) {
		// As a test, since a suite that is skipped is not counted.
		test(title, { skip }, () => {});
		continue;
	}
	describe(title, { timeout: SUITE_TIMEOUT_MS }, () => {
		let world: World;
		let galaxy: Credentials;
		let client: PythonClient;
		const processes: PythonClient[] = [];
		before(async () => {
			world = await startWorld(backend);
			galaxy = await world.person('galaxy');
			client = startPython();
		});
		after(async () => {
			for (const one of processes) await one.kill();
			await world.close();
		});

		function startPython(): PythonClient {
			assert(python.status === 'here');
			const one = new PythonClient(python.interpreter);
			processes.push(one);
			return one;
		}

		/** Makes a transport under a name; by default one that signs in by password. */
		const transport = (on: PythonClient, name: string, more: object = galaxy) =>
			on.make('RelayTransport', name, { relay_url: world.url, ...more });
		const stored = async (topic: string): Promise<readonly Message[]> => {
			const path = `/api/v1/topics/${topic}/messages?limit=100&order=asc`;
			return (await world.call('GET', path, await world.token(galaxy))).json<Page>().messages;
		};
		const sessionsOf = async (person: Credentials) =>
			(await world.call('GET', '/auth/sessions', await world.token(person))).json<{ client_hint: string }[]>();
		const raises = (name: string, message = /./) => ({ name, message });

		test('signs in by password once for many calls, with a token that names the account', async () => {
			const once = await world.person('once');
			await client.make('RelayAuthManager', 'manager', { relay_url: world.url, ...once });
			const token = await client.call<string>('manager.get_token');
			const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { sub: string };
			await client.make('HttpRelayClient', 'http', { relay_url: world.url });
			const me = await client.call<{ user_id: string; username: string }>('http.whoami', { access_token: token });
			assert.deepEqual([me.user_id, me.username], [claims.sub, 'once']);
			await transport(client, 'once', { auth_manager: { $made: 'manager' } });
			for (const n of upTo(5)) await client.call('once.post_message', { topic: 'once', payload: { n } });
			// One more is the question's own.
			assert.equal((await sessionsOf(once)).length, 2);
		});

		test('is told of a wrong password', async () => {
			await transport(client, 'wrong', { ...galaxy, password: 'not the password' });
			await assert.rejects(
				client.call('wrong.post_message', { topic: 'a', payload: {} }),
				raises('RelayAuthError', /401 Client Error/),
			);
		});

		test('keeps its session in a file from one process to the next, and renews it at each start', async () => {
			const person = await world.person('keeper');
			const file = join(world.dir, 'relay_credentials.json');
			await transport(client, 'first', { ...person, credentials_file: file });
			await client.call('first.post_message', { topic: 'kept', payload: { n: 0 } });
			assert.equal((await stat(file)).mode & 0o777, 0o600);
			for (const n of [1, 2, 3]) {
				const next = startPython();
				await transport(next, 'next', { credentials_file: file });
				await next.call('next.post_message', { topic: 'kept', payload: { n } });
				await next.kill();
			}
			// The first login and the question's own: the restarts went on with the one session.
			assert.equal((await sessionsOf(person)).length, 2);
		});

		test('gets its session back when the answer to a refresh is lost', async () => {
			const person = await world.person('unlucky');
			const file = join(world.dir, 'unlucky.json');
			await client.make('CredentialsFile', 'file', { path: file });
			const parts = { relay_url: world.url, credentials_file: { $made: 'file' } };
			await client.make('PasswordAuthenticator', 'login', { ...parts, ...person });
			await client.call('login.authenticate');
			await client.make('RefreshTokenAuthenticator', 'refresh', parts);
			const dropped = world.proxy.dropNextReply();
			await assert.rejects(client.call('refresh.authenticate'), raises('RelayAuthError', /network/));
			await dropped;
			await client.call('refresh.authenticate');
			await client.call('refresh.authenticate');
		});

		test('is refused with a token that was used long ago, which ends the session', async () => {
			const strict = await startWorld(backend, { PULSAR_REFRESH_GRACE: '0' });
			try {
				const person = await strict.person('robbed');
				await client.make('InMemoryCredentialsStore', 'vault', {
					relay_url: strict.url,
					refresh_token: 'none yet',
					on_save: { $report: 'saved' },
				});
				const saved: string[] = [];
				client.onReport('saved', ([data]) => saved.push((data as { refresh_token: string }).refresh_token));
				const parts = { relay_url: strict.url, credentials_file: { $made: 'vault' } };
				await client.make('PasswordAuthenticator', 'owner', { ...parts, ...person });
				await client.call('owner.authenticate');
				await client.make('RefreshTokenAuthenticator', 'renewer', parts);
				await client.call('renewer.authenticate');
				await client.make('HttpRelayClient', 'thief', { relay_url: strict.url });
				const [first, second] = saved;
				assert.equal(saved.length, 2);
				const exchange = (token: string | undefined) => client.call('thief.exchange_refresh_token', { refresh_token: token });
				await assert.rejects(exchange(first), raises('RefreshTokenRejectedError'));
				await assert.rejects(exchange(second), raises('RefreshTokenRejectedError'));
				await assert.rejects(client.call('renewer.authenticate'), raises('RelayAuthError', /revoked or expired/));
			} finally {
				await strict.close();
			}
		});

		test('renews a session a hundred times where tokens live so short that each call does', async () => {
			const short = await startWorld(backend, { PULSAR_ACCESS_TOKEN_EXPIRE_MINUTES: '5' });
			try {
				const person = await short.person('hasty');
				const file = join(short.dir, 'hasty.json');
				const parts = { relay_url: short.url, ...person, credentials_file: file };
				await client.make('RelayTransport', 'login', parts);
				await client.call('login.post_message', { topic: 'hasty', payload: { n: 0 } });
				await client.make('RelayTransport', 'hasty', parts);
				for (const n of upTo(100)) await client.call('hasty.post_message', { topic: 'hasty', payload: { n } });
				const sessions = (await short.call('GET', '/auth/sessions', await short.token(person))).json<unknown[]>();
				assert.equal(sessions.length, 2);
			} finally {
				await short.close();
			}
		});

		test('signs in anew by itself when its token is revoked', async () => {
			await client.make('RelayAuthManager', 'revoked', { relay_url: world.url, ...galaxy });
			await transport(client, 'revived', { auth_manager: { $made: 'revoked' } });
			const revoke = async () => {
				const token = await client.call<string>('revoked.get_token');
				assert.equal((await world.call('POST', '/auth/logout', token)).status, 204);
			};
			await revoke();
			await client.call('revived.post_message', { topic: 'revived', payload: { n: 0 } });
			await revoke();
			await client.call('revived.post_bulk_messages', { messages: [{ topic: 'revived', payload: { n: 1 } }] });
			await revoke();
			await client.call('revived.long_poll', { topics: ['revived'], timeout: 1 });
			assert.deepEqual(numbersOf(await stored('revived')), [0, 1]);
		});

		test('gives up at once on what can never succeed', async () => {
			const reader = await world.person('reader', ['read']);
			await transport(client, 'reader', reader);
			const post = (topic: string) => client.call('reader.post_message', { topic, payload: {} });
			await assert.rejects(post('a'), raises('RelayTransportError', /403 Client Error/));
			await transport(client, 'galaxy');
			const bad = client.call('galaxy.post_message', { topic: 'no such name!', payload: {} });
			await assert.rejects(bad, raises('RelayTransportError', /422 Client Error/));
		});

		test('publishes through a network that loses answers, each message once', async () => {
			await transport(client, 'publisher');
			const ids: string[] = [];
			for (const n of upTo(4)) {
				const dropped = n % 2 === 0 ? Promise.resolve() : world.proxy.dropNextReply();
				const args = { topic: 'lossy', payload: { n }, ttl: 3600, metadata: { from: 'galaxy' } };
				ids.push((await client.call<Message>('publisher.post_message', args)).message_id);
				await dropped;
			}
			const messages = await stored('lossy');
			assert.deepEqual(idsOf(messages), ids);
			assert.deepEqual(numbersOf(messages), upTo(4));
			assert.deepEqual(messages[0]?.metadata, { from: 'galaxy' });
		});

		test('publishes through a restart of the relay, each message once', async () => {
			await transport(client, 'patient');
			await client.call('patient.post_message', { topic: 'restarted', payload: { n: 0 } });
			await world.kill();
			const posting = client.call('patient.post_message', { topic: 'restarted', payload: { n: 1 } });
			await world.start();
			await posting;
			assert.deepEqual(numbersOf(await stored('restarted')), [0, 1]);
		});

		test('publishes in bulk, also when the answer is lost, each message once and in order', async () => {
			await transport(client, 'bulk');
			const messages = upTo(100).map((n) => ({ topic: n % 2 === 0 ? 'even' : 'odd', payload: { n } }));
			await client.call('bulk.post_message', { topic: 'even', payload: { n: -1 } });
			const dropped = world.proxy.dropNextReply();
			const answer = await client.call<BulkAnswer>('bulk.post_bulk_messages', { messages });
			await dropped;
			assert.deepEqual(answer.summary, { total: 100, accepted: 100, rejected: 0 });
			assert(answer.results.every(({ status, error }) => status === 'accepted' && error === null));
			assert.deepEqual(numbersOf(await stored('even')), [-1, ...upTo(50).map((n) => 2 * n)]);
			assert.deepEqual(
				numbersOf(await stored('odd')),
				upTo(50).map((n) => 2 * n + 1),
			);
			const tooMany = client.call('bulk.post_bulk_messages', { messages: [...messages, ...messages] });
			await assert.rejects(tooMany, raises('RelayTransportError', /422/));
		});

		test('polls on from its cursor file after a restart of itself, and of the relay', async () => {
			const file = join(world.dir, 'cursors.json');
			const topics = ['cursor-a', 'cursor-b'];
			await transport(client, 'source');
			const publish = async (...numbers: number[]) => {
				for (const n of numbers) await client.call('source.post_message', { topic: topics[n % 2], payload: { n } });
			};
			const seen: number[] = [];
			let reader = startPython();
			const open = () => transport(reader, 'reader', { ...galaxy, cursor_path: file });
			const poll = async (timeout: unknown = 30.0) => {
				const messages = await reader.call<Message[]>('reader.long_poll', { topics, timeout });
				seen.push(...numbersOf(messages));
				return messages;
			};
			await open();
			const waiting = poll();
			await untilPolled('cursor-a');
			await publish(0);
			await waiting;
			await publish(1, 2, 3);
			while (seen.length < 4) await poll(5);

			await reader.kill();
			await publish(4, 5);
			reader = startPython();
			await open();
			while (seen.length < 6) await poll(5);

			await reader.kill();
			await publish(6);
			await world.kill();
			await world.start();
			await publish(7, 8);
			reader = startPython();
			await open();
			while (seen.length < 9) await poll(5);
			assert.deepEqual(await poll(1), []);
			assert.deepEqual(
				seen.toSorted((a, b) => a - b),
				upTo(9),
			);
			for (const parity of [0, 1])
				assert.deepEqual(
					seen.filter((n) => n % 2 === parity),
					upTo(9).filter((n) => n % 2 === parity),
				);
		});

		/** Resolves when a poll waits for the topic. */
		async function untilPolled(topic: string, count = 1): Promise<void> {
			const token = await world.token(world.admin);
			for (;;) {
				const answer = await world.call('GET', '/messages/poll/stats', token);
				const counts = Object.entries(answer.json<{ topic_subscriber_counts: Record<string, number> }>().topic_subscriber_counts);
				if (counts.some(([name, waiting]) => name.endsWith(`/${topic}`) && waiting >= count)) return;
			}
		}

		test('polls with a float for a timeout, as the daemon does', async () => {
			await transport(client, 'floating');
			assert.deepEqual(await client.call('floating.long_poll', { topics: ['silent'], timeout: { $float: 1 } }), []);
			const waiting = client.call<Message[]>('floating.long_poll', { topics: ['floated'], timeout: { $float: 30 } });
			await untilPolled('floated');
			await client.call('floating.post_message', { topic: 'floated', payload: { n: 1 } });
			assert.deepEqual(numbersOf(await waiting), [1]);
		});

		test('creates a topic or finds that it owns it, and pages through its messages', async () => {
			await client.make('RelayAuthManager', 'galaxy-auth', { relay_url: world.url, ...galaxy });
			await client.make('RelayAuthManager', 'other-auth', { relay_url: world.url, ...(await world.person('other')) });
			await client.make('HttpRelayClient', 'topics', { relay_url: world.url });
			const own = { access_token: await client.call<string>('galaxy-auth.get_token'), topic_name: 'job_setup_a-b' };
			const foreign = { ...own, access_token: await client.call<string>('other-auth.get_token') };
			for (const who of [own, own, foreign, foreign]) await client.call('topics.create_or_verify_topic', who);
			assert.deepEqual((await client.call<Page>('topics.fetch_messages', own)).messages, []);
			await transport(client, 'pager');
			for (const n of upTo(7)) await client.call('pager.post_message', { topic: own.topic_name, payload: { n } });

			const newest = await client.call<Page>('topics.fetch_messages', { ...own, limit: 1, order: 'desc' });
			assert.deepEqual([numbersOf(newest.messages), newest.total], [[6], 1]);
			const paged: number[] = [];
			for (let cursor: string | null = null; ; ) {
				const page: Page = await client.call<Page>('topics.fetch_messages', { ...own, limit: 3, order: 'asc', cursor });
				if (page.messages.length === 0) break;
				paged.push(...numbersOf(page.messages));
				cursor = page.next_cursor;
			}
			assert.deepEqual(paged, upTo(7));
			assert.deepEqual((await client.call<Page>('topics.fetch_messages', foreign)).messages, []);
			const unknown = client.call('topics.fetch_messages', { ...own, topic_name: 'job_kill_a-b' });
			await assert.rejects(unknown, raises('RelayClientError', /HTTP 404/));
			const stranger = client.call('topics.fetch_messages', { ...own, access_token: 'a.b.c' });
			await assert.rejects(stranger, raises('RefreshTokenRejectedError'));
			const another = client.call('topics.create_or_verify_topic', { ...own, topic_name: '../auth/me' });
			await assert.rejects(another, raises('RelayClientError', /HTTP 422/));
		});

		test('signs in, publishes and polls from twenty clients at once, and each gets every message', async () => {
			const clients = upTo(20).map((n) => `client${n}`);
			await Promise.all(clients.map((name) => transport(client, name)));
			const polls = clients.map((name) => client.call<Message[]>(`${name}.long_poll`, { topics: ['crowd'], timeout: 30 }));
			await untilPolled('crowd', clients.length);
			await transport(client, 'starter');
			await client.call('starter.post_message', { topic: 'crowd', payload: { n: -1 } });
			for (const poll of polls) assert.deepEqual(numbersOf(await poll), [-1]);
			const posts = clients.map((name, n) => client.call(`${name}.post_message`, { topic: 'crowd', payload: { n } }));
			const reads = clients.map(async (name) => {
				const seen: number[] = [];
				while (seen.length < clients.length)
					seen.push(...numbersOf(await client.call<Message[]>(`${name}.long_poll`, { topics: ['crowd'], timeout: 10 })));
				return seen;
			});
			await Promise.all(posts);
			const [first, ...others] = await Promise.all(reads);
			assert.deepEqual(
				first?.toSorted((a, b) => a - b),
				upTo(20),
			);
			for (const other of others) assert.deepEqual(other, first);
		});

		/** Begins the device flow; resolves with the address that the library shows people, and the outcome of the flow. */
		async function beginDeviceFlow(name: string) {
			const file = join(world.dir, `${name}.json`);
			await client.make('CredentialsFile', `${name}-file`, { path: file });
			const shown = new Promise<string>((resolve) => client.onReport(name, ([uri]) => resolve(String(uri))));
			await client.make('RelayDeviceFlowAuthenticator', name, {
				relay_url: world.url,
				credentials_file: { $made: `${name}-file` },
				client_hint: 'pulsar on a host',
				pair: true,
				on_user_code: { $report: name },
			});
			const outcome = client.call<Record<string, string>>(`${name}.run`);
			outcome.catch(() => {});
			return { file, uri: await shown, outcome };
		}

		/** Signs in on the page and decides. */
		async function decide(uri: string, person: Credentials, decision: 'approve' | 'deny'): Promise<void> {
			const page = await send(uri);
			assert.equal(page.status, 200, page.text);
			assert.match(page.text, /pulsar on a host/);
			const post = (path: string, form: Record<string, string>) =>
				send(`${world.url}${path}`, { method: 'POST', body: new URLSearchParams(form) });
			const userCode = new URL(uri).searchParams.get('user_code') ?? assert.fail(uri);
			const asked = await post('/auth/device', { user_code: userCode, ...person });
			const ticket = /name="ticket" value="([\w-]+)"/.exec(asked.text)?.[1] ?? assert.fail(asked.text);
			const decided = await post('/auth/device/decision', { ticket, decision });
			assert.equal(decided.status, 200, decided.text);
		}

		test('signs a machine in by a code that somebody approves, with a second session to hand on', async () => {
			const { file, uri, outcome } = await beginDeviceFlow('device');
			await decide(uri, galaxy, 'approve');
			const { access_token, refresh_token, refresh_token_secondary } = await outcome;
			await client.make('HttpRelayClient', 'introduced', { relay_url: world.url });
			const me = await client.call<{ username: string }>('introduced.whoami', { access_token });
			assert.equal(me.username, 'galaxy');
			assert.equal((await stat(file)).mode & 0o777, 0o600);
			const kept = await readFile(file, 'utf8');
			assert(kept.includes(refresh_token ?? assert.fail()) && !kept.includes(refresh_token_secondary ?? assert.fail()));
			await transport(client, 'connected', { credentials_file: file });
			await client.call('connected.post_message', { topic: 'connected', payload: { n: 0 } });
			await client.call('introduced.exchange_refresh_token', { refresh_token: refresh_token_secondary });
			await client.call('connected.post_message', { topic: 'connected', payload: { n: 1 } });
			assert.deepEqual(numbersOf(await stored('connected')), [0, 1]);
		});

		test('is told when somebody denies the code', async () => {
			const { uri, outcome } = await beginDeviceFlow('denied');
			await decide(uri, galaxy, 'deny');
			await assert.rejects(outcome, raises('DeviceFlowError', /denied/));
		});

		test('publishes and polls a final status of 24 MiB', async () => {
			await transport(client, 'large');
			// Four streams of 1 MiB, of a character that the library writes as six.
			const stream = '\u0001'.repeat(1024 * 1024);
			const payload = { complete: 'true', stdout: stream, stderr: stream, job_stdout: stream, job_stderr: stream };
			await client.call('large.set_last_message_id', { topic: 'large', message_id: '0-0' });
			await client.call('large.post_message', { topic: 'large', payload });
			const [message] = await client.call<{ payload: object }[]>('large.long_poll', { topics: ['large'], timeout: 30 });
			assert.deepEqual(message?.payload, payload);
		});
	});
}
