/** Event ids of streams over many topics: they are short, and resume each topic, on any transport and after a restart. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startRelayProcess } from '../support/process.ts';
import { startRelay } from '../support/relay.ts';

const TOPICS = Array.from(
	{ length: 50 },
	(_, i) => `a-topic-of-some-department-with-quite-a-long-name.${String(i).padStart(2, '0')}`,
);

interface Event {
	readonly name: string;
	readonly id: string;
	readonly data: { readonly topic?: string; readonly payload?: unknown; readonly reason?: string };
}

/** Reads events from a stream until enough have come. */
async function readEvents(
	url: string,
	topics: readonly string[],
	lastEventId: string,
	enough: (events: readonly Event[]) => boolean,
): Promise<readonly Event[]> {
	const abort = new AbortController();
	const response = await fetch(`${url}/api/v1/events?topics=${topics}`, {
		headers: { 'last-event-id': lastEventId },
		signal: abort.signal,
	});
	assert.equal(response.status, 200);
	const events: Event[] = [];
	let text = '';
	for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
		const blocks = (text + chunk).split('\n\n');
		text = blocks.pop() ?? '';
		for (const block of blocks) {
			const fields = new Map(
				block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
			);
			events.push({
				name: fields.get('event') ?? 'message',
				id: fields.get('id') ?? '',
				data: JSON.parse(fields.get('data') ?? '{}') as Event['data'],
			});
		}
		if (enough(events)) break;
	}
	abort.abort();
	return events;
}

const messagesOf = (events: readonly Event[]) => events.filter(({ name }) => name === 'message');
const payloadsOf = (events: readonly Event[]) =>
	messagesOf(events).map(({ data: { topic = '', payload } }) => `${topic.slice(-2)} ${payload}`);

async function publish(url: string, topic: string, payload: number): Promise<void> {
	const response = await fetch(`${url}/api/v1/messages`, {
		method: 'POST',
		headers: { 'content-type': 'application/json' },
		body: JSON.stringify({ topic, payload }),
	});
	assert.equal(response.status, 201);
}

test('an event id over fifty topics is short, and any of them resumes every topic, after a restart, too', async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-event-ids-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	let relay = await startRelayProcess(dataDir);
	t.after(() => relay.end('SIGKILL'));
	for (const [i, topic] of TOPICS.entries()) if (i % 2 === 0) await publish(relay.url, topic, -1);
	// Round and round, so that what comes after an event is spread over all topics; several in one millisecond.
	const count = 200;
	const reading = readEvents(relay.url, TOPICS, '', (events) => messagesOf(events).length >= count);
	await new Promise<void>((resolve) => {
		const look = async () => {
			const text = await (await fetch(`${relay.url}/metrics`)).text();
			if (text.includes('relay_connections{type="sse"} 1')) resolve();
			else setImmediate(() => void look());
		};
		void look();
	});
	for (let i = 0; i < count; i++) await publish(relay.url, TOPICS[(i * 7) % TOPICS.length] ?? '', i);
	const events = await reading;
	const messages = messagesOf(events);
	assert.equal(messages.length, count);
	for (const { id } of events) assert(id.length < 50 * 4 + 20, `${id.length}: ${id}`);
	await relay.end('SIGKILL');
	relay = await startRelayProcess(dataDir);
	const url = relay.url;
	for (const from of [0, 1, 60, 199]) {
		const resumed = await readEvents(
			url,
			TOPICS,
			messages[from]?.id ?? '',
			(read) => messagesOf(read).length >= count - from - 1 && read.length > 0,
		);
		assert.deepEqual(payloadsOf(resumed).toSorted(), payloadsOf(messages.slice(from + 1)).toSorted(), `from ${from}`);
		assert(resumed.every(({ name }) => name !== 'gap'));
	}
	const first = messages[0]?.id ?? '';
	// Another order of the topics is the same; it is a `since` as well.
	const poll = await fetch(`${url}/api/v1/poll?topics=${TOPICS.toReversed()}&since=${first}&limit=1000`);
	const { messages: polled } = (await poll.json()) as { messages: unknown[] };
	assert.equal(polled.length, count - 1);
	// Of other topics it is none.
	assert.equal((await fetch(`${url}/api/v1/poll?topics=${TOPICS.slice(1)}&since=${first}`)).status, 400);
	const unknown = await readEvents(url, TOPICS.slice(1), first, (read) => read.length >= 50);
	assert.deepEqual(new Set(unknown.slice(1).map(({ data }) => data.reason)), new Set(['unknown']));
});

test('a cursor that names its topics is understood by streams that write short ones', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.close());
	const [first = '', second = ''] = TOPICS;
	const id = await relay.publish(first, '1');
	await relay.publish(first, '2');
	await relay.publish(second, '3');
	const named = `${first}:${id},${second}:0-0`;
	const events = await readEvents(relay.url, TOPICS, named, (read) => messagesOf(read).length >= 2);
	assert.deepEqual(payloadsOf(events).toSorted(), ['00 2', '01 3']);
	assert(events.every(({ id }) => id.startsWith('~') && id.length < 40));
});

test('a topic that was deleted meanwhile does not keep the others from resuming', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.close());
	const [first = '', second = ''] = TOPICS;
	for (const topic of [first, second]) await relay.publish(topic, '0');
	const reading = readEvents(relay.url, TOPICS, '', (read) => read.some(({ name }) => name === 'message'));
	while (!(await (await fetch(`${relay.url}/metrics`)).text()).includes('relay_connections{type="sse"} 1'));
	assert.equal((await relay.request('DELETE', `/api/v1/topics/${first}`)).status, 204);
	await relay.publish(second, '1');
	const last = (await reading).at(-1)?.id ?? '';
	await relay.publish(second, '2');
	const resumed = await readEvents(relay.url, TOPICS, last, (read) => messagesOf(read).length >= 1);
	assert.deepEqual(payloadsOf(resumed), ['01 2']);
	assert(resumed.every(({ name }) => name !== 'gap'));
});
