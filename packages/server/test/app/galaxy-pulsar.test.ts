/** What the daemon of Pulsar and the job handlers of Galaxy do, request by request as they write them. */

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { after, before, test } from 'node:test';
import { type AuthRelay, type Person, startAuthRelay } from '../support/auth-relay.ts';
import type { Answer } from '../support/http-client.ts';

let world: AuthRelay;
let pulsar: Person;
before(async () => {
	world = await startAuthRelay();
	pulsar = await world.person('pulsar');
});
after(() => world.close());

interface Polled {
	readonly topic: string;
	readonly message_id: string;
	readonly payload: Readonly<Record<string, unknown>>;
}

/** A poll as Python writes it: the timeout is a float. */
const poll = async (topics: readonly string[], since: Readonly<Record<string, string>> | null, timeout = '30.0') => {
	const cursors = since === null ? '' : `, "since": ${JSON.stringify(since)}`;
	const body = `{"topics": ${JSON.stringify(topics)}, "timeout": ${timeout}${cursors}}`;
	const answer = await world.call('POST', '/messages/poll', pulsar, body);
	assert.equal(answer.status, 200, answer.text);
	return answer.json<{ messages: readonly Polled[]; has_more: boolean }>();
};
const post = async (topic: string, payloadJson: string): Promise<Answer> => {
	const answer = await world.call('POST', '/api/v1/messages', pulsar, `{"topic": "${topic}", "payload": ${payloadJson}}`);
	assert.equal(answer.status, 201, answer.text);
	return answer;
};
const jobsOf = (messages: readonly Polled[]) => messages.map(({ payload }) => payload['job_id']);

/** Who waits for a topic, as the bootstrap administrator sees it: the keys end in `/<topic>`. */
async function waitersOf(topic: string): Promise<number> {
	const answer = await world.call('GET', '/messages/poll/stats', world.admin);
	const { topic_subscriber_counts: counts } = answer.json<{ topic_subscriber_counts: Record<string, number> }>();
	return Object.entries(counts).reduce((sum, [name, count]) => sum + (name.endsWith(`/${topic}`) ? count : 0), 0);
}

async function untilWaiting(topic: string, count: number): Promise<void> {
	while ((await waitersOf(topic)) !== count);
}

test('the daemon’s first poll hears what comes; from then on it has all of the topics it has no cursor for', async () => {
	const topics = ['job_setup', 'job_status_request', 'job_kill'];
	await post('job_setup', '{"job_id": "before"}');
	for (let n = 0; n < 130; n++) await post('job_kill', `{"job_id": "old${n}"}`);
	const first = poll(topics, null);
	await untilWaiting('job_setup', 1);
	await post('job_setup', '{"job_id": "1"}');
	const { messages } = await first;
	assert.deepEqual(jobsOf(messages), ['1']);

	const cursors: Record<string, string> = {};
	const advance = (read: readonly Polled[]) => {
		for (const { topic, message_id: id } of read) cursors[topic] = id;
	};
	advance(messages);
	const second = await poll(topics, cursors);
	assert.deepEqual(
		jobsOf(second.messages),
		Array.from({ length: 100 }, (_, n) => `old${n}`),
	);
	advance(second.messages);
	const third = await poll(topics, cursors);
	assert.deepEqual(jobsOf(third.messages).at(-1), 'old129');
	advance(third.messages);
	const { messages: none, has_more: more } = await poll(topics, cursors, '1.0');
	assert.deepEqual([none, more], [[], false]);
});

test('every spelling of a whole timeout is one, and a fraction is none', async () => {
	for (const timeout of ['1', '1.0', '"1"', '1e0']) assert.deepEqual((await poll(['quiet'], null, timeout)).messages, []);
	for (const timeout of ['30.5', '0', '0.0', '61', '61.0', 'null', '-1']) {
		const body = `{"topics": ["quiet"], "timeout": ${timeout}}`;
		const answer = await world.call('POST', '/messages/poll', pulsar, body);
		assert.equal(answer.status, 422, `${timeout}: ${answer.text}`);
		assert(Array.isArray(answer.json()['detail']));
	}
});

test('several job handlers that poll one topic each get every status', async () => {
	const handlers = Array.from({ length: 4 }, () => poll(['job_status_update'], null));
	await untilWaiting('job_status_update', 4);
	const id = (await post('job_status_update', '{"complete": "false", "status": "running", "job_id": "7"}')).json()['message_id'];
	for (const handler of handlers) assert.deepEqual(jobsOf((await handler).messages), ['7']);
	const later = Array.from({ length: 4 }, () => poll(['job_status_update'], { job_status_update: String(id) }));
	await post('job_status_update', '{"complete": "true", "status": "complete", "job_id": "7"}');
	for (const handler of later) assert.equal((await handler).messages[0]?.payload['complete'], 'true');
});

test('a daemon that is killed in a poll no longer counts as waiting', async () => {
	const agent = new Agent();
	const socket = request(`${world.url}/messages/poll`, {
		method: 'POST',
		agent,
		headers: { authorization: `Bearer ${pulsar.token}`, 'content-type': 'application/json' },
	});
	socket.on('error', () => {});
	socket.end('{"topics": ["job_setup_killed"], "timeout": 60}');
	await untilWaiting('job_setup_killed', 1);
	socket.destroy();
	await untilWaiting('job_setup_killed', 0);
	agent.destroy();
});

test('the newest capabilities are one request, whether there are any or not', async () => {
	const newest = () => world.call('GET', '/api/v1/topics/pulsar_capabilities_a/messages?limit=1&order=desc', pulsar);
	assert.equal((await newest()).status, 404);
	for (const version of [1, 2]) await post('pulsar_capabilities_a', `{"schema_version": 1, "n": ${version}}`);
	const { messages, total } = (await newest()).json<{ messages: readonly Polled[]; total: number }>();
	assert.deepEqual([total, messages[0]?.payload['n']], [1, 2]);
});

test('payloads that Python wrote come back as it wrote them', async () => {
	const payload =
		'{"job_id": "\\u00e9\\ud83d\\ude00", "returncode": 0, "float": 1.0, "exponent": 1e-07, "large": 9007199254740993, "none": null}';
	await post('fidelity', payload);
	const answer = await world.call('POST', '/messages/poll', pulsar, '{"topics": ["fidelity"], "since": {"fidelity": "0-0"}}');
	assert(answer.text.includes(payload), answer.text);
});

test('a Pulsar of many managers signs each of them in at once', async () => {
	const logins = await Promise.all(Array.from({ length: 20 }, () => world.login('pulsar', pulsar.password)));
	for (const login of logins) {
		assert.equal(login.status, 200, login.text);
		// Clients renew a token with 300 s left or less.
		assert(login.json<{ expires_in: number }>().expires_in > 300);
	}
});

test('fields that older callers still send are left alone', async () => {
	const topic = '{"topic_name": "job_setup_old", "is_public": false, "unknown": [1]}';
	assert.equal((await world.call('POST', '/api/v1/topics', pulsar, topic)).status, 201);
	const message = '{"topic": "job_setup_old", "payload": {}, "ttl": null, "metadata": null, "unknown": {}}';
	assert.equal((await world.call('POST', '/api/v1/messages', pulsar, message)).status, 201);
	const again = await world.call('POST', '/api/v1/topics', pulsar, '{"topic_name": "job_setup_old"}');
	assert([400, 409].includes(again.status), again.text);
	const found = await world.call('GET', '/api/v1/topics/job_setup_old', pulsar);
	assert.equal(found.json()['owner_id'], pulsar.userId);
});
