/**
 * One rate limit, as this node sees it. A node decides by its own view of a bucket, at once; each second it tells the others, by way of the
 * store, what it has given out, and learns what is left.
 */

import type { Clock } from '../ports/clock.ts';
import type { SharedBuckets, Spending } from '../ports/shared-buckets.ts';
import { type Balance, TokenBuckets } from './token-buckets.ts';

/** Buckets of one limit in one telling; the others have their turn in the next. One costs the store some 5 us. */
const TELL_BUCKETS_MAX = 2000;
/** Of each limit, some 200 bytes each. Those of networks are fewer, as each has many addresses. */
const BUCKETS_MAX = { single: 50_000, networks: 10_000 } as const;

export interface RateLimitOptions {
	/** The same on every node. */
	readonly name: string;
	readonly clock: Clock;
	readonly perMinute: number;
	/** What its buckets are for; default `single`. */
	readonly of?: keyof typeof BUCKETS_MAX;
}

export class RateLimit {
	readonly name: string;
	readonly #buckets: TokenBuckets;

	constructor({ name, clock, perMinute, of = 'single' }: RateLimitOptions) {
		this.name = name;
		this.#buckets = new TokenBuckets({ clock, perMinute, bucketsMax: BUCKETS_MAX[of] });
	}

	/** As {@link TokenBuckets.take}, by this node's view. */
	take(key: string, cost?: number): Balance {
		return this.#buckets.take(key, cost);
	}

	look(key: string): Balance {
		return this.#buckets.look(key);
	}

	charge(key: string): void {
		this.#buckets.charge(key);
	}

	/** The buckets of which there is something to tell. */
	untold(): readonly Bucket[] {
		return this.#buckets.untold(TELL_BUCKETS_MAX).map((key) => ({ limit: this, key }));
	}

	/** Whether something of a bucket is to be told. */
	owes(key: string): boolean {
		return this.#buckets.owes(key);
	}

	/** What the other nodes know a bucket by. */
	shared(key: string): Omit<Spending, 'spent'> {
		return { key: `${this.name}:${key}`, perMinute: this.#buckets.perMinute };
	}

	/** Begins to tell what was spent of a bucket; {@link told} ends it. */
	tell(key: string): Spending {
		return { ...this.shared(key), spent: this.#buckets.tell(key) };
	}

	/** So many tokens are left for all nodes; undefined when the store did not answer. */
	told(key: string, spent: number, left: number | undefined): void {
		if (left === undefined) this.#buckets.notTold(key, spent);
		else this.#buckets.told(key, spent, left);
	}
}

/** One bucket of a limit. */
export interface Bucket {
	readonly limit: RateLimit;
	readonly key: string;
}

/** Asks what the other nodes have left, and tells them what this one has taken. Never rejects: without an answer this node's view counts. */
export async function syncBuckets(shared: SharedBuckets | null, buckets: readonly Bucket[]): Promise<void> {
	if (shared === null || buckets.length === 0) return;
	const spendings = buckets.map(({ limit, key }) => limit.tell(key));
	const left = await shared.spend(spendings).catch(() => null);
	for (const [i, { limit, key }] of buckets.entries()) limit.told(key, spendings[i]?.spent ?? 0, left?.[i]);
}
