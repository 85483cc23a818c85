/** How and from where the relay is reached, by its settings. */

import { isLoopback } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import type { Logger } from '../ops/logger.ts';
import type { Clock } from '../ports/clock.ts';
import { wholeAddresses } from '../transports/http/client-address.ts';
import type { EdgeOptions } from '../transports/http/deps.ts';
import { trustedHosts } from '../transports/http/hosts.ts';
import { Origins } from '../transports/http/origins.ts';
import { createRefusalLog } from '../transports/http/refusal-log.ts';
import { readTls, type TlsCredentials } from '../transports/http/tls.ts';
import { TrafficLog } from '../transports/http/traffic-log.ts';

/** Throws an error of one line when the certificates are of no use. */
export function edgeOf(config: Config, logger: Logger, clock: Clock): EdgeOptions {
	const logRefusal = createRefusalLog(logger, clock);
	return {
		logRefusal,
		traffic: new TrafficLog(logger, wholeAddresses(config.trustedProxies)),
		trustsHost: trustedHosts({
			trustedHosts: config.trustedHosts,
			listenHost: config.host,
			onLoopback: isLoopback(config.host),
		}),
		origins: new Origins(config.allowedOrigins, logRefusal),
		tls: tlsOf(config),
	};
}

/** The certificates, as they are in their files now; null without TLS. Throws as {@link edgeOf} does. */
export function tlsOf({ tlsCert: certificate, tlsKey: key, tlsClientCa: clientCa }: Config): TlsCredentials | null {
	return certificate === null || key === null ? null : readTls({ certificate, key, clientCa });
}

/** The host of a URL that reaches the relay from its own machine. */
export function reachable(host: string): string {
	if (host === '0.0.0.0') return '127.0.0.1';
	if (host === '::') return '[::1]';
	return host.includes(':') ? `[${host}]` : host;
}
