/** `POST /api/v1/messages/stream`: lines in, results out, in order, within bounds. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import fc from 'fast-check';
import { Receptions } from '../../src/limits/receptions.ts';
import { LineSplitter } from '../../src/transports/http/lines.ts';
import { createFakeClock } from '../support/clock.ts';
import { createFailingStore, type FailingStore } from '../support/failing-store.ts';
import { assertFailure, send } from '../support/http-client.ts';
import { RawConnection } from '../support/raw-http.ts';
import { type HttpUnderTest, startHttp } from '../support/start-http.ts';

const NDJSON = 'application/x-ndjson';

type Result =
	| {
			readonly line: number;
			readonly status: 'accepted';
			readonly message_id: string;
			readonly topic: string;
			readonly timestamp: string;
	  }
	| { readonly line: number; readonly status: 'rejected'; readonly error: string; readonly message: string };

interface Summary {
	readonly total: number;
	readonly accepted: number;
	readonly rejected: number;
	readonly complete: boolean;
}

let http: HttpUnderTest;
let failing: FailingStore;
let topicNumber = 0;
const newTopic = () => `topic-${++topicNumber}`;
const start = (options: Parameters<typeof startHttp>[0] = {}) =>
	startHttp({
		...options,
		wrapStore: (store) => {
			failing = createFailingStore(store);
			return failing.store;
		},
	});

before(async () => {
	http = await start({ limits: { maxBodyBytes: 64 * 1024 } });
});
after(() => http.close());

/** The results of a stream, and its summary. */
function read(text: string): { results: Result[]; summary: Summary } {
	const lines = text
		.trimEnd()
		.split('\n')
		.map((line) => JSON.parse(line) as unknown);
	const { summary } = lines.pop() as { summary: Summary };
	return { results: lines as Result[], summary };
}

async function publish(body: string | Uint8Array, headers: Record<string, string> = {}, url = http.url) {
	const answer = await send(`${url}/api/v1/messages/stream`, {
		method: 'POST',
		headers: { 'content-type': NDJSON, ...headers },
		body: body as NonNullable<RequestInit['body']>,
	});
	assert.equal(answer.status, 200, answer.text);
	assert.equal(answer.headers.get('content-type'), NDJSON);
	return read(answer.text);
}

/** A stream whose body the test writes bit by bit. */
function open(
	port: number,
	headers: Record<string, string> = {},
): { request: ClientRequest; response: Promise<IncomingMessage> } {
	const request = httpRequest({
		host: '127.0.0.1',
		port,
		path: '/api/v1/messages/stream',
		method: 'POST',
		headers: { 'content-type': NDJSON, ...headers },
	});
	request.flushHeaders();
	return { request, response: once(request, 'response').then(([response]) => response as IncomingMessage) };
}

async function textOf(response: IncomingMessage): Promise<string> {
	const chunks: Buffer[] = [];
	for await (const chunk of response) chunks.push(chunk as Buffer);
	return Buffer.concat(chunks).toString();
}

async function storedPayloads(topic: string): Promise<unknown[]> {
	const payloads: unknown[] = [];
	let cursor = '';
	for (;;) {
		const answer = await send(`${http.url}/api/v1/topics/${topic}/messages?order=asc&limit=100&cursor=${cursor}`);
		const page = answer.json<{ messages: { payload: unknown }[]; next_cursor: string | null }>();
		payloads.push(...page.messages.map(({ payload }) => payload));
		if (page.next_cursor === null) return payloads;
		cursor = page.next_cursor;
	}
}

const lines = (topic: string, n: number) => Array.from({ length: n }, (_, i) => `{"topic":"${topic}","payload":${i}}\n`).join('');

