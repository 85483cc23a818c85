/** A Valkey server under the measured relays: on a free loopback port, append-only file synced each second, in a directory of its own. */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sleep } from '../timing.ts';

const run = promisify(execFile);
const START_TIMEOUT_MS = 5000;
const ASK_INTERVAL_MS = 20;

/** Disposing of it ends the process and removes its directory. */
export class ValkeyServer implements AsyncDisposable {
	readonly port: number;
	readonly #child: ChildProcess;
	readonly #directory: string;

	private constructor(port: number, child: ChildProcess, directory: string) {
		this.port = port;
		this.#child = child;
		this.#directory = directory;
	}

	/** Starts `valkey-server` from the PATH; resolves when it answers. */
	static async start(): Promise<ValkeyServer> {
		const port = await freePort();
		const directory = mkdtempSync(join(tmpdir(), 'pulsar-bench-valkey-'));
		const settings = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '', '--appendonly', 'yes'];
		const child = spawn('valkey-server', settings, { stdio: 'ignore' });
		process.once('exit', () => child.kill('SIGKILL'));
		const server = new ValkeyServer(port, child, directory);
		const failed = once(child, 'error').then(([error]) => {
			throw new Error(`valkey-server does not start: ${(error as Error).message}`);
		});
		await Promise.race([failed, server.#answers()]);
		return server;
	}

	/** The flags of a relay on it. */
	get relayFlags(): readonly string[] {
		return ['--storage-backend', 'valkey', '--valkey-port', String(this.port)];
	}

	/** CPU time of all its threads since its start. */
	async cpuUs(): Promise<number> {
		const info = await this.cli('INFO', 'cpu');
		const seconds = (name: string) => Number(new RegExp(`^${name}:(\\S+)`, 'm').exec(info)?.[1]);
		return (seconds('used_cpu_sys') + seconds('used_cpu_user')) * 1e6;
	}

	/** Runs a command; resolves with what `valkey-cli` prints. */
	async cli(...command: readonly string[]): Promise<string> {
		const { stdout } = await run('valkey-cli', ['-p', String(this.port), ...command]);
		return stdout.trim();
	}

	async [Symbol.asyncDispose](): Promise<void> {
		const ended = once(this.#child, 'exit');
		this.#child.kill('SIGKILL');
		await ended;
		rmSync(this.#directory, { recursive: true, force: true });
	}

	async #answers(): Promise<void> {
		const untilMs = performance.now() + START_TIMEOUT_MS;
		while (performance.now() < untilMs) {
			if ((await this.cli('PING').catch(() => '')) === 'PONG') return;
			await sleep(ASK_INTERVAL_MS);
		}
		throw new Error('valkey-server did not start in time');
	}
}

async function freePort(): Promise<number> {
	const server = createServer().listen(0, '127.0.0.1');
	await once(server, 'listening');
	const address = server.address();
	server.close();
	await once(server, 'close');
	if (address === null || typeof address === 'string') throw new Error('no free port');
	return address.port;
}
