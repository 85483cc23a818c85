/**
 * What every transport must do, said once: order, resume, gaps, deletion, expiry, slow readers, fidelity. A test file calls it
 * with its transport; each case runs over real sockets, on each store.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { type Backend, backends } from '../support/backends.ts';
import { idsOf, type Received, type TransportUnderTest } from '../support/readers.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';

const count = (n: number) => (received: readonly Received[]) => received.length >= n;
const texts = (n: number, from = 0) => Array.from({ length: n }, (_, i) => `{"i":${from + i}}`);

export function deliverySuite(transport: TransportUnderTest): void {
	for (const backend of backends) {
		const title = `delivery over ${transport.name}, on the ${backend.name} store`;
		if (backend.unavailable === null) describe(title, () => deliveryOn(backend, transport));
		else test(title, { skip: backend.unavailable }, () => {});
	}
}

function deliveryOn(backend: Backend, transport: TransportUnderTest): void {
	let store: Awaited<ReturnType<Backend['start']>>;
	let relay: TestRelay;
	let topicNumber = 0;
	const newTopic = () => `topic-${++topicNumber}`;

	before(async () => {
		// A hot tier of 64 KiB: what the tests publish is read from memory, from the store and live.
		store = await backend.start();
		relay = await startRelay({ ...store.env, PULSAR_HOT_TIER_MAX_BYTES: '65536' });
	});
	after(async () => {
		await relay.close();
		await store.stop();
	});

	test('delivers what is published after subscribing, in order, with payload and metadata', async () => {
		const topic = newTopic();
		const reader = await transport.open(relay.url, [topic], 'last');
		const ids = [await relay.publish(topic, '{"a":1}', { metadata: { k: 'v' } }), await relay.publish(topic, '[1,2]')];
		await reader.until(count(2));
		assert.deepEqual(reader.received, [
			{ kind: 'message', topic, id: ids[0], payload: '{"a":1}', metadata: { k: 'v' } },
			{ kind: 'message', topic, id: ids[1], payload: '[1,2]', metadata: {} },
		]);
		await reader.close();
	});

	test('starts after the tip with `last`, at the first kept message with `earliest`, and after an id', async () => {
		const topic = newTopic();
		const ids = await relay.publishMany(topic, texts(5));
		const [last, earliest, middle] = await Promise.all(
			['last', 'earliest', ids[2] as string].map((from) => transport.open(relay.url, [topic], from)),
		);
		const next = await relay.publish(topic, '"next"');
		const ends = (received: readonly Received[]) => idsOf(received).at(-1) === next;
		await Promise.all([last, earliest, middle].map((reader) => reader?.until(ends)));
		assert.deepEqual(idsOf(last?.received ?? []), [next]);
		assert.deepEqual(idsOf(earliest?.received ?? []), [...ids, next]);
		assert.deepEqual(idsOf(middle?.received ?? []), [...ids.slice(3), next]);
		await Promise.all([last, earliest, middle].map((reader) => reader?.close()));
	});

	test('reads a backlog larger than the hot tier and goes over to live without a gap', async () => {
		const topic = newTopic();
		const ids = [...(await relay.publishMany(topic, texts(5000)))];
		const reader = await transport.open(relay.url, [topic], 'earliest');
		ids.push(...(await relay.publishMany(topic, texts(500, 5000))));
		await reader.until(count(ids.length));
		assert.deepEqual(idsOf(reader.received), ids);
		await reader.close();
	});

	test('follows several topics, each from its own place', async () => {
		const [a, b] = [newTopic(), newTopic()];
		const idsA = await relay.publishMany(a, texts(3));
		const idsB = await relay.publishMany(b, texts(3));
		const reader = await transport.open(relay.url, [a, b], { [a]: idsA[0] as string, [b]: idsB[1] as string });
		const next = await relay.publish(b, '"next"');
		await reader.until(count(4));
		assert.deepEqual(idsOf(reader.received, a), idsA.slice(1));
		assert.deepEqual(idsOf(reader.received, b), [idsB[2], next]);
		await reader.close();
	});

	test('tells of a gap before the rest when the cursor was trimmed away', async () => {
		const topic = newTopic();
		await relay.request('POST', '/api/v1/topics', { topic_name: topic, max_messages: 2 });
		const ids = await relay.publishMany(topic, texts(6));
		await trimmedTo(relay, topic, 2);
		const reader = await transport.open(relay.url, [topic], ids[0] as string);
		await reader.until(count(3));
		assert.deepEqual(reader.received[0], { kind: 'gap', topic, reason: 'trimmed', from: ids[0], to: ids[3] });
		assert.deepEqual(idsOf(reader.received), ids.slice(4));
		await reader.close();
	});

	test('gives `earliest` of a trimmed topic without a gap', async () => {
		const topic = newTopic();
		await relay.request('POST', '/api/v1/topics', { topic_name: topic, max_messages: 2 });
		const ids = await relay.publishMany(topic, texts(6));
		await trimmedTo(relay, topic, 2);
		const reader = await transport.open(relay.url, [topic], 'earliest');
		await reader.until(count(2));
		assert.deepEqual(idsOf(reader.received), ids.slice(4));
		await reader.close();
	});

	test('tells of a gap when the cursor is beyond the end, then delivers what comes', async () => {
		const topic = newTopic();
		const id = await relay.publish(topic, '1');
		const reader = await transport.open(relay.url, [topic], '9999999999999-0');
		const next = await relay.publish(topic, '2');
		await reader.until(count(2));
		assert.deepEqual(reader.received[0], { kind: 'gap', topic, reason: 'ahead', from: '9999999999999-0', to: id });
		assert.deepEqual(idsOf(reader.received), [next]);
		await reader.close();
	});

	test('waits on a topic that does not exist, and gets its first message', async () => {
		const topic = newTopic();
		const reader = await transport.open(relay.url, [topic], 'last');
		const id = await relay.publish(topic, 'null');
		await reader.until(count(1));
		assert.deepEqual(idsOf(reader.received), [id]);
		await reader.close();
	});

	test('says that a topic was deleted, and that messages of it are gone', async () => {
		const topic = newTopic();
		const id = await relay.publish(topic, '1');
		const reader = await transport.open(relay.url, [topic], 'last');
		assert.equal((await relay.request('DELETE', `/api/v1/topics/${topic}`)).status, 204);
		await reader.until(count(1));
		assert.deepEqual(reader.received, [{ kind: 'deleted', topic }]);
		await reader.close();
		const again = await relay.publish(topic, '2');
		const resumed = await transport.open(relay.url, [topic], id);
		await resumed.until(count(1));
		assert.deepEqual(idsOf(resumed.received), [again]);
		await resumed.close();
	});

	test('does not deliver a message whose time to live has passed', async () => {
		const topic = newTopic();
		const ids = [await relay.publish(topic, '"kept"'), await relay.publish(topic, '"short"', { ttl: 1 })];
		const expired = Number((ids[1] as string).split('-')[0]) + 1000;
		while (Date.now() <= expired) await new Promise((resolve) => setImmediate(resolve));
		ids.push(await relay.publish(topic, '"later"'));
		const reader = await transport.open(relay.url, [topic], 'earliest');
		await reader.until(count(2));
		assert.deepEqual(idsOf(reader.received), [ids[0], ids[2]]);
		await reader.close();
	});

	test('keeps the payload byte for byte', async () => {
		const topic = newTopic();
		const reader = await transport.open(relay.url, [topic], 'last');
		let received = 0;
		await fc.assert(
			fc.asyncProperty(jsonText, async (payload) => {
				await relay.publish(topic, payload);
				received++;
				await reader.until(count(received));
				const item = reader.received[received - 1];
				// The stream format ends lines at CR as at LF: between tokens, where JSON has them, it can only carry LF.
				const expected = transport.name === 'SSE' ? payload.replaceAll(/\r\n?/g, '\n') : payload;
				assert.equal(item?.kind === 'message' ? item.payload : undefined, expected);
			}),
			{ numRuns: 200 },
		);
		await reader.close();
	});

	test('delivers messages that are each larger than what a connection may hold, live and from the log', async () => {
		const topic = newTopic();
		const live = await transport.open(relay.url, [topic], 'last');
		const large = (i: number) => `"${String(i).repeat(300_000)}"`;
		const ids: string[] = [];
		for (let round = 0; round < 3; round++) ids.push(...(await relay.publishMany(topic, [1, 2, 3, 4, 5].map(large))));
		const late = await transport.open(relay.url, [topic], 'earliest');
		for (const reader of [live, late]) {
			await reader.until(count(ids.length));
			assert.deepEqual(idsOf(reader.received), ids);
			await reader.close();
		}
	});

	test('keeps a payload of 24 MiB', async () => {
		const topic = newTopic();
		const reader = await transport.open(relay.url, [topic], 'last');
		const payload = `{"text":"${'é'.repeat(12 * 1024 * 1024)}"}`;
		await relay.publish(topic, payload);
		await reader.until(count(1));
		const [item] = reader.received;
		assert(item?.kind === 'message' && item.payload === payload);
		await reader.close();
	});
}

/** JSON texts with the spellings that a parse and re-serialisation would change. */
const jsonText = fc.oneof(
	fc.json().filter(wellFormed),
	fc.constantFrom(
		'9007199254740993',
		'1.0',
		'1e999',
		'-0',
		'0.1e1',
		'{"a":1,"a":2}',
		'{"2":1,"1":2}',
		'{"__proto__":{"x":1}}',
		'[ 1 ,\n 2 ]',
		'{\r\n"a"\t:\r1}',
		'"\\u00e9\\ud83d\\ude00é😀"',
		'"\u2028\u2029\u007f"',
		'"</script>"',
	),
);

function wellFormed(text: string): boolean {
	return text.isWellFormed() && !/\\ud[89a-f]/i.test(text);
}

/** Resolves when the background trimming has brought a topic down to `messages`. */
async function trimmedTo(relay: TestRelay, topic: string, messages: number): Promise<void> {
	const deadline = Date.now() + 10_000;
	while (Date.now() < deadline) {
		const { json } = await relay.request('GET', `/api/v1/topics/${topic}`);
		if ((json as { message_count: number }).message_count === messages) return;
	}
	assert.fail(`topic ${topic} was not trimmed within ten seconds`);
}
