/**
 * Two relays on one Valkey behind real proxies, configured as docs/behind-a-proxy.md says: everything that a proxy can break, over TLS
 * with HTTP/2 in front.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { sectionsWithCommands } from '../deploy/handbook.ts';
import { type Certificates, makeCertificates, opensslUnavailable } from '../support/certificates.ts';
import { chromiumUnavailable, withPage } from '../support/chromium.ts';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { askOnce, begin, Incoming, publish, subscribe } from './client.ts';
import { Load } from './load.ts';
import { PROXIES, type ProxyName, type ProxyProcess, proxyUnavailable, startProxy } from './proxy.ts';

const skip = valkeyUnavailable() ?? opensslUnavailable() ?? false;
/** Clients of other addresses than the proxy, which the relay trusts. */
const CLIENTS = ['127.0.0.2', '127.0.0.3'] as const;
const MIB = 1024 * 1024;

let directory: string;
let valkey: Valkey;
let certificates: Certificates;
const relays: RelayProcess[] = [];
const proxies: ProxyProcess[] = [];

const settings = () => ({
	...valkey.relayEnv,
	PULSAR_TRUSTED_HOSTS: '["localhost"]',
	PULSAR_TRUSTED_PROXIES: '["127.0.0.1"]',
});
/** Without a rate that fills up while the test counts. */
const ACCOUNTS = {
	PULSAR_AUTH: 'required',
	PULSAR_JWT_SECRET_KEY: 'a secret of the tests, longer than 32 characters',
	PULSAR_RATE_LIMIT_ADDRESS: '100',
};
const portOf = ({ url }: RelayProcess) => Number(new URL(url).port);

async function startFront(name: ProxyName): Promise<ProxyProcess> {
	const [first, second] = relays;
	assert(first !== undefined && second !== undefined);
	const proxy = await startProxy(name, { certificates, relayPorts: [portOf(first), portOf(second)], directory });
	proxies.push(proxy);
	return proxy;
}

describe('behind a proxy', { skip, timeout: 220_000 }, () => {
	before(async () => {
		directory = await mkdtemp(join(tmpdir(), 'pulsar-relay-proxies-'));
		certificates = await makeCertificates(directory);
		valkey = await startValkey();
		for (let i = 0; i < 2; i++) relays.push(await startRelayProcess(directory, settings()));
	});
	after(async () => {
		for (const proxy of proxies) await proxy.end();
		for (const relay of relays) await relay.end('SIGKILL');
		await valkey.stop();
		await rm(directory, { recursive: true });
	});

	describe('all of them at once, for a minute', { concurrency: true }, () => {
		for (const name of PROXIES) {
			const title = `${name}: a poll of 60 s is answered, and quiet streams of both directions stay`;
			test(title, { skip: proxyUnavailable(name) }, async () => quietMinute(await startFront(name)));
		}
	});

	for (const [i, name] of PROXIES.entries()) {
		describe(name, { skip: proxyUnavailable(name) }, () => {
			let proxy: ProxyProcess;
			before(() => {
				proxy = proxies.find((one) => one.name === name) ?? assert.fail(`no ${name}`);
			});
			cases(() => proxy, i);
		});
	}
});

