/** Two relays on one Valkey, one of them with a clock that is wrong, from its start on. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { faketimeUnavailable, timeOffBy } from '../support/faketime.ts';
import { send, sendJson } from '../support/http-client.ts';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';
import { startValkey, untilAnswer, type Valkey, valkeyUnavailable } from '../support/valkey.ts';

/** The lowest that is of use here: a clock a minute ahead takes every message for older. */
const RETENTION_S = 60;
const MESSAGES = 20;
const TOO_FAR = [
	['two days ahead', 172_800],
	['two days behind', -172_800],
	['an hour ahead', 3600],
	['a minute ahead', 60],
] as const;
const TWO_SECONDS = ['two seconds ahead', 2] as const;

function topicOf(offS: number): string {
	return `off${offS < 0 ? 'behind' : 'ahead'}${Math.abs(offS)}`;
}

function suite(): void {
	let valkey: Valkey;
	let right: RelayProcess;
	let dir: string;
	const wrong = new Map<number, RelayProcess>();
	before(async () => {
		dir = await mkdtemp(join(tmpdir(), 'pulsar-relay-test-'));
		valkey = await startValkey();
		right = await start();
		for (const [, offS] of [...TOO_FAR, TWO_SECONDS]) for (let i = 0; i < MESSAGES; i++) await publish(right, topicOf(offS));
		await Promise.all([...TOO_FAR, TWO_SECONDS].map(async ([, offS]) => wrong.set(offS, await start(timeOffBy(offS)))));
		// Long enough for each to have gone over all topics.
		const untilMs = performance.now() + 2500;
		await untilAnswer(async () => {
			await send(`${right.url}/ready`);
			return performance.now() > untilMs;
		}, 'looked around');
	});
	after(async () => {
		for (const relay of [right, ...wrong.values()]) await relay?.end('SIGKILL');
		await valkey?.stop();
		await rm(dir, { recursive: true });
	});

	function start(env: Readonly<Record<string, string>> = {}): Promise<RelayProcess> {
		return startRelayProcess(dir, { ...valkey.relayEnv, PULSAR_PERSISTENT_TIER_RETENTION: String(RETENTION_S), ...env });
	}

	function off(offS: number): RelayProcess {
		return wrong.get(offS) ?? assert.fail('it has not started');
	}

	async function publish(relay: RelayProcess, topic: string): Promise<number> {
		const answer = await sendJson('POST', `${relay.url}/api/v1/messages`, { topic, payload: 1 });
		assert.equal(answer.status, 201, answer.text);
		return Number.parseInt(answer.json<{ message_id: string }>().message_id, 10);
	}

	async function isKept(topic: string): Promise<void> {
		assert.equal(await valkey.cli('XLEN', `topic:${topic}:stream`), String(MESSAGES));
	}

	for (const [name, offS] of TOO_FAR) {
		test(`${name}: it is not ready and says why, nothing is trimmed, and the other goes on`, async () => {
			const [relay, topic] = [off(offS), topicOf(offS)];
			const ready = await send(`${relay.url}/ready`);
			assert.equal(ready.status, 503);
			assert.match(ready.text, /the clock of this machine is [\d.]+ s (ahead of|behind) the store's/);
			assert.match(relay.log(), /"level":"?(warn|40)"?.*the clock of this machine is/);
			assert.equal((await send(`${relay.url}/health`)).status, 200);
			const skew = /^relay_storage_clock_skew_seconds (\S+)$/m.exec((await send(`${relay.url}/metrics`)).text);
			assert.ok(Math.abs(Number(skew?.[1]) - offS) < 1, `it is off by ${skew?.[1]} s`);
			await isKept(topic);
			assert.equal((await send(`${right.url}/ready`)).status, 200);
			assert.ok(Math.abs((await publish(right, topic)) - Date.now()) < 5000);
			const page = await send(`${relay.url}/api/v1/poll?topics=${topic}&since=0-0&timeout=0&limit=100`);
			assert.equal((page.text.match(/"message_id"/g) ?? []).length, MESSAGES + 1, 'it can be read from');
		});
	}

	test(`${TWO_SECONDS[0]}: it serves, ids are by the clock of the store, and the log says so`, async () => {
		const [relay, topic] = [off(TWO_SECONDS[1]), topicOf(TWO_SECONDS[1])];
		assert.equal((await send(`${relay.url}/ready`)).status, 200);
		assert.match(relay.log(), /the clock of this machine is [12]\.\d s ahead of the store's/);
		await isKept(topic);
		assert.ok((await publish(relay, topic)) <= Date.now() + 500);
	});
}

const unavailable = valkeyUnavailable() ?? faketimeUnavailable();
if (unavailable === null) describe('clocks apart', suite);
else test('clocks apart', { skip: unavailable }, () => {});
