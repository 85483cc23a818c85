/** A browser's own EventSource and WebSocket, in Chromium, on a page served by the relay. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Page } from 'playwright-core';
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

test('the API documentation works behind a proxy that serves the relay under a prefix', {
	skip: chromiumUnavailable,
}, async () => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	const proxy = createServer((request, response) => {
		const [, path] = /^\/relay(\/.*)$/.exec(request.url ?? '') ?? [];
		if (path === undefined) return response.writeHead(404).end();
		const { method, headers } = request;
		const upstream = send(`${relay.url}${path}`, { method, headers }, (answer) => {
			response.writeHead(answer.statusCode ?? 502, answer.headers);
			answer.pipe(response);
		});
		return request.pipe(upstream);
	});
	proxy.listen(0, '127.0.0.1');
	await once(proxy, 'listening');
	await withPage(async (page) => {
		const failures: string[] = [];
		page.on('response', (answer) => {
			if (answer.status() >= 400) failures.push(`${answer.status()} ${answer.url()}`);
		});
		const origin = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`;
		for (const path of ['/relay/docs', '/relay/docs/']) {
			await page.goto(`${origin}${path}`);
			const operation = page.locator('.opblock', { hasText: 'Does the process live?' });
			await operation.locator('.opblock-summary-control').click();
			const answer = page.waitForResponse(`${origin}/relay/health`);
			await operation.getByText('Execute').click();
			assert.equal((await answer).status(), 200);
		}
		assert.deepEqual(failures, []);
	});
	proxy.closeAllConnections();
	proxy.close();
	await relay.close();
});

/** A page of another origin that tries everything: what it got, or `refused`. */
async function tryFrom(page: Page, origin: string, relay: string): Promise<Record<string, string>> {
	await page.goto(origin);
	return page.evaluate(async (url) => {
		const socket = new Promise<string>((resolve) => {
			const ws = new WebSocket(`${url.replace('http', 'ws')}/ws`);
			ws.onopen = () => resolve('open');
			ws.onerror = () => resolve('refused');
		});
		const events = new Promise<string>((resolve) => {
			const source = new EventSource(`${url}/api/v1/events?topics=a`);
			source.addEventListener('subscribed', () => resolve('open'));
			source.onerror = () => {
				source.close();
				resolve('refused');
			};
		});
		const publish = fetch(`${url}/api/v1/messages`, {
			method: 'POST',
			headers: { 'content-type': 'application/json', 'idempotency-key': 'x' },
			body: '{"topic":"a","payload":1}',
		}).then(
			({ status, headers }) => `${status} ${headers.has('x-request-id')}`,
			() => 'refused',
		);
		const remove = fetch(`${url}/api/v1/topics/unknown`, { method: 'DELETE' }).then(
			({ status }) => String(status),
			() => 'refused',
		);
		const read = fetch(`${url}/api/v1/topics`).then(
			({ status }) => String(status),
			() => 'refused',
		);
		return { socket: await socket, events: await events, publish: await publish, remove: await remove, read: await read };
	}, relay);
}

test('a page of another origin can do what it may: nothing, or everything when its origin is allowed', {
	skip: chromiumUnavailable,
}, async () => {
	const pages = createServer((_request, response) => response.setHeader('content-type', 'text/html').end('<p>another</p>'));
	pages.listen(0, '127.0.0.1');
	await once(pages, 'listening');
	const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;
	const closed = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	const open = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_ALLOWED_ORIGINS: JSON.stringify([origin]) });
	await withPage(async (page) => {
		const nothing = { socket: 'refused', events: 'refused', publish: 'refused', remove: 'refused', read: 'refused' };
		assert.deepEqual(await tryFrom(page, origin, closed.url), nothing);
		const everything = { socket: 'open', events: 'open', publish: '201 true', remove: '404', read: '200' };
		assert.deepEqual(await tryFrom(page, origin, open.url), everything);
	});
	const { json } = await closed.request('GET', '/api/v1/topics');
	assert.deepEqual(json, [], 'nothing was published behind the page');
	await closed.close();
	await open.close();
	pages.close();
});
