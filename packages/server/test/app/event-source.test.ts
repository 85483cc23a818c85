/** A browser's own EventSource when the relay refuses: it comes back after what passes, and the page renews what has expired. */

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Page } from 'playwright-core';
import type { Store } from '../../src/ports/store.ts';
import { startAuthRelay } from '../support/auth-relay.ts';
import { chromiumUnavailable, withPage } from '../support/chromium.ts';
import { send } from '../support/http-client.ts';
import { startRelay } from '../support/relay.ts';
import { startSse } from '../support/start-sse.ts';
import { overlay } from '../unit/relay/support/fixture.ts';

/** Opens an EventSource in the page, which notes the events that it gets, and its state with each. */
async function openSource(page: Page, address: string): Promise<void> {
	await page.evaluate((url) => {
		const events: string[] = [];
		const source = new EventSource(url);
		for (const type of ['subscribed', 'closed', 'message']) {
			source.addEventListener(type, (event) => events.push(`${type} ${(event as MessageEvent).data}`));
		}
		source.addEventListener('error', () => events.push(`error ${source.readyState}`));
		Object.assign(globalThis, { events });
	}, address);
}

const eventsOf = (page: Page) => page.evaluate(() => (globalThis as unknown as { events: string[] }).events);

const untilEvent = (page: Page, start: string) =>
	page.waitForFunction(
		(text) => (globalThis as unknown as { events: string[] }).events.some((event) => event.startsWith(text)),
		start,
	);

test('EventSource comes back by itself when the store is back', { skip: chromiumUnavailable }, async (t) => {
	let away = true;
	const wrapStore = (store: Store) =>
		overlay(store, {
			watch: async (topic) => {
				if (away) throw new RelayError('storage_unavailable', 'the store is away');
				return store.watch(topic);
			},
		});
	const http = await startSse(t, { wrapStore });
	await withPage(async (page) => {
		await page.goto(`${http.url}/health`);
		await openSource(page, '/api/v1/events?topics=a');
		await untilEvent(page, 'error');
		const [closed, error] = await eventsOf(page);
		const [, data = ''] = /^closed (.*)$/.exec(closed ?? '') ?? [];
		assert.deepEqual(JSON.parse(data), {
			code: 'storage_unavailable',
			message: 'the store is away',
			action: 'reconnect',
			last_event_id: '',
		});
		assert.equal(error, 'error 0', 'it is connecting, not closed');
		away = false;
		await untilEvent(page, 'subscribed');
	});
});

test('EventSource comes back by itself when there is room for another connection', { skip: chromiumUnavailable }, async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_MAX_CONNECTIONS: '1' });
	t.after(() => relay.close());
	const other = new AbortController();
	await fetch(`${relay.url}/api/v1/events?topics=a`, { signal: other.signal });
	await withPage(async (page) => {
		await page.goto(`${relay.url}/health`);
		await openSource(page, '/api/v1/events?topics=a');
		await untilEvent(page, 'error 0');
		assert.match((await eventsOf(page))[0] ?? '', /^closed .*"too_many_connections"/);
		other.abort();
		await untilEvent(page, 'subscribed');
	});
});

