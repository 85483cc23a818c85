/** Relays of a fault run: processes that are killed and started again at the same address, as a supervisor would. */

import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';
import { freePort } from '../support/valkey.ts';

export class RelayNode {
	readonly url: string;
	readonly #dataDir: string;
	readonly #env: Readonly<Record<string, string>>;
	#process: RelayProcess | null = null;

	private constructor(port: number, dataDir: string, env: Readonly<Record<string, string>>) {
		this.url = `http://127.0.0.1:${port}`;
		this.#dataDir = dataDir;
		this.#env = { ...env, PULSAR_PORT: String(port) };
	}

	static async start(env: Readonly<Record<string, string>>): Promise<RelayNode> {
		const node = new RelayNode(await freePort(), await mkdtemp(join(tmpdir(), 'pulsar-relay-faults-')), env);
		try {
			await node.restart();
			return node;
		} catch (error) {
			await node.stop();
			throw error;
		}
	}

	/** Starts it; it must not run. */
	async restart(): Promise<void> {
		this.#process = await startRelayProcess(this.#dataDir, this.#env);
	}

	/** Sends a signal and resolves with the exit code, null when the signal killed it. */
	async end(signal: NodeJS.Signals): Promise<number | null> {
		const code = (await this.#process?.end(signal)) ?? null;
		this.#process = null;
		return code;
	}

	/** The processes that serve for it, when it was started with workers. */
	async workers(): Promise<readonly number[]> {
		const { stdout } = await promisify(execFile)('ps', ['-o', 'pid=', '--ppid', String(this.#process?.child.pid)]);
		return stdout.trim().split(/\s+/).map(Number);
	}

	/** The body of `/ready` and its status. */
	async ready(): Promise<{ readonly status: number; readonly text: string }> {
		const response = await fetch(`${this.url}/ready`);
		return { status: response.status, text: await response.text() };
	}

	async stop(): Promise<void> {
		await this.end('SIGKILL');
		await rm(this.#dataDir, { recursive: true, force: true });
	}

	[Symbol.asyncDispose](): Promise<void> {
		return this.stop();
	}
}
