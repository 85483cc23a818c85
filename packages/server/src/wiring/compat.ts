/** What clients of pulsar-relay 0.2 need, by the settings. */

import { randomUUID } from 'node:crypto';
import { PollStarts } from '../compat/poll-starts.ts';
import type { Config } from '../config/schema.ts';
import type { Logger } from '../ops/logger.ts';
import type { Clock } from '../ports/clock.ts';
import type { Records } from '../ports/records.ts';

/** What is remembered of polls without cursors. */
export function pollStartsOf(
	config: Config,
	{ records, clock, logger }: { readonly records: Records; readonly clock: Clock; readonly logger: Logger },
): PollStarts {
	// Without a secret in the settings each process makes its own, and access tokens end with it.
	const signer = config.jwtSecretKey === null ? randomUUID() : 'shared';
	return new PollStarts({ records, clock, log: logger, signer });
}