/** A poll for which nothing comes, and streams on which nothing goes, for about as long as a poll may last. */
async function quietMinute(proxy: ProxyProcess): Promise<void> {
	const quiet = `quiet-${proxy.name}`;
	const socket = await subscribe(proxy, quiet);
	const received = once(socket, 'message') as Promise<[Buffer]>;
	const asked = begin(proxy, `/api/v1/events?topics=${quiet}`);
	asked.end();
	const [response] = (await once(asked, 'response')) as [IncomingMessage];
	const events = new Incoming(response);
	await events.until('event: subscribed');
	const lines = begin(proxy, '/api/v1/messages/stream', { method: 'POST', headers: { 'content-type': 'application/x-ndjson' } });
	lines.write(`{"topic":"other-${quiet}","payload":1}\n`);
	const [results] = (await once(lines, 'response')) as [IncomingMessage];
	const stored = new Incoming(results);
	await stored.until('"line":1');

	const poll = await askOnce(proxy, `/api/v1/poll?topics=silent-${proxy.name}&timeout=60`);
	assert.equal(poll.status, 200, poll.body);
	assert.deepEqual((JSON.parse(poll.body) as { messages: unknown[] }).messages, []);

	assert.equal((await publish(proxy, quiet, 'at last')).status, 201);
	assert.equal((JSON.parse((await received)[0].toString()) as { payload: string }).payload, 'at last');
	await events.until('at last');
	lines.end(`{"topic":"other-${quiet}","payload":2}\n`);
	const rest = await stored.until('"complete":');
	assert(rest.includes('"line":2,"status":"accepted"'), rest);
	socket.terminate();
	asked.destroy();
}

