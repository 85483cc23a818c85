/** Whichever worker is asked for the metrics answers for all of them. */

import assert from 'node:assert/strict';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { startPrimary, type TestPrimary, type Who } from './start-primary.ts';

const OPTIONS = { timeout: 60_000 };

/** Counts at whoever answers until so many workers have counted; how often each did. */
async function countAtAll(primary: TestPrimary, workers: number): Promise<Map<number, number>> {
	const counts = new Map<number, number>();
	while (counts.size < workers) {
		const { pid } = JSON.parse(await text(await primary.ask('/count'))) as Who;
		counts.set(pid, (counts.get(pid) ?? 0) + 1);
	}
	return counts;
}

async function scrape(primary: TestPrimary): Promise<(name: string) => number> {
	const lines = (await text(await primary.ask('/metrics'))).split('\n');
	return (name) => Number(lines.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1));
}

function sum(counts: ReadonlyMap<number, number>): number {
	return [...counts.values()].reduce((total, count) => total + count, 0);
}

test('each worker gives the sums of all, and the size of the store as it is', OPTIONS, async (t) => {
	const primary = startPrimary(t);
	const counts = await countAtAll(primary, 3);
	for (let i = 0; i < 10; i++) {
		const value = await scrape(primary);
		assert.equal(value('relay_messages_received_total'), sum(counts));
		assert.equal(value('relay_connections{type="sse"}'), sum(counts));
		assert.deepEqual([value('relay_topics'), value('relay_stored_bytes')], [3, 500]);
		assert.deepEqual([value('relay_workers'), value('relay_workers_configured')], [3, 3]);
	}
});

test('many scrapes at once are all answered', OPTIONS, async (t) => {
	const primary = startPrimary(t);
	const counts = await countAtAll(primary, 3);
	for (const value of await Promise.all(Array.from({ length: 30 }, () => scrape(primary)))) {
		assert.equal(value('relay_messages_received_total'), sum(counts));
	}
});

test('when a worker dies, counters do not step back, and what it held open is gone', OPTIONS, async (t) => {
	const primary = startPrimary(t);
	const counts = await countAtAll(primary, 3);
	assert.equal((await scrape(primary))('relay_messages_received_total'), sum(counts));
	const [[pid, lost] = [0, 0]] = counts;
	process.kill(pid, 'SIGKILL');
	await primary.logged('a worker ended, and is started again');
	for (const workers of [2, 3]) {
		if (workers === 3) await primary.logged('a worker serves again');
		const value = await scrape(primary);
		assert.deepEqual([value('relay_workers'), value('relay_worker_deaths_total')], [workers, 1]);
		assert.equal(value('relay_messages_received_total'), sum(counts));
		assert.equal(value('relay_connections{type="sse"}'), sum(counts) - lost);
	}
});

test('a worker that is stuck is left out after a second, with the counters it last reported', OPTIONS, async (t) => {
	const primary = startPrimary(t, { timings: { missedBeatsMax: 1000 } });
	const counts = await countAtAll(primary, 3);
	assert.equal((await scrape(primary))('relay_workers'), 3);
	const stuckPid = Number((await primary.ask('/stick')).headers['x-pid']);
	const value = await scrape(primary);
	assert.equal(value('relay_workers'), 2);
	assert.equal(value('relay_messages_received_total'), sum(counts));
	assert.equal(value('relay_connections{type="sse"}'), sum(counts) - Number(counts.get(stuckPid)));
});