test('a refusal that passes is a stream that ends for those who accept nothing else, and a status for others', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_MAX_CONNECTIONS: '1' });
	const other = new AbortController();
	t.after(() => {
		other.abort();
		return relay.close();
	});
	await fetch(`${relay.url}/api/v1/events?topics=a`, { signal: other.signal });
	const ask = (headers: Record<string, string>, query = 'topics=a') => send(`${relay.url}/api/v1/events?${query}`, { headers });
	const refused = await ask({ accept: 'text/event-stream', 'last-event-id': '5-0' });
	assert.equal(refused.status, 200);
	assert.equal(refused.headers.get('content-type'), 'text/event-stream; charset=utf-8');
	assert.match(refused.text, /^retry: [1-6][0-9]{3}\nevent: closed\ndata: \{.*"last_event_id":"5-0"\}\nid: 5-0\n\n$/);
	// The last event id of strict clients is that of the last event, whatever it was.
	assert.match((await ask({ accept: 'text/event-stream' }, 'topics=a&lastEventId=6-0')).text, /\nid: 6-0\n/);
	assert(!(await ask({ accept: 'text/event-stream' }, 'topics=a&lastEventId=6-0%0Adata:%20x')).text.includes('data: x'));
	for (const accept of ['*/*', 'text/event-stream, */*', 'application/json']) {
		const status = await ask({ accept });
		assert.equal(status.status, 503, accept);
		assert(status.headers.has('retry-after'));
	}
	for (const query of ['topics=.dot', 'topics=a&since=nonsense']) {
		assert((await ask({ accept: 'text/event-stream' }, query)).status >= 400, 'what does not pass keeps its status');
	}
	assert.equal((await send(`${relay.url}/api/v1/poll?topics=.dot`, { headers: { accept: 'text/event-stream' } })).status, 422);
});

test('a stream that is refused while the node drains ends with a time to reconnect', async (t) => {
	const http = await startSse(t);
	await http.relay.drain();
	const answer = await send(`${http.url}/api/v1/events?topics=a`, { headers: { accept: 'text/event-stream' } });
	assert.equal(answer.status, 200);
	assert.match(answer.text, /^retry: [0-9]+\nevent: closed\ndata: .*"shutting_down".*"reconnect"/);
});

test('the code of docs/browsers.md goes on with a new token each time the one before has expired', {
	skip: chromiumUnavailable,
}, async (t) => {
	const guide = await readFile(new URL('../../../../docs/browsers.md', import.meta.url), 'utf8');
	const [, code = ''] = /```js\n(.*?)```/s.exec(guide) ?? [];
	const world = await startAuthRelay();
	t.after(() => world.close());
	const alice = await world.person('alice');
	let tokens = 0;
	await withPage(async (page) => {
		await page.goto(`${world.url}/health`);
		await page.exposeFunction('getToken', () => {
			tokens++;
			return world.scoped(alice, ['subscribe'], ['jobs', 'news'], 2);
		});
		// As a script of the page would define it.
		await page.evaluate(`globalThis.follow = ${code.slice(code.indexOf('function follow'))}`);
		await page.evaluate((relayUrl) => {
			const page = globalThis as unknown as {
				follow: (...args: unknown[]) => void;
				seen: number[];
				gaps: number;
				getToken: () => Promise<string>;
			};
			page.seen = [];
			page.gaps = 0;
			page.follow(
				relayUrl,
				['jobs', 'news'],
				page.getToken,
				({ payload }: { payload: number }) => page.seen.push(payload),
				() => page.gaps++,
			);
		}, world.url);
		const published: number[] = [];
		const deadline = performance.now() + 30_000;
		while (tokens < 3 && performance.now() < deadline) {
			published.push(published.length);
			const topic = published.length % 2 === 0 ? 'jobs' : 'news';
			const answer = await world.call('POST', '/api/v1/messages', alice, { topic, payload: published.length - 1 });
			assert.equal(answer.status, 201, answer.text);
			await page.waitForTimeout(100);
		}
		assert(tokens >= 3, `${tokens} tokens`);
		const last = published.at(-1);
		await page.waitForFunction((n) => (globalThis as unknown as { seen: number[] }).seen.includes(n ?? 0), last);
		const { seen, gaps } = await page.evaluate(() => {
			const { seen, gaps } = globalThis as unknown as { seen: number[]; gaps: number };
			return { seen, gaps };
		});
		const first = Number(seen.toSorted((a, b) => a - b)[0]);
		assert.deepEqual(
			seen.toSorted((a, b) => a - b),
			published.slice(first),
			'each once, none left out',
		);
		assert.equal(gaps, 0);
	});
});
