/** The published Python client library, installed into an environment of its own, and driven from a test. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { installPythonPackage, type Python } from '../support/python-package.ts';

const DRIVER = new URL('driver.py', import.meta.url).pathname;

/** Installs the library, unless a run before has. On CI a machine that cannot have it is a failure. */
export function installClient(): Python {
	return installPythonPackage({ name: 'pulsar-relay-client', version: '0.2.2' });
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
