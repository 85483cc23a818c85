/** A relay that is started before its Valkey: it lives, listens, says that it is not ready, and serves once Valkey is there. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { send, sendJson } from '../support/http-client.ts';
import { freePort, startReplica, startValkey, untilAnswer, valkeyUnavailable } from '../support/valkey.ts';

const LAUNCHER = new URL('../../bin/pulsar-relay.js', import.meta.url).pathname;

interface Started {
	readonly child: ChildProcess;
	readonly url: string;
	log(): string;
	/** Resolves with the exit code. */
	readonly ended: Promise<number | null>;
}

async function start(t: TestContext, env: Readonly<Record<string, string>>): Promise<Started> {
	const port = await freePort();
	const dir = await mkdtemp(join(tmpdir(), 'pulsar-relay-test-'));
	const child = spawn(process.execPath, [LAUNCHER], {
		env: {
			PATH: process.env['PATH'],
			PULSAR_PORT: String(port),
			PULSAR_DATA_DIR: dir,
			PULSAR_STORAGE_BACKEND: 'valkey',
			PULSAR_LOG_FORMAT: 'json',
			...env,
		},
		stdio: ['ignore', 'pipe', 'pipe'],
	});
	let printed = '';
	for (const stream of [child.stdout, child.stderr]) {
		stream.on('data', (chunk: Buffer) => {
			printed += chunk.toString();
		});
	}
	const ended = once(child, 'exit').then(([code]) => code as number | null);
	t.after(async () => {
		child.kill('SIGKILL');
		await ended;
		await rm(dir, { recursive: true, force: true });
	});
	return { child, url: `http://127.0.0.1:${port}`, log: () => printed, ended };
}

async function statusOf({ url }: Started, path: string): Promise<number | null> {
	return send(`${url}${path}`).then(
		({ status }) => status,
		() => null,
	);
}

const valkeyAt = (port: number) => ({
	PULSAR_VALKEY_PORT: String(port),
	PULSAR_ALLOWED_ORIGINS: '["https://app.example.org"]',
});

function suite(): void {
	test('it answers meanwhile, does not end, and serves at the same address once Valkey is there', async (t) => {
		const port = await freePort();
		const relay = await start(t, valkeyAt(port));
		await untilAnswer(async () => (await statusOf(relay, '/health')) === 200, 'listening');
		const ready = await send(`${relay.url}/ready`);
		assert.equal(ready.status, 503);
		assert.deepEqual(ready.json()['checks'], { storage: 'the relay waits for its store' });
		assert.equal(ready.json()['ready'], false);
		assert.match(ready.headers.get('retry-after') ?? '', /^[1-9]\d*$/);
		const refused = await sendJson('POST', `${relay.url}/api/v1/messages`, { topic: 'a', payload: 1 });
		assert.equal(refused.status, 503);
		assert.equal(refused.json()['error'], 'storage_unavailable');
		assert.equal(await statusOf(relay, '/api/v1/topics'), 503);
		// A browser would give up on an event stream for good, were this not one.
		const events = await send(`${relay.url}/api/v1/events?topics=a`, {
			headers: { accept: 'text/event-stream', origin: 'https://app.example.org', 'last-event-id': '5-0' },
		});
		assert.deepEqual(
			[events.status, events.headers.get('content-type'), events.headers.get('access-control-allow-origin')],
			[200, 'text/event-stream; charset=utf-8', 'https://app.example.org'],
		);
		assert.match(events.text, /^retry: \d+\nevent: closed\ndata: .*"storage_unavailable".*"reconnect".*\nid: 5-0\n\n$/);
		await untilAnswer(
			async () => relay.log().includes(`cannot use Valkey at 127.0.0.1:${port}: nothing listens there`),
			'said why',
		);
		assert.equal(relay.child.exitCode, null);
		const valkey = await startValkey({ port });
		t.after(() => valkey.stop());
		await untilAnswer(async () => (await statusOf(relay, '/ready')) === 200, 'ready');
		const published = await sendJson('POST', `${relay.url}/api/v1/messages`, { topic: 'a', payload: 1 });
		assert.equal(published.status, 201, published.text);
		relay.child.kill('SIGTERM');
		assert.equal(await relay.ended, 0);
	});

	test('it waits for as long as it is told to, and then says why it ends', async (t) => {
		const relay = await start(t, { ...valkeyAt(await freePort()), PULSAR_VALKEY_START_TIMEOUT: '2' });
		const startedMs = performance.now();
		assert.equal(await relay.ended, 1);
		assert.ok(performance.now() - startedMs >= 2000);
		assert.match(relay.log(), /pulsar-relay: cannot start: cannot use Valkey at \S+: nothing listens there\n/);
	});

	test('told to stop while it waits, it ends well, also with workers', async (t) => {
		const env = valkeyAt(await freePort());
		const relays = await Promise.all([start(t, env), start(t, { ...env, PULSAR_WORKERS: '2' })]);
		for (const relay of relays) {
			await untilAnswer(async () => (await statusOf(relay, '/health')) === 200, 'listening');
			relay.child.kill('SIGTERM');
			assert.equal(await relay.ended, 0, relay.log());
		}
	});

	test('a replica is waited for until it is a primary; a wrong password is not', async (t) => {
		const primary = await startValkey({ password: 'right' });
		t.after(() => primary.stop());
		const replica = await startReplica(primary);
		t.after(() => replica.stop());
		const waiting = await start(t, { ...valkeyAt(replica.port), PULSAR_VALKEY_PASSWORD: 'right' });
		await untilAnswer(async () => waiting.log().includes('the store is a read-only replica'), 'said why');
		await replica.cli('REPLICAOF', 'NO', 'ONE');
		await untilAnswer(async () => (await statusOf(waiting, '/ready')) === 200, 'ready');
		const wrong = await start(t, { ...valkeyAt(primary.port), PULSAR_VALKEY_PASSWORD: 'wrong' });
		assert.equal(await wrong.ended, 1);
		assert.match(wrong.log(), /cannot start: .*wrong user name or password/);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('a start before Valkey', suite);
else test('a start before Valkey', { skip: unavailable }, () => {});
