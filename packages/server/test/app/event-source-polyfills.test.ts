/**
 * The EventSource polyfills that pages use, in Chromium, from another origin: over a relay that is killed and started again, and over
 * connections that are cut in the middle of an event, each of them gets every message once.
 */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { rolldown } from 'rolldown';
import { chromiumUnavailable, withPage } from '../support/chromium.ts';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';

const CLIENTS = [
	'the browser itself',
	'event-source-polyfill',
	'eventsource',
	'extended-eventsource',
	'reconnecting-eventsource',
	'@microsoft/fetch-event-source',
] as const;
/** Few, and so many that event ids are short cursors. */
const TOPICS = ['t', 'a-topic-of-some-department-with-a-long-name', 'and-another-one-of-the-same-department', 'x.y.z'];

interface Seen {
	readonly opened: number;
	readonly gaps: number;
	readonly messages: readonly (readonly [topic: string, n: number])[];
}

let origin: string;
let dataDir: string;
let relay: RelayProcess;
const pages = createServer();
before(async () => {
	if (chromiumUnavailable !== false) return;
	const script = await bundle();
	pages.on('request', (request, response) => {
		if (request.url === '/page.js') response.setHeader('content-type', 'text/javascript').end(script);
		else response.setHeader('content-type', 'text/html').end('<script src="/page.js"></script>');
	});
	pages.listen(0, '127.0.0.1');
	await once(pages, 'listening');
	origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
	dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-polyfills-'));
	relay = await startRelayProcess(dataDir, settings());
});
after(async () => {
	pages.closeAllConnections();
	pages.close();
	if (chromiumUnavailable !== false) return;
	await relay.end('SIGKILL');
	await rm(dataDir, { recursive: true, force: true });
});

function settings(port = '0'): Record<string, string> {
	return { PULSAR_PORT: port, PULSAR_ALLOWED_ORIGINS: JSON.stringify([origin]) };
}

async function bundle(): Promise<string> {
	const build = await rolldown({
		input: fileURLToPath(new URL('../support/polyfills/page.js', import.meta.url)),
		platform: 'browser',
	});
	const { output } = await build.generate({ format: 'iife', codeSplitting: false });
	return output[0].code;
}

let keys = 0;
/** Publishes until it is stored, as a careful producer does. */
async function publish(topic: string, payload: unknown): Promise<void> {
	const key = `polyfills-${++keys}`;
	for (;;) {
		const answer = await fetch(`${relay.url}/api/v1/messages`, {
			method: 'POST',
			headers: { 'content-type': 'application/json', 'idempotency-key': key },
			body: JSON.stringify({ topic, payload }),
		}).catch(() => null);
		if (answer?.status === 201) return;
		await new Promise((resolve) => setImmediate(resolve));
	}
}

const seenBy = (page: Page) => page.evaluate(() => (globalThis as unknown as { seen: Record<string, Seen> }).seen);

/** Opens the streams, each client's at the port that is its own, and resolves once all of them follow their topics. */
async function openAll(page: Page, ports: ReadonlyMap<string, number>, topics: readonly string[]): Promise<void> {
	await page.goto(origin);
	const urls = CLIENTS.map((client) => [client, `http://127.0.0.1:${ports.get(client)}/api/v1/events?topics=${topics}`]);
	await page.evaluate(
		(urls) => (globalThis as unknown as { openAll: (urls: unknown) => Promise<void> }).openAll(urls),
		Object.fromEntries(urls),
	);
	await page.waitForFunction(() =>
		Object.values((globalThis as unknown as { seen: Record<string, Seen> }).seen).every(({ opened }) => opened > 0),
	);
}

/** Resolves when each client has got the last message of each topic, or nothing more comes. */
function untilSeen(page: Page, last: readonly (readonly [topic: string, n: number])[]): Promise<unknown> {
	return page.waitForFunction(
		(last) =>
			Object.values((globalThis as unknown as { seen: Record<string, Seen> }).seen).every(({ messages }) =>
				last.every(([topic, n]) => messages.some((message) => message[0] === topic && message[1] === n)),
			),
		last,
		{ timeout: 30_000 },
	);
}