test('stores the lines in order and answers each with its id', async () => {
	const topic = newTopic();
	const { results, summary } = await publish(lines(topic, 3000));
	assert.deepEqual(summary, { total: 3000, accepted: 3000, rejected: 0, complete: true });
	assert.deepEqual(
		results.map(({ line }) => line),
		Array.from({ length: 3000 }, (_, i) => i + 1),
	);
	assert.deepEqual(
		await storedPayloads(topic),
		Array.from({ length: 3000 }, (_, i) => i),
	);
	const first = results[0];
	assert(first?.status === 'accepted');
	assert.deepEqual([first.topic, first.timestamp], [topic, new Date(Number(first.message_id.split('-')[0])).toISOString()]);
});

test('takes CRLF, blank lines, a last line without an end, and an empty body', async () => {
	const topic = newTopic();
	const line = `{"topic":"${topic}","payload":1}`;
	const { results, summary } = await publish(`\n${line}\r\n\r\n \t\n${line}\n\n${line}`);
	assert.deepEqual(
		results.map((result) => [result.line, result.status]),
		[
			[2, 'accepted'],
			[5, 'accepted'],
			[7, 'accepted'],
		],
	);
	assert.equal(summary.total, 3);
	assert.deepEqual(await publish(''), { results: [], summary: { total: 0, accepted: 0, rejected: 0, complete: true } });
});

test('rejects bad lines alone, each with its reason, in order', async () => {
	const topic = newTopic();
	const good = `{"topic":"${topic}","payload":1}`;
	const body = Buffer.concat([
		Buffer.from(`${good}\nnot json\n{"topic":".a","payload":1}\n${good}\n`),
		Buffer.from(`{"topic":"${topic}","payload":"\xff"}\n`, 'latin1'),
		Buffer.from(`{"topic":"${topic}","payload":"${'x'.repeat(64 * 1024)}"}\n{"topic":"${topic}"}\n`),
		Buffer.from(`{"topic":"${topic}","payload":${'['.repeat(65)}${']'.repeat(65)}}\n[1]\n${good}\n`),
	]);
	const { results, summary } = await publish(body);
	assert.deepEqual(
		results.map((result) => [result.line, result.status === 'accepted' ? 'accepted' : result.error]),
		[
			[1, 'accepted'],
			[2, 'invalid_json'],
			[3, 'invalid_topic'],
			[4, 'accepted'],
			[5, 'invalid_json'],
			[6, 'payload_too_large'],
			[7, 'invalid_request'],
			[8, 'payload_too_deep'],
			[9, 'invalid_request'],
			[10, 'accepted'],
		],
	);
	assert.deepEqual(summary, { total: 10, accepted: 3, rejected: 7, complete: true });
	const third = results[2];
	assert(third?.status === 'rejected');
	assert.equal(third.message, 'topic name starts with a dot');
});

const PARTY = () => ({ kind: 'address', name: '127.0.0.1', credential: null }) as const;

const receptionsOf = (bytesMax: number) =>
	new Receptions({ clock: createFakeClock(), bytesMax, shareBytesMax: bytesMax, timeoutMs: 60_000 });

test('finds the same lines however the body is cut into chunks', () => {
	const piece = fc.constantFrom('a', 'bc', '\n', '\r\n', '\n\n', 'x'.repeat(9), 'y'.repeat(12));
	fc.assert(
		fc.property(fc.array(piece, { maxLength: 40 }), fc.array(fc.nat(5), { minLength: 1, maxLength: 60 }), (pieces, cuts) => {
			const text = pieces.join('');
			const split = (chunks: readonly string[]) => {
				const found: string[] = [];
				const receptions = receptionsOf(1000);
				let looks = 0;
				const splitter = new LineSplitter(10, (onFail) => receptions.begin({ party: PARTY, onFail }), {
					// Has enough after every third look.
					get full() {
						return ++looks % 3 === 0;
					},
					line: (bytes, from, to) => found.push(bytes.toString('utf8', from, to)),
					dropped: (code) => found.push(code),
					late: assert.ifError,
				});
				for (const chunk of chunks) {
					let rest = Buffer.from(chunk);
					while (rest.byteLength > 0) rest = rest.subarray(splitter.add(rest));
				}
				splitter.end();
				assert.equal(receptions.bytes, 0, 'nothing is held after the last line');
				return found;
			};
			const chunks: string[] = [];
			let rest = text;
			for (let i = 0; rest !== ''; i++) {
				const size = 1 + (cuts[i % cuts.length] ?? 0);
				chunks.push(rest.slice(0, size));
				rest = rest.slice(size);
			}
			const expected = text.split('\n').map((line) => (line.length > 10 ? 'payload_too_large' : line));
			if (expected.at(-1) === '') expected.pop();
			assert.deepEqual(split(chunks), expected);
			assert.deepEqual(split([text]), expected);
		}),
	);
});

