/**
 * Whether there are several accounts, and something must be left to the others. A site with one account may use all that the relay has. Looked up
 * every few seconds while somebody asks; until it is known, and when it cannot be found out, there are several.
 */

import type { Clock } from '../ports/clock.ts';

const LOOK_INTERVAL_MS = 5000;

export interface TenancyOptions {
	readonly clock: Clock;
	/** How many accounts there are, counted up to two. */
	readonly countAccounts: () => Promise<number>;
}

export class Tenancy {
	readonly #options: TenancyOptions;
	#several = true;
	#lookedMs = Number.NEGATIVE_INFINITY;

	constructor(options: TenancyOptions) {
		this.#options = options;
	}

	get several(): boolean {
		const nowMs = this.#options.clock.monotonicMs();
		if (nowMs - this.#lookedMs >= LOOK_INTERVAL_MS) {
			this.#lookedMs = nowMs;
			void this.look();
		}
		return this.#several;
	}

	/** Looks now. Never rejects. */
	async look(): Promise<void> {
		this.#several = await this.#options.countAccounts().then(
			(count) => count > 1,
			() => true,
		);
	}
}
