/**
 * The stack without containers: Valkey started by the shipped script with the shipped configuration, and the relay with the environment of
 * the compose file. Only what belongs to a container is different: addresses, ports and paths.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { findValkey } from '../support/find-valkey.ts';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';
import { freePort, untilAnswer } from '../support/valkey.ts';
import { DEPLOY, readCompose } from './files.ts';
import { endWithThisProcess } from './programs.ts';

export const PASSWORD = 'a-password-of-the-test';

/** What a command printed and how it ended. */
export interface Ended {
	readonly code: number;
	readonly stdout: string;
	readonly stderr: string;
}

export interface Stack {
	readonly port: number;
	readonly dataDir: string;
	readonly passwordFile: string;
	/** Of the process that was started last. */
	readonly valkey: ChildProcess;
	/** The environment of an operator's shell: `valkey-cli` reaches this server, with the password; `node` is the one of the test. */
	readonly operatorEnv: Readonly<Record<string, string>>;
	/** The relay's environment in the compose file, leading to this server. */
	readonly relayEnv: Readonly<Record<string, string>>;
	/** Starts Valkey again after it has ended; resolves once it serves. */
	startValkey(): Promise<void>;
	/** Sends a signal to Valkey and resolves with its exit code, null when the signal killed it. */
	endValkey(signal: NodeJS.Signals): Promise<number | null>;
	startRelay(): Promise<RelayProcess>;
	/** Runs a line of an operator's shell. */
	shell(line: string): Promise<Ended>;
	/** Runs a `valkey-cli` command; rejects when it fails. */
	cli(...args: readonly string[]): Promise<string>;
	/** What Valkey has printed. */
	log(): Promise<string>;
	stop(): Promise<void>;
}

/** Runs a program to its end, whatever that is. */
export function run(file: string, args: readonly string[], env: NodeJS.ProcessEnv, cwd?: string): Promise<Ended> {
	return new Promise((resolve) => {
		const options = { env, encoding: 'utf8', timeout: 60_000, ...(cwd === undefined ? {} : { cwd }) } as const;
		execFile(file, args, options, (error, stdout, stderr) => {
			const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
			resolve({ code, stdout, stderr });
		});
	});
}

/** Starts Valkey; the relay is started by the test. */
export async function startStack(): Promise<Stack> {
	const stack = new LocalStack(await mkdtemp(join(tmpdir(), 'pulsar-stack-')), await freePort());
	try {
		await stack.prepare();
		await stack.startValkey();
		return stack;
	} catch (error) {
		await stack.stop();
		throw error;
	}
}

class LocalStack implements Stack {
	readonly port: number;
	readonly dataDir: string;
	readonly passwordFile: string;
	readonly operatorEnv: Readonly<Record<string, string>>;
	readonly relayEnv: Readonly<Record<string, string>>;
	readonly #directory: string;
	readonly #bin: string;
	readonly #relays: RelayProcess[] = [];
	#valkey: ChildProcess | null = null;
	#exited: Promise<[number | null]> = Promise.resolve([null]);
	#log = '';

	constructor(directory: string, port: number) {
		this.#directory = directory;
		this.#bin = join(directory, 'bin');
		this.port = port;
		this.dataDir = join(directory, 'valkey-data');
		this.passwordFile = join(directory, 'valkey_password');
		this.operatorEnv = { ...process.env, PATH: `${this.#bin}${delimiter}${process.env['PATH']}`, REDISCLI_AUTH: PASSWORD };
		this.relayEnv = {
			...readCompose().services.relay.environment,
			PULSAR_HOST: '127.0.0.1',
			PULSAR_PORT: '0',
			PULSAR_VALKEY_HOST: '127.0.0.1',
			PULSAR_VALKEY_PORT: String(port),
			PULSAR_VALKEY_PASSWORD_FILE: this.passwordFile,
		};
	}

	get valkey(): ChildProcess {
		assert(this.#valkey !== null);
		return this.#valkey;
	}

	/** Lays out what the container has: programs under their names, a data directory, the secret. */
	async prepare(): Promise<void> {
		const programs = findValkey();
		assert(programs !== undefined, 'no valkey-server on the PATH; npm run install:valkey installs it where it can');
		await mkdir(this.#bin);
		await mkdir(this.dataDir);
		// Scripts, because these programs go by the name they are called by, and the machine may have Redis'.
		const checkAof = join(dirname(programs.server), `${programs.product}-check-aof`);
		for (const [name, command] of [
			['valkey-server', programs.server],
			['valkey-check-aof', checkAof],
			['valkey-cli', `${programs.cli} -p ${this.port}`],
			['node', process.execPath],
		] as const) {
			await writeFile(join(this.#bin, name), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
		}
		await writeFile(this.passwordFile, `${PASSWORD}\n`);
	}

	async startValkey(): Promise<void> {
		const args = [join(DEPLOY, 'start-valkey.sh'), join(DEPLOY, 'valkey.conf')];
		const local = ['--bind', '127.0.0.1', '--port', String(this.port)];
		const { REDISCLI_AUTH: _, ...env } = this.operatorEnv;
		const child = spawn('sh', [...args, ...local], {
			cwd: this.dataDir,
			env: { ...env, VALKEY_PASSWORD_FILE: this.passwordFile },
			stdio: ['ignore', 'pipe', 'pipe'],
		});
		endWithThisProcess(child);
		for (const stream of [child.stdout, child.stderr]) {
			stream.on('data', (chunk: Buffer) => {
				this.#log += chunk.toString();
			});
		}
		this.#valkey = child;
		this.#exited = once(child, 'exit') as Promise<[number | null]>;
		await untilAnswer(async () => {
			assert(child.exitCode === null, `Valkey has ended:\n${this.#log}`);
			return (await this.shell('valkey-cli ping')).stdout.trim() === 'PONG';
		}, 'serving');
	}

	async endValkey(signal: NodeJS.Signals): Promise<number | null> {
		this.#valkey?.kill(signal);
		const [code] = await this.#exited;
		return code;
	}

	async startRelay(): Promise<RelayProcess> {
		const relay = await startRelayProcess(this.dataDir, this.relayEnv);
		this.#relays.push(relay);
		return relay;
	}

	shell(line: string): Promise<Ended> {
		return run('sh', ['-c', line], this.operatorEnv, this.#directory);
	}

	async cli(...args: readonly string[]): Promise<string> {
		const { code, stdout, stderr } = await run('valkey-cli', ['-e', ...args], this.operatorEnv);
		assert.equal(code, 0, `valkey-cli ${args.join(' ')}: ${stdout}${stderr}`);
		return stdout.replace(/\n$/, '');
	}

	async log(): Promise<string> {
		return this.#log;
	}

	async stop(): Promise<void> {
		for (const { child, end } of this.#relays) if (child.exitCode === null && child.signalCode === null) await end('SIGKILL');
		await this.endValkey('SIGKILL');
		await rm(this.#directory, { recursive: true, force: true });
	}
}

/** What a process shows to whoever may list processes. */
export async function visibleOf(pid: number): Promise<string> {
	const parts = await Promise.all(['cmdline', 'environ'].map((name) => readFile(`/proc/${pid}/${name}`, 'utf8')));
	return parts.join('\0').replaceAll('\0', ' ');
}