test('drops a line that there is no room to receive, says so, and goes on with the next', () => {
	const found: string[] = [];
	const receptions = receptionsOf(8);
	const splitter = new LineSplitter(100, (onFail) => receptions.begin({ party: PARTY, onFail }), {
		full: false,
		line: (bytes, from, to) => found.push(bytes.toString('utf8', from, to)),
		dropped: (code) => found.push(code),
		late: assert.ifError,
	});
	const other = receptions.begin({ party: PARTY, onFail: assert.ifError });
	assert(other.take(5));
	for (const chunk of ['ab', 'cd', 'ef\n', 'gh', 'i\n', 'jk']) splitter.add(Buffer.from(chunk));
	splitter.release();
	other.end();
	assert.deepEqual(found, ['overloaded', 'ghi']);
	assert.equal(receptions.bytes, 0, 'nothing is held after the release');
});

test('gives others their turn in the middle of a body of tiny bad lines', async () => {
	const body = '{}\n'.repeat(50_000);
	const answering = send(`${http.url}/api/v1/messages/stream`, { method: 'POST', headers: { 'content-type': NDJSON }, body });
	let turnsOfOthers = 0;
	let done = false;
	answering.then(() => {
		done = true;
	}, assert.ifError);
	while (!done) {
		assert.equal((await send(`${http.url}/health`)).status, 200);
		turnsOfOthers++;
	}
	assert.deepEqual(read((await answering).text).summary, { total: 50_000, accepted: 0, rejected: 50_000, complete: true });
	assert(turnsOfOthers >= 10, `${turnsOfOthers} requests were served meanwhile`);
});

test('answers while the body is still being sent', async () => {
	const topic = newTopic();
	const { request, response } = open(http.port);
	const answer = await response;
	assert.equal(answer.statusCode, 200);
	for (let i = 1; i <= 3; i++) {
		request.write(lines(topic, 1));
		const [chunk] = (await once(answer, 'data')) as [Buffer];
		assert.equal((JSON.parse(chunk.toString()) as Result).line, i);
	}
	request.end();
	assert.equal(read(await textOf(answer)).summary.total, 3);
});

test('rejects the lines that the store does not take, and goes on', async () => {
	const [good, bad] = [newTopic(), newTopic()];
	failing.refuse = new Set([bad]);
	const { results, summary } = await publish(`${lines(good, 1)}${lines(bad, 2)}${lines(good, 1)}`);
	failing.refuse = new Set();
	assert.deepEqual(
		results.map((result) => (result.status === 'accepted' ? 'accepted' : result.error)),
		['accepted', 'storage_unavailable', 'storage_unavailable', 'accepted'],
	);
	assert.deepEqual(summary, { total: 4, accepted: 2, rejected: 2, complete: true });
});

