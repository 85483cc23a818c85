/**
 * Real Valkey servers for tests: each on a free port of loopback with a directory of its own, ready when it answers. They are
 * killed by their process id, also when the test process ends early.
 */

import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Certificates, makeCertificates } from './certificates.ts';
import { findValkey } from './find-valkey.ts';

export { valkeyUnavailable } from './find-valkey.ts';

export interface ValkeyOptions {
	/**
	 * Lines of the server's configuration by their name: `{ appendonly: 'yes', appendfsync: 'always' }`; a list makes several lines
	 * of one name, as for `user`. Unless told otherwise nothing is written to disk.
	 */
	readonly settings?: ValkeySettings;
	/** Where it listens, instead of any free port: for a relay that was started before it. */
	readonly port?: number;
	/** Password of the default user (`requirepass`). */
	readonly password?: string;
	/** Follow this server; {@link startReplica} also waits until it does. */
	readonly replicaOf?: Primary;
	/** TLS only, with certificates made for this server. */
	readonly tls?: boolean;
}

/** What a replica needs to know of the server it follows; its address may be another way to it. */
export type Primary = Pick<Valkey, 'host' | 'port' | 'password'>;

export type ValkeySettings = Readonly<Record<string, string | readonly string[]>>;

export interface Valkey {
	readonly host: string;
	readonly port: number;
	/** Of the process that runs now; changes with a restart. */
	readonly pid: number;
	readonly dir: string;
	readonly password: string | null;
	/** Null without TLS. */
	readonly certificates: Certificates | null;
	/** The settings of a relay on this server. */
	readonly relayEnv: Readonly<Record<string, string>>;
	/**
	 * Runs a command as an operator would, with the machine's `valkey-cli`; resolves with what it printed, without the last line
	 * end. Options of the client may stand before the command: `cli('--json', 'XRANGE', …)`. Rejects on an error reply.
	 */
	cli(...args: readonly string[]): Promise<string>;
	/** Sends a signal and resolves when the process is gone. */
	kill(signal?: NodeJS.Signals): Promise<void>;
	/** Freezes the process: it holds its connections and answers nothing. */
	pause(): void;
	resume(): void;
	/** Starts it again on the same port, after ending it when it still runs, with its data unless told otherwise. */
	restart(options?: { readonly keepData?: boolean; readonly settings?: ValkeySettings }): Promise<void>;
	/** What the server has logged. */
	log(): Promise<string>;
	/** Kills it and removes its directory. */
	stop(): Promise<void>;
	[Symbol.asyncDispose](): Promise<void>;
}

const HOST = '127.0.0.1';
/** Below the range from which the kernel takes ports of outgoing connections, so that a killed server finds its port free again. */
const PORT_MIN = 20_000;
const PORT_MAX = 30_000;
const PORT_TRIES = 20;
const CLI_TIMEOUT_MS = 30_000;
const READY_TIMEOUT_MS = 20_000;
const ASK_INTERVAL_MS = 10;
/** Replies of a server that is up and merely does not know who asks. */
const UP = /^(PONG|NOAUTH|NOPERM|WRONGPASS)/;

const DEFAULTS: ValkeySettings = { save: '', appendonly: 'no' };

/** Servers that must not outlive this process. */
const running = new Set<ChildProcess>();
process.on('exit', killRunning);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
	process.once(signal, () => {
		killRunning();
		process.kill(process.pid, signal);
	});
}

function killRunning(): void {
	for (const child of running) child.kill('SIGKILL');
}

/** Starts a server and resolves once it answers. */
export async function startValkey(options: ValkeyOptions = {}): Promise<Valkey> {
	const programs = findValkey();
	assert(programs !== undefined, 'no valkey-server on the PATH; npm run install:valkey installs it where it can');
	const dir = await mkdtemp(join(tmpdir(), 'pulsar-valkey-'));
	const certificates = options.tls === true ? await makeCertificates(dir) : null;
	for (let tries = 1; ; tries++) {
		const valkey = new ValkeyServer({ programs, dir, port: options.port ?? (await freePort()), certificates, options });
		const problem = await valkey.start();
		if (problem === null) return valkey;
		// Another process may have taken the port since it was found free.
		if (tries < PORT_TRIES && problem.includes('Address already in use')) continue;
		await valkey.stop();
		assert.fail(`valkey-server does not start:\n${problem}`);
	}
}

