/** The one error of all rate limits. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Balance } from './token-buckets.ts';

/** @param what has been too much, as a clause */
export function rateLimited({ perMinute, retryAfterMs }: Balance, what: string): RelayError {
	const retryAfterS = Math.max(1, Math.ceil(retryAfterMs / 1000));
	return new RelayError('rate_limited', `${what}: ${perMinute} per minute; try again in ${retryAfterS} s`, {
		detail: `Rate limit exceeded: ${perMinute} per 1 minute`,
		retryAfterS,
	});
}
