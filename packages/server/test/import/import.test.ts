/** `pulsar-relay import`: what pulsar-relay 0.2 left in Valkey works on in this relay, once, whatever happens to the import. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, type TestContext, test } from 'node:test';
import { type AuthRelay, startAuthRelay } from '../support/auth-relay.ts';
import { HttpBrowser } from '../support/http-browser.ts';
import { CLIENT_ID, CLIENT_SECRET, startIdentityProvider } from '../support/identity-provider.ts';
import { freePort, startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import {
	type EarlierAccount,
	isoTime,
	writeAccount,
	writeMessage,
	writeMessages,
	writeSession,
	writeTopic,
} from './earlier-fixture.ts';

const LAUNCHER = new URL('../../bin/pulsar-relay.js', import.meta.url).pathname;
const skip = valkeyUnavailable() ?? false;

type Settings = Readonly<Record<string, string>>;

interface Ended {
	readonly code: number | null;
	readonly stdout: string;
	readonly stderr: string;
}

interface Running {
	readonly child: ChildProcess;
	readonly ended: Promise<Ended>;
}

function launchImport(settings: Settings, ...flags: readonly string[]): Running {
	const child = spawn(process.execPath, [LAUNCHER, 'import', '--from-reference', ...flags], {
		env: { ...process.env, ...settings },
		stdio: ['ignore', 'pipe', 'pipe'],
	});
	const printed = { stdout: '', stderr: '' };
	for (const name of ['stdout', 'stderr'] as const) {
		child[name].on('data', (chunk: Buffer) => {
			printed[name] += chunk.toString();
		});
	}
	const ended = once(child, 'close').then(([code]) => ({ code, ...printed }));
	return { child, ended };
}

async function runImport(settings: Settings, ...flags: readonly string[]): Promise<Ended> {
	const ended = await launchImport(settings, ...flags).ended;
	assert.equal(ended.code, 0, ended.stderr);
	return ended;
}

/** The rows of the summary: `[taken, before, passed over]` by what was counted. */
function countsOf({ stdout }: Ended): Record<string, readonly number[]> {
	const rows = stdout.split('\n').map((line) => /^(\w+) +(\d+) .*?, (\d+) by an import before, (\d+) passed over$/.exec(line));
	return Object.fromEntries(rows.filter((row) => row !== null).map(([, name, ...counts]) => [name, counts.map(Number)]));
}

interface Kept {
	readonly message_id: string;
	readonly payload: { readonly n: number };
	readonly metadata: object | null;
	readonly timestamp: string;
}

async function signIn(relay: AuthRelay, { username, password }: EarlierAccount) {
	const answer = await relay.login(username, password);
	assert.equal(answer.status, 200, answer.text);
	return answer.json<{ access_token: string }>().access_token;
}

/** All messages of a topic, as its owner polls them after a cursor. */
async function poll(relay: AuthRelay, token: string, topic: string, since = '0-0'): Promise<readonly Kept[]> {
	const kept: Kept[] = [];
	for (let last = since; ; ) {
		const answer = await relay.call('POST', '/messages/poll', token, { topics: [topic], since: { [topic]: last }, timeout: 1 });
		const { messages, has_more: more } = answer.json<{ messages: readonly Kept[]; has_more: boolean }>();
		kept.push(...messages);
		if (!more) return kept;
		last = messages.at(-1)?.message_id ?? last;
	}
}

const idsOf = (messages: readonly Kept[]) => messages.map(({ message_id: id }) => id);
const numbersOf = (messages: readonly Kept[]) => messages.map(({ payload }) => payload.n);
const upTo = (count: number) => Array.from({ length: count }, (_, n) => n);

/** Where to import to, beside where the earlier data is. */
interface Target {
	readonly name: string;
	/** Only the first test: for the rest it is the same store as another target. */
	readonly firstOnly?: true;
	/** The settings of a relay, and of an import, on a store that nothing is in. */
	make(t: TestContext, source: Valkey): Promise<Settings>;
}

async function emptyDirectory(t: TestContext): Promise<string> {
	const dir = await mkdtemp(join(tmpdir(), 'pulsar-import-'));
	t.after(() => rm(dir, { recursive: true, force: true }));
	return join(dir, 'data');
}

