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
	const held = new Map<string, Map<string, number>>();
	let calls = 0;
	const tokensOf = (key: string, perMinute: number) => {
		const { tokens, atMs } = buckets.get(key) ?? { tokens: perMinute, atMs: clock.monotonicMs() };
		return Math.min(perMinute, tokens + ((clock.monotonicMs() - atMs) * perMinute) / 60_000);
	};
	return {
		away: false,
		get calls() {
			return calls;
		},
		async spend(spendings) {
			if (this.away) throw unavailable('the store is away');
			calls++;
			return spendings.map(({ key, spent, perMinute }) => {
				const refilled = tokensOf(key, perMinute);
				buckets.set(key, { tokens: refilled - spent, atMs: clock.monotonicMs() });
				return refilled - spent;
			});
		},
		async reserve({ holder, buckets: wanted, lifetimeMs }) {
			if (this.away) throw unavailable('the store is away');
			calls++;
			const nowMs = clock.monotonicMs();
			const tokens = wanted.map(({ key, perMinute }) => tokensOf(key, perMinute));
			const free = wanted.map(({ key }, i) => {
				const holders = [...(held.get(key) ?? new Map<string, number>())].filter(([, endsAtMs]) => endsAtMs > nowMs);
				held.set(key, new Map(holders));
				return (tokens[i] ?? 0) - holders.length;
			});
			if (tokens.some((left) => left < 1)) return { verdict: 'empty', tokens };
			if (free.some((left) => left < 1)) return { verdict: 'busy', tokens };
			for (const { key } of wanted) held.get(key)?.set(holder, nowMs + lifetimeMs);
			return { verdict: 'granted', tokens };
		},
		async release({ holder, buckets: wanted }) {
			if (this.away) throw unavailable('the store is away');
			for (const { key } of wanted) held.get(key)?.delete(holder);
		},
		close: () => {},
	};
}
