/** Servers that a relay cannot or must not use: one clear line at the start, a failing exit code, no secret, and no waiting for long. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { startAuthRelay } from '../support/auth-relay.ts';
import { opensslUnavailable } from '../support/certificates.ts';
import { startRelayProcess } from '../support/process.ts';
import { bulk, startRespStub } from '../support/resp-stub.ts';
import { freePort, startReplica, startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';

const LAUNCHER = new URL('../../bin/pulsar-relay.js', import.meta.url).pathname;
const SECRET = 'hunter2-do-not-show';
/** Connecting, asking, and giving up. */
const START_MS_MAX = 8000;

/** Starts a relay that must not start, and gives the one line that it says. */
async function refusal(env: Readonly<Record<string, string>>): Promise<string> {
	const startedMs = performance.now();
	const child = spawn(process.execPath, [LAUNCHER], {
		env: {
			PATH: process.env['PATH'],
			PULSAR_PORT: '0',
			PULSAR_STORAGE_BACKEND: 'valkey',
			PULSAR_LOG_FORMAT: 'json',
			// The reason is what is asked for here, not whether it passes.
			PULSAR_VALKEY_START_TIMEOUT: '0',
			...env,
		},
		stdio: ['ignore', 'pipe', 'pipe'],
		timeout: 2 * START_MS_MAX,
		killSignal: 'SIGKILL',
	});
	let stdout = '';
	let stderr = '';
	child.stdout.on('data', (chunk: Buffer) => {
		stdout += chunk.toString();
	});
	child.stderr.on('data', (chunk: Buffer) => {
		stderr += chunk.toString();
	});
	const [code] = await once(child, 'close');
	assert.equal(code, 1, `${stdout}${stderr}`);
	assert.match(stderr, /^pulsar-relay: cannot start: [^\n]+\n$/);
	assert.ok(!stderr.includes(SECRET) && !stdout.includes(SECRET), 'no secret');
	const tookMs = performance.now() - startedMs;
	assert.ok(tookMs < START_MS_MAX, `it took ${tookMs} ms`);
	return stderr.slice('pulsar-relay: cannot start: '.length, -1);
}

/** As {@link refusal}, of several relays at once. */
async function refusals(cases: readonly (readonly [env: Readonly<Record<string, string>>, line: RegExp])[]): Promise<void> {
	const lines = await Promise.all(cases.map(([env]) => refusal(env)));
	for (const [i, [, line]] of cases.entries()) assert.match(lines[i] ?? '', line);
}

/** Starts a relay that must start, and ends it. */
async function starts(env: Readonly<Record<string, string>>): Promise<void> {
	const dir = await mkdtemp(join(tmpdir(), 'pulsar-relay-test-'));
	const relay = await startRelayProcess(dir, env);
	assert.equal(await relay.end('SIGTERM'), 0);
	await rm(dir, { recursive: true });
}

const at = (port: number) => ({ PULSAR_VALKEY_PORT: String(port) });

function servers(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey({ password: SECRET });
	});
	after(() => valkey.stop());

	test('a wrong password, none, and a user that does not exist', async () => {
		const line = new RegExp(`^cannot use Valkey at 127.0.0.1:${valkey.port}: wrong user name or password$`);
		await refusals([
			[{ ...at(valkey.port), PULSAR_VALKEY_PASSWORD: `${SECRET}!` }, line],
			[at(valkey.port), line],
			[{ ...at(valkey.port), PULSAR_VALKEY_USERNAME: 'nobody', PULSAR_VALKEY_PASSWORD: SECRET }, line],
		]);
	});

	test('nothing listens, or there is no such host', async () => {
		const port = await freePort();
		await refusals([
			[at(port), new RegExp(`^cannot use Valkey at 127.0.0.1:${port}: nothing listens there$`)],
			[
				{ ...at(port), PULSAR_VALKEY_HOST: 'no-such-host.invalid' },
				/^cannot use Valkey at no-such-host.invalid:\d+: there is no such host$/,
			],
		]);
	});

	test('a replica instead of its primary', async (t) => {
		const primary = await server(t, {});
		const replica = await startReplica(primary);
		t.after(() => replica.stop());
		assert.equal(
			await refusal(at(replica.port)),
			`cannot use Valkey at 127.0.0.1:${replica.port}: the store is a read-only replica`,
		);
	});

	test('two primaries, which are two logs; but not one server under two names', async (t) => {
		const [one, other] = [await server(t, {}), await server(t, {})];
		const addresses = [`${one.host}:${one.port}`, `${other.host}:${other.port}`];
		assert.equal(
			await refusal({ ...one.relayEnv, PULSAR_VALKEY_ADDRESSES: JSON.stringify(addresses) }),
			`cannot use Valkey at ${addresses.join(', ')}: more than one of the addresses is a primary`,
		);
		await starts({
			...one.relayEnv,
			PULSAR_VALKEY_ADDRESSES: JSON.stringify([`localhost:${one.port}`, `127.0.0.1:${one.port}`]),
		});
	});

	test('a server below version 7', async (t) => {
		const stub = await startRespStub(answerAsVersion('6.2.14'));
		t.after(() => stub.close());
		assert.equal(
			await refusal(at(stub.port)),
			`cannot use Valkey at 127.0.0.1:${stub.port}: the server is version 6.2.14; the relay needs Valkey, or Redis 7 or newer`,
		);
	});

	test('a frozen server', async (t) => {
		const frozen = await server(t, {});
		frozen.pause();
		assert.match(await refusal(at(frozen.port)), /nothing answers there$/);
	});
}

