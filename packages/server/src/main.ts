/**
 * The process: arguments and environment in, signals to a drain, exit codes out. The only file that touches `process`.
 *
 * Exit codes: 0 drained after SIGTERM or SIGINT, 1 failed to start or died of a defect, 78 wrong settings, 128 + n when a second
 * signal n did not want to wait for the drain.
 */

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { resolve } from 'node:path';
import packageJson from '../package.json' with { type: 'json' };
import { type App, createApp } from './app.ts';
import { loadConfig } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { createLogger, type Logger } from './ops/logger.ts';

const EXIT_FAILED = 1;
const EXIT_WRONG_SETTINGS = 78;

/** Over the drain's own limit, how long the store may take to close before the process gives up on it. */
const CLOSE_GRACE_S = 5;

/** A supervisor that signals both npm and the relay makes npm pass its signal on, so that one stop arrives twice. */
const SAME_SIGNAL_MS = 500;

async function main(): Promise<void> {
	const loaded = loadConfig({
		argv: process.argv.slice(2),
		env: process.env,
		readFile: (path) => readFileSync(path, 'utf8'),
	});
	switch (loaded.status) {
		case 'help':
			process.stdout.write(loaded.text);
			return;
		case 'version':
			process.stdout.write(`pulsar-relay ${packageJson.version}, Node ${process.versions.node}\n`);
			return;
		case 'invalid':
			process.stderr.write(`pulsar-relay: wrong settings, see --help\n${loaded.problems.map((line) => `  ${line}\n`).join('')}`);
			process.exitCode = EXIT_WRONG_SETTINGS;
			return;
		case 'ok':
			await run(loaded.config, loaded.warnings);
	}
}

async function run(config: Config, warnings: readonly string[]): Promise<void> {
	const onTerminal = process.stdout.isTTY === true;
	const pretty = config.logFormat === 'pretty' || (config.logFormat === 'auto' && onTerminal);
	const logger = createLogger({ level: config.logLevel, format: pretty ? 'pretty' : 'json', colorize: onTerminal });
	exitOnDefects(logger);
	for (const warning of warnings) logger.warn(warning);

	// Before the start, so that a signal during it is not lost: the relay then starts, and drains at once.
	const stopSignal = firstStopSignal(logger);
	const started = await start(config, logger);
	announce(started.app, started.url, config, logger, onTerminal);
	await stop(started.app, await stopSignal, config, logger);
}

/** Starts the relay, or tells in one line why not and ends the process. */
async function start(config: Config, logger: Logger): Promise<{ app: App; url: string }> {
	let app: App | undefined;
	try {
		app = await createApp({ config, logger });
		const { url } = await app.listen();
		return { app, url };
	} catch (error) {
		logger.debug({ err: error }, 'start failed');
		process.stderr.write(`pulsar-relay: cannot start: ${startFailure(error, config)}\n`);
		await app?.close().catch((closeError: unknown) => logger.debug({ err: closeError }, 'close failed'));
		process.exit(EXIT_FAILED);
	}
}

function startFailure(error: unknown, { host, port }: Config): string {
	const code = error instanceof Error && 'syscall' in error && 'code' in error ? error.code : undefined;
	const message = error instanceof Error ? error.message : String(error);
	switch (code) {
		case 'EADDRINUSE':
			return `port ${port} on ${host} is in use; stop what uses it, or choose another with --port`;
		case 'EADDRNOTAVAIL':
		case 'ENOTFOUND':
			return `${host} is not an address of this machine; see --host`;
		default:
			return message.split('\n', 1)[0] ?? message;
	}
}

function announce(app: App, url: string, config: Config, logger: Logger, onTerminal: boolean): void {
	const places = {
		http: url,
		ws: `${url.replace(/^http/, 'ws')}/ws`,
		docs: `${url}/docs`,
		metrics: `${url}/metrics`,
		data: placeOfData(config),
		durability: app.durability,
		mode: config.auth,
	};
	const body = '{"topic":"hello","payload":{"text":"Hello, world"}}';
	const curl = `curl -X POST ${url}/api/v1/messages -H 'Content-Type: application/json' -d '${body}'`;
	if (!onTerminal) {
		logger.info({ version: packageJson.version, ...places, try: curl }, 'listening');
		return;
	}
	const lines = Object.entries(places).map(([name, place]) => `  ${name.padEnd(10)}  ${place}`);
	process.stdout.write(`\nPulsar Relay ${packageJson.version}\n\n${lines.join('\n')}\n\nTry it:\n  ${curl}\n\n`);
}

function placeOfData(config: Config): string {
	switch (config.storageBackend) {
		case 'embedded':
			return resolve(config.dataDir);
		case 'memory':
			return 'in memory only';
		case 'valkey':
			return `Valkey at ${config.valkeyAddresses.length > 0 ? config.valkeyAddresses.join(', ') : `${config.valkeyHost}:${config.valkeyPort}`}`;
	}
}

/** Resolves with the first stop signal; a second one ends the process at once. */
function firstStopSignal(logger: Logger): Promise<NodeJS.Signals> {
	return new Promise((stop) => {
		let stoppedAtMs: number | undefined;
		const onSignal = (signal: NodeJS.Signals) => {
			const nowMs = performance.now();
			if (stoppedAtMs === undefined) {
				stoppedAtMs = nowMs;
				logger.info({ signal }, 'stopping; a second signal stops at once');
				stop(signal);
			} else if (nowMs - stoppedAtMs >= SAME_SIGNAL_MS) {
				process.exit(128 + constants.signals[signal]);
			}
		};
		process.on('SIGTERM', onSignal);
		process.on('SIGINT', onSignal);
	});
}

async function stop(app: App, signal: NodeJS.Signals, config: Config, logger: Logger): Promise<void> {
	const deadline = setTimeout(
		() => {
			logger.fatal({ signal }, 'not drained in time');
			process.exit(EXIT_FAILED);
		},
		(config.drainTimeoutS + CLOSE_GRACE_S) * 1000,
	);
	await app.drain();
	await app.close();
	clearTimeout(deadline);
	logger.info({ signal }, 'stopped');
	process.exit(0);
}

/** A defect leaves the state unknown: nothing is acknowledged from here on, and whoever supervises the process starts it anew. */
function exitOnDefects(logger: Logger): void {
	process.on('uncaughtException', (error, origin) => {
		logger.fatal({ err: error, origin }, 'defect');
		process.exit(EXIT_FAILED);
	});
}

await main();
