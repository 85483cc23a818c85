/** Where nodes tell each other what they have given out of the buckets of their rate limits, so that a limit is one for all of them. */

/** What a node has given out of one bucket since it last told. */
export interface Spending {
	/** Names the bucket: the same on every node. */
	readonly key: string;
	/** Tokens; 0 only asks. */
	readonly spent: number;
	/** What the bucket holds when it is full, which is also what a minute brings. A bucket that is not known is full. */
	readonly perMinute: number;
}

/** A guess that may cost each of some buckets a token, which it is found out later. */
export interface Reservation {
	/** Names the guess, among those of all nodes. */
	readonly holder: string;
	readonly buckets: readonly Omit<Spending, 'spent'>[];
	/** After so long it ends by itself: its node may have died. */
	readonly lifetimeMs: number;
}

/**
 * - `granted`: each bucket has a token for this guess and for all that are reserved.
 * - `busy`: one has no token beside those that are reserved.
 * - `empty`: one has none at all.
 */
export interface ReservationAnswer {
	readonly verdict: 'granted' | 'busy' | 'empty';
	/** What is left in each bucket, not counting what is reserved. */
	readonly tokens: readonly number[];
}

export interface SharedBuckets {
	/**
	 * Takes what was spent out of the buckets, into debt where it must, each in one atomic step and all in one round trip. Resolves with the
	 * tokens that are left in each, in the same order. Rejects with `storage_unavailable`, when some may have been taken.
	 */
	spend(spendings: readonly Spending[]): Promise<readonly number[]>;
	/** Reserves a token in each of the buckets, or in none, in one atomic step. Rejects with `storage_unavailable`, when it may have. */
	reserve(reservation: Reservation): Promise<ReservationAnswer>;
	/** Ends a reservation. What the guess has cost is spent before that. */
	release(reservation: Reservation): Promise<void>;
	close(): void;
}
