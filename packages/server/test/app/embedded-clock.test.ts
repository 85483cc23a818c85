/** A relay on the embedded store that is started with a clock a year ahead, and then with the right one: nothing is lost by it. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { faketimeUnavailable, timeOffBy } from '../support/faketime.ts';
import { launchRelay } from '../support/launch.ts';

const YEAR_S = 365 * 86_400;
const JSON_TYPE = { 'Content-Type': 'application/json' };

async function start(t: TestContext, dataDir: string, offS: number) {
	const relay = launchRelay(t, { PULSAR_DATA_DIR: dataDir, ...(offS === 0 ? {} : timeOffBy(offS)) });
	const url = String((await relay.logged('listening'))['http']);
	const json = async (path: string, init?: RequestInit) => {
		const answer = await fetch(`${url}${path}`, init);
		return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
	};
	const publish = (topic: string, payload: number, headers: Record<string, string> = {}) =>
		json('/api/v1/messages', {
			method: 'POST',
			headers: { ...JSON_TYPE, ...headers },
			body: JSON.stringify({ topic, payload }),
		});
	const payloads = async (topic: string) => {
		const { body } = await json(`/api/v1/topics/${topic}/messages?order=asc&limit=100`);
		return (body['messages'] as { payload: unknown }[]).map(({ payload }) => payload);
	};
	return {
		relay,
		publish,
		payloads,
		/** Resolves when a whole round of trimming has gone by: a topic that holds too much is cut in it. */
		async trimmed(topic: string) {
			const body = JSON.stringify({ topic_name: topic, max_messages: 1 });
			assert.equal((await json('/api/v1/topics', { method: 'POST', headers: JSON_TYPE, body })).status, 201);
			for (const payload of [1, 2, 3]) await publish(topic, payload);
			while ((await payloads(topic)).length > 1);
		},
		metrics: async () => (await fetch(`${url}/metrics`)).text(),
		async stop() {
			relay.child.kill('SIGTERM');
			assert.equal((await relay.ended).code, 0);
		},
	};
}

test('a start a year ahead and back trims nothing by age, and operators are told', {
	skip: faketimeUnavailable() ?? false,
	timeout: 60_000,
}, async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-clock-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	const before = await start(t, dataDir, 0);
	const first = await before.publish('kept', 1, { 'Idempotency-Key': 'key-1' });
	for (const payload of [2, 3]) assert.equal((await before.publish('kept', payload)).status, 201);
	await before.stop();

	const ahead = await start(t, dataDir, YEAR_S);
	await ahead.trimmed('round-1');
	await ahead.trimmed('round-2');
	assert.match(ahead.relay.log(), /"ahead_s":315\d{5},.*the clock is far ahead of when this relay was last at work/);
	assert.match(await ahead.metrics(), /^relay_clock_doubted 1$/m);
	assert.deepEqual(await ahead.payloads('kept'), [1, 2, 3]);
	const again = await ahead.publish('kept', 1, { 'Idempotency-Key': 'key-1' });
	assert.equal(again.body['message_id'], first.body['message_id'], 'keys are not forgotten');
	const published = await ahead.publish('kept', 4);
	assert.equal(published.status, 201);
	await ahead.stop();

	const back = await start(t, dataDir, 0);
	await back.trimmed('round-3');
	await back.trimmed('round-4');
	assert.deepEqual(await back.payloads('kept'), [1, 2, 3, 4]);
	const next = await back.publish('kept', 5);
	const ids = [published, next].map(({ body }) => String(body['message_id']).split('-').map(Number));
	assert.ok((ids[0]?.[0] ?? 0) <= (ids[1]?.[0] ?? 0), 'ids only rise (I1)');
	assert.match(back.relay.log(), /"furthest":"[^"]+","seconds":3\d{7},.*the ids of topics are ahead of the clock/);
	const metrics = await back.metrics();
	assert.match(metrics, /^relay_topics_ahead_of_clock 3$/m);
	assert.match(metrics, /^relay_clock_doubted 0$/m);
	await back.stop();
});
