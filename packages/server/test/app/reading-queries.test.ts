/** How the reading routes take their query: topics that come several times, and the last event id of clients that cannot set headers. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { OPEN_RIGHTS } from '../../src/auth/topic-access.ts';
import { registerLongPoll } from '../../src/transports/long-poll/route.ts';
import { createFakeClock } from '../support/clock.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';
import { type HttpUnderTest, OWNER_ID, startHttp } from '../support/start-http.ts';

let relay: TestRelay;
let ids: readonly string[];
before(async () => {
	relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	ids = await relay.publishMany('t', ['1', '2', '3']);
});
after(() => relay.close());

/** The first event of a stream and what comes with it, until there are as many bytes of messages as expected. */
async function readEvents(query: string, headers: Readonly<Record<string, string>>, mark: string): Promise<string> {
	const abort = new AbortController();
	const response = await fetch(`${relay.url}/api/v1/events?${query}`, { headers, signal: abort.signal });
	assert.equal(response.status, 200, query);
	let text = '';
	for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
		text += chunk;
		if (text.includes(mark)) break;
	}
	abort.abort();
	return text;
}

const payloadsOf = (text: string) => [...text.matchAll(/"payload":(\d)/g)].map(([, payload]) => Number(payload));

test('the last event id may stand in the query, as polyfills name it', async () => {
	for (const name of ['lastEventId', 'lastEventID', 'last-event-id', 'Last-Event-ID', 'last_event_id']) {
		assert.deepEqual(payloadsOf(await readEvents(`topics=t&${name}=${ids[0]}`, {}, '"payload":3')), [2, 3], name);
	}
});

test('the header wins over the last event id in the query, and that over `since`', async () => {
	const query = `topics=t&since=earliest&lastEventId=${ids[0]}`;
	assert.deepEqual(payloadsOf(await readEvents(query, {}, '"payload":3')), [2, 3]);
	const header = { 'last-event-id': ids[1] ?? assert.fail() };
	assert.deepEqual(payloadsOf(await readEvents(query, header, '"payload":3')), [3]);
	assert.deepEqual(payloadsOf(await readEvents(`${query}&lastEventId=${ids[1]}`, {}, '"payload":3')), [3], 'the last one');
	for (const more of ['lastEventId=', 'last_event_id=']) {
		assert.deepEqual(payloadsOf(await readEvents(`${query}&${more}`, {}, '"payload":3')), [2, 3], `${more} is none`);
	}
	const empty = await readEvents('topics=t&since=earliest&lastEventId=', { 'last-event-id': '' }, '"payload":3');
	assert.deepEqual(payloadsOf(empty), [1, 2, 3]);
});

test('a last event id in the query that is no cursor is a gap, as in the header', async () => {
	const text = await readEvents('topics=t&lastEventId=nonsense', {}, 'event: gap');
	assert.match(text, /event: gap\ndata: .*"unknown".*\nid: /);
});

test('`topics` may come several times', async () => {
	await relay.publish('u', '9');
	const poll = await relay.request('GET', '/api/v1/poll?topics=t&topics=u,t&since=earliest&timeout=0');
	const { messages } = poll.json as { messages: { topic: string }[] };
	assert.deepEqual(
		messages.map(({ topic }) => topic),
		['t', 't', 't', 'u'],
	);
	const text = await readEvents('topics=u&since=earliest&topics=t', {}, '"payload":3');
	assert.deepEqual(payloadsOf(text), [9, 1, 2, 3]);
	for (const path of ['/api/v1/poll', '/api/v1/events']) {
		assert.equal((await relay.request('GET', `${path}?topics=t&topics=.dot`)).status, 422);
		assert.equal((await relay.request('GET', `${path}?topics=t&topics=`)).status, 422);
	}
});

test('a poll that asks for 60 seconds is answered before proxies give it up', async (t) => {
	const clock = createFakeClock();
	const http: HttpUnderTest = await startHttp({
		clock,
		addRoutes: (server) =>
			registerLongPoll(server, {
				get relay() {
					return http.relay;
				},
				get metrics() {
					return http.metrics;
				},
				clock,
				auth: null,
				caps: null,
				rights: OPEN_RIGHTS,
				pollStarts: null,
				ownerId: OWNER_ID,
			}),
	});
	t.after(() => http.close());
	let answered = 0;
	const count = async (answer: Promise<Response>) => {
		const { status } = await answer;
		answered++;
		return status;
	};
	const polls = [
		count(fetch(`${http.url}/api/v1/poll?topics=a&timeout=60`)),
		count(
			fetch(`${http.url}/messages/poll`, {
				method: 'POST',
				headers: { 'content-type': 'application/json' },
				body: '{"topics":["a"],"timeout":60.0}',
			}),
		),
	];
	while (http.relay.load.waitingPolls < 2) await new Promise((resolve) => setImmediate(resolve));
	clock.advance(54_999);
	await fetch(`${http.url}/health`);
	assert.equal(answered, 0);
	clock.advance(1);
	assert.deepEqual(await Promise.all(polls), [200, 200]);
});
