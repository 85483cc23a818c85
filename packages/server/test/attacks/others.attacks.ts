/**
 * While one client does its worst, others notice next to nothing: their requests take at most three times as long as without it, no turn of
 * the event loop is longer than three times the longest one before, or 30 ms, and memory stays within 64 MiB. Anything else that the machine does
 * shows in these figures: an attack is made three times at most, and must be within all bounds in one of them.
 */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { send, sendJson } from '../support/http-client.ts';
import { ATTACKS } from './support/attacks.ts';
import { type ObservedRelay, startObservedRelay } from './support/observed-relay.ts';
import { type Latencies, measure, measureHealth } from './support/probe.ts';

const ATTACKER = fileURLToPath(new URL('./support/attacker.ts', import.meta.url));
const BUSY_SERVER = fileURLToPath(new URL('./support/busy-server.ts', import.meta.url));
const BASELINE_MS = 700;
/** How often it is measured beside a busy server. */
const LOOKS = 3;
const LOOK_MS = 700;
const ATTEMPTS = 3;
/** What an attack makes the relay compile is compiled then. */
const WARM_UP_MS = 300;
const FLOOR_MS = 30;
const TIMES = 3;
const MEMORY_BYTES = 64 * 1024 * 1024;

let relay: ObservedRelay;
before(async () => {
	relay = await startObservedRelay({ PULSAR_HOT_TIER_MAX_BYTES: '1048576' });
	// What is compiled and grown once is in place before anything is compared.
	await measure(relay.url, relay.victim, BASELINE_MS);
	for (const bytes of [300_000, 15_000_000, 30_000_000, 30_000_000]) await publish(bytes);
});
after(() => relay.stop());

async function publish(bytes: number): Promise<number> {
	const body = `{"topic":"victims","payload":"${'x'.repeat(bytes)}"}`;
	const answer = await sendJson('POST', `${relay.url}/api/v1/messages`, body, { authorization: `Bearer ${relay.victim}` });
	return answer.status;
}

/** Attacks until the test ends. */
async function attack(t: TestContext, name: string): Promise<{ stop(): Promise<void> }> {
	const target = JSON.stringify({ url: relay.url, attacker: relay.attacker, reader: relay.reader });
	const child = spawn(process.execPath, [ATTACKER, name, target], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
	const exited = once(child, 'exit');
	const stop = async () => {
		child.kill('SIGKILL');
		await exited;
	};
	t.after(stop);
	await once(child, 'message');
	return { stop };
}

const bound = (baseline: number) => Math.max(FLOOR_MS, TIMES * baseline);

for (const name of Object.keys(ATTACKS)) {
	test(name, async (t) => {
		for (let attempt = 1; ; attempt++) {
			const { report, excess } = await besiege(t, name);
			t.diagnostic(report);
			if (excess === null) break;
			assert(attempt < ATTEMPTS, `${excess}: ${report}`);
		}
		assert.equal((await send(`${relay.url}/ready`)).status, 200);
	});
}

/** Attacks once. `excess` says which bound was exceeded, if any. */
async function besiege(t: TestContext, name: string): Promise<{ readonly report: string; readonly excess: string | null }> {
	await relay.observe();
	const calm = await measure(relay.url, relay.victim, BASELINE_MS);
	const before = await relay.observe();
	const { stop } = await attack(t, name);
	await measure(relay.url, relay.victim, WARM_UP_MS);
	const { residentBytes } = await relay.observe();
	const attacked = await attackedLatencies(t, calm);
	const status = await publish(300_000);
	const during = await relay.observe();
	await stop();
	assert.equal(status, 201, 'a publish of 300 KB has its share');
	const grownBytes = Math.max(residentBytes, during.residentBytes) - before.residentBytes;
	const excesses = [
		isCalm(attacked) ? null : 'others wait too long',
		during.longestTurnMs <= bound(before.longestTurnMs) ? null : 'a turn of the loop is too long',
		grownBytes <= MEMORY_BYTES ? null : `memory grows by ${grownBytes} bytes`,
	];
	const report = JSON.stringify({ calm, ...attacked, before, during, residentBytes });
	return { report, excess: excesses.find((excess) => excess !== null) ?? null };
}

interface Attacked {
	readonly latencies: Latencies;
	/** What they are held against. */
	readonly bounds: Latencies;
}

const isCalm = ({ latencies, bounds }: Attacked) =>
	latencies.healthMs <= bounds.healthMs && latencies.publishMs <= bounds.publishMs;

/**
 * What others notice, against what they noticed before. Where that is too much it is measured again beside a server that is as busy and
 * never stands still: on a machine with other work to do, whoever uses the processor waits for it.
 */
async function attackedLatencies(t: TestContext, calm: Latencies): Promise<Attacked> {
	const bounds = { healthMs: bound(calm.healthMs), publishMs: bound(calm.publishMs) };
	const latencies = await measure(relay.url, relay.victim, LOOK_MS);
	if (isCalm({ latencies, bounds })) return { latencies, bounds };
	const url = await startBusyServer(t);
	for (let look = 1; ; look++) {
		const [again, busyMs] = await Promise.all([measure(relay.url, relay.victim, LOOK_MS), measureHealth(url, LOOK_MS)]);
		const found = { latencies: again, bounds: { healthMs: bound(busyMs), publishMs: bound(busyMs) } };
		if (look === LOOKS || isCalm(found)) return found;
	}
}

/** Its turns of the event loop take 5 ms each. Ends with the test. */
async function startBusyServer(t: TestContext): Promise<string> {
	const child = spawn(process.execPath, [BUSY_SERVER], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
	t.after(() => child.kill('SIGKILL'));
	const [url] = (await once(child, 'message')) as [string];
	return url;
}
