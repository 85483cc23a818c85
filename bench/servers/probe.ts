/**
 * Loaded into a measured server with `--import`: answers what the process has used so far. CPU time counts all of its threads,
 * user and system.
 */

import { isMainThread } from 'node:worker_threads';
import { answer } from '../ipc.ts';
import { nowMs } from '../timing.ts';

/** What a process has used. */
export interface Usage {
	readonly atMs: number;
	/** User and system, over all threads, since the start of the process. */
	readonly cpuUs: number;
	readonly rssBytes: number;
	/** Live objects of the main thread's heap. */
	readonly heapBytes: number;
	/** Memory of buffers and other memory outside the heap that objects hold. */
	readonly offHeapBytes: number;
}

function usage(collectGarbage: boolean): Usage {
	// Twice: finalisers of the first round let go of more.
	if (collectGarbage) for (let round = 0; round < 2; round++) globalThis.gc?.();
	const { user, system } = process.cpuUsage();
	const { rss, heapUsed, external } = process.memoryUsage();
	return { atMs: nowMs(), cpuUs: user + system, rssBytes: rss, heapBytes: heapUsed, offHeapBytes: external };
}

// Worker threads load `--import` modules too.
if (isMainThread) answer({ usage });