const INFO = 'redis_version:%\r\nrun_id:0123456789\r\nrole:master\r\nloading:0\r\n';

/** What an idle server of some version says to what a relay asks at its start. */
function answerAsVersion(version: string): (words: readonly string[]) => string {
	return ([command = '', word = '']) => {
		if (command === 'HELLO') return `%2\r\n${bulk('server')}${bulk('redis')}${bulk('proto')}:3\r\n`;
		if (command === 'INFO') return bulk(INFO.replace('%', version));
		if (command === 'CLIENT' && word === 'ID') return ':7\r\n';
		if (command === 'SUBSCRIBE') return `>3\r\n${bulk('subscribe')}${bulk('{relay}:probe')}:1\r\n`;
		if (command === 'UNSUBSCRIBE') return `>3\r\n${bulk('unsubscribe')}${bulk('{relay}:probe')}:0\r\n`;
		return '+OK\r\n';
	};
}

async function server(t: TestContext, settings: Readonly<Record<string, string | readonly string[]>>): Promise<Valkey> {
	const valkey = await startValkey({ settings });
	t.after(() => valkey.stop());
	return valkey;
}

function tls(): void {
	test('TLS where there is none, none where there is TLS, and an authority that is not known', async (t) => {
		const plain = await server(t, {});
		const secure = await startValkey({ tls: true });
		const other = await startValkey({ tls: true });
		t.after(() => Promise.all([secure.stop(), other.stop()]));
		const useTls = { PULSAR_VALKEY_USE_TLS: 'true', PULSAR_VALKEY_CA_PATH: secure.certificates?.ca ?? '' };
		const untrusted = /: its certificate is not trusted \(\w+\); see PULSAR_VALKEY_CA_PATH$/;
		await refusals([
			[{ ...at(plain.port), ...useTls }, /: (it does not speak TLS|nothing answers there over TLS); see PULSAR_VALKEY_USE_TLS$/],
			[at(secure.port), /: it closes connections without TLS; see PULSAR_VALKEY_USE_TLS$/],
			[{ ...at(other.port), ...useTls }, untrusted],
			[{ ...at(secure.port), PULSAR_VALKEY_USE_TLS: 'true' }, untrusted],
		]);
		await starts(secure.relayEnv);
	});
}

