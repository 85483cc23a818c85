/**
 * The bound on what a listener has open. Over it connections are cut off without an answer, which is counted and logged: at the limit
 * of the process the system would do the same, and nobody would hear of it.
 */

import type { Server, Socket } from 'node:net';
import type { Logger } from '../../ops/logger.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import { TrackedSockets } from './tracked-sockets.ts';

/** Files that the process needs for itself: the store, the log, its threads, outgoing connections. It starts with some 25. */
const OWN_FILES = 40;
const LOG_INTERVAL_MS = 60_000;
/** How often it is looked for connections that have closed before one is refused: a flood must not cost a look each. */
const LOOK_INTERVAL_MS = 100;

export interface ConnectionBoundOptions {
	/** Connections that the settings allow. */
	readonly connectionsMax: number;
	/** Files that the process may have open; null = no limit is known. */
	readonly openFilesMax: number | null;
	/** What a peer's connections are counted by, from its address; null for peers that others come by, such as proxies. */
	readonly peerOf: (remoteAddress: string) => string | null;
	readonly clock: Clock;
	readonly logger: Logger;
	readonly metrics: Pick<ConnectionMetrics, 'connectionDropped'>;
}

/** Bounds the connections of a server; at least one is always taken. */
export function boundConnections(server: Server, options: ConnectionBoundOptions): void {
	const { connectionsMax, openFilesMax, peerOf, clock, logger, metrics } = options;
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
	dividePeers(server, {
		max,
		peerOf,
		clock,
		onRefused: (peer) => note({ peer, reason: 'one address may have no more than it leaves to others' }),
	});
	// A connection that could not be accepted is the client's loss, not the end of the relay.
	server.on('error', (error) => {
		if ('syscall' in error && error.syscall === 'accept') note({ err: error });
	});
}

interface Division {
	readonly max: number;
	readonly peerOf: ConnectionBoundOptions['peerOf'];
	readonly onRefused: (peer: string) => void;
	readonly clock: Clock;
}

/** Closes what comes from an address that would then have more connections than it leaves to all others. */
function dividePeers(server: Server, { max, peerOf, onRefused, clock }: Division): void {
	const counts = new Map<string, number>();
	const peers = new TrackedSockets<string | null>((peer) => {
		if (peer === null) return;
		const left = (counts.get(peer) ?? 1) - 1;
		if (left === 0) counts.delete(peer);
		else counts.set(peer, left);
	});
	let lookedAtMs = Number.NEGATIVE_INFINITY;
	const isOver = (peer: string) => (counts.get(peer) ?? 0) >= Math.max(1, max - peers.size);
	server.on('connection', (socket: Socket) => {
		const peer = peerOf(socket.remoteAddress ?? '');
		if (peer !== null && isOver(peer) && clock.monotonicMs() - lookedAtMs >= LOOK_INTERVAL_MS) {
			lookedAtMs = clock.monotonicMs();
			peers.look();
		}
		if (peer !== null && isOver(peer)) {
			onRefused(peer);
			socket.destroy();
			return;
		}
		peers.add(socket, peer);
		if (peer !== null) counts.set(peer, (counts.get(peer) ?? 0) + 1);
	});
}
