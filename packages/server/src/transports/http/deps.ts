/** What the HTTP transport is given by the composition root. */

import type { Auth } from '../../auth/auth.ts';
import type { TopicRights } from '../../auth/topic-access.ts';
import type { Logger } from '../../ops/logger.ts';
import type { Metrics } from '../../ops/metrics.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Relay } from '../../relay/relay.ts';

/** Bounds on requests (I8). */
export interface HttpLimits {
	/** A request body, and a line of a streamed one. */
	readonly maxBodyBytes: number;
	/** Levels of nesting of a payload, and of any other JSON body. */
	readonly maxPayloadDepth: number;
	/** How long a body may take to arrive, and a streamed one to go on. */
	readonly bodyTimeoutS: number;
	/** How long an idle connection stays open. */
	readonly keepAliveTimeoutS: number;
}

export interface HttpDeps {
	readonly relay: Relay;
	readonly metrics: Metrics;
	readonly logger: Logger;
	readonly clock: Clock;
	readonly limits: HttpLimits;
	/** Shown by `/health` and in the API documentation. */
	readonly version: string;
	/** Title of the API documentation. */
	readonly appName: string;
	/** The owner of every topic while there are no accounts, a UUID. */
	readonly ownerId: string;
	/** Null where nobody is asked for credentials. */
	readonly auth: Auth | null;
	readonly rights: TopicRights;
}