describe('with an idempotency key', () => {
	test('a retry gives the same results and stores just the lines that are missing', async () => {
		const topic = newTopic();
		const key = { 'idempotency-key': 'stream-1' };
		const cut = await publish(lines(topic, 3), key);
		const whole = await publish(lines(topic, 5), key);
		const again = await publish(lines(topic, 5), key);
		assert.deepEqual(whole.results.slice(0, 3), cut.results);
		assert.deepEqual(again, whole);
		assert.deepEqual(await storedPayloads(topic), [0, 1, 2, 3, 4]);
	});

	test('a line that has changed is rejected', async () => {
		const topic = newTopic();
		const key = { 'idempotency-key': 'stream-2' };
		await publish(`{"topic":"${topic}","payload":1}\n`, key);
		const { results } = await publish(`{"topic":"${topic}","payload":2}\n{"topic":"${topic}","payload":3}\n`, key);
		assert.deepEqual(
			results.map((result) => (result.status === 'accepted' ? 'accepted' : result.error)),
			['idempotency_conflict', 'accepted'],
		);
	});

	test('a key that is none is refused before the stream begins', async () => {
		const init = { method: 'POST', headers: { 'content-type': NDJSON, 'idempotency-key': 'a b' }, body: lines('never', 1) };
		assertFailure(await send(`${http.url}/api/v1/messages/stream`, init), 400, 'bad_request');
	});
});

test('reads NDJSON and nothing else', async () => {
	const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: lines('never', 1) };
	const detail = assertFailure(await send(`${http.url}/api/v1/messages/stream`, init), 415, 'unsupported_media_type');
	assert.match(String(detail), /application\/x-ndjson/);
});

test('waits for room in the publish queue instead of rejecting, and keeps the order', async (t) => {
	const full = await start({ publishQueueBytesMax: 1024 });
	t.after(() => full.close());
	let release = () => {};
	failing.hold = new Promise((resolve) => {
		release = resolve;
	});
	const blocker = full.relay.publish([
		{ topic: 'other', entry: { payload: Buffer.alloc(2048, '1'), metadata: null, expiresAtMs: 0, dedupe: null } },
	]);
	const { request, response } = open(full.port);
	const answer = await response;
	const refused = new Promise<void>((resolve) => {
		const { publish: original } = full.relay;
		full.relay.publish = (publications) => {
			const outcome = original.call(full.relay, publications);
			outcome.catch((error: unknown) => {
				if (error instanceof RelayError && error.code === 'overloaded') resolve();
			});
			return outcome;
		};
	});
	request.write(lines('a', 50));
	await refused;
	request.end(lines('b', 50));
	failing.hold = null;
	release();
	await blocker;
	const { results, summary } = read(await textOf(answer));
	assert.deepEqual(summary, { total: 100, accepted: 100, rejected: 0, complete: true });
	assert.deepEqual(
		results.map(({ line }) => line),
		Array.from({ length: 100 }, (_, i) => i + 1),
	);
});

test('a client that does not read its results is not read either, and gets all of them when it does', async () => {
	const { request, response } = open(http.port);
	const answer = await response;
	// Not read from now on: the results fill the socket, and then the body does.
	answer.pause();
	const topic = newTopic();
	const chunk = lines(topic, 1000);
	const before = http.store.stats().messages;
	let sent = 0;
	do {
		request.write(chunk);
		sent++;
		assert(sent < 3000, 'a hundred megabytes were read from a client that does not read');
	} while (!request.writableNeedDrain || (await drains(request)));
	const stored = await standstill(() => http.store.stats().messages - before);
	assert(stored < sent * 1000, `all ${stored} lines were stored although nobody read`);
	request.end();
	const { summary } = read(await textOf(answer));
	assert.deepEqual(summary, { total: sent * 1000, accepted: sent * 1000, rejected: 0, complete: true });
});

/** Whether the request goes on being sent; false when nothing has moved for half a second. */
function drains(request: ClientRequest): Promise<boolean> {
	return new Promise((resolve) => {
		const stuck = setTimeout(() => resolve(false), 500);
		request.once('drain', () => {
			clearTimeout(stuck);
			resolve(true);
		});
	});
}

/** Resolves with a number once it has stayed the same for a hundred turns of the event loop and 200 ms. */
async function standstill(value: () => number): Promise<number> {
	let last = -1;
	for (let since = Date.now(), turns = 0; ; turns++) {
		await new Promise((resolve) => setImmediate(resolve));
		if (value() !== last) {
			last = value();
			since = Date.now();
			turns = 0;
		} else if (turns > 100 && Date.now() - since > 200) return last;
	}
}

