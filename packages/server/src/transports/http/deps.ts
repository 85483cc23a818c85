/** What the HTTP transport is given by the composition root. */

import type { Auth } from '../../auth/auth.ts';
import type { TopicRights } from '../../auth/topic-access.ts';
import type { AccountUsage } from '../../limits/account-usage.ts';
import type { Budgets } from '../../limits/budgets.ts';
import type { Logger } from '../../ops/logger.ts';
import type { Metrics } from '../../ops/metrics.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Relay } from '../../relay/relay.ts';
import type { TrustsHost } from './hosts.ts';
import type { Limiting } from './limiting.ts';
import type { MetricsToken } from './metrics-token.ts';
import type { Origins } from './origins.ts';
import type { PartyOf } from './party-of.ts';
import type { LogRefusal } from './refusal-log.ts';
import type { TlsCredentials } from './tls.ts';
import type { TrafficLog } from './traffic-log.ts';

/** Bounds on requests (I8). */
export interface HttpLimits {
	/** A request body, and a line of a streamed one. */
	readonly maxBodyBytes: number;
	/** Levels of nesting of a payload, and of any other JSON body. */
	readonly maxPayloadDepth: number;
	/** How long a body or a line may take to arrive, and a client to read its results. */
	readonly bodyTimeoutS: number;
	/** How long an idle connection stays open. */
	readonly keepAliveTimeoutS: number;
}

/** How and from where the relay is reached. */
export interface EdgeOptions {
	readonly trustsHost: TrustsHost;
	readonly origins: Origins;
	readonly logRefusal: LogRefusal;
	readonly traffic: TrafficLog;
	/** Null = plain HTTP. With a `ca` clients need a certificate. */
	readonly tls: TlsCredentials | null;
}

export interface HttpDeps {
	readonly relay: Relay;
	readonly metrics: Metrics;
	readonly logger: Logger;
	readonly clock: Clock;
	readonly limits: HttpLimits;
	readonly edge: EdgeOptions;
	/** Shown by `/health` and in the API documentation. */
	readonly version: string;
	/** Title of the API documentation. */
	readonly appName: string;
	/** The owner of every topic while there are no accounts, a UUID. */
	readonly ownerId: string;
	/** Null where nobody is asked for credentials. */
	readonly auth: Auth | null;
	/** Null where there are no rate limits. */
	readonly limiting: Limiting | null;
	/** Null where there is none. */
	readonly metricsToken: MetricsToken | null;
	/** Whether `/metrics` is served here, and not at an address of its own. */
	readonly servesMetrics: boolean;
	readonly budgets: Budgets;
	readonly partyOf: PartyOf;
	readonly rights: TopicRights;
	/** Null where accounts have no caps. */
	readonly usage: AccountUsage | null;
}