/** Starts a replica of a server and resolves once it is in sync. */
export async function startReplica(primary: Primary, options: Omit<ValkeyOptions, 'replicaOf'> = {}): Promise<Valkey> {
	const replica = await startValkey({
		...options,
		replicaOf: primary,
		...(primary.password === null ? {} : { password: primary.password }),
	});
	await untilAnswer(async () => (await replica.cli('INFO', 'replication')).includes('master_link_status:up'), 'in sync');
	return replica;
}

interface ValkeyServerParts {
	readonly programs: { readonly server: string; readonly cli: string };
	readonly dir: string;
	readonly port: number;
	readonly certificates: Certificates | null;
	readonly options: ValkeyOptions;
}

class ValkeyServer implements Valkey {
	readonly host = HOST;
	readonly port: number;
	readonly dir: string;
	readonly password: string | null;
	readonly certificates: Certificates | null;
	readonly #parts: ValkeyServerParts;
	#settings: ValkeySettings;
	#child: ChildProcess | null = null;
	#exited: Promise<unknown> = Promise.resolve();

	constructor(parts: ValkeyServerParts) {
		this.#parts = parts;
		this.port = parts.port;
		this.dir = parts.dir;
		this.password = parts.options.password ?? null;
		this.certificates = parts.certificates;
		this.#settings = { ...DEFAULTS, ...this.#fixedSettings(), ...parts.options.settings };
	}

	get pid(): number {
		const pid = this.#child?.pid;
		assert(pid !== undefined, 'the server does not run');
		return pid;
	}

	get relayEnv(): Record<string, string> {
		return {
			PULSAR_STORAGE_BACKEND: 'valkey',
			PULSAR_VALKEY_HOST: this.host,
			PULSAR_VALKEY_PORT: String(this.port),
			...(this.password === null ? {} : { PULSAR_VALKEY_PASSWORD: this.password }),
			...(this.certificates === null ? {} : { PULSAR_VALKEY_USE_TLS: 'true', PULSAR_VALKEY_CA_PATH: this.certificates.ca }),
		};
	}