test('a client that goes away releases the stream; what it sent whole is stored', async () => {
	const topic = newTopic();
	const { request, response } = open(http.port);
	const answer = await response;
	request.write(`${lines(topic, 2)}{"topic":"${topic}","pay`);
	await once(answer, 'data');
	const gone = new Promise((resolve) => answer.once('close', resolve));
	request.on('error', () => {});
	request.destroy();
	await gone;
	await standstill(() => http.store.stats().messages);
	assert.deepEqual(await storedPayloads(topic), [0, 1]);
});

test('a draining node finishes the lines it has and says that the stream was cut', async (t) => {
	const draining = await start();
	t.after(() => draining.close());
	const { request, response } = open(draining.port);
	const answer = await response;
	request.write(lines('a', 2));
	await once(answer, 'data');
	await draining.relay.drain();
	const { summary } = read(await textOf(answer));
	assert.deepEqual(summary, {
		total: 2,
		accepted: 2,
		rejected: 0,
		complete: false,
		reason: 'shutting_down',
		message: 'this node is draining',
	});
	request.destroy();
	const init = { method: 'POST', headers: { 'content-type': NDJSON }, body: lines('a', 1) };
	assertFailure(await send(`${draining.url}/api/v1/messages/stream`, init), 503, 'shutting_down');
});

test('a line that has begun must end in time; the summary says that it did not', async (t) => {
	const impatient = await start({ limits: { bodyTimeoutS: 1 } });
	t.after(() => impatient.close());
	for (const begun of ['{"topic"', 'x'.repeat(2 * 1024 * 1024)]) {
		const { request, response } = open(impatient.port);
		const answer = await response;
		request.write(`${lines('a', 1)}${begun}`);
		const { summary } = read(await textOf(answer));
		assert.deepEqual(summary, {
			total: 1,
			accepted: 1,
			rejected: 0,
			complete: false,
			reason: 'request_timeout',
			message: 'the message was not complete after 1 s',
		});
		request.destroy();
	}
});

test('a producer may be quiet between its lines for any time', async (t) => {
	const clock = createFakeClock();
	const patient = await start({ limits: { bodyTimeoutS: 60 }, clock });
	t.after(() => patient.close());
	const { request, response } = open(patient.port);
	const answer = await response;
	request.write(lines('a', 1));
	await once(answer, 'data');
	for (let minutes = 0; minutes < 10; minutes++) {
		clock.advance(60_000);
		await new Promise((resolve) => setImmediate(resolve));
	}
	request.end(lines('a', 1));
	const { summary } = read(await textOf(answer));
	assert.deepEqual(summary, { total: 2, accepted: 2, rejected: 0, complete: true });
});

test('a byte order mark may begin the body, and a line', async () => {
	const topic = newTopic();
	const { results } = await publish(`\ufeff${lines(topic, 1)}\ufeff${lines(topic, 1)}`);
	assert.deepEqual(
		results.map(({ status }) => status),
		['accepted', 'accepted'],
	);
});

test('a broken chunk in the middle ends the connection; what came before it is stored', async () => {
	const topic = newTopic();
	const connection = new RawConnection(http.port);
	connection.send(
		`POST /api/v1/messages/stream HTTP/1.1\r\nHost: relay\r\nContent-Type: ${NDJSON}\r\nTransfer-Encoding: chunked\r\n\r\n`,
	);
	const line = `{"topic":"${topic}","payload":0}\n`;
	connection.send(`${line.length.toString(16)}\r\n${line}\r\n`);
	while (http.store.stats().messages === 0 || (await send(`${http.url}/api/v1/topics/${topic}`)).status !== 200);
	connection.send('zz\r\n');
	await connection.closed();
	assert.deepEqual(await storedPayloads(topic), [0]);
});
