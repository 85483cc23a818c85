/** Clocks that are wrong: the store's counts, no message is trimmed on the word of one of them, and operators are told. */

import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { systemClock } from '../../src/ops/clock.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { appendOne, entries, entry, payloadsOf, trimAll } from './trial.ts';
import { NO_DEMANDS, openStore, serverAt } from './valkey-fixture.ts';
import { until } from './valkey-node.ts';

const DAY_MS = 86_400_000;

/** The system's clock, off by what the test says. */
function clockOff(offMs: number): Clock & { offMs: number } {
	const clock = { ...systemClock, offMs, nowMs: () => systemClock.nowMs() + clock.offMs };
	return clock;
}

function suite(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());

	async function open(t: TestContext, offMs: number) {
		const clock = clockOff(offMs);
		const opened = await openStore(t, serverAt(valkey.host, valkey.port), { clock, timeFrom: 'server', demands: NO_DEMANDS });
		return { ...opened, clock };
	}

	for (const [name, offMs, limitS] of [
		['two days ahead', 2 * DAY_MS, 86_400],
		['an hour ahead', 3_600_000, 600],
		['two days behind', -2 * DAY_MS, 86_400],
	] as const) {
		test(`a node ${name} is not ready, says so, and trims nothing by age; set right, it is ready again`, async (t) => {
			const topic = `age${offMs}`;
			const right = await open(t, 0);
			const first = await appendOne(right.store, topic, entry('1'));
			const wrong = await open(t, offMs);
			const health = wrong.store.health();
			assert.ok(health.status === 'unavailable');
			assert.match(health.reason, /^the clock of this machine is \d+\.\d s (ahead of|behind) the store's/);
			assert.ok(wrong.warnings.some((text) => text.includes("the store's")));
			await assert.rejects(wrong.store.append(topic, [entry('2')]), /the clock of this machine/);
			assert.equal(await trimAll(wrong.store, { nowMs: wrong.clock.nowMs(), defaultMaxAgeS: limitS }), 0);
			assert.deepEqual(await wrong.store.forgetKeys(wrong.clock.nowMs() - limitS * 1000, 1000), { removed: 0, more: false });
			assert.deepEqual(await payloadsOf(right.store, topic), ['1']);
			wrong.clock.offMs = 0;
			await until(() => wrong.store.health().status === 'ok', 'ready again');
			const second = await appendOne(wrong.store, topic, entry('2'));
			assert.ok(second.ms >= first.ms && second.ms - first.ms < 60_000);
		});
	}

	test("two seconds are bearable and told; ids are by the store's clock", async (t) => {
		const node = await open(t, 2000);
		assert.equal(node.store.health().status, 'ok');
		assert.ok(
			node.warnings.some((text) => /the clock of this machine is 2\.0 s ahead of the store's/.test(text)),
			node.warnings.join(),
		);
		const { ms } = await appendOne(node.store, 'two', entry('1'));
		assert.ok(ms < systemClock.nowMs() + 1000, 'not two seconds ahead');
		assert.ok(Math.abs((node.store.clocks?.().skewMs ?? 0) - 2000) < 500);
	});

	test('the time by which ages were judged is remembered for the next start, by a node whose clock is right', async (t) => {
		await valkey.cli('DEL', '{relay}:clock');
		const wrong = await open(t, -2 * DAY_MS);
		await trimAll(wrong.store, { nowMs: wrong.clock.nowMs() });
		const first = await open(t, 0);
		assert.equal(first.store.lastKnownMs, undefined, 'not by one that is not ready');
		const believedMs = first.clock.nowMs() - 60_000;
		await trimAll(first.store, { nowMs: believedMs });
		const next = await open(t, 0);
		assert.equal(next.store.lastKnownMs, believedMs);
	});

	test('ids that are ahead of the clock are told of, counted, and trimmed by when they were seen', async (t) => {
		const node = await open(t, 0);
		const ahead = systemClock.nowMs() + 400 * DAY_MS;
		await valkey.cli('XADD', 'topic:ahead:stream', `${ahead}-0`, 'payload', '"of 400 days ahead"');
		const id = await appendOne(node.store, 'ahead', entry('1'));
		assert.equal(id.ms, ahead, 'ids go on from the newest');
		const sweep = async (maxAgeS: number) => {
			await node.store.updateTopic('ahead', { retention: { maxAgeS } });
			return trimAll(node.store, { nowMs: systemClock.nowMs() });
		};
		assert.equal(await sweep(1), 0);
		assert.equal(node.store.clocks?.().topicsAhead, 1);
		assert.ok(node.warnings.some((text) => /the ids of a topic are ahead of the clock.*"topic":"ahead","seconds":34/.test(text)));
		await until(async () => (await sweep(1)) === 2, 'trimmed once they had been seen for a second');
		await node.store.append('ahead', entries(1));
		assert.equal(await sweep(60), 0);
		assert.deepEqual(await payloadsOf(node.store, 'ahead'), ['0'], 'what is younger stays');
		assert.equal(node.warnings.filter((text) => text.includes('ahead of the clock')).length, 1, 'told once');
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('clocks on Valkey', suite);
else test('clocks on Valkey', { skip: unavailable }, () => {});
