/** A measured server: a child process with the probe in it, its data in a temporary directory that goes away with it. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Peer } from '../ipc.ts';
import type { Usage } from './probe.ts';

const PROBE = new URL('./probe.ts', import.meta.url).href;
const START_TIMEOUT_MS = 20_000;
/** Writing a CPU profile takes its time. */
const PROFILED_STOP_TIMEOUT_MS = 15_000;
/** Standard error kept to explain a server that ends. */
const COMPLAINT_LENGTH_MAX = 2000;

export interface ServerSpec {
	readonly name: string;
	readonly script: URL;
	/** Given the server's own empty directory. */
	readonly args: (directory: string) => readonly string[];
	/** Where to write CPU profiles of this server; null = do not profile. */
	readonly profileDirectory: string | null;
}

/** A server that listens. Disposing of it ends the process and removes its directory. */
export class ChildServer implements AsyncDisposable {
	/** `http://127.0.0.1:<port>` */
	readonly url: string;
	readonly #child: ChildProcess;
	readonly #peer: Peer;
	readonly #profiled: boolean;
	readonly #removeDirectory: () => void;

	private constructor(url: string, child: ChildProcess, peer: Peer, profiled: boolean, removeDirectory: () => void) {
		this.url = url;
		this.#child = child;
		this.#peer = peer;
		this.#profiled = profiled;
		this.#removeDirectory = removeDirectory;
	}

	/** Starts the server; resolves when it listens. Rejects, with what it had to say, when it does not. */
	static async start({ name, script, args, profileDirectory }: ServerSpec): Promise<ChildServer> {
		const directory = mkdtempSync(join(tmpdir(), 'pulsar-bench-'));
		const removeDirectory = () => rmSync(directory, { recursive: true, force: true });
		process.once('exit', removeDirectory);
		const profiling = profileDirectory === null ? [] : ['--cpu-prof', '--cpu-prof-dir', profileDirectory];
		const child = fork(fileURLToPath(script), args(directory), {
			// Its working directory is empty, so that it finds no config file, and settings of the caller's shell are not its own.
			cwd: directory,
			env: Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('PULSAR_'))),
			// The last one is what `npm start` gives the relay.
			execArgv: ['--expose-gc', '--import', PROBE, ...profiling, '--max-semi-space-size=8'],
			serialization: 'advanced',
			stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
		});
		try {
			const url = await listening(name, child);
			return new ChildServer(url, child, new Peer(name, child), profileDirectory !== null, removeDirectory);
		} catch (error) {
			child.kill('SIGKILL');
			removeDirectory();
			throw error;
		}
	}

	/** What the process has used since its start; with `collectGarbage`, after a full collection. */
	usage(collectGarbage = false): Promise<Usage> {
		return this.#peer.ask('usage', collectGarbage) as Promise<Usage>;
	}

	async [Symbol.asyncDispose](): Promise<void> {
		if (this.#child.exitCode === null && this.#child.signalCode === null) {
			const ended = once(this.#child, 'exit');
			this.#child.kill(this.#profiled ? 'SIGTERM' : 'SIGKILL');
			const impatience = setTimeout(() => this.#child.kill('SIGKILL'), PROFILED_STOP_TIMEOUT_MS);
			await ended;
			clearTimeout(impatience);
		}
		this.#removeDirectory();
		process.removeListener('exit', this.#removeDirectory);
	}
}

/** Resolves with the URL in the server's `listening` log line. Goes on reading the log, so that the server never waits for us. */
function listening(name: string, child: ChildProcess): Promise<string> {
	const { stdout, stderr } = child;
	if (stdout === null || stderr === null) throw new Error('the server was started without pipes');
	return new Promise((resolve, reject) => {
		let complaint = '';
		const fail = (what: string) => {
			clearTimeout(timer);
			reject(new Error(`${name} ${what}${complaint === '' ? '' : `: ${complaint.trim()}`}`));
		};
		const timer = setTimeout(() => fail('did not start in time'), START_TIMEOUT_MS);
		child.once('exit', (code, signal) => fail(`ended (${signal ?? code})`));
		stderr.setEncoding('utf8').on('data', (text: string) => {
			complaint = (complaint + text).slice(-COMPLAINT_LENGTH_MAX);
		});
		createInterface({ input: stdout }).on('line', (line) => {
			const url = /"http":"(http:[^"]+)"/.exec(line)?.[1];
			if (url === undefined || !line.includes('"listening"')) return;
			clearTimeout(timer);
			resolve(url);
		});
	});
}
