/** How the processes end together: after a drain, at once, at a failed start, and without their primary. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { startPrimary, type TestPrimary } from './start-primary.ts';

const OPTIONS = { timeout: 60_000 };

/** A request that ends with the drain at each of so many workers. */
async function heldByAll(primary: TestPrimary, workers: number): Promise<readonly IncomingMessage[]> {
	const held: IncomingMessage[] = [];
	const pids = new Set<unknown>();
	while (pids.size < workers) {
		const response = await primary.ask('/hold');
		held.push(response);
		pids.add(response.headers['x-pid']);
	}
	return held;
}

function childrenOf({ child }: TestPrimary): readonly string[] {
	return execFileSync('ps', ['-A', '-o', 'ppid='], { encoding: 'utf8' })
		.split('\n')
		.filter((ppid) => ppid.trim() === String(child.pid));
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
	test(`${signal} has all workers finish what is under way, and ends with code 0`, OPTIONS, async (t) => {
		const primary = startPrimary(t);
		const held = await heldByAll(primary, 3);
		primary.child.kill(signal);
		for (const response of held) assert.equal(await text(response), 'drained');
		assert.deepEqual(await primary.ended, { code: 0, signal: null, stderr: '' });
	});
}

test('a signal to the whole process group is no second signal: the workers drain once', OPTIONS, async (t) => {
	const primary = startPrimary(t);
	const held = await heldByAll(primary, 3);
	process.kill(-Number(primary.child.pid), 'SIGINT');
	for (const response of held) assert.equal(await text(response), 'drained');
	assert.deepEqual(await primary.ended, { code: 0, signal: null, stderr: '' });
});

test('a signal while workers are started again ends all the same', OPTIONS, async (t) => {
	const primary = startPrimary(t, { timings: { backOff: { minMs: 60_000, maxMs: 60_000 } } });
	process.kill((await primary.who()).pid, 'SIGKILL');
	await primary.logged('a worker ended, and is started again');
	primary.child.kill('SIGTERM');
	assert.deepEqual(await primary.ended, { code: 0, signal: null, stderr: '' });
});

test('a signal while a respawned worker loads its code ends all with code 0', OPTIONS, async (t) => {
	const primary = startPrimary(t, { timings: { backOff: { minMs: 1, maxMs: 1 } } });
	process.kill((await primary.who()).pid, 'SIGKILL');
	await primary.logged('a worker ended, and is started again');
	// A process that was just started says nothing; but it can be seen.
	while (childrenOf(primary).length < 3) await new Promise((resolve) => setImmediate(resolve));
	primary.child.kill('SIGTERM');
	assert.deepEqual(await primary.ended, { code: 0, signal: null, stderr: '' });
});

test('a second signal ends all at once', OPTIONS, async (t) => {
	const primary = startPrimary(t, { worker: { neverDrains: true } });
	await primary.logged('listening');
	// Signals that follow the first within half a second are the same one; one of these comes after that.
	const signals = setInterval(() => primary.child.kill('SIGTERM'), 200);
	const { code, stderr } = await primary.ended;
	clearInterval(signals);
	assert.deepEqual([code, stderr], [128 + 15, '']);
});

test('workers that do not drain in time are killed, and the exit code says so', OPTIONS, async (t) => {
	const primary = startPrimary(t, { worker: { neverDrains: true }, stopTimeoutS: 1 });
	await primary.logged('listening');
	primary.child.kill('SIGTERM');
	assert.equal((await primary.ended).code, 1);
});

test('a worker that dies instead of draining makes the exit code 1', OPTIONS, async (t) => {
	const primary = startPrimary(t, { workers: 2, worker: { neverDrains: true } });
	const pids = await primary.everybody(2);
	primary.child.kill('SIGTERM');
	await primary.logged('stopping; a second signal stops at once');
	for (const pid of pids.values()) process.kill(pid, 'SIGKILL');
	assert.equal((await primary.ended).code, 1);
});

test('workers whose primary is killed finish what is under way, and end', OPTIONS, async (t) => {
	const primary = startPrimary(t);
	const held = await heldByAll(primary, 3);
	primary.child.kill('SIGKILL');
	for (const response of held) assert.equal(await text(response), 'drained');
	assert.equal((await primary.ended).signal, 'SIGKILL');
});

test('workers that cannot start end the whole with one line, once, and exit code 1', OPTIONS, async (t) => {
	const primary = startPrimary(t, { worker: { cannotStart: [1, 2, 3] } });
	const stderr = 'pulsar-relay: cannot start: the store is locked\n';
	assert.deepEqual(await primary.ended, { code: 1, signal: null, stderr });
});

test('one worker of several that cannot start ends the others, too', OPTIONS, async (t) => {
	const primary = startPrimary(t, { worker: { cannotStart: [3] } });
	const stderr = 'pulsar-relay: cannot start: the store is locked\n';
	assert.deepEqual(await primary.ended, { code: 1, signal: null, stderr });
});

test('a worker that dies at its first start without a word ends the whole, too', OPTIONS, async (t) => {
	const primary = startPrimary(t, { worker: { diesAtStart: 2 } });
	const stderr = 'pulsar-relay: cannot start: a worker ended (exit code 3)\n';
	assert.deepEqual(await primary.ended, { code: 1, signal: null, stderr });
});
