/** `POST /api/v1/messages` and `/api/v1/messages/bulk` over real sockets: answers, fidelity, idempotency, failures. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { timestampOf } from '@pulsar-relay/protocol/frames';
import fc from 'fast-check';
import { createFailingStore, type FailingStore } from '../support/failing-store.ts';
import { assertFailure, send, sendJson } from '../support/http-client.ts';
import { exchange, postBytes } from '../support/raw-http.ts';
import { type HttpUnderTest, startHttp } from '../support/start-http.ts';

interface Published {
	readonly message_id: string;
	readonly topic: string;
	readonly timestamp: string;
}

interface Bulk {
	readonly results: readonly {
		readonly message_id: string | null;
		readonly topic: string;
		readonly status: string;
		readonly error: string | null;
	}[];
	readonly summary: unknown;
}

let http: HttpUnderTest;
let failing: FailingStore;
let topicNumber = 0;
const newTopic = () => `topic-${++topicNumber}`;
const publish = (body: unknown, headers?: Record<string, string>) =>
	sendJson('POST', `${http.url}/api/v1/messages`, body, headers);
const publishBulk = (body: unknown, headers?: Record<string, string>) =>
	sendJson('POST', `${http.url}/api/v1/messages/bulk`, body, headers);

before(async () => {
	http = await startHttp({
		wrapStore: (store) => {
			failing = createFailingStore(store);
			return failing.store;
		},
	});
});
after(() => http.close());

/** The texts of a topic's payloads, oldest first, cut out of the answer as they are. */
async function payloadTexts(topic: string): Promise<string[]> {
	const { text } = await send(`${http.url}/api/v1/topics/${topic}/messages?order=asc&limit=100`);
	return [...text.matchAll(/"payload":(.*?),"metadata":\{/gs)].map((match) => match[1] ?? '');
}

async function messageCount(topic: string): Promise<number> {
	const answer = await send(`${http.url}/api/v1/topics/${topic}`);
	return answer.status === 404 ? 0 : answer.json<{ message_count: number }>().message_count;
}

describe('a single publish', () => {
	test('is answered with the id, the topic and the time in the id', async () => {
		const topic = newTopic();
		const answer = await publish({ topic, payload: { a: 1 }, ttl: 60, metadata: { k: 'v' } });
		assert.equal(answer.status, 201);
		assert.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8');
		const { message_id: id, ...rest } = answer.json<Published>();
		assert.match(id, /^\d+-\d+$/);
		assert.deepEqual(rest, { topic, timestamp: timestampOf(Number(id.split('-')[0])) });
	});

	test('takes any JSON value, spare fields, and the last of equal fields', async () => {
		const topic = newTopic();
		const bodies = ['null', '0', '"text"', '[]', 'false'].map((payload) => `{"topic":"${topic}","payload":${payload}}`);
		bodies.push(`{"is_public":true,"topic":"first","payload":[1],"topic":"${topic}","payload":[2],"ttl":null,"metadata":null}`);
		bodies.push(`{"t\\u006fpic":"\\u0074${topic.slice(1)}","payload":3}`);
		for (const body of bodies) assert.equal((await publish(body)).status, 201, body);
		assert.deepEqual(await payloadTexts(topic), ['null', '0', '"text"', '[]', 'false', '[2]', '3']);
	});

	test('takes a time to live as an integer, an integral float or a decimal string', async () => {
		for (const ttl of ['60', '60.0', '6e1', '"60"', 'null']) {
			const answer = await publish(`{"topic":"${newTopic()}","payload":1,"ttl":${ttl}}`);
			assert.equal(answer.status, 201, `${ttl}: ${answer.text}`);
		}
	});

	test('takes content types of the JSON kin, in any case, with parameters', async () => {
		for (const type of [
			'application/json',
			'Application/JSON; charset=utf-8',
			'application/vnd.relay+json',
			'application/cloudevents+json;v=1',
		]) {
			const answer = await publish({ topic: newTopic(), payload: 1 }, { 'content-type': type });
			assert.equal(answer.status, 201, `${type}: ${answer.text}`);
		}
	});

	test('keeps metadata as it was written, and the payload below it nested as deep as the limit', async () => {
		const topic = newTopic();
		const deep = '['.repeat(64) + ']'.repeat(64);
		assert.equal((await publish(`{"topic":"${topic}","payload":${deep},"metadata":{ "k" : "\\u00e9" }}`)).status, 201);
		const { text } = await send(`${http.url}/api/v1/topics/${topic}/messages`);
		assert(text.includes(`"payload":${deep},"metadata":{ "k" : "\\u00e9" }`), text);
	});

	test('says what is wrong with each field', async () => {
		const detail = assertFailure(await publish({ topic: 'no good', ttl: -1, metadata: { k: 1 } }), 422, 'invalid_request');
		assert.deepEqual(detail, [
			{ type: 'missing', loc: ['body', 'payload'], msg: 'Field required' },
			{
				type: 'value_error',
				loc: ['body', 'topic'],
				msg: 'Value error, topic name may only contain letters, digits, "_", "." and "-"',
			},
			{ type: 'greater_than_equal', loc: ['body', 'ttl'], msg: 'Input should be greater than or equal to 1' },
			{ type: 'string_type', loc: ['body', 'metadata', 'k'], msg: 'Input should be a valid string' },
		]);
	});

	test('keeps the payload byte for byte', async () => {
		const topic = newTopic();
		const texts = [
			'9007199254740993',
			'1.0',
			'-0',
			'1e400',
			'{"b":1,"a":2,"b":3}',
			'"\\u0041\\/"',
			'{ "spaced" :\t[ 1 ,2 ] }',
			'"\u{1f980}"',
			'{"__proto__":{"x":1}}',
		];
		for (const text of texts) await publish(`{"topic":"${topic}","payload":${text}}`);
		assert.deepEqual(await payloadTexts(topic), texts);
	});

	test('keeps any payload byte for byte', async () => {
		const spaced = fc.tuple(fc.json(), fc.constantFrom('', ' ', '\n', '\t')).map(([json, space]) => `[${space}${json}${space}]`);
		await fc.assert(
			fc.asyncProperty(spaced, async (text) => {
				const topic = newTopic();
				const answer = await publish(`{"payload":${text},"topic":"${topic}"}`);
				assert.equal(answer.status, 201, answer.text);
				assert.deepEqual(await payloadTexts(topic), [text]);
				await send(`${http.url}/api/v1/topics/${topic}`, { method: 'DELETE' });
			}),
			{ numRuns: 100 },
		);
	});

	test('is taken from a body that comes byte by byte, and from one in chunks', async () => {
		const topic = newTopic();
		const body = `{"topic":"${topic}","payload":"${'x'.repeat(200)}"}`;
		const chunked = [...body].map((char) => `1\r\n${char}\r\n`).join('');
		const head = `POST /api/v1/messages HTTP/1.1\r\nHost: relay\r\nContent-Type: application/json\r\n`;
		assert.equal((await exchange(http.port, `${head}Transfer-Encoding: chunked\r\n\r\n${chunked}0\r\n\r\n`))?.status, 201);
		assert.equal((await exchange(http.port, postBytes('/api/v1/messages', body)))?.status, 201);
		assert.equal(await messageCount(topic), 2);
	});

	test('is answered 503 with Retry-After when the store cannot take it, and stores nothing', async () => {
		const topic = newTopic();
		failing.refuse = new Set([topic]);
		const answer = await publish({ topic, payload: 1 });
		failing.refuse = new Set();
		assert.equal(assertFailure(answer, 503, 'storage_unavailable'), 'the disk is full');
		assert.match(answer.headers.get('retry-after') ?? '', /^[1-5]$/);
		assert.equal(await messageCount(topic), 0);
		assert.equal((await publish({ topic, payload: 1 })).status, 201);
	});

	test('is answered 500 without the cause when the store has a defect, and the log has the cause with the request id', async () => {
		failing.refuse = 'all';
		failing.error = new TypeError('a secret of the driver');
		const answer = await publish({ topic: newTopic(), payload: 1 }, { 'x-request-id': 'the-defect' });
		failing.refuse = new Set();
		failing.error = createFailingStore(http.store).error;
		assertFailure(answer, 500, 'internal_error');
		assert(!answer.text.includes('secret'));
		const line = http.logLine('the-defect');
		assert(line.includes('a secret of the driver') && line.includes('"level":"error"'), line);
	});
});

describe('a bulk publish', () => {
	test('has a result per message, in order, and a summary', async () => {
		const [a, b] = [newTopic(), newTopic()];
		const answer = await publishBulk({
			messages: [a, b, a].map((topic, i) => ({ topic, payload: { i }, metadata: { n: String(i) } })),
		});
		assert.equal(answer.status, 207);
		const { results, summary } = answer.json<Bulk>();
		assert.deepEqual(summary, { total: 3, accepted: 3, rejected: 0 });
		assert.deepEqual(
			results.map(({ topic, status, error }) => ({ topic, status, error })),
			[
				{ topic: a, status: 'accepted', error: null },
				{ topic: b, status: 'accepted', error: null },
				{ topic: a, status: 'accepted', error: null },
			],
		);
		assert.deepEqual(await payloadTexts(a), ['{"i":0}', '{"i":2}']);
	});

	test('takes 100 messages and keeps their payloads byte for byte', async () => {
		const topic = newTopic();
		const texts = Array.from({ length: 100 }, (_, i) => `{ "n":${i}.0}`);
		const answer = await publishBulk(
			`{"messages":[${texts.map((text) => ` {"payload":${text},"topic":"${topic}"} `).join(',')}]}`,
		);
		assert.equal(answer.status, 207, answer.text);
		assert.deepEqual(await payloadTexts(topic), texts);
	});

	test('is refused whole for its shape', async () => {
		const message = { topic: 'bulk-shape', payload: 1 };
		const cases: readonly [body: unknown, type: string, loc: unknown][] = [
			[{ messages: [] }, 'too_short', ['body', 'messages']],
			[{ messages: new Array(101).fill(message) }, 'too_long', ['body', 'messages']],
			[{ messages: message }, 'list_type', ['body', 'messages']],
			[{}, 'missing', ['body', 'messages']],
			[[message], 'model_attributes_type', ['body']],
			[{ messages: [message, 5] }, 'model_attributes_type', ['body', 'messages', 1]],
			['', 'missing', ['body']],
		];
		for (const [body, type, loc] of cases) {
			const [problem] = assertFailure(await publishBulk(body), 422, 'invalid_request') as { type: string; loc: unknown }[];
			assert.deepEqual({ type: problem?.type, loc: problem?.loc }, { type, loc });
		}
		assert.equal(await messageCount('bulk-shape'), 0);
	});

	test('is refused whole for one bad message, with every problem told', async () => {
		const topic = newTopic();
		const body = { messages: [{ topic, payload: 1 }, { topic: 'a b', payload: 1 }, { topic, payload: 1, ttl: 0 }, { topic }] };
		const detail = assertFailure(await publishBulk(body), 422, 'invalid_request') as { loc: unknown }[];
		assert.deepEqual(
			detail.map(({ loc }) => loc),
			[
				['body', 'messages', 1, 'topic'],
				['body', 'messages', 2, 'ttl'],
				['body', 'messages', 3, 'payload'],
			],
		);
		assertFailure(await publishBulk({ messages: [{ topic: '.a', payload: 1 }] }), 422, 'invalid_topic');
		assert.equal(await messageCount(topic), 0);
	});

	test('rejects only the messages that the store does not take', async () => {
		const [good, bad] = [newTopic(), newTopic()];
		failing.refuse = new Set([bad]);
		const answer = await publishBulk({
			messages: [
				{ topic: bad, payload: 1 },
				{ topic: good, payload: 2 },
			],
		});
		failing.refuse = new Set();
		assert.equal(answer.status, 207);
		const { results, summary } = answer.json<Bulk>();
		assert.deepEqual(summary, { total: 2, accepted: 1, rejected: 1 });
		assert.deepEqual(results[0], {
			message_id: null,
			topic: bad,
			status: 'rejected',
			error: 'the disk is full',
			code: 'storage_unavailable',
		});
	});

	test('is answered 503 when the store takes none of them', async () => {
		failing.refuse = 'all';
		const answer = await publishBulk({
			messages: [
				{ topic: newTopic(), payload: 1 },
				{ topic: newTopic(), payload: 2 },
			],
		});
		failing.refuse = new Set();
		assertFailure(answer, 503, 'storage_unavailable');
	});
});

describe('an idempotency key', () => {
	test('gives the first answer again and stores nothing', async () => {
		const topic = newTopic();
		const key = { 'idempotency-key': 'single-1' };
		const first = await publish({ topic, payload: 1 }, key);
		const second = await publish({ topic, payload: 1 }, key);
		assert.deepEqual([second.status, second.text], [201, first.text]);
		assert.equal(await messageCount(topic), 1);
		assert.equal((await publish({ topic, payload: 1 })).status, 201);
		assert.equal(await messageCount(topic), 2);
	});

	test('of another body, or of another route, is refused', async () => {
		const topic = newTopic();
		const key = { 'idempotency-key': 'single-2' };
		assert.equal((await publish({ topic, payload: 1 }, key)).status, 201);
		assertFailure(await publish({ topic, payload: 2 }, key), 422, 'idempotency_conflict');
		assertFailure(await publishBulk({ messages: [{ topic, payload: 1 }] }, key), 422, 'idempotency_conflict');
		assert.equal(await messageCount(topic), 1);
		// A body that either route takes.
		const both = { topic, payload: 1, messages: [{ topic, payload: 2 }] };
		assert.equal((await publish(both, { 'idempotency-key': 'both' })).status, 201);
		assertFailure(await publishBulk(both, { 'idempotency-key': 'both' }), 422, 'idempotency_conflict');
	});

	test('makes concurrent requests one: each gets the same answer', async () => {
		const topic = newTopic();
		const answers = await Promise.all(
			Array.from({ length: 20 }, () => publish({ topic, payload: 1 }, { 'idempotency-key': 'concurrent' })),
		);
		assert.deepEqual(new Set(answers.map((answer) => answer.status)), new Set([201]));
		assert.equal(new Set(answers.map((answer) => answer.text)).size, 1);
		assert.equal(await messageCount(topic), 1);
	});

	test('refuses another body also while the first is under way', async () => {
		const topic = newTopic();
		let release = () => {};
		failing.hold = new Promise((resolve) => {
			release = resolve;
		});
		const first = publish({ topic, payload: 1 }, { 'idempotency-key': 'under-way' });
		while (http.relay.load.queuedBytes === 0) await new Promise((resolve) => setImmediate(resolve));
		const same = publish({ topic, payload: 1 }, { 'idempotency-key': 'under-way' });
		assertFailure(await publish({ topic, payload: 2 }, { 'idempotency-key': 'under-way' }), 422, 'idempotency_conflict');
		failing.hold = null;
		release();
		assert.deepEqual([(await first).status, (await same).text], [201, (await first).text]);
		assert.equal(await messageCount(topic), 1);
	});

	test('is forgotten by a request that failed', async () => {
		const topic = newTopic();
		failing.refuse = 'all';
		const failed = await publish({ topic, payload: 1 }, { 'idempotency-key': 'failed' });
		failing.refuse = new Set();
		assertFailure(failed, 503, 'storage_unavailable');
		assert.equal((await publish({ topic, payload: 2 }, { 'idempotency-key': 'failed' })).status, 201);
	});

	test('of a bulk request covers each message: a retry stores just what is missing', async () => {
		const [a, b] = [newTopic(), newTopic()];
		const body = {
			messages: [
				{ topic: a, payload: 1 },
				{ topic: b, payload: 2 },
				{ topic: a, payload: 3 },
			],
		};
		const key = { 'idempotency-key': 'bulk-1' };
		failing.refuse = new Set([b]);
		const first = (await publishBulk(body, key)).json<Bulk>();
		failing.refuse = new Set();
		const second = (await publishBulk(body, key)).json<Bulk>();
		const third = (await publishBulk(body, key)).json<Bulk>();
		assert.deepEqual(first.summary, { total: 3, accepted: 2, rejected: 1 });
		assert.deepEqual(second.summary, { total: 3, accepted: 3, rejected: 0 });
		assert.deepEqual([second.results[0], second.results[2]], [first.results[0], first.results[2]]);
		assert.deepEqual(third, second);
		assert.deepEqual([await messageCount(a), await messageCount(b)], [2, 1]);
	});

	test('may be any visible ASCII up to 255 characters', async () => {
		for (const key of ['k'.repeat(255), '"quoted;=,"', '~!#$%&/()']) {
			assert.equal((await publish({ topic: newTopic(), payload: 1 }, { 'idempotency-key': key })).status, 201, key);
		}
	});
});

test('publishes on connections that are still open are stored while the node drains, and the connection is closed', async (t) => {
	const draining = await startHttp();
	t.after(() => draining.close());
	await draining.relay.drain();
	for (const path of ['/api/v1/messages', '/api/v1/messages/bulk']) {
		const message = { topic: 'a', payload: 1 };
		const answer = await sendJson('POST', `${draining.url}${path}`, path.endsWith('bulk') ? { messages: [message] } : message);
		assert.equal(answer.status, path.endsWith('bulk') ? 207 : 201, answer.text);
		assert.equal(answer.headers.get('connection'), 'close');
	}
});

test('a publish that would be a topic too many is answered 403', async (t) => {
	const full = await startHttp({ topicsMax: 1 });
	t.after(() => full.close());
	assert.equal((await sendJson('POST', `${full.url}/api/v1/messages`, { topic: 'a', payload: 1 })).status, 201);
	assertFailure(await sendJson('POST', `${full.url}/api/v1/messages`, { topic: 'b', payload: 1 }), 403, 'topic_limit');
	const bulk = await sendJson('POST', `${full.url}/api/v1/messages/bulk`, { messages: [{ topic: 'b', payload: 1 }] });
	assert.deepEqual(bulk.json<Bulk>().summary, { total: 1, accepted: 0, rejected: 1 });
});