const targets: readonly Target[] = [
	{
		name: 'the embedded store',
		make: async (t, source) => ({
			...source.relayEnv,
			PULSAR_STORAGE_BACKEND: 'embedded',
			PULSAR_DATA_DIR: await emptyDirectory(t),
		}),
	},
	{ name: 'the Valkey that the earlier server used', make: async (_t, source) => source.relayEnv },
	{
		name: 'another Valkey',
		firstOnly: true,
		async make(t, source) {
			const other = await startValkey();
			t.after(() => other.stop());
			return { ...other.relayEnv, PULSAR_IMPORT_SOURCE: `valkey://${source.host}:${source.port}` };
		},
	},
];

/** A server with earlier data, gone after the test. */
async function startSource(t: TestContext, password?: string): Promise<Valkey> {
	const valkey = await startValkey(password === undefined ? {} : { password });
	t.after(() => valkey.stop());
	return valkey;
}

async function startRelay(t: TestContext, settings: Settings): Promise<AuthRelay> {
	const relay = await startAuthRelay(settings);
	t.after(() => relay.close());
	return relay;
}

for (const { name, firstOnly, make } of targets) {
	const on = `into ${name}: `;

	test(`${on}people sign in with their passwords, keep their sessions, and poll on from their cursors`, { skip }, async (t) => {
		const source = await startSource(t);
		const settings = await make(t, source);
		const alice = await writeAccount(source, 'alice', { email: 'alice@example.org', permissions: '["write", "read"]' });
		const bob = await writeAccount(source, 'bob', { is_active: 'False' });
		const carol = await writeAccount(source, 'carol', {
			hashed_password: '',
			permissions: '["admin"]',
			created_at: '2026-05-01T12:00:00.123456',
		});
		const jobs = await writeTopic(source, alice.userId, 'job_setup_a-b', { description: 'Jobs' });
		const startMs = Date.now() - 600_000;
		const ids = [`${startMs}-0`, `${startMs}-1`, `${startMs + 5}-0`, `${startMs + 400}-0`];
		const payload = '{"n": 9007199254740993, "float": 1.0, "text": "\\u00e9"}';
		for (const [i, id] of ids.entries()) await writeMessage(source, jobs, id, payload, i === 1 ? '{"from": "galaxy"}' : null);
		const shared = await writeTopic(source, carol.userId, 'shared', { is_public: 'True' });
		const granted = await writeTopic(source, carol.userId, 'granted');
		await source.cli('SADD', `topic:${granted}:allowed_users`, alice.userId);
		for (const topic of [shared, granted]) await writeMessage(source, topic, `${startMs}-0`, '{"n": 1}');
		const refreshToken = await writeSession(source, alice.userId, { client_hint: 'pulsar-config' });
		await writeSession(source, alice.userId, { revoked: '1', revoked_reason: 'rotated' });
		await writeSession(source, alice.userId, { expires_at: isoTime(Date.now() - 1000) });

		assert.deepEqual(countsOf(await runImport(settings)), {
			accounts: [3, 0, 0],
			sessions: [1, 0, 0],
			topics: [3, 0, 0],
			messages: [6, 0, 0],
		});
		const relay = await startRelay(t, settings);
		const token = await signIn(relay, alice);
		const me = (await relay.call('GET', '/auth/me', token)).json();
		assert.deepEqual([me['user_id'], me['email'], me['is_active']], [alice.userId, 'alice@example.org', true]);
		assert.deepEqual([...(me['permissions'] as string[])].sort(), ['read', 'write']);
		const all = await poll(relay, token, 'job_setup_a-b');
		assert.deepEqual(idsOf(all), ids);
		assert.deepEqual(all[1]?.metadata, { from: 'galaxy' });
		assert.equal(Date.parse(all[3]?.timestamp ?? ''), startMs + 400);
		assert.deepEqual(idsOf(await poll(relay, token, 'job_setup_a-b', ids[1])), ids.slice(2));
		const history = await relay.call('GET', '/api/v1/topics/job_setup_a-b/messages?order=asc', token);
		assert(history.text.includes(payload), 'byte for byte');
		const topic = (await relay.call('GET', '/api/v1/topics/job_setup_a-b', token)).json();
		assert.deepEqual([topic['owner_id'], topic['description']], [alice.userId, 'Jobs']);
		assert(String(topic['created_at']) < new Date(startMs).toISOString());

		const refreshed = await relay.call('POST', '/auth/token/refresh', null, { refresh_token: refreshToken });
		assert.equal(refreshed.status, 200, refreshed.text);
		assert.equal((await relay.login('bob', bob.password)).status, 403);
		assert.equal((await relay.login('carol', carol.password)).status, 401);
		for (const reference of [`carol/shared`, `carol/granted`]) assert.equal((await poll(relay, token, reference)).length, 1);
		const write = (reference: string) =>
			relay.call('POST', '/api/v1/messages', token, { topic: reference, payload: { n: 2 } }).then(({ status }) => status);
		assert.deepEqual([await write('carol/shared'), await write('carol/granted')], [403, 201]);
		const next = await relay.call('POST', '/api/v1/messages', token, { topic: 'job_setup_a-b', payload: { n: 5 } });
		assert.deepEqual(idsOf(await poll(relay, token, 'job_setup_a-b', ids[3])), [next.json()['message_id']]);
	});

	if (firstOnly) continue;
	test(`${on}a second run takes what is new and leaves alone what was changed here`, { skip }, async (t) => {
		const source = await startSource(t);
		const settings = await make(t, source);
		const alice = await writeAccount(source, 'alice');
		const gone = await writeAccount(source, 'gone');
		const [first, deleted] = [await writeTopic(source, alice.userId, 'first'), await writeTopic(source, alice.userId, 'deleted')];
		const startMs = Date.now() - 600_000;
		for (const topic of [first, deleted]) await writeMessages(source, topic, startMs, 10);
		const session = await writeSession(source, alice.userId);
		await runImport(settings);
		{
			const relay = await startAuthRelay(settings);
			const token = await signIn(relay, alice);
			assert.equal((await relay.call('DELETE', '/api/v1/topics/deleted', token)).status, 204);
			assert.equal((await relay.call('DELETE', `/auth/users/${gone.userId}`, relay.admin)).status, 204);
			await relay.call('POST', '/auth/token/revoke', null, { refresh_token: session });
			await relay.call('POST', '/api/v1/messages', token, { topic: 'first', payload: { n: 100 } });
			await relay.close();
		}
		await writeMessage(source, first, `${startMs + 1000}-0`, '{"n": 10}');
		const second = await writeTopic(source, alice.userId, 'second');
		await writeMessages(source, second, startMs, 5);
		assert.deepEqual(countsOf(await runImport(settings)), {
			accounts: [0, 2, 0],
			sessions: [0, 1, 0],
			topics: [1, 2, 0],
			messages: [6, 0, 0],
		});
		assert.deepEqual(countsOf(await runImport(settings))['messages'], [0, 0, 0]);
		const relay = await startRelay(t, settings);
		const token = await signIn(relay, alice);
		assert.deepEqual(numbersOf(await poll(relay, token, 'first')), [...upTo(10), 100, 10]);
		assert.deepEqual(numbersOf(await poll(relay, token, 'second')), upTo(5));
		assert.equal((await relay.call('GET', '/api/v1/topics/deleted', token)).status, 404);
		assert.equal((await relay.login('gone', gone.password)).status, 401);
		assert.equal((await relay.call('POST', '/auth/token/refresh', null, { refresh_token: session })).status, 401);
	});

	test(`${on}a session that went on at the earlier server after a first run goes on from there`, { skip }, async (t) => {
		const source = await startSource(t);
		const settings = await make(t, source);
		const alice = await writeAccount(source, 'alice');
		const [rotated, logged, kept] = [
			await writeSession(source, alice.userId),
			await writeSession(source, alice.userId),
			await writeSession(source, alice.userId),
		];
		await runImport(settings);
		const revoke = (token: string, reason: string) =>
			source.cli('HSET', `refresh:tok:${token.split('.')[0]}`, 'revoked', '1', 'revoked_reason', reason);
		await revoke(rotated, 'rotated');
		await revoke(logged, 'logout');
		const successor = await writeSession(source, alice.userId, { parent_jti: rotated.split('.')[0] ?? '' });
		assert.deepEqual(countsOf(await runImport(settings))['sessions'], [1, 1, 0]);
		const relay = await startRelay(t, settings);
		const refresh = async (token: string) =>
			(await relay.call('POST', '/auth/token/refresh', null, { refresh_token: token })).status;
		assert.deepEqual([await refresh(rotated), await refresh(logged)], [401, 401]);
		assert.deepEqual([await refresh(successor), await refresh(kept)], [200, 200]);
	});

	test(`${on}an import that is killed again and again is complete in the end, and doubles nothing`, { skip }, async (t) => {
		const source = await startSource(t);
		const settings = await make(t, source);
		const alice = await writeAccount(source, 'alice');
		const count = 1200;
		const topics = ['a', 'b'];
		for (const topic of topics)
			await writeMessages(source, await writeTopic(source, alice.userId, topic), Date.now() - 600_000, count);
		let kills = 0;
		for (let delayMs = 300; ; delayMs *= 1.2) {
			const { child, ended } = launchImport(settings);
			const kill = setTimeout(() => child.kill('SIGKILL'), delayMs);
			const { code } = await ended;
			clearTimeout(kill);
			if (code === 0) break;
			assert.equal(code, null);
			kills++;
		}
		assert(kills >= 3, `${kills} times killed`);
		const relay = await startRelay(t, settings);
		const token = await signIn(relay, alice);
		for (const topic of topics) assert.deepEqual(numbersOf(await poll(relay, token, topic)), upTo(count));
	});
}

