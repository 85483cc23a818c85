/** Starts a primary with small workers, and asks them things, each over a connection of its own. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { TIMINGS, type Timings } from '../../src/workers/supervisor.ts';
import type { PrimarySetup, WorkerSetup } from './supervised/setup.ts';

const PRIMARY = fileURLToPath(new URL('./supervised/primary.ts', import.meta.url));
const TRIES_MAX = 1000;

export type LogLine = Readonly<Record<string, unknown>>;

export interface Ended {
	readonly code: number | null;
	readonly signal: NodeJS.Signals | null;
	readonly stderr: string;
}

export interface TestPrimary {
	readonly child: ChildProcess;
	/** Resolves with the `nth` line of the log, from 1, that has this message; rejects when everything ended before. */
	logged(message: string, nth?: number): Promise<LogLine>;
	/** Resolves when the primary and all its workers are gone: they share its standard output. */
	readonly ended: Promise<Ended>;
	/** Opens a connection and asks; resolves with the headers. */
	ask(path: string): Promise<IncomingMessage>;
	who(): Promise<Who>;
	/** Asks until all of so many different workers have answered; their process ids by their numbers. */
	everybody(workers: number): Promise<ReadonlyMap<number, number>>;
}

export interface Who {
	readonly number: number;
	readonly pid: number;
}

export interface TestPrimaryOptions {
	readonly workers?: number;
	readonly timings?: Partial<Timings>;
	readonly stopTimeoutS?: number;
	readonly worker?: WorkerSetup;
	/** Default null. */
	readonly nothingToReload?: string | null;
}

/** Starts a primary. It and its workers are killed when the test ends before they did. */
export function startPrimary(t: TestContext, options: TestPrimaryOptions = {}): TestPrimary {
	const { workers = 3, timings = {}, stopTimeoutS = 20, worker = {}, nothingToReload = null } = options;
	const setup: PrimarySetup = { workers, timings: { ...TIMINGS, ...timings }, stopTimeoutS, worker, nothingToReload };
	// A group of its own, by which what is left of it can be killed.
	const child = spawn(process.execPath, [PRIMARY, JSON.stringify(setup)], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
	const lines: LogLine[] = [];
	const reader = createInterface({ input: child.stdout });
	// One for each line that is waited for.
	reader.setMaxListeners(0);
	reader.on('line', (line) => lines.push(JSON.parse(line) as LogLine));
	const stderr = text(child.stderr);
	const closed = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
	const ended = closed.then(async ([code, signal]) => ({ code, signal, stderr: await stderr }));
	t.after(async () => {
		killGroup(child);
		await ended;
	});

	const logged = (message: string, nth = 1) =>
		new Promise<LogLine>((resolve, reject) => {
			const look = () => {
				const found = lines.filter(({ msg }) => msg === message)[nth - 1];
				if (found !== undefined) resolve(found);
			};
			reader.on('line', look);
			look();
			void ended.then((how) => reject(new Error(`ended before "${message}": ${JSON.stringify({ how, lines })}`)));
		});
	const ask = async (path: string): Promise<IncomingMessage> => {
		const { http } = await logged('listening');
		const [response] = (await once(get(`${http}${path}`, { agent: false }), 'response')) as [IncomingMessage];
		return response;
	};
	const who = async () => JSON.parse(await text(await ask('/who'))) as Who;
	return {
		child,
		logged,
		ended,
		ask,
		who,
		async everybody(count) {
			const pids = new Map<number, number>();
			for (let tries = 0; pids.size < count; tries++) {
				assert(tries < TRIES_MAX, `only ${[...pids.keys()]} answered`);
				const { number, pid } = await who();
				pids.set(number, pid);
			}
			return pids;
		},
	};
}

function killGroup(child: ChildProcess): void {
	try {
		process.kill(-Number(child.pid), 'SIGKILL');
	} catch (error) {
		assert.equal(error instanceof Error && 'code' in error && error.code, 'ESRCH');
	}
}