	/** Starts the process; null once it answers, else what it logged before it ended. */
	async start(): Promise<string | null> {
		const file = join(this.dir, 'valkey.conf');
		await writeFile(file, renderSettings(this.#settings));
		// Its output, not a log file of its own: what is wrong with the settings it says before it would open one.
		const log = await open(join(this.dir, 'server.log'), 'a');
		const child = spawn(this.#parts.programs.server, [file], { stdio: ['ignore', log.fd, log.fd] });
		await log.close();
		this.#child = child;
		running.add(child);
		this.#exited = once(child, 'exit').then(() => running.delete(child));
		const ended = () => child.exitCode !== null || child.signalCode !== null;
		await untilAnswer(async () => ended() || UP.test(await this.#ask(['PING'])), 'ready');
		return ended() ? await this.log() : null;
	}

	async cli(...args: readonly string[]): Promise<string> {
		const printed = await this.#run(args);
		assert(printed.ok, `valkey-cli ${args.join(' ')}: ${printed.text}`);
		return printed.text;
	}

	async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
		this.#child?.kill(signal);
		await this.#exited;
		this.#child = null;
	}

	pause(): void {
		process.kill(this.pid, 'SIGSTOP');
	}

	resume(): void {
		process.kill(this.pid, 'SIGCONT');
	}

	async restart({ keepData = true, settings = {} }: { keepData?: boolean; settings?: ValkeySettings } = {}): Promise<void> {
		if (this.#child !== null) await this.kill('SIGTERM');
		if (!keepData) await this.#removeData();
		this.#settings = { ...this.#settings, ...settings };
		const problem = await this.start();
		assert(problem === null, `valkey-server does not start again:\n${problem}`);
	}

	log(): Promise<string> {
		return readFile(join(this.dir, 'server.log'), 'utf8');
	}

	async stop(): Promise<void> {
		// SIGKILL also ends a paused process.
		await this.kill('SIGKILL');
		await rm(this.dir, { recursive: true, force: true });
	}

	[Symbol.asyncDispose](): Promise<void> {
		return this.stop();
	}

	/** What a client's command prints, whether it is an answer or an error. */
	async #ask(command: readonly string[]): Promise<string> {
		return (await this.#run(command)).text;
	}

	#run(args: readonly string[]): Promise<{ readonly ok: boolean; readonly text: string }> {
		const options = [
			...['-h', this.host, '-p', String(this.port), '-e'],
			...(this.certificates === null ? [] : tlsOptions(this.certificates)),
			...(this.password === null ? [] : ['-a', this.password, '--no-auth-warning']),
		];
		return new Promise((resolve) => {
			const limits = { timeout: CLI_TIMEOUT_MS, maxBuffer: 1 << 30 };
			execFile(this.#parts.programs.cli, [...options, ...args], limits, (error, stdout, stderr) => {
				resolve({ ok: error === null, text: `${stdout}${stderr}`.replace(/\n$/, '') });
			});
		});
	}

	#fixedSettings(): ValkeySettings {
		const { replicaOf, password } = this.#parts.options;
		return {
			bind: HOST,
			dir: this.dir,
			...(this.certificates === null
				? { port: String(this.port) }
				: {
						port: '0',
						'tls-port': String(this.port),
						'tls-cert-file': this.certificates.certificate,
						'tls-key-file': this.certificates.key,
						'tls-ca-cert-file': this.certificates.ca,
						'tls-auth-clients': 'no',
					}),
			...(password === undefined ? {} : { requirepass: password, masterauth: password }),
			...(replicaOf === undefined ? {} : { replicaof: `${replicaOf.host} ${replicaOf.port}` }),
			'repl-diskless-sync-delay': '0',
		};
	}

	async #removeData(): Promise<void> {
		const kept = new Set(['valkey.conf', 'server.log']);
		for (const { name } of await readdir(this.dir, { withFileTypes: true })) {
			if (!kept.has(name) && !/\.(crt|key)$/.test(name)) await rm(join(this.dir, name), { recursive: true });
		}
	}
}

/** How `valkey-cli` connects, also to a server that asks for a certificate of the client. */
function tlsOptions({ ca, clientCertificate, clientKey }: Certificates): string[] {
	return ['--tls', '--cacert', ca, '--cert', clientCertificate, '--key', clientKey];
}

/** The settings as a configuration file. */
function renderSettings(settings: ValkeySettings): string {
	return Object.entries(settings)
		.flatMap(([name, value]) =>
			(typeof value === 'string' ? [value] : value).map((one) => `${name} ${one === '' ? '""' : one}\n`),
		)
		.join('');
}

/** Asks again and again until the answer is yes. There is no event for what another process has come to. */
export async function untilAnswer(ask: () => Promise<boolean>, what: string): Promise<void> {
	const deadline = performance.now() + READY_TIMEOUT_MS;
	while (!(await ask())) {
		assert(performance.now() < deadline, `not ${what} within ${READY_TIMEOUT_MS} ms`);
		await new Promise((resolve) => setTimeout(resolve, ASK_INTERVAL_MS));
	}
}

/** A port that nothing listens on now. */
export async function freePort(): Promise<number> {
	for (let tries = 0; tries < PORT_TRIES; tries++) {
		const port = PORT_MIN + Math.floor(Math.random() * (PORT_MAX - PORT_MIN));
		const probe = createServer();
		const free = await new Promise<boolean>((resolve) => {
			probe.once('error', () => resolve(false));
			probe.listen(port, HOST, () => resolve(true));
		});
		if (!free) continue;
		await new Promise((resolve) => probe.close(resolve));
		return port;
	}
	assert.fail('no free port');
}
