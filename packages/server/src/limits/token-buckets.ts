/**
 * The buckets of one rate limit, as this node sees them. A bucket holds the tokens of a minute and is refilled steadily. One that nobody
 * has touched for so long that it must be full again is forgotten, and there are never more than a fixed number (I8): beyond it the
 * oldest are forgotten early, which is in their owners' favour.
 */

import type { Clock } from '../ports/clock.ts';

/** Buckets that were not touched for this long may be forgotten: an empty one is full again after half of it. */
const GENERATION_MS = 120_000;

export interface TokenBucketsOptions {
	readonly clock: Clock;
	readonly perMinute: number;
	readonly bucketsMax: number;
}

/** How a bucket stands after tokens were asked of it. */
export interface Balance {
	readonly allowed: boolean;
	readonly perMinute: number;
	/** Whole tokens that are left. */
	readonly remaining: number;
	/** Until the bucket is full again. */
	readonly resetS: number;
	/** Until what was refused would be given; 0 when it was. */
	readonly retryAfterMs: number;
}

interface Bucket {
	tokens: number;
	atMs: number;
	/** Taken since the other nodes were told. */
	spent: number;
	/** Being told. */
	telling: number;
}

export class TokenBuckets {
	readonly perMinute: number;
	readonly #clock: Clock;
	readonly #generationMax: number;
	#young = new Map<string, Bucket>();
	#old = new Map<string, Bucket>();
	#bornMs: number;
	/** Buckets that others do not know the truth of. */
	readonly #untold = new Set<string>();

	constructor({ clock, perMinute, bucketsMax }: TokenBucketsOptions) {
		this.#clock = clock;
		this.perMinute = perMinute;
		this.#generationMax = Math.ceil(bucketsMax / 2);
		this.#bornMs = clock.monotonicMs();
	}

	/** How many buckets there are. */
	get size(): number {
		return this.#young.size + this.#old.size;
	}

	/** Takes tokens if there are as many, or, for more than a bucket holds, when it is full: the rest is then owed. */
	take(key: string, cost = 1): Balance {
		const bucket = this.#bucketOf(key);
		const needed = Math.min(cost, this.perMinute);
		const allowed = bucket.tokens >= needed;
		if (allowed) this.#spend(key, bucket, cost);
		return this.#balanceOf(bucket, allowed, needed);
	}

	/** How the bucket stands, as {@link take} would find it, without taking anything. */
	look(key: string): Balance {
		const bucket = this.#bucketOf(key);
		return this.#balanceOf(bucket, bucket.tokens >= 1, 1);
	}

	/** Takes a token, into debt where it must. */
	charge(key: string): void {
		this.#spend(key, this.#bucketOf(key), 1);
	}

	/** Keys of buckets of which something is to be told, the longest waiting first. */
	untold(max: number): string[] {
		const keys: string[] = [];
		for (const key of this.#untold) {
			if (keys.length >= max) break;
			keys.push(key);
		}
		return keys;
	}

	/** Whether something of a bucket is to be told. */
	owes(key: string): boolean {
		return this.#untold.has(key);
	}

	/** Begins to tell what was spent of a bucket; ends with {@link told} or {@link notTold}. */
	tell(key: string): number {
		this.#untold.delete(key);
		const bucket = this.#bucketOf(key);
		const { spent } = bucket;
		bucket.telling += spent;
		bucket.spent = 0;
		return spent;
	}

	/** The others have been told, and so many tokens are left for all. */
	told(key: string, spent: number, left: number): void {
		const bucket = this.#bucketOf(key);
		// One that was forgotten meanwhile has nothing to tell.
		bucket.telling = Math.max(0, bucket.telling - spent);
		bucket.tokens = left - bucket.spent - bucket.telling;
	}

	notTold(key: string, spent: number): void {
		const bucket = this.#bucketOf(key);
		bucket.telling = Math.max(0, bucket.telling - spent);
		bucket.spent += spent;
		if (bucket.spent > 0) this.#untold.add(key);
	}

	#spend(key: string, bucket: Bucket, cost: number): void {
		bucket.tokens -= cost;
		if (bucket.spent === 0) this.#untold.add(key);
		bucket.spent += cost;
	}

	#bucketOf(key: string): Bucket {
		const nowMs = this.#clock.monotonicMs();
		let bucket = this.#young.get(key);
		if (bucket === undefined) {
			if (nowMs - this.#bornMs >= GENERATION_MS || this.#young.size >= this.#generationMax) this.#age(nowMs);
			bucket = this.#old.get(key);
			if (bucket === undefined) bucket = { tokens: this.perMinute, atMs: nowMs, spent: 0, telling: 0 };
			else this.#old.delete(key);
			this.#young.set(key, bucket);
		}
		const refilled = bucket.tokens + ((nowMs - bucket.atMs) * this.perMinute) / 60_000;
		bucket.tokens = Math.min(this.perMinute, refilled);
		bucket.atMs = nowMs;
		return bucket;
	}

	#age(nowMs: number): void {
		for (const key of this.#old.keys()) this.#untold.delete(key);
		this.#old = this.#young;
		this.#young = new Map();
		this.#bornMs = nowMs;
	}

	#balanceOf({ tokens }: Bucket, allowed: boolean, needed: number): Balance {
		const { perMinute } = this;
		return {
			allowed,
			perMinute,
			remaining: Math.max(0, Math.floor(tokens)),
			resetS: Math.ceil(((perMinute - tokens) * 60) / perMinute),
			retryAfterMs: allowed ? 0 : Math.ceil(((needed - tokens) * 60_000) / perMinute),
		};
	}
}
