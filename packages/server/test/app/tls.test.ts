/** HTTPS, with all transports over it, certificates of clients, and certificates that are replaced while the relay runs. */

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, request } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, type TestContext, test } from 'node:test';
import { connect, type PeerCertificate } from 'node:tls';
import { WebSocket } from 'ws';
import { type Certificates, makeCertificates, opensslUnavailable } from '../support/certificates.ts';
import { type LaunchedRelay, launchRelay } from '../support/launch.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';

const skip = opensslUnavailable() ?? false;

let directory: string;
let certificates: Certificates;
before(async () => {
	directory = mkdtempSync(join(tmpdir(), 'pulsar-relay-tls-'));
	if (skip === false) certificates = await makeCertificates(directory);
});
after(() => rmSync(directory, { recursive: true, force: true }));

const tlsEnv = () => ({ PULSAR_TLS_CERT: certificates.certificate, PULSAR_TLS_KEY: certificates.key });
const clientTls = () => ({
	ca: readFileSync(certificates.ca),
	cert: readFileSync(certificates.clientCertificate),
	key: readFileSync(certificates.clientKey),
});
type ClientTls = Partial<ReturnType<typeof clientTls>>;

async function start(t: TestContext, env: Readonly<Record<string, string>> = {}): Promise<TestRelay> {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', ...tlsEnv(), ...env });
	t.after(() => relay.close());
	assert.match(relay.url, /^https:/);
	return relay;
}

interface Asked {
	readonly status: number;
	readonly headers: IncomingMessage['headers'];
	readonly body: string;
}

async function ask(
	url: string,
	tls: ClientTls,
	{ method = 'GET', body }: { method?: string; body?: string } = {},
): Promise<Asked> {
	const response = await open(url, tls, { method, ...(body === undefined ? {} : { body }) });
	return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
}

async function open(url: string, tls: ClientTls, { method = 'GET', body }: { method?: string; body?: string } = {}) {
	const headers = body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
	const sent = request(url, { method, headers, agent: false, ...tls });
	sent.end(body);
	const [response] = (await once(sent, 'response')) as [IncomingMessage];
	return response;
}

describe('over TLS', { skip }, () => {
	test('a message published over HTTPS arrives over WebSocket, SSE and by a poll', async (t) => {
		const { url } = await start(t);
		const tls = { ca: readFileSync(certificates.ca) };
		const ws = new WebSocket(`${url.replace('https', 'wss')}/ws`, tls);
		const frames: string[] = [];
		ws.on('message', (data) => frames.push(String(data)));
		await once(ws, 'open');
		ws.send('{"type":"subscribe","topics":["a"]}');
		await once(ws, 'message');
		const events = await open(`${url}/api/v1/events?topics=a`, tls);
		events.setEncoding('utf8');
		let streamed = '';
		const streamedMessage = new Promise<void>((resolve) => {
			events.on('data', (chunk: string) => {
				streamed += chunk;
				if (streamed.includes('"payload":"héllo"')) resolve();
			});
		});
		const poll = ask(`${url}/api/v1/poll?topics=a&since=earliest&timeout=10`, tls);
		const published = await ask(`${url}/api/v1/messages`, tls, { method: 'POST', body: '{"topic":"a","payload":"héllo"}' });
		assert.equal(published.status, 201, published.body);
		while (!frames.some((frame) => frame.includes('"payload":"héllo"'))) await once(ws, 'message');
		await streamedMessage;
		assert((await poll).body.includes('"payload":"héllo"'));
		assert.equal(published.headers['strict-transport-security'], 'max-age=31536000');
		ws.terminate();
		events.destroy();
	});

	test('many megabytes arrive whole at a subscriber that reads slowly', async (t) => {
		const { url } = await start(t);
		const tls = { ca: readFileSync(certificates.ca) };
		const payload = 'x'.repeat(100_000);
		for (let i = 0; i < 50; i++) {
			await ask(`${url}/api/v1/messages`, tls, { method: 'POST', body: JSON.stringify({ topic: 'a', payload }) });
		}
		const ws = new WebSocket(`${url.replace('https', 'wss')}/ws`, tls);
		let messages = 0;
		await once(ws, 'open');
		ws.send('{"type":"subscribe","topics":["a"],"offset":"earliest"}');
		await once(ws, 'message');
		ws.on('message', (data) => {
			assert.equal((JSON.parse(String(data)) as { payload: string }).payload.length, payload.length);
			messages++;
			ws.pause();
			setImmediate(() => ws.resume());
		});
		while (messages < 50) await once(ws, 'message');
		ws.terminate();
	});

	test('what speaks no TLS, or an old one, is dropped, and the relay goes on', async (t) => {
		const { url } = await start(t);
		const port = Number(new URL(url).port);
		for (const bytes of ['GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n', '\x16\x03\x01\x00\x05hello', '\0'.repeat(16)]) {
			const plain = connectPlain(port, '127.0.0.1');
			plain.on('error', () => {});
			plain.write(Buffer.from(bytes, 'latin1'));
			plain.resume();
			await once(plain, 'close');
		}
		const old = connect({
			port,
			host: '127.0.0.1',
			maxVersion: 'TLSv1.1',
			minVersion: 'TLSv1',
			ciphers: 'ALL@SECLEVEL=0',
			rejectUnauthorized: false,
		});
		await assert.rejects(once(old, 'secureConnect'));
		assert.equal((await ask(`${url}/health`, { ca: readFileSync(certificates.ca) })).status, 200);
	});

	test('a malformed request is answered as without TLS', async (t) => {
		const { url } = await start(t);
		const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', ca: readFileSync(certificates.ca) });
		await once(socket, 'secureConnect');
		socket.write('GET / HTTP/9.9\r\n\r\n');
		assert.match(await text(socket), /^HTTP\/1\.1 400 [\s\S]*"error":"bad_request"/);
	});
});

