/** The address of its own for metrics and probes, where the settings name one. */

import type { AddressInfo } from 'node:net';
import { isLoopback } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { EdgeOptions } from '../transports/http/deps.ts';
import { trustedHosts } from '../transports/http/hosts.ts';
import { createOperationsServer, type OperationsServerDeps } from '../transports/http/operations-server.ts';
import { reachable } from './edge.ts';

export interface OperationsListener {
	/** Starts serving; resolves with the URL. Rejects with an error of one line when the address cannot be had. */
	listen(): Promise<string>;
	close(): Promise<void>;
}

/** Null where metrics and probes have no address of their own. */
export function openOperations(
	{ metricsAddress, trustedHosts: names }: Config,
	deps: Omit<OperationsServerDeps, 'edge'>,
	{ logRefusal }: EdgeOptions,
): OperationsListener | null {
	if (metricsAddress === null) return null;
	const colon = metricsAddress.lastIndexOf(':');
	const host = metricsAddress.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
	const trustsHost = trustedHosts({ trustedHosts: names, listenHost: host, onLoopback: isLoopback(host) });
	const server = createOperationsServer({ ...deps, edge: { trustsHost, logRefusal } });
	return {
		async listen() {
			await server.listen({ host, port: Number(metricsAddress.slice(colon + 1)) }).catch((error: unknown) => {
				const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
				throw new Error(`PULSAR_METRICS_ADDRESS: cannot listen on ${metricsAddress} (${code}); choose another`, { cause: error });
			});
			const { port } = server.server.address() as AddressInfo;
			return `http://${reachable(host)}:${port}`;
		},
		async close() {
			server.server.closeAllConnections();
			await server.close();
		},
	};
}
