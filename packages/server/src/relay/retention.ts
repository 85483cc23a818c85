/**
 * Retention: removes, in small steps in the background, what topics need no longer keep, and forgets old idempotency keys.
 */

import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Store } from '../ports/store.ts';
import type { AgeClock } from './age-clock.ts';

export interface RetentionOptions {
	readonly store: Store;
	readonly clock: Clock;
	/** The time by which messages and keys age. */
	readonly ageClock: Pick<AgeClock, 'nowMs'>;
	readonly observer: Observer;
	readonly defaultMaxAgeS: number;
	readonly defaultMaxMessages: number;
	readonly idempotencyWindowS: number;
	readonly idempotencyKeysMax: number;
}

/** Between two looks at whether something is due. */
const INTERVAL_MS = 1000;
/** Blocks per step: appends wait behind one step for a few milliseconds at most. */
const BLOCKS_PER_STEP_MAX = 500;

/** Starts the background work. Returns what stops it; a step under way still ends. */
export function startRetention(options: RetentionOptions): () => void {
	const { clock, observer } = options;
	let stopped = false;
	let cancel = () => {};
	const round = () => {
		sweep(options, () => stopped)
			.catch((error: unknown) => observer.housekeepingFailed(error))
			.finally(() => {
				if (!stopped) cancel = clock.after(INTERVAL_MS, round);
			});
	};
	cancel = clock.after(INTERVAL_MS, round);
	return () => {
		stopped = true;
		cancel();
	};
}

/** Does all that is due now, step by step, until nothing is left or it is stopped. */
export async function sweep(options: RetentionOptions, stopped: () => boolean): Promise<void> {
	const { store, clock, ageClock } = options;
	let more = true;
	// A store that answers at once would otherwise keep the loop to itself for the whole sweep.
	const pause = () => new Promise<void>((resolve) => clock.soon(resolve));
	while (more && !stopped()) {
		({ more } = await store.trim({
			nowMs: ageClock.nowMs(),
			defaultMaxAgeS: options.defaultMaxAgeS,
			defaultMaxMessages: options.defaultMaxMessages,
			blocksMax: BLOCKS_PER_STEP_MAX,
		}));
		if (more) await pause();
	}
	more = true;
	while (more && !stopped()) {
		({ more } = await store.forgetKeys(ageClock.nowMs() - options.idempotencyWindowS * 1000, options.idempotencyKeysMax));
		if (more) await pause();
	}
}
