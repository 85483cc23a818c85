/** A browser's own EventSource and WebSocket, in Chromium, on a page served by the relay. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { chromiumUnavailable, withPage } from '../support/chromium.ts';
import { startRelayProcess } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';

interface Seen {
	readonly id: string;
	readonly data: string;
}

test('EventSource receives messages with cursors as ids, and resumes by itself after the relay was killed', {
	skip: chromiumUnavailable,
}, async () => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-browser-'));
	let relay = await startRelayProcess(dataDir);
	const { url } = relay;
	const { port } = new URL(url);
	const publish = async (payload: string) => {
		const response = await fetch(`${url}/api/v1/messages`, {
			method: 'POST',
			headers: { 'content-type': 'application/json' },
			body: `{"topic":"browser","payload":${payload}}`,
		});
		return ((await response.json()) as { message_id: string }).message_id;
	};
	await withPage(async (page) => {
		await page.goto(`${url}/health`);
		await page.evaluate(() => {
			const seen: Seen[] = [];
			const source = new EventSource('/api/v1/events?topics=browser,other');
			source.onmessage = (event) => seen.push({ id: event.lastEventId, data: event.data as string });
			Object.assign(globalThis, { seen });
			return new Promise<void>((resolve) => source.addEventListener('subscribed', () => resolve()));
		});
		const seen = () => page.evaluate(() => (globalThis as unknown as { seen: Seen[] }).seen);
		const seenCount = (count: number) =>
			page.waitForFunction((n) => (globalThis as unknown as { seen: Seen[] }).seen.length === n, count);
		const first = await publish('{"n":1}');
		await seenCount(1);
		await relay.end('SIGKILL');
		relay = await startRelayProcess(dataDir, { PULSAR_PORT: port });
		// Published before the browser is back: it must not be lost.
		const second = await publish('{"n":2}');
		await seenCount(2);
		assert.deepEqual(
			(await seen()).map(({ id, data }) => ({ id, payload: (JSON.parse(data) as { payload: unknown }).payload })),
			[
				{ id: `browser:${first},other:0-0`, payload: { n: 1 } },
				{ id: `browser:${second},other:0-0`, payload: { n: 2 } },
			],
		);
	});
	await relay.end('SIGKILL');
	await rm(dataDir, { recursive: true, force: true });
});

test('WebSocket in a page subscribes, publishes and receives', { skip: chromiumUnavailable }, async () => {
	const relay = await startRelay();
	await withPage(async (page) => {
		await page.goto(`${relay.url}/health`);
		const frames = await page.evaluate(
			(url) =>
				new Promise<string[]>((resolve) => {
					const types: string[] = [];
					const socket = new WebSocket(url);
					socket.onopen = () => {
						socket.send(JSON.stringify({ type: 'subscribe', topics: ['page'] }));
						socket.send(JSON.stringify({ type: 'publish', topic: 'page', payload: 'hello' }));
					};
					socket.onmessage = ({ data }) => {
						types.push((JSON.parse(data as string) as { type: string }).type);
						if (types.length === 3) resolve(types);
					};
				}),
			`${relay.url.replace('http', 'ws')}/ws`,
		);
		assert.deepEqual(frames.toSorted(), ['message', 'published', 'subscribed']);
	});
	await relay.close();
});

test('the API documentation renders', { skip: chromiumUnavailable }, async () => {
	const relay = await startRelay();
	await withPage(async (page) => {
		await page.goto(`${relay.url}/docs`);
		await page.getByText('/api/v1/messages/stream').first().waitFor();
	});
	await relay.close();
});
