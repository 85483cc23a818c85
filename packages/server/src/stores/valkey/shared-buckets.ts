/**
 * The buckets of the rate limits on the server: a key each, which expires when its bucket is full again. Over a connection of its own, so that
 * a server that is slow with this takes no publish with it, nor the other way round.
 */

import type { Clock } from '../../ports/clock.ts';
import type { ReservationAnswer, SharedBuckets, Spending } from '../../ports/shared-buckets.ts';
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
		async reserve({ holder, buckets, lifetimeMs }) {
			const keys = buckets.flatMap(({ key }) => [`${connection.keys.rates}${key}`, heldKey(connection.keys, key)]);
			const args = [holder, String(lifetimeMs), ...buckets.map(({ perMinute }) => String(perMinute))];
			const [reply] = await connection.evaluate([{ script: SCRIPTS.reserve, keys, args }]);
			if (!Array.isArray(reply)) throw failureOf(reply);
			const [verdict, ...tokens] = reply;
			return { verdict: verdictOf(String(verdict)), tokens: tokens.map((thousandths) => Number(thousandths) / 1000) };
		},
		async release({ holder, buckets }) {
			const replies = await connection.run(buckets.map(({ key }) => ['ZREM', heldKey(connection.keys, key), holder]));
			for (const reply of replies) if (reply instanceof Error) throw failureOf(reply);
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

/** Who holds tokens of a bucket for guesses that are under way. */
function heldKey({ rates }: KeySpace, key: string): string {
	return `${rates}${key}:held`;
}

function verdictOf(text: string): ReservationAnswer['verdict'] {
	return text === 'granted' || text === 'busy' ? text : 'empty';
}

function callOf({ rates }: KeySpace, { key, spent, perMinute }: Spending) {
	return { script: SCRIPTS.spend, keys: [`${rates}${key}`], args: [String(spent), String(perMinute)] };
}

function tokensOf(reply: Reply): number {
	if (typeof reply !== 'number') throw failureOf(reply);
	return reply / 1000;
}
