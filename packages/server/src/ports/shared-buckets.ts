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

export interface SharedBuckets {
	/**
	 * Takes what was spent out of the buckets, into debt where it must, each in one atomic step and all in one round trip. Resolves with the
	 * tokens that are left in each, in the same order. Rejects with `storage_unavailable`, when some may have been taken.
	 */
	spend(spendings: readonly Spending[]): Promise<readonly number[]>;
	close(): void;
}
