/** What the tests of the embedded store share: data directories, opening, and a publisher process to kill. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../src/ops/clock.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { type EmbeddedStore, openEmbeddedStore } from '../../src/stores/embedded/store.ts';

/** A directory that is removed after the test. */
export async function makeDataDir(t: TestContext): Promise<string> {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-embedded-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	return dataDir;
}

/** Opens a store that is closed after the test, if it has not been by then. */
export async function openStore(
	t: TestContext,
	dataDir: string,
	{ clock = systemClock, topicsMax = 100 }: { readonly clock?: Clock; readonly topicsMax?: number } = {},
): Promise<EmbeddedStore> {
	const store = await openEmbeddedStore({ dataDir, clock, topicsMax });
	t.after(() => store.close());
	return store;
}

/** A message that the publisher process says was acknowledged. */
export interface AckedMessage {
	readonly topic: string;
	readonly id: string;
	readonly payload: string;
}

export interface Publisher {
	readonly pid: number;
	/** Resolves when so many messages have been acknowledged. */
	acked(count: number): Promise<void>;
	/** Kills the process with SIGKILL; gives all that it acknowledged. */
	kill(): Promise<readonly AckedMessage[]>;
}

/** Starts the publisher process; resolves once its store is open. It is killed after the test. */
export async function startPublisher(
	t: TestContext,
	dataDir: string,
	{ tag = 'p', callers = 16, perCall = 1 } = {},
): Promise<Publisher> {
	const script = fileURLToPath(new URL('./embedded-publisher.ts', import.meta.url));
	const child = spawn(process.execPath, [script, dataDir, tag, String(callers), String(perCall)], {
		stdio: ['ignore', 'pipe', 'inherit'],
	});
	t.after(() => end(child));
	const acked: AckedMessage[] = [];
	const waiters: { readonly count: number; readonly resolve: () => void }[] = [];
	const lines = createInterface({ input: child.stdout });
	const drained = once(lines, 'close');
	const opened = Promise.withResolvers<void>();
	lines.on('line', (line) => {
		if (line === 'open') return opened.resolve();
		const [topic, id, payload] = line.split(' ');
		// A line that the kill has cut short is not an acknowledgement that anybody saw.
		if (topic === undefined || id === undefined || payload?.endsWith('"') !== true) return;
		acked.push({ topic, id, payload });
		for (const waiter of waiters) if (acked.length >= waiter.count) waiter.resolve();
	});
	lines.on('close', () => opened.reject(new Error('the publisher ended before its store was open')));
	await opened.promise;
	return {
		pid: child.pid ?? 0,
		acked: (count) =>
			new Promise((resolve, reject) => {
				if (acked.length >= count) resolve();
				else waiters.push({ count, resolve });
				lines.once('close', () => reject(new Error('the publisher ended')));
			}),
		async kill() {
			await end(child);
			await drained;
			return acked;
		},
	};
}

async function end(child: ChildProcess): Promise<void> {
	if (child.exitCode !== null || child.signalCode !== null) return;
	const exited = once(child, 'exit');
	child.kill('SIGKILL');
	await exited;
}