test('every message comes once and in order over a kill of the relay', {
	skip: chromiumUnavailable,
	timeout: 90_000,
}, async (t) => {
	// A browser opens six connections to one host and port: each client has a port of its own, which leads to the relay.
	const doors = await openDoors(t);
	await withPage(async (page) => {
		await openAll(page, new Map(doors.map(([client, { port }]) => [client, port])), TOPICS);
		const count = 120;
		const published: (readonly [string, number])[] = [];
		let killed: Promise<void> | null = null;
		for (let n = 0; n < count; n++) {
			const topic = TOPICS[n % TOPICS.length] ?? '';
			published.push([topic, n]);
			await publish(topic, { n, filler: 'x'.repeat(n % 5 === 0 ? 20_000 : 10) });
			if (n === count / 3) killed = killAndRestart();
		}
		await killed;
		await untilSeen(page, published.slice(-TOPICS.length));
		for (const [client, { messages, gaps }] of Object.entries(await seenBy(page))) {
			for (const topic of TOPICS) {
				const ofTopic = (all: readonly (readonly [string, number])[]) => all.filter(([name]) => name === topic);
				assert.deepEqual(ofTopic(messages), ofTopic(published), `${client}: ${topic}`);
			}
			assert.equal(gaps, 0, client);
		}
	});
});

/** A door for each client, closed when the test ends. */
async function openDoors(t: TestContext, cutAt: string | null = null) {
	const doors = await Promise.all(CLIENTS.map(async (client) => [client, await Door.open(cutAt)] as const));
	t.after(() => {
		for (const [, door] of doors) door.close();
	});
	return doors;
}

async function killAndRestart(): Promise<void> {
	await relay.end('SIGKILL');
	relay = await startRelayProcess(dataDir, settings(new URL(relay.url).port));
}

test('an event that is cut off in its middle comes again, once', { skip: chromiumUnavailable, timeout: 90_000 }, async (t) => {
	const doors = await openDoors(t, 'cut here');
	await withPage(async (page) => {
		const topic = 'cut';
		await openAll(page, new Map(doors.map(([client, { port }]) => [client, port])), [topic]);
		const published: (readonly [string, number])[] = [];
		for (let n = 0; n < 5; n++) {
			published.push([topic, n]);
			await publish(topic, { n, text: n === 2 ? 'cut here' : '' });
		}
		await untilSeen(page, published.slice(-1));
		for (const [client, { messages }] of Object.entries(await seenBy(page))) assert.deepEqual(messages, published, client);
		assert(doors.every(([, { cuts }]) => cuts === 1));
	});
});

/** A port that leads to the relay, and cuts the first connection that brings a text, in the middle of the text. */
class Door {
	readonly port: number;
	readonly #server: ReturnType<typeof createTcpServer>;
	readonly #sockets = new Set<Socket>();
	cuts = 0;

	private constructor(server: ReturnType<typeof createTcpServer>, cutAt: string | null) {
		this.#server = server;
		this.port = (server.address() as AddressInfo).port;
		server.on('connection', (client) => {
			const upstream = connect(Number(new URL(relay.url).port), '127.0.0.1');
			for (const socket of [client, upstream]) {
				this.#sockets.add(socket);
				socket.on('error', () => socket.destroy());
				socket.on('close', () => {
					this.#sockets.delete(socket);
					client.destroy();
					upstream.destroy();
				});
			}
			client.pipe(upstream);
			upstream.on('data', (chunk: Buffer) => {
				const at = cutAt === null || this.cuts > 0 ? -1 : chunk.indexOf(cutAt);
				if (at < 0) {
					client.write(chunk);
					return;
				}
				this.cuts++;
				// The half goes out before the end.
				client.end(chunk.subarray(0, at + 3));
				upstream.destroy();
			});
		});
	}

	static async open(cutAt: string | null): Promise<Door> {
		const server = createTcpServer();
		server.listen(0, '127.0.0.1');
		await once(server, 'listening');
		return new Door(server, cutAt);
	}

	close(): void {
		this.#server.close();
		for (const socket of this.#sockets) socket.destroy();
	}
}
