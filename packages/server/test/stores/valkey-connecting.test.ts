/** Ways to a server: IPv6, certificates of both sides, a password that is rotated, and a server shared by two environments. */

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { opensslUnavailable } from '../support/certificates.ts';
import { startRelay } from '../support/relay.ts';
import { startValkey, untilAnswer, type Valkey, type ValkeyOptions, valkeyUnavailable } from '../support/valkey.ts';

async function server(t: TestContext, options: ValkeyOptions = {}): Promise<Valkey> {
	const valkey = await startValkey(options);
	t.after(() => valkey.stop());
	return valkey;
}

async function relayOn(t: TestContext, env: Readonly<Record<string, string>>) {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'valkey', ...env });
	t.after(() => relay.close());
	return relay;
}

/** The one line with which a relay refuses to start. */
async function refusal(env: Readonly<Record<string, string>>): Promise<string> {
	const error: unknown = await startRelay({ PULSAR_STORAGE_BACKEND: 'valkey', PULSAR_VALKEY_START_TIMEOUT: '0', ...env }).then(
		() => assert.fail('it started'),
		(thrown: unknown) => thrown,
	);
	assert(error instanceof Error);
	return error.message;
}

function addresses(): void {
	test('IPv6 addresses are written as in a URL', async (t) => {
		const valkey = await server(t, { settings: { bind: '127.0.0.1 ::1' } });
		for (const env of [
			{ PULSAR_VALKEY_ADDRESSES: JSON.stringify([`[::1]:${valkey.port}`]) },
			{ PULSAR_VALKEY_HOST: '[::1]', PULSAR_VALKEY_PORT: String(valkey.port) },
			{ PULSAR_VALKEY_HOST: '::1', PULSAR_VALKEY_PORT: String(valkey.port) },
			{ PULSAR_VALKEY_ADDRESSES: JSON.stringify([`[::1]:${valkey.port}`, `127.0.0.1:${valkey.port}`]) },
		]) {
			const relay = await relayOn(t, env);
			await relay.publish('a', '1');
		}
		assert.equal(await valkey.cli('XLEN', 'topic:a:stream'), '4');
	});

	test('the error of an IPv6 address shows it as in a URL', async () => {
		assert.match(
			await refusal({ PULSAR_VALKEY_ADDRESSES: '["[::1]:1"]' }),
			/^cannot use Valkey at \[::1\]:1: nothing listens there$/,
		);
	});
}

function certificates(): void {
	let dir: string;
	before(async () => {
		dir = await mkdtemp(join(tmpdir(), 'pulsar-relay-test-'));
	});
	after(() => rm(dir, { recursive: true }));

	test('a server that wants a certificate of the relay gets it, and its lack is the reason that is given', async (t) => {
		const valkey = await server(t, { tls: true, settings: { 'tls-auth-clients': 'yes' } });
		const other = await server(t, { tls: true });
		const own = { PULSAR_VALKEY_TLS_CERT: valkey.certificates?.clientCertificate ?? '' };
		const key = { PULSAR_VALKEY_TLS_KEY: valkey.certificates?.clientKey ?? '' };
		const relay = await relayOn(t, { ...valkey.relayEnv, ...own, ...key });
		await relay.publish('a', '1');
		assert.match(await refusal(valkey.relayEnv), /: it asks for a certificate of the client; see PULSAR_VALKEY_TLS_CERT$/);
		assert.match(
			await refusal({
				...valkey.relayEnv,
				PULSAR_VALKEY_TLS_CERT: other.certificates?.clientCertificate ?? '',
				PULSAR_VALKEY_TLS_KEY: other.certificates?.clientKey ?? '',
			}),
			/: it does not accept the certificate of PULSAR_VALKEY_TLS_CERT$/,
		);
		assert.match(
			await refusal({ ...valkey.relayEnv, ...own, PULSAR_VALKEY_TLS_KEY: other.certificates?.clientKey ?? '' }),
			/: PULSAR_VALKEY_TLS_KEY is not the key of PULSAR_VALKEY_TLS_CERT$/,
		);
	});

	test('each way in which a certificate is not good has its own reason', async (t) => {
		const valkey = await server(t, { tls: true, settings: { bind: '127.0.0.1 127.0.0.2' } });
		const other = await server(t, { tls: true });
		const broken = join(dir, 'broken.pem');
		await writeFile(broken, 'no certificate');
		const refused = (env: Readonly<Record<string, string>>) => refusal({ ...valkey.relayEnv, ...env });
		assert.match(
			await refused({ PULSAR_VALKEY_HOST: '127.0.0.2' }),
			/: its certificate is for DNS:localhost, IP Address:127.0.0.1, not for 127.0.0.2$/,
		);
		assert.match(
			await refused({ PULSAR_VALKEY_CA_PATH: join(dir, 'missing.pem') }),
			/: the file of PULSAR_VALKEY_CA_PATH cannot be read \(ENOENT\)$/,
		);
		assert.match(
			await refused({ PULSAR_VALKEY_CA_PATH: other.certificates?.ca ?? '' }),
			/: its certificate is not trusted \(\w+\); see PULSAR_VALKEY_CA_PATH$/,
		);
		assert.match(
			await refused({ PULSAR_VALKEY_TLS_CERT: broken, PULSAR_VALKEY_TLS_KEY: broken }),
			/: the files of PULSAR_VALKEY_CA_PATH, PULSAR_VALKEY_TLS_CERT and PULSAR_VALKEY_TLS_KEY must be PEM/,
		);
		assert.match(await refused({ PULSAR_VALKEY_CA_PATH: broken }), /PULSAR_VALKEY_CA_PATH/);
	});
}

