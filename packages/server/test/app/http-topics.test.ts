/** `/api/v1/topics…` over real sockets. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type Answer, assertFailure, send, sendJson } from '../support/http-client.ts';
import { type HttpUnderTest, OWNER_ID, startHttp } from '../support/start-http.ts';

interface TopicBody {
	readonly topic_name: string;
	readonly message_count: number;
	readonly last_message_id: string | null;
}

interface PageBody {
	readonly messages: readonly { readonly message_id: string; readonly payload: unknown; readonly metadata: unknown }[];
	readonly total: number;
	readonly limit: number;
	readonly order: string;
	readonly cursor: string | null;
	readonly next_cursor: string | null;
}

let http: HttpUnderTest;
let topicNumber = 0;
const newTopic = () => `topic-${++topicNumber}`;
const topics = (rest = '') => `${http.url}/api/v1/topics${rest}`;
const create = (body: unknown) => sendJson('POST', topics(), body);
const update = (topic: string, body: unknown) => sendJson('PUT', topics(`/${topic}`), body);

before(async () => {
	http = await startHttp();
});
after(() => http.close());

async function fill(topic: string, n: number): Promise<string[]> {
	const ids: string[] = [];
	for (let i = 0; i < n; i++) {
		const answer = await sendJson(
			'POST',
			`${http.url}/api/v1/messages`,
			`{"topic":"${topic}","payload":${i}.0,"metadata":{"i":"${i}"}}`,
		);
		ids.push(answer.json<{ message_id: string }>().message_id);
	}
	return ids;
}

const page = async (topic: string, query = ''): Promise<PageBody> => {
	const answer = await send(topics(`/${topic}/messages${query}`));
	assert.equal(answer.status, 200, answer.text);
	return answer.json<PageBody>();
};

describe('a topic', () => {
	test('is created with its retention, and read back', async () => {
		const topic = newTopic();
		const created = await create({
			topic_name: topic,
			description: 'a topic',
			max_age_s: 60,
			max_messages: 10.0,
			max_bytes: '1000',
			is_public: true,
		});
		assert.equal(created.status, 201);
		const { topic_id: topicId, created_at: createdAt, ...rest } = created.json();
		assert.match(String(topicId), /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
		assert.equal(new Date(String(createdAt)).toISOString(), createdAt);
		assert.deepEqual(rest, {
			topic_name: topic,
			owner_id: OWNER_ID,
			description: 'a topic',
			max_age_s: 60,
			max_messages: 10,
			max_bytes: 1000,
			message_count: 0,
			bytes: 0,
			last_message_id: null,
		});
		assert.equal((await send(topics(`/${topic}`))).text, created.text);
	});

	test('is created once', async () => {
		const topic = newTopic();
		await create({ topic_name: topic });
		const detail = assertFailure(await create({ topic_name: topic }), 400, 'topic_exists');
		assert.equal(detail, `topic ${topic} already exists`);
	});

	test('comes with the first publish, and shows its messages', async () => {
		const topic = newTopic();
		const ids = await fill(topic, 3);
		const body = (await send(topics(`/${topic}/`))).json<TopicBody>();
		assert.deepEqual([body.message_count, body.last_message_id], [3, ids[2]]);
	});

	test('is changed where a change says so: null leaves a description, and takes a limit away', async () => {
		const topic = newTopic();
		await create({ topic_name: topic, description: 'before', max_messages: 5, max_bytes: 6 });
		const fields = (answer: Answer) => {
			const { description, max_age_s, max_messages, max_bytes } = answer.json();
			return { description, max_age_s, max_messages, max_bytes };
		};
		assert.deepEqual(fields(await update(topic, {})), { description: 'before', max_age_s: null, max_messages: 5, max_bytes: 6 });
		assert.deepEqual(fields(await update(topic, { description: null, max_age_s: 7, max_messages: null })), {
			description: 'before',
			max_age_s: 7,
			max_messages: null,
			max_bytes: 6,
		});
		assert.equal(fields(await update(topic, { description: '' })).description, null);
		assertFailure(await update('no-such-topic', {}), 404, 'not_found');
	});

	test('is deleted with its messages', async () => {
		const topic = newTopic();
		await fill(topic, 2);
		const deleted = await send(topics(`/${topic}`), { method: 'DELETE' });
		assert.deepEqual([deleted.status, deleted.text], [204, '']);
		for (const path of ['', '/messages']) assertFailure(await send(topics(`/${topic}${path}`)), 404, 'not_found');
		assertFailure(await send(topics(`/${topic}`), { method: 'DELETE' }), 404, 'not_found');
		await create({ topic_name: topic });
		assert.deepEqual((await page(topic)).messages, []);
	});

	test('with a bad name or bad fields is not created', async () => {
		const cases: readonly [body: unknown, code: string, loc: unknown][] = [
			[{ topic_name: 'a b' }, 'invalid_topic', ['body', 'topic_name']],
			[{ topic_name: '' }, 'invalid_topic', ['body', 'topic_name']],
			[{ description: 'x' }, 'invalid_request', ['body', 'topic_name']],
			[{ topic_name: 'a', description: 'x'.repeat(501) }, 'invalid_request', ['body', 'description']],
			[{ topic_name: 'a', description: 5 }, 'invalid_request', ['body', 'description']],
			[{ topic_name: 'a', max_age_s: 0 }, 'invalid_request', ['body', 'max_age_s']],
			[{ topic_name: 'a', max_messages: 1.5 }, 'invalid_request', ['body', 'max_messages']],
			[{ topic_name: 'a', max_bytes: 'many' }, 'invalid_request', ['body', 'max_bytes']],
			[[], 'invalid_request', ['body']],
			['', 'invalid_request', ['body']],
		];
		for (const [body, code, loc] of cases) {
			const [problem] = assertFailure(await create(body), 422, code) as { loc: unknown }[];
			assert.deepEqual(problem?.loc, loc, JSON.stringify(body));
		}
		assertFailure(await create('{"topic_name":'), 422, 'invalid_json');
		assertFailure(await create(`{"topic_name":"a","x":${'['.repeat(100)}${']'.repeat(100)}}`), 422, 'payload_too_deep');
		assertFailure(await create(`{"topic_name":"a","description":"${'x'.repeat(70_000)}"}`), 413, 'payload_too_large');
		assert.equal((await send(topics('/a'))).status, 404);
	});

	test('is not found under what cannot be a name, and no such thing gets to the store', async () => {
		for (const name of ['a%2Fb', '..%2f..%2fetc', '%7Ba%7D', 'a%20b', '__proto__%21', 'x'.repeat(300), 't%C3%B3pic', '.hidden']) {
			for (const [method, rest] of [
				['GET', ''],
				['DELETE', ''],
				['GET', '/messages'],
			] as const) {
				assertFailure(await send(topics(`/${name}${rest}`), { method }), 404, 'not_found');
			}
			assertFailure(await update(name, {}), 404, 'not_found');
		}
	});

	test('may be called like a property of every object', async () => {
		for (const name of ['__proto__', 'constructor', 'toString', 'stats-1']) {
			assert.equal((await create({ topic_name: name })).status, 201, name);
			const [id] = await fill(name, 1);
			assert.equal((await send(topics(`/${name}`))).json<TopicBody>().last_message_id, id);
		}
	});
});

describe('the topics', () => {
	test('are listed in name order, page by page, and counted', async (t) => {
		const fresh = await startHttp();
		t.after(() => fresh.close());
		const names = ['a', 'b.c', 'b_c', 'z'];
		for (const name of [...names].reverse()) await sendJson('POST', `${fresh.url}/api/v1/topics`, { topic_name: name });
		const list = async (query: string) =>
			(await send(`${fresh.url}/api/v1/topics${query}`)).json<TopicBody[]>().map((topic) => topic.topic_name);
		assert.deepEqual(await list(''), names);
		assert.deepEqual(await list('?limit=2'), ['a', 'b.c']);
		assert.deepEqual(await list('?limit=2&after=b.c'), ['b_c', 'z']);
		assert.deepEqual(await list('?after=z'), []);
		assert.deepEqual((await send(`${fresh.url}/api/v1/topics/stats`)).json(), { total_topics: 4, unowned_topics: 0 });
		for (const limit of ['0', '10001', 'x', '1.5'])
			assertFailure(await send(`${fresh.url}/api/v1/topics?limit=${limit}`), 422, 'invalid_request');
		assertFailure(await send(`${fresh.url}/api/v1/topics?limit=1&limit=2`), 422, 'invalid_request');
	});
});

describe("a topic's messages", () => {
	test('are empty at first', async () => {
		const topic = newTopic();
		await create({ topic_name: topic });
		assert.deepEqual(await page(topic), {
			messages: [],
			count: 0,
			total: 0,
			limit: 10,
			order: 'desc',
			cursor: null,
			next_cursor: null,
		});
	});

	test('come newest first, ten at a time, each as every transport sends it', async () => {
		const topic = newTopic();
		const ids = await fill(topic, 12);
		const { text } = await send(topics(`/${topic}/messages`));
		const answer = JSON.parse(text) as PageBody;
		assert.deepEqual(
			answer.messages.map((message) => message.message_id),
			ids.slice(2).reverse(),
		);
		assert.deepEqual([answer.total, answer.next_cursor], [10, ids[2]]);
		const at = new Date(Number(ids[11]?.split('-')[0])).toISOString();
		assert(
			text.startsWith(
				`{"messages":[{"type":"message","message_id":"${ids[11]}","topic":"${topic}","timestamp":"${at}","payload":11.0,"metadata":{"i":"11"}},`,
			),
		);
	});

	test('are paged in both orders without a gap or an overlap', async () => {
		const topic = newTopic();
		const ids = await fill(topic, 25);
		for (const order of ['asc', 'desc']) {
			const read: string[] = [];
			let cursor = '';
			for (;;) {
				const answer = await page(topic, `?order=${order}&limit=7&cursor=${cursor}`);
				assert.deepEqual([answer.limit, answer.order, answer.cursor], [7, order, cursor === '' ? null : cursor]);
				if (answer.next_cursor === null) break;
				read.push(...answer.messages.map((message) => message.message_id));
				cursor = answer.next_cursor;
			}
			assert.deepEqual(read, order === 'asc' ? ids : [...ids].reverse());
		}
	});

	test('are at most 100 in a page', async () => {
		const topic = newTopic();
		const body = Array.from({ length: 150 }, (_, i) => `{"topic":"${topic}","payload":${i}}`).join('\n');
		await send(`${http.url}/api/v1/messages/stream`, {
			method: 'POST',
			headers: { 'content-type': 'application/x-ndjson' },
			body,
		});
		const answer = await page(topic, '?limit=150');
		assert.deepEqual([answer.limit, answer.total, answer.messages.length], [100, 100, 100]);
	});

	test('are read on past a page of expired ones', async () => {
		const topic = newTopic();
		const publish = (payload: number, ttl: number | null) =>
			sendJson('POST', `${http.url}/api/v1/messages`, { topic, payload, ttl });
		for (let i = 0; i < 4; i++) await publish(i, 1);
		const last = (await publish(4, null)).json<{ message_id: string }>().message_id;
		const expired = Date.now() + 1000;
		while (Date.now() <= expired) await new Promise((resolve) => setImmediate(resolve));
		const answer = await page(topic, '?order=asc&limit=2');
		assert.deepEqual([answer.messages.map((message) => message.message_id), answer.next_cursor], [[last], last]);
	});

	test('are refused for a bad limit, order or cursor, but first for a missing topic', async () => {
		const topic = newTopic();
		await create({ topic_name: topic });
		for (const query of ['?limit=0', '?limit=-1', '?order=up', '?order=DESC'])
			assertFailure(await send(topics(`/${topic}/messages${query}`)), 400, 'bad_request');
		for (const query of ['?limit=ten', '?limit=1.5', '?limit=1&limit=2'])
			assertFailure(await send(topics(`/${topic}/messages${query}`)), 422, 'invalid_request');
		for (const cursor of [
			'$',
			'-',
			'+',
			'0',
			'1',
			'-1-0',
			'1-',
			'01-0',
			'1-0-0',
			'18446744073709551615-0',
			'msg_1',
			'last',
			'1-0%00',
			'%20',
			topic,
		]) {
			const status = cursor.includes('%00') ? 'bad_request' : 'invalid_cursor';
			assertFailure(await send(topics(`/${topic}/messages?cursor=${cursor}`)), 400, status);
		}
		assertFailure(await send(topics('/missing/messages?limit=0&cursor=x')), 404, 'not_found');
	});

	test('after a cursor beyond the end are none, and before it all', async () => {
		const topic = newTopic();
		await fill(topic, 3);
		assert.equal((await page(topic, '?order=asc&cursor=9999999999999-0')).total, 0);
		assert.equal((await page(topic, '?order=desc&cursor=9999999999999-0')).total, 3);
		assert.equal((await page(topic, '?order=asc&cursor=0-0')).total, 3);
	});
});