test('into a Valkey on which relays serve: who waits there for a topic is given its messages as they are imported', {
	skip,
}, async (t) => {
	const source = await startSource(t);
	const alice = await writeAccount(source, 'alice');
	await runImport(source.relayEnv);
	const relay = await startRelay(t, source.relayEnv);
	const token = await signIn(relay, alice);
	const socket = await relay.socket(token);
	await socket.ask({ type: 'subscribe', topics: ['late'], client_id: 'c' });
	await writeMessages(source, await writeTopic(source, alice.userId, 'late'), Date.now() - 600_000, 300);
	await runImport(source.relayEnv);
	for (const n of upTo(300)) assert.deepEqual((await socket.next())['payload'], { n });
	await relay.call('POST', '/api/v1/messages', token, { topic: 'late', payload: { n: 300 } });
	assert.deepEqual((await socket.next())['payload'], { n: 300 });
	await socket.end();
});

describe('the import', { skip }, () => {
	const embedded = targets[0] as Target;

	test('passes over what it does not understand, and says what and why', async (t) => {
		const source = await startSource(t);
		const settings = await embedded.make(t, source);
		const alice = await writeAccount(source, 'alice');
		await writeAccount(source, 'strange', { permissions: '["read", "everything"]' });
		await writeAccount(source, 'broken', { permissions: '[' });
		await writeAccount(source, 'old-hash', { hashed_password: '$2b$12$abcdefghijklmnopqrstuv' });
		await writeAccount(source, 'undated', { created_at: 'yesterday' });
		await writeAccount(source, 'x');
		await source.cli('SET', 'user:5f0f6a0e-0000-4000-8000-000000000000', 'no hash');
		await writeSession(source, alice.userId, { secret_hash: 'short' });
		await writeTopic(source, alice.userId, 'tópic');
		await writeTopic(source, '5f0f6a0e-0000-4000-8000-000000000001', 'orphan');
		await source.cli('HSET', 'topic:legacy', 'topic_name', 'legacy');
		const topic = await writeTopic(source, alice.userId, 'poisoned');
		const startMs = Date.now() - 60_000;
		const payloads = ['{"n": 0}', 'NaN', '{"a": NaN}', '{"a": "\\ud800"}', '{"a": ', '"a" "b"', '', '{"n": 1}'];
		for (const [i, payload] of payloads.entries()) await writeMessage(source, topic, `${startMs + i}-0`, payload);
		await writeMessage(source, topic, `${startMs + 50}-0`, '{"n": 2}', '{"a": 1}');
		await source.cli('XADD', `stream:topic:${topic}`, `${startMs + 51}-0`, 'something', 'else');
		await source.cli('XADD', `stream:topic:${topic}`, '18446744073709551615-0', 'payload', '{}');

		await source.cli('SET', `stream:topic:${await writeTopic(source, alice.userId, 'streamless')}`, 'no stream');
		const dave = await writeAccount(source, 'dave');
		await source.cli('SET', `refresh:user:${dave.userId}`, 'no set');
		await source.cli('SADD', `refresh:user:${alice.userId}`, 'long-gone');

		const ended = await runImport(settings);
		assert.deepEqual(countsOf(ended), { accounts: [2, 0, 6], sessions: [0, 0, 2], topics: [2, 0, 2], messages: [2, 0, 10] });
		assert.match(ended.stdout, /^1 topics of a server before 0\.2 were not read$/m);
		for (const line of [
			/accounts: "user:\S+": its permissions are not understood/,
			/accounts: "user:\S+": its password hash is no Argon2id that can be checked/,
			/accounts: "user:\S+": its time of creation is none/,
			/accounts: "user:\S+": its name does not have 3 to 50 characters/,
			/accounts: "user:5f0f6a0e-0000-4000-8000-000000000000": it is of another type of value/,
			/sessions: "refresh:tok:\S+": it has no secret/,
			/sessions: "refresh:user:\S+": it is of another type of value/,
			/messages: "\S+\/streamless": they are in no stream/,
			/topics: "topic:\S+\/tópic": this relay allows no such name/,
			/topics: "topic:\S+\/orphan": its owner has no account here/,
			/messages: "\S+\/poisoned \d+-0": its payload is no JSON that can be delivered/,
			/messages: "\S+\/poisoned \d+-0": its metadata is no JSON object of texts/,
			/messages: "\S+\/poisoned \d+-0": it has no payload/,
			/messages: "\S+\/poisoned 18446744073709551615-0": its id is none that this relay could give/,
		])
			assert.match(ended.stderr, line);
		assert(!ended.stderr.includes('$2b$'), 'no hash is printed');
		const relay = await startRelay(t, settings);
		assert.deepEqual(numbersOf(await poll(relay, await signIn(relay, alice), 'poisoned')), [0, 1]);
	});

	test('leaves people who signed in at a provider their accounts', async (t) => {
		const source = await startSource(t);
		const base = `http://127.0.0.1:${await freePort()}`;
		const callback = `${base}/auth/oidc/example/callback`;
		const provider = await startIdentityProvider({ redirectUris: [callback] });
		t.after(() => provider.close());
		const identities = [{ issuer: provider.issuer, sub: 'ann', provider_name: 'example', email: null, linked_at: 'then' }];
		const ann = await writeAccount(source, 'ann-as-before', {
			hashed_password: '',
			federated_identities: JSON.stringify(identities),
		});
		await writeAccount(source, 'misread', { federated_identities: '[{"issuer": 1}]' });
		const settings = {
			...(await embedded.make(t, source)),
			PULSAR_PORT: new URL(base).port,
			PULSAR_AUTH: 'required',
			PULSAR_OIDC__ENABLED: '1',
			PULSAR_OIDC__BASE_URL: base,
			PULSAR_OIDC__PROVIDERS__EXAMPLE__DISPLAY_NAME: 'Example',
			PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_ID: CLIENT_ID,
			PULSAR_OIDC__PROVIDERS__EXAMPLE__CLIENT_SECRET: CLIENT_SECRET,
			PULSAR_OIDC__PROVIDERS__EXAMPLE__DISCOVERY_URL: provider.discoveryUrl,
		};
		const ended = await runImport(settings);
		assert.deepEqual(countsOf(ended)['accounts'], [1, 0, 1]);
		assert.match(ended.stderr, /accounts: "user:\S+": its identities are not understood/);
		const relay = await startRelay(t, settings);
		const browser = new HttpBrowser();
		const visit = await browser.open(await browser.signIn(`${base}/auth/oidc/example/login`, 'ann', callback));
		const { access_token: token } = JSON.parse(visit.text) as { access_token: string };
		const me = (await relay.call('GET', '/auth/me', token)).json();
		assert.deepEqual([me['user_id'], me['username']], [ann.userId, 'ann-as-before']);
	});

	test('gives a later id where it cannot give the same one, so that no cursor misses a message', async (t) => {
		const source = await startSource(t);
		const settings = await embedded.make(t, source);
		const alice = await writeAccount(source, 'alice');
		const topic = await writeTopic(source, alice.userId, 'holes');
		const ms = Date.now() - 60_000;
		const had = [`${ms}-3`, `${ms}-4`, `${ms + 1}-0`, `${ms + 9}-0`, `${ms + 9}-2`, `${ms + 20}-0`];
		for (const [n, id] of had.entries()) await writeMessage(source, topic, id, `{"n": ${n}}`);
		const ended = await runImport(settings);
		assert.match(ended.stdout, /^4 of the messages have a later id than they had$/m);
		const relay = await startRelay(t, settings);
		const token = await signIn(relay, alice);
		const got = idsOf(await poll(relay, token, 'holes'));
		assert.deepEqual(got, [`${ms + 1}-0`, `${ms + 1}-1`, `${ms + 1}-2`, `${ms + 9}-0`, `${ms + 10}-0`, `${ms + 20}-0`]);
		for (const [n, id] of had.entries()) {
			const rest = numbersOf(await poll(relay, token, 'holes', id));
			assert.deepEqual(rest.slice(-(had.length - 1 - n) || rest.length), upTo(had.length).slice(n + 1), `after ${id}`);
		}
	});

	test('in a dry run tells what it would do, and does nothing', async (t) => {
		const source = await startSource(t);
		const settings = await embedded.make(t, source);
		const alice = await writeAccount(source, 'alice');
		await writeAccount(source, 'root');
		await writeMessages(source, await writeTopic(source, alice.userId, 'jobs'), Date.now() - 60_000, 1000);
		await writeSession(source, alice.userId);
		const expected = { accounts: [2, 0, 0], sessions: [1, 0, 0], topics: [1, 0, 0], messages: [1000, 0, 0] };
		const before = await source.cli('DBSIZE');
		assert.deepEqual(countsOf(await runImport(settings, '--dry-run')), expected);
		assert.equal(existsSync(settings['PULSAR_DATA_DIR'] ?? ''), false);
		assert.equal(await source.cli('DBSIZE'), before);

		const relay = await startAuthRelay(settings);
		await relay.close();
		const again = await runImport(settings, '--dry-run');
		assert.deepEqual(countsOf(again), { ...expected, accounts: [1, 0, 1] });
		assert.match(again.stderr, /another account here has the name root; delete that one first/);
		assert.deepEqual(countsOf(await runImport(settings)), { ...expected, accounts: [1, 0, 1] });
	});

	test('reads at an address of its own with a password, which it never prints', async (t) => {
		const source = await startSource(t, 'p@ss/word');
		const settings = { PULSAR_DATA_DIR: await emptyDirectory(t) };
		const at = (password: string) => ({
			...settings,
			PULSAR_IMPORT_SOURCE: `valkey://:${password}@${source.host}:${source.port}`,
		});
		await writeAccount(source, 'alice');
		const refused = await launchImport(at('wrong')).ended;
		assert.equal(refused.code, 1);
		assert.match(
			refused.stderr,
			/^pulsar-relay: the import has ended early: cannot read the earlier data at \S+: wrong user name or password; run it again to go on\n$/,
		);
		const malformed = await launchImport({ ...settings, PULSAR_IMPORT_SOURCE: 'https://:secret@x' }).ended;
		assert.equal(malformed.code, 78);
		assert(!malformed.stderr.includes('secret'), malformed.stderr);
		assert.deepEqual(countsOf(await runImport(at('p%40ss%2Fword')))['accounts'], [1, 0, 0]);
	});

	test('does not write into a data directory that a relay uses', async (t) => {
		const source = await startSource(t);
		const settings = await embedded.make(t, source);
		await startRelay(t, settings);
		const { code, stderr } = await launchImport(settings).ended;
		assert.equal(code, 1);
		assert.match(stderr, /in use/);
	});

	test('says from where it can import, and not into memory', async () => {
		const run = (env: Settings, ...argv: readonly string[]) => {
			const child = spawn(process.execPath, [LAUNCHER, 'import', ...argv], {
				env: { ...process.env, ...env },
				stdio: ['ignore', 'ignore', 'pipe'],
			});
			const lines: string[] = [];
			createInterface({ input: child.stderr }).on('line', (line) => lines.push(line));
			return once(child, 'close').then(([code]) => ({ code, text: lines.join('\n') }));
		};
		const unsaid = await run({});
		assert.equal(unsaid.code, 78);
		assert.match(unsaid.text, /import requires --from-reference/);
		const memory = await run({ PULSAR_STORAGE_BACKEND: 'memory' }, '--from-reference');
		assert.equal(memory.code, 78);
		assert.match(memory.text, /PULSAR_STORAGE_BACKEND: what is imported into the memory store is lost at once/);
	});
});
