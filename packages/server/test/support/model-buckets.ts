/** Shared buckets in memory: the model that those of the stores are checked against, and what several nodes of a test share. */

import type { Clock } from '../../src/ports/clock.ts';
import type { SharedBuckets } from '../../src/ports/shared-buckets.ts';
import { unavailable } from '../../src/stores/valkey/failure.ts';

export interface ModelBuckets extends SharedBuckets {
	/** While it is away it answers nobody. */
	away: boolean;
	/** Round trips so far. */
	readonly calls: number;
}

export function createModelBuckets(clock: Clock): ModelBuckets {
	const buckets = new Map<string, { tokens: number; atMs: number }>();
	let calls = 0;
	return {
		away: false,
		get calls() {
			return calls;
		},
		async spend(spendings) {
			if (this.away) throw unavailable('the store is away');
			calls++;
			return spendings.map(({ key, spent, perMinute }) => {
				const { tokens, atMs } = buckets.get(key) ?? { tokens: perMinute, atMs: clock.monotonicMs() };
				const refilled = Math.min(perMinute, tokens + ((clock.monotonicMs() - atMs) * perMinute) / 60_000);
				buckets.set(key, { tokens: refilled - spent, atMs: clock.monotonicMs() });
				return refilled - spent;
			});
		},
		close: () => {},
	};
}
