/** The start of a relay whose store is not there yet: it waits for as long as it is told to, and answers meanwhile. */

import type { AddressInfo } from 'node:net';
import packageJson from '../../package.json' with { type: 'json' };
import type { Config } from '../config/schema.ts';
import type { Logger } from '../ops/logger.ts';
import type { Clock } from '../ports/clock.ts';
import { passes } from '../stores/valkey/failure.ts';
import type { EdgeOptions } from '../transports/http/deps.ts';
import { createWaitingServer } from '../transports/http/waiting-server.ts';
import { reachable } from './edge.ts';

/** Between two attempts. */
const RETRY_MS = 500;
const REASON = 'the relay waits for its store';

export interface WaitingOptions {
	readonly config: Config;
	readonly logger: Logger;
	readonly clock: Clock;
	readonly edge: EdgeOptions;
	/** Ends the waiting. */
	readonly stopping: AbortSignal;
}

/** What answers in the relay's place. */
export interface WaitingListener {
	readonly port: number;
	/** Idempotent. */
	close(): Promise<void>;
}

/**
 * Opens the store. While it cannot be reached, tries again until PULSAR_VALKEY_START_TIMEOUT is over; rejects with the last failure then, when
 * the waiting is ended, and at once for a failure that waiting does not change. The listener is left to whoever serves next.
 */
export async function openWhenReachable<Opened>(
	open: () => Promise<Opened>,
	options: WaitingOptions,
): Promise<{ readonly opened: Opened; readonly waiting: WaitingListener | null }> {
	const { config, logger, clock, stopping } = options;
	const deadlineMs = clock.monotonicMs() + config.valkeyStartTimeoutS * 1000;
	let waiting: WaitingListener | null = null;
	let told = '';
	for (;;) {
		try {
			return { opened: await open(), waiting };
		} catch (error) {
			const isOver = stopping.aborted || clock.monotonicMs() >= deadlineMs;
			if (isOver || !passes(error)) {
				await waiting?.close();
				throw error;
			}
			waiting ??= await listenMeanwhile(options);
			const why = error instanceof Error ? error.message : String(error);
			if (why !== told) logger.warn({ why, seconds: config.valkeyStartTimeoutS }, 'not ready: waiting for Valkey');
			told = why;
			await pause(options);
		}
	}
}

async function listenMeanwhile({ config, logger, clock, edge }: WaitingOptions): Promise<WaitingListener> {
	const server = createWaitingServer({ clock, logger, version: packageJson.version, edge, reason: REASON });
	await server.listen({ host: config.host, port: config.port });
	const { port } = server.server.address() as AddressInfo;
	logger.info({ url: `${edge.tls === null ? 'http' : 'https'}://${reachable(config.host)}:${port}` }, 'listening, not ready');
	let closing: Promise<void> | null = null;
	return {
		port,
		close() {
			server.server.closeAllConnections();
			closing ??= server.close();
			return closing;
		},
	};
}

/** Until the next attempt is due, or the waiting is ended. */
function pause({ clock, stopping }: WaitingOptions): Promise<void> {
	return new Promise((resolve) => {
		const cancel = clock.after(RETRY_MS, done);
		function done() {
			cancel();
			stopping.removeEventListener('abort', done);
			resolve();
		}
		stopping.addEventListener('abort', done);
	});
}
