/** Workers that die or get stuck are started again, later and later; the others serve on. */

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { startPrimary } from './start-primary.ts';

const OPTIONS = { timeout: 60_000 };
const ENDED = 'a worker ended, and is started again';
const SERVES_AGAIN = 'a worker serves again';

test('all workers answer on the one port, the primary does not', OPTIONS, async (t) => {
	const primary = startPrimary(t, { workers: 4 });
	const pids = new Set((await primary.everybody(4)).values());
	assert.equal(pids.size, 4);
	assert(!pids.has(Number(primary.child.pid)));
});

test('a killed worker is started again in its place, and nobody is refused meanwhile', OPTIONS, async (t) => {
	const primary = startPrimary(t);
	const before = await primary.everybody(3);
	process.kill(Number(before.get(2)), 'SIGKILL');
	const ended = await primary.logged(ENDED);
	assert.deepEqual([ended['worker'], ended['pid'], ended['signal']], [2, before.get(2), 'SIGKILL']);
	assert((await primary.who()).number !== 2);
	await primary.logged(SERVES_AGAIN);
	const after = await primary.everybody(3);
	assert.notEqual(after.get(2), before.get(2));
	assert.deepEqual([after.get(1), after.get(3)], [before.get(1), before.get(3)]);
});

test('a worker that dies again and again waits twice as long each time, up to a limit', OPTIONS, async (t) => {
	const primary = startPrimary(t, { workers: 2, timings: { backOff: { minMs: 40, maxMs: 100 } } });
	let { pid } = await primary.who();
	for (const [i, longestMs] of [40, 80, 100, 100].entries()) {
		process.kill(pid, 'SIGKILL');
		const waitMs = Number((await primary.logged(ENDED, i + 1))['respawn_ms']);
		assert(waitMs >= longestMs / 2 && waitMs <= longestMs, `${waitMs} ms after death ${i + 1}`);
		pid = Number((await primary.logged(SERVES_AGAIN, i + 1))['pid']);
	}
});

test('a worker that had served for long enough waits no longer than after a first death', OPTIONS, async (t) => {
	const primary = startPrimary(t, { workers: 2, timings: { backOff: { minMs: 40, maxMs: 10_000 }, steadyMs: 0 } });
	let { pid } = await primary.who();
	for (let death = 1; death <= 3; death++) {
		process.kill(pid, 'SIGKILL');
		assert(Number((await primary.logged(ENDED, death))['respawn_ms']) <= 40);
		pid = Number((await primary.logged(SERVES_AGAIN, death))['pid']);
	}
});

test('a worker that cannot start again is tried again, for as long as it takes', OPTIONS, async (t) => {
	const dir = await mkdtemp(join(tmpdir(), 'pulsar-relay-workers-'));
	t.after(() => rm(dir, { recursive: true }));
	const lock = join(dir, 'lock');
	const primary = startPrimary(t, {
		worker: { cannotStartBeside: lock },
		timings: { backOff: { minMs: 10, maxMs: 20 } },
	});
	const { pid } = await primary.who();
	await writeFile(lock, '');
	process.kill(pid, 'SIGKILL');
	for (const nth of [2, 3]) assert.equal((await primary.logged(ENDED, nth))['reason'], 'the store is locked');
	await primary.everybody(2);
	await rm(lock);
	await primary.logged(SERVES_AGAIN);
	await primary.everybody(3);
});

test('a worker whose event loop is stuck is killed and started again, while the others serve', OPTIONS, async (t) => {
	const primary = startPrimary(t, { timings: { beatMs: 50, missedBeatsMax: 20 } });
	const stuckPid = Number((await primary.ask('/stick')).headers['x-pid']);
	for (let i = 0; i < 20; i++) assert.notEqual((await primary.who()).pid, stuckPid);
	const stuck = await primary.logged('a worker is stuck, and is killed');
	assert.deepEqual([stuck['pid'], stuck['silent_ms']], [stuckPid, 1000]);
	await primary.logged(SERVES_AGAIN);
	assert(![...(await primary.everybody(3)).values()].includes(stuckPid));
});

test('a worker that an operator ends drains, and is started again', OPTIONS, async (t) => {
	const primary = startPrimary(t);
	const held = await primary.ask('/hold');
	process.kill(Number(held.headers['x-pid']), 'SIGTERM');
	assert.equal((await held.toArray()).join(''), 'drained');
	const ended = await primary.logged(ENDED);
	assert.deepEqual([ended['pid'], ended['code']], [Number(held.headers['x-pid']), 0]);
	await primary.logged(SERVES_AGAIN);
});