function permissions(): void {
	test('a user who lacks a permission, with its name', async (t) => {
		const valkey = await server(t, {
			user: [
				`none on >${SECRET} ~* &* +@all -xadd -zrange`,
				`info on >${SECRET} ~* &* +@all -info`,
				`evalsha on >${SECRET} ~* &* +@all -evalsha`,
				`subscribe on >${SECRET} ~* &* +@all -subscribe`,
				`channels on >${SECRET} ~* resetchannels +@all`,
				`keys on >${SECRET} ~other:* &* +@all`,
			],
		});
		const as = (user: string) => ({ ...at(valkey.port), PULSAR_VALKEY_USERNAME: user, PULSAR_VALKEY_PASSWORD: SECRET });
		await refusals([
			[as('none'), /: the user lacks the permission for XADD, ZRANGE$/],
			[as('info'), /: the user lacks the permission for INFO$/],
			[as('evalsha'), /: the user lacks the permission for EVALSHA$/],
		]);
		await refusals([
			[as('subscribe'), /may lack the permission for SUBSCRIBE/],
			[as('channels'), /: the user lacks the permission for PUBLISH$/],
			[as('keys'), /: the user lacks the permission for XADD, XLEN/],
		]);
	});

	test('the user that docs/stack.md shows is one who may do enough, also for accounts', async (t) => {
		const stack = readFileSync(new URL('../../../../docs/stack.md', import.meta.url), 'utf8');
		const user = /^user (relay .*) >(\S+)$/m.exec(stack) ?? assert.fail('no user is shown');
		const valkey = await server(t, { user: `${user[1]} >${SECRET}` });
		const env = { ...valkey.relayEnv, PULSAR_VALKEY_USERNAME: 'relay', PULSAR_VALKEY_PASSWORD: SECRET };
		const world = await startAuthRelay(env);
		t.after(() => world.close());
		const person = await world.person('somebody');
		const socket = await world.socket(person.token);
		assert.equal((await socket.ask({ type: 'subscribe', topics: ['a'] })).type, 'subscribed');
		assert.equal((await world.call('POST', '/api/v1/messages', person, { topic: 'a', payload: 1 })).status, 201);
		assert.equal((await socket.next()).type, 'message');
		assert.equal((await world.call('DELETE', '/api/v1/topics/a', person)).status, 204);
		assert.equal((await world.call('PATCH', `/auth/users/${person.userId}`, world.admin, { is_active: false })).status, 200);
		assert.equal(await socket.closed, 4403);
	});

	test('a user who may not read the settings, unless told what to believe of them', async (t) => {
		const valkey = await server(t, { user: `low on >${SECRET} ~* &* +@all -config` });
		const env = { ...valkey.relayEnv, PULSAR_VALKEY_USERNAME: 'low', PULSAR_VALKEY_PASSWORD: SECRET };
		assert.match(await refusal(env), /CONFIG GET is forbidden.*; set PULSAR_VALKEY_ASSUME_DURABILITY$/);
		await starts({ ...env, PULSAR_VALKEY_ASSUME_DURABILITY: 'process' });
		assert.match(
			await refusal({ ...env, PULSAR_VALKEY_ASSUME_DURABILITY: 'process', PULSAR_DURABILITY: 'disk' }),
			/the server gives durability process, and PULSAR_DURABILITY asks for disk/,
		);
	});

	test('a server whose CONFIG has another name', async (t) => {
		const valkey = await server(t, { 'rename-command': 'CONFIG ""' });
		assert.match(await refusal(valkey.relayEnv), /CONFIG GET is forbidden/);
		await starts({ ...valkey.relayEnv, PULSAR_VALKEY_ASSUME_DURABILITY: 'disk', PULSAR_DURABILITY: 'disk' });
	});
}

function durability(): void {
	test('a server that cannot give the durability that was asked for', async (t) => {
		const everysec = await server(t, { appendonly: 'yes', appendfsync: 'everysec' });
		assert.match(
			await refusal({ ...everysec.relayEnv, PULSAR_DURABILITY: 'disk' }),
			/: the server gives durability everysec, and PULSAR_DURABILITY asks for disk; it needs appendonly yes and appendfsync always$/,
		);
		assert.match(
			await refusal({ ...everysec.relayEnv, PULSAR_DURABILITY: 'process' }),
			/: the server gives durability everysec, and PULSAR_DURABILITY asks for process; it needs appendonly yes and appendfsync always or no$/,
		);
		await starts({ ...everysec.relayEnv, PULSAR_DURABILITY: 'everysec' });
		const none = await server(t, {});
		assert.match(
			await refusal({ ...none.relayEnv, PULSAR_DURABILITY: 'process' }),
			/: the server gives durability memory, and PULSAR_DURABILITY asks for process; it needs appendonly yes and appendfsync always or no$/,
		);
		await starts({ ...none.relayEnv, PULSAR_DURABILITY: 'any' });
		assert.match(
			await refusal({ ...everysec.relayEnv, PULSAR_DURABILITY: 'replicated:1' }),
			/: the server has 0 replicas, and PULSAR_DURABILITY asks for 1$/,
		);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) {
	describe('a server that does not answer as it should', servers);
	const noOpenssl = opensslUnavailable();
	if (noOpenssl === null) describe('TLS', tls);
	else test('TLS', { skip: noOpenssl }, () => {});
	describe('permissions', permissions);
	describe('durability', durability);
} else test('servers that a relay cannot use', { skip: unavailable }, () => {});
