/** The published Python client library, installed into an environment of its own, and driven from a test. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const LIBRARY = 'pulsar-relay-client';
const LIBRARY_VERSION = '0.2.2';
const DRIVER = new URL('driver.py', import.meta.url).pathname;
const INSTALL_TIMEOUT_MS = 240_000;

/** The environment's interpreter, or why there is none on this machine. */
export type Python =
	| { readonly status: 'here'; readonly interpreter: string }
	| { readonly status: 'missing'; readonly reason: string };

/** Installs the library, unless a run before has. On CI a machine that cannot have it is a failure. */
export function installClient(): Python {
	try {
		const version = execFileSync('python3', ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], { encoding: 'utf8' });
		return { status: 'here', interpreter: join(environmentOf(version.trim()), 'bin', 'python') };
	} catch (error) {
		const why = error instanceof Error ? (error.message.trim().split('\n').at(-1) ?? error.message) : String(error);
		const reason = `${LIBRARY} ${LIBRARY_VERSION} cannot be installed here: ${why}`;
		if (process.env['CI'] !== undefined) throw new Error(reason, { cause: error });
		return { status: 'missing', reason };
	}
}

/** The directory of the environment, kept from one run to the next. It is put in place only once it is complete. */
function environmentOf(pythonVersion: string): string {
	const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'pulsar-relay-interop');
	const place = join(cache, `${LIBRARY}-${LIBRARY_VERSION}-python${pythonVersion}`);
	if (existsSync(place)) return place;
	mkdirSync(cache, { recursive: true });
	const making = mkdtempSync(join(cache, 'making-'));
	try {
		const run = (file: string, ...args: string[]) =>
			execFileSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: INSTALL_TIMEOUT_MS });
		run('python3', '-m', 'venv', making);
		run(join(making, 'bin', 'python'), '-m', 'pip', 'install', '--quiet', `${LIBRARY}==${LIBRARY_VERSION}`);
		renameSync(making, place);
	} catch (error) {
		rmSync(making, { recursive: true, force: true });
		// Another run was first.
		if (!existsSync(place)) throw error;
	}
	return place;
}

/** What the library raised. */
export class PythonError extends Error {
	constructor(name: string, message: string) {
		super(message);
		this.name = name;
	}
}

type Arguments = Readonly<Record<string, unknown>>;

interface Line {
	readonly id?: number;
	readonly result?: unknown;
	readonly error?: string;
	readonly message?: string;
	readonly report?: string;
	readonly args?: readonly unknown[];
}

/** A process that uses the library. */
export class PythonClient {
	readonly #child: ChildProcess;
	readonly #exited: Promise<unknown>;
	readonly #waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
	readonly #reports = new Map<string, (args: readonly unknown[]) => void>();
	#last = 0;

	constructor(interpreter: string) {
		// A proxy of the machine's is not meant for a relay on loopback.
		this.#child = spawn(interpreter, [DRIVER], {
			env: { ...process.env, NO_PROXY: '127.0.0.1' },
			stdio: ['pipe', 'pipe', 'inherit'],
		});
		this.#exited = once(this.#child, 'exit').then(() => {
			for (const { reject } of this.#waiting.values()) reject(new Error('the Python process has ended'));
		});
		if (this.#child.stdout !== null) createInterface({ input: this.#child.stdout }).on('line', (line) => this.#heard(line));
	}

	/** Makes an object of one of the library's classes, to be called by its name. */
	async make(kind: string, name: string, args: Arguments): Promise<void> {
		await this.#do({ make: kind, as: name, with: args });
	}

	/** Calls a method, `<name>.<method>`; rejects with a {@link PythonError} when it raises. */
	async call<Result>(method: string, args: Arguments = {}): Promise<Result> {
		return (await this.#do({ call: method, with: args })) as Result;
	}

	/** Hears of the calls of a function that was handed to the library as `{ $report: name }`. */
	onReport(name: string, listener: (args: readonly unknown[]) => void): void {
		this.#reports.set(name, listener);
	}

	/** Kills the process, as a machine that goes down would. */
	async kill(): Promise<void> {
		this.#child.kill('SIGKILL');
		await this.#exited;
	}

	#do(command: object): Promise<unknown> {
		const id = ++this.#last;
		return new Promise((resolve, reject) => {
			this.#waiting.set(id, { resolve, reject });
			this.#child.stdin?.write(`${JSON.stringify({ id, ...command })}\n`);
		});
	}

	#heard(line: string): void {
		const { id, result, error, message, report, args } = JSON.parse(line) as Line;
		if (report !== undefined) this.#reports.get(report)?.(args ?? []);
		if (id === undefined) return;
		const waiting = this.#waiting.get(id);
		this.#waiting.delete(id);
		if (error === undefined) waiting?.resolve(result);
		else waiting?.reject(new PythonError(error, message ?? ''));
	}
}
