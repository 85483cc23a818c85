/**
 * What every process of the relay has from its start to its end: a log, stop signals, exit codes.
 *
 * Exit codes: 0 drained after SIGTERM or SIGINT, 1 failed to start or died of a defect, 78 wrong settings, 128 + n when a second
 * signal n did not want to wait for the drain.
 */

import { constants } from 'node:os';
import { isatty } from 'node:tty';
import type { Config } from '../config/schema.ts';
import { systemClock } from '../ops/clock.ts';
import { LogOutput } from '../ops/log-output.ts';
import { createLogger, type Logger } from '../ops/logger.ts';
import { STANDARD_OUTPUT, standardOutput } from './standard-output.ts';

export const EXIT_FAILED = 1;
export const EXIT_WRONG_SETTINGS = 78;

/** Over the drain's own limit, how long the store may take to close before the process gives up on it. */
export const CLOSE_GRACE_S = 5;

/** How long the end of the process waits for a slow reader of its last lines. */
const LAST_LINES_MS = 500;

/** A supervisor that signals both npm and the relay makes npm pass its signal on, so that one stop arrives twice. */
const SAME_SIGNAL_MS = 500;

export interface ProcessLog {
	readonly logger: Logger;
	readonly output: LogOutput;
	/** Whether people read the log as it comes. */
	readonly onTerminal: boolean;
}

/** Opens the log on standard output, with fields that every line has. */
export function openLog(
	{ logFormat, logLevel }: Pick<Config, 'logFormat' | 'logLevel'>,
	fields: Readonly<Record<string, unknown>> = {},
): ProcessLog {
	const onTerminal = isatty(STANDARD_OUTPUT);
	const pretty = logFormat === 'pretty' || (logFormat === 'auto' && onTerminal);
	const output = new LogOutput(standardOutput(), systemClock);
	const format = pretty ? 'pretty' : 'json';
	const logger = createLogger({ level: logLevel, format, colorize: onTerminal, to: output }).child(fields);
	output.onRecovery = (lines) => logger.warn({ lines }, 'lines of the log were lost: standard output did not take them');
	return { logger, output, onTerminal };
}

/** Nobody who reads what the process prints is worth its life: without a listener, a reader that has gone ends it. */
export function outliveReaders(): void {
	for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
}

/** From now on a defect is the last line of the log. It leaves the state unknown: nothing is acknowledged from here on, and whoever supervises the process starts it anew. */
export function exitOnDefects(logger: Logger): void {
	process.on('uncaughtException', (error, origin) => {
		logger.fatal({ err: error, origin }, 'defect');
		process.exit(EXIT_FAILED);
	});
}

/** Resolves with the first stop signal; a second one ends the process at once, after `atOnce`. */
export function firstStopSignal(logger: Logger, atOnce = () => {}): Promise<NodeJS.Signals> {
	return new Promise((stop) => {
		let stoppedAtMs: number | undefined;
		const onSignal = (signal: NodeJS.Signals) => {
			const nowMs = performance.now();
			if (stoppedAtMs === undefined) {
				stoppedAtMs = nowMs;
				logger.info({ signal }, 'stopping; a second signal stops at once');
				stop(signal);
			} else if (nowMs - stoppedAtMs >= SAME_SIGNAL_MS) {
				atOnce();
				process.exit(128 + constants.signals[signal]);
			}
		};
		process.on('SIGTERM', onSignal);
		process.on('SIGINT', onSignal);
	});
}

/** Logged at SIGHUP by a relay without certificates. */
export const NOTHING_TO_RELOAD =
	'SIGHUP has no effect: without TLS there is nothing to read again, and settings are read at the start';

/** Calls `run` at each SIGHUP, which no longer ends the process. */
export function onHangUp(run: () => void): void {
	process.on('SIGHUP', run);
}

/** Tells in one line why the relay does not start, and ends the process. */
export function failToStart(reason: string): never {
	process.stderr.write(`pulsar-relay: cannot start: ${reason}\n`);
	process.exit(EXIT_FAILED);
}

export interface Ending {
	readonly timeoutS: number;
	/** Does what is to be done before the end; resolves with whether it went well. */
	readonly drain: () => Promise<boolean>;
	/** Called when that takes too long. */
	readonly giveUp?: () => void;
	/** Fields of the last line of the log. */
	readonly why: Readonly<Record<string, unknown>>;
}

/** Drains and ends the process. */
export async function end({ timeoutS, drain, giveUp, why }: Ending, { logger, output }: ProcessLog): Promise<never> {
	const deadline = setTimeout(() => {
		logger.fatal(why, 'not drained in time');
		giveUp?.();
		process.exit(EXIT_FAILED);
	}, timeoutS * 1000);
	const drained = await drain();
	clearTimeout(deadline);
	logger.info(why, 'stopped');
	await output.flush(LAST_LINES_MS);
	process.exit(drained ? 0 : EXIT_FAILED);
}
