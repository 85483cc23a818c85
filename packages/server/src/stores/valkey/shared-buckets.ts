/**
 * The buckets of the rate limits on the server: a key each, which expires when its bucket is full again. Over a connection of its own, so that
 * a server that is slow with this takes no publish with it, nor the other way round.
 */

import type { Clock } from '../../ports/clock.ts';
import type { SharedBuckets, Spending } from '../../ports/shared-buckets.ts';
import { Connection } from './connection.ts';
import { failureOf } from './failure.ts';
import type { Reply, ServerOptions } from './glide.ts';
import type { KeySpace } from './keys.ts';
import { SCRIPTS } from './scripts.ts';

/** Whoever signs in waits for this; without an answer the node decides alone. */
const TIMEOUT_MS = 500;

export interface SharedBucketsOptions {
	readonly server: ServerOptions;
	readonly clock: Clock;
}

/** Connects, and finds out whether the user may. Rejects when the server cannot be reached or refuses. */
export async function openValkeySharedBuckets({ server, clock }: SharedBucketsOptions): Promise<SharedBuckets> {
	const connection = await Connection.open({ ...server, clock, requestTimeoutMs: TIMEOUT_MS, onState: () => {} });
	const buckets: SharedBuckets = {
		async spend(spendings) {
			const replies = await connection.evaluate(spendings.map((spending) => callOf(connection.keys, spending)));
			return replies.map(tokensOf);
		},
		close: () => connection.close(),
	};
	try {
		await buckets.spend([{ key: 'probe', spent: 0, perMinute: 1 }]);
		return buckets;
	} catch (error) {
		connection.close();
		throw error;
	}
}

function callOf({ rates }: KeySpace, { key, spent, perMinute }: Spending) {
	return { script: SCRIPTS.spend, keys: [`${rates}${key}`], args: [String(spent), String(perMinute)] };
}

function tokensOf(reply: Reply): number {
	if (typeof reply !== 'number') throw failureOf(reply);
	return reply / 1000;
}