describe('certificates of clients', { skip }, () => {
	test('are asked for, and only those of the authority count', async (t) => {
		const { url } = await start(t, { PULSAR_TLS_CLIENT_CA: certificates.ca });
		const { ca, ...own } = clientTls();
		assert.equal((await ask(`${url}/health`, { ca, ...own })).status, 200);
		const ws = new WebSocket(`${url.replace('https', 'wss')}/ws`, { ca, ...own });
		await once(ws, 'open');
		ws.terminate();
		await assert.rejects(ask(`${url}/health`, { ca }));
		const elsewhere = join(directory, 'elsewhere');
		mkdirSync(elsewhere);
		const other = await makeCertificates(elsewhere);
		await assert.rejects(
			ask(`${url}/health`, { ca, cert: readFileSync(other.clientCertificate), key: readFileSync(other.clientKey) }),
		);
		await assert.rejects(once(new WebSocket(`${url.replace('https', 'wss')}/ws`, { ca }), 'open'));
	});
});

describe('the files', { skip }, () => {
	test('that are missing, broken or of different keys are told in one line, and the relay does not start', async (t) => {
		const garbage = join(directory, 'garbage.pem');
		writeFileSync(garbage, '-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n');
		for (const [env, expected] of [
			[
				{ ...tlsEnv(), PULSAR_TLS_CERT: '/nowhere/a.crt' },
				/^pulsar-relay: cannot start: \/nowhere\/a\.crt cannot be read \(ENOENT\)\n$/,
			],
			[
				{ ...tlsEnv(), PULSAR_TLS_CERT: garbage },
				/^pulsar-relay: cannot start: \S*garbage\.pem is not a certificate in PEM \([^\n]*\)\n$/,
			],
			[
				{ ...tlsEnv(), PULSAR_TLS_KEY: garbage },
				/^pulsar-relay: cannot start: \S*garbage\.pem is not the private key of \S+ \([^\n]*\)\n$/,
			],
			[
				{ ...tlsEnv(), PULSAR_TLS_KEY: certificates.clientKey },
				/^pulsar-relay: cannot start: \S+ is not the private key of \S+ \([^\n]*\)\n$/,
			],
			[{ ...tlsEnv(), PULSAR_TLS_CLIENT_CA: garbage }, /garbage\.pem is not a certificate in PEM/],
		] as const) {
			const { code, stderr } = await launchRelay(t, { PULSAR_STORAGE_BACKEND: 'memory', ...env }).ended;
			assert.equal(code, 1, stderr);
			assert.match(stderr, expected);
		}
		const { code, stderr } = await launchRelay(t, { PULSAR_TLS_CERT: garbage }).ended;
		assert.equal(code, 78);
		assert.match(stderr, /PULSAR_TLS_CERT: needs PULSAR_TLS_KEY/);
	});

	test('are read again on SIGHUP: new connections get the new certificate, open ones go on', async (t) => {
		const live = liveFiles('reload');
		const relay = launchRelay(t, { PULSAR_STORAGE_BACKEND: 'memory', ...live.env });
		await exerciseReload(relay, live);
		relay.child.kill('SIGTERM');
		assert.equal((await relay.ended).code, 0);
	});
});

/** Certificates under names of their own, to be replaced. */
function liveFiles(name: string) {
	const certificate = join(directory, `${name}.crt`);
	const key = join(directory, `${name}.key`);
	const put = (from: Certificates) => {
		copyFileSync(from.certificate, certificate);
		copyFileSync(from.key, key);
	};
	put(certificates);
	return { put, certificate, env: { PULSAR_TLS_CERT: certificate, PULSAR_TLS_KEY: key } };
}

async function exerciseReload(relay: LaunchedRelay, live: ReturnType<typeof liveFiles>): Promise<void> {
	const { http } = (await relay.logged('listening')) as { http: string };
	assert.match(http, /^https:/);
	const port = Number(new URL(http).port);
	const before = await serialAt(port);
	assert.equal(before, serialOf(certificates.certificate));
	const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: readFileSync(certificates.ca) });
	const health = async () => {
		const sent = request(`${http}/health`, { agent }).end();
		const [response] = (await once(sent, 'response')) as [IncomingMessage];
		await text(response);
		return { reused: sent.reusedSocket, status: response.statusCode };
	};
	assert.deepEqual(await health(), { reused: false, status: 200 });

	writeFileSync(live.certificate, 'nothing');
	relay.child.kill('SIGHUP');
	await relay.logged('the certificates could not be read again; those from before stay in use');
	assert.equal(await serialAt(port), before, 'the old one stays');

	const renewed = join(directory, 'renewed');
	mkdirSync(renewed);
	const next = await makeCertificates(renewed);
	live.put(next);
	relay.child.kill('SIGHUP');
	await relay.logged('the certificates were read again');
	assert.equal(await serialAt(port), serialOf(next.certificate));
	assert.deepEqual(await health(), { reused: true, status: 200 }, 'the connection from before goes on');
	agent.destroy();
}

async function serialAt(port: number): Promise<string> {
	const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
	await once(socket, 'secureConnect');
	const { serialNumber } = socket.getPeerCertificate() as PeerCertificate;
	socket.destroy();
	return serialNumber;
}

function serialOf(path: string): string {
	return new X509Certificate(readFileSync(path)).serialNumber;
}