function cases(front: () => ProxyProcess, index: number): void {
	const topic = `topic-${index}`;
	/** Another proxy of this kind, before one relay. */
	const withRelayOfItsOwn = async (env: Readonly<Record<string, string>>, run: (proxy: ProxyProcess) => Promise<void>) => {
		const relay = await startRelayProcess(directory, { ...settings(), PULSAR_STORAGE_BACKEND: 'memory', ...env });
		const port = portOf(relay);
		const place = await mkdtemp(join(directory, 'own-'));
		const proxy = await startProxy(front().name, { certificates, relayPorts: [port, port], directory: place });
		try {
			await run(proxy);
		} finally {
			await proxy.end();
			await relay.end('SIGKILL');
		}
	};

	test('a WebSocket of the page of this host, and messages in both directions', async () => {
		const socket = await subscribe(front(), topic);
		const answers: unknown[] = [];
		const both = new Promise<void>((resolve) => {
			socket.on('message', (data: Buffer) => {
				answers.push((JSON.parse(data.toString()) as { type: string }).type);
				if (answers.length === 2) resolve();
			});
		});
		socket.send(JSON.stringify({ type: 'publish', topic, payload: 1 }));
		await both;
		assert.deepEqual(answers.sort(), ['message', 'published']);
		socket.terminate();
	});

	test('events come one by one', async () => {
		const asked = begin(front(), `/api/v1/events?topics=${topic}`);
		asked.end();
		const [response] = (await once(asked, 'response')) as [IncomingMessage];
		const events = new Incoming(response);
		await events.until('event: subscribed');
		for (const n of [1, 2, 3]) {
			assert.equal((await publish(front(), topic, `event ${n}`)).status, 201);
			await events.until(`event ${n}`);
		}
		asked.destroy();
	});

	test('the result of a line comes before the next line is sent', async () => {
		const lines = begin(front(), '/api/v1/messages/stream', {
			method: 'POST',
			headers: { 'content-type': 'application/x-ndjson' },
		});
		lines.write(`{"topic":"${topic}","payload":1}\n`);
		const [response] = (await once(lines, 'response')) as [IncomingMessage];
		const results = new Incoming(response);
		await results.until('"line":1');
		for (const line of [2, 3]) {
			lines.write(`{"topic":"${topic}","payload":${line}}\n`);
			await results.until(`"line":${line}`);
		}
		lines.end();
		await results.until('"complete":true');
	});

	test('a body as large as the relay takes is taken, a larger one refused', () =>
		withRelayOfItsOwn({}, async (proxy) => {
			const room = 32 * MIB - JSON.stringify({ topic, payload: '' }).length;
			const full = await publish(proxy, topic, 'x'.repeat(room));
			assert.equal(full.status, 201, full.body);
			const tooLarge = await publish(proxy, topic, 'x'.repeat(room + 1)).catch((error: NodeJS.ErrnoException) => error);
			// The refusal may come while the body is on its way, which then has nowhere to go.
			if (tooLarge instanceof Error) assert.match(tooLarge.code ?? '', /^(EPIPE|ECONNRESET)$/);
			else assert.equal(tooLarge.status, 413);
		}));

	test('the address of a client is its own, whatever it says', () =>
		withRelayOfItsOwn(ACCOUNTS, async (proxy) => {
			const left = async (localAddress: string, forwarded: string) => {
				const { headers } = await askOnce(proxy, '/openapi.json', { localAddress, headers: { 'x-forwarded-for': forwarded } });
				return Number(headers['x-ratelimit-remaining']);
			};
			const [first, second] = CLIENTS;
			assert.deepEqual([await left(first, ''), await left(first, '203.0.113.1'), await left(first, '203.0.113.2')], [99, 98, 97]);
			assert.equal(await left(second, '203.0.113.1'), 99);
		}));

	test('the commands of the guide show that it works', async () => {
		const [block = ''] = sectionsWithCommands('docs/behind-a-proxy.md').flatMap(({ blocks }) => blocks);
		const [relay] = relays;
		const command = block
			.replaceAll('127.0.0.1:8081', `127.0.0.1:${relay === undefined ? 0 : portOf(relay)}`)
			.replaceAll('https://relay.example.org', `https://localhost:${front().port}`)
			.replaceAll('relay.example.org', 'localhost');
		const env = { ...process.env, CURL_CA_BUNDLE: certificates.ca };
		const { stdout } = await promisify(execFile)('sh', ['-c', command], { env });
		assert.match(stdout, /^HTTP\/2 426 *\r?\nHTTP\/1\.1 426 .*\r?\n$/);
	});

	test('another name than that of the relay is refused', async () => {
		const answer = await askOnce(front(), '/api/v1/topics', { headers: { host: 'evil.example.org' } });
		assert(answer.status >= 400 || answer.body === '', `${answer.status} ${answer.body}`);
	});

	test('a page has more than six event streams, and requests beside them, over HTTP/2', {
		skip: chromiumUnavailable,
	}, async () => {
		await withPage(
			async (page) => {
				// Its policy lets it connect.
				await page.goto(`https://localhost:${front().port}/health`);
				const opened = await page.evaluate(async (name) => {
					const streams = Array.from({ length: 12 }, () => new EventSource(`/api/v1/events?topics=${name}`));
					await Promise.all(streams.map((stream) => new Promise((resolve) => stream.addEventListener('subscribed', resolve))));
					const received = Promise.all(
						streams.map(
							(stream) => new Promise<string>((resolve) => stream.addEventListener('message', ({ data }) => resolve(data))),
						),
					);
					const published = await fetch('/api/v1/messages', {
						method: 'POST',
						headers: { 'content-type': 'application/json' },
						body: JSON.stringify({ topic: name, payload: 'for all' }),
					});
					const messages = await received;
					const socket = new WebSocket(`/ws`);
					await new Promise((resolve, reject) => {
						socket.onopen = resolve;
						socket.onerror = () => reject(new Error('no WebSocket'));
					});
					const [entry] = performance.getEntries() as unknown as { nextHopProtocol: string }[];
					return { status: published.status, messages: messages.length, protocol: entry?.nextHopProtocol };
				}, `page-${topic}`);
				assert.deepEqual(opened, { status: 201, messages: 12, protocol: 'h2' });
			},
			{ ignoreHTTPSErrors: true },
		);
	});

	test('a relay that ends fails no request, and nothing is stored twice', async () => {
		const relay = relays[0] ?? assert.fail();
		const drained = `drain-${topic}`;
		const load = new Load(front(), drained);
		await load.answers(200);
		assert.equal(await relay.end('SIGTERM'), 0);
		await load.answers(200);
		const published = await load.stop();
		relays[0] = await startRelayProcess(directory, { ...settings(), PULSAR_PORT: String(portOf(relay)) });
		assert.deepEqual(load.failures, [], front().log());
		// Caddy 2.6 sends no body again: its clients do.
		if (front().name !== 'caddy') assert.equal(load.repeated, 0);
		const { body } = await askOnce(front(), `/api/v1/topics/${drained}`);
		assert.equal((JSON.parse(body) as { message_count: number }).message_count, published);
	});
}
