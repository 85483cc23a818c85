/**
 * The bound on what a listener has open. Over it connections are cut off without an answer, which is counted and logged: at the limit
 * of the process the system would do the same, and nobody would hear of it.
 */

import type { Server } from 'node:net';
import type { Logger } from '../../ops/logger.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';

/** Files that the process needs for itself: the store, the log, its threads, outgoing connections. It starts with some 25. */
const OWN_FILES = 40;
const LOG_INTERVAL_MS = 60_000;

export interface ConnectionBoundOptions {
	/** Connections that the settings allow. */
	readonly connectionsMax: number;
	/** Files that the process may have open; null = no limit is known. */
	readonly openFilesMax: number | null;
	readonly clock: Clock;
	readonly logger: Logger;
	readonly metrics: Pick<ConnectionMetrics, 'connectionDropped'>;
}

/** Bounds the connections of a server; at least one is always taken. */
export function boundConnections(server: Server, options: ConnectionBoundOptions): void {
	const { connectionsMax, openFilesMax, clock, logger, metrics } = options;
	const fitting = openFilesMax === null ? connectionsMax : Math.max(1, openFilesMax - OWN_FILES);
	const max = Math.min(connectionsMax, fitting);
	let dropped = 0;
	let quietUntilMs = Number.NEGATIVE_INFINITY;
	const note = (fields: Readonly<Record<string, unknown>>) => {
		dropped++;
		metrics.connectionDropped();
		const nowMs = clock.monotonicMs();
		if (nowMs < quietUntilMs) return;
		quietUntilMs = nowMs + LOG_INTERVAL_MS;
		logger.warn({ dropped, ...fields }, 'connections are cut off');
		dropped = 0;
	};
	const reason =
		max < connectionsMax
			? 'the limit of open files (ulimit -n, LimitNOFILE)'
			: 'PULSAR_MAX_CONNECTIONS and PULSAR_MAX_WAITING_POLLS';
	server.maxConnections = max;
	server.on('drop', () => note({ connections_max: max, reason }));
	// A connection that could not be accepted is the client's loss, not the end of the relay.
	server.on('error', (error) => {
		if ('syscall' in error && error.syscall === 'accept') note({ err: error });
	});
}