function passwords(): void {
	test('a password that was rotated is read from its file at the next attempt to connect', async (t) => {
		const valkey = await server(t, { password: 'first' });
		const dir = await mkdtemp(join(tmpdir(), 'pulsar-relay-test-'));
		t.after(() => rm(dir, { recursive: true }));
		const file = join(dir, 'password');
		await writeFile(file, 'first\n');
		const { PULSAR_VALKEY_PASSWORD: _, ...env } = valkey.relayEnv;
		const relay = await relayOn(t, { ...env, PULSAR_VALKEY_PASSWORD_FILE: file });
		await relay.publish('a', '1');
		const ready = async () => (await relay.request('GET', '/ready')).status;
		// Rotated while the relay is connected, so that it has to sign in anew.
		await writeFile(file, 'second');
		await valkey.cli('CONFIG', 'SET', 'requirepass', 'second');
		await valkey.cli('-a', 'second', 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
		await valkey.cli('-a', 'second', 'CLIENT', 'KILL', 'TYPE', 'pubsub');
		await untilAnswer(async () => (await ready()) === 503, 'noticed');
		await untilAnswer(async () => (await ready()) === 200, 'ready again');
		await relay.publish('a', '2');
		// Without the file it says so, and goes on once it is back.
		await rm(file);
		await valkey.cli('-a', 'second', 'CONFIG', 'SET', 'requirepass', 'third');
		await valkey.cli('-a', 'third', 'CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
		await untilAnswer(
			async () => /PULSAR_VALKEY_PASSWORD_FILE cannot be read/.test(JSON.stringify((await relay.request('GET', '/ready')).json)),
			'the file is missed',
		);
		await writeFile(file, 'third');
		await untilAnswer(async () => (await ready()) === 200, 'ready again');
	});
}

function sharing(): void {
	test('two environments share a server by a prefix, and know nothing of each other', async (t) => {
		const valkey = await server(t);
		const plain = await relayOn(t, valkey.relayEnv);
		const staging = await relayOn(t, { ...valkey.relayEnv, PULSAR_VALKEY_KEY_PREFIX: 'staging:' });
		await plain.publish('a', '"plain"');
		await staging.publish('a', '"staging"');
		await staging.publish('b', '1');
		assert.equal(await valkey.cli('XLEN', 'topic:a:stream'), '1');
		assert.equal(await valkey.cli('XLEN', 'staging:topic:a:stream'), '1');
		const poll = await staging.request('GET', '/api/v1/poll?topics=a&since=0-0&timeout=0');
		assert.match(JSON.stringify(poll.json), /"staging"/);
		assert.doesNotMatch(JSON.stringify(poll.json), /"plain"/);
		assert.equal((await plain.request('GET', '/api/v1/topics/b')).status, 404);
		const keys = (await valkey.cli('KEYS', '*')).split('\n');
		const own = keys.filter((key) => /^\{?staging:/.test(key));
		assert.ok(own.length >= 5 && keys.length > own.length, keys.join(' '));
	});

	test('a topic whose key another program holds is refused clearly, and repaired by deleting it; others are fine', async (t) => {
		const valkey = await server(t);
		const relay = await relayOn(t, valkey.relayEnv);
		for (const [topic, existed] of [
			['was', true],
			['never', false],
		] as const) {
			if (existed) await relay.publish(topic, '1');
			await valkey.cli('SET', `topic:${topic}:stream`, 'a string');
			const refused = await relay.request('POST', '/api/v1/messages', { topic, payload: 2 });
			assert.equal(refused.status, 503);
			assert.match(JSON.stringify(refused.json), /holds another type of value; deleting the topic removes it/);
			await relay.publish('beside', '3');
			assert.equal((await relay.request('DELETE', `/api/v1/topics/${topic}`)).status, 204);
			await relay.publish(topic, '4');
			const page = await relay.request('GET', `/api/v1/poll?topics=${topic}&since=0-0&timeout=0`);
			assert.match(JSON.stringify(page.json), /"payload":4/);
		}
		await valkey.cli('SET', '{topic:meta:stream}:meta', 'a string');
		assert.equal((await relay.request('POST', '/api/v1/messages', { topic: 'meta', payload: 1 })).status, 503);
		assert.equal((await relay.request('DELETE', '/api/v1/topics/meta')).status, 204);
		await relay.publish('meta', '2');
		assert.equal((await relay.request('DELETE', '/api/v1/topics/nothing')).status, 404);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) {
	describe('addresses', addresses);
	const noOpenssl = opensslUnavailable();
	if (noOpenssl === null) describe('certificates', certificates);
	else test('certificates', { skip: noOpenssl }, () => {});
	describe('passwords', passwords);
	describe('a server that is shared', sharing);
} else test('ways to a Valkey server', { skip: unavailable }, () => {});
