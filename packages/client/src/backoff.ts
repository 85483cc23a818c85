/** How long to wait before the next try: exponential with full jitter, so that a crowd that lost its relay does not come back as one. */

import type { Clock } from './clock.ts';

const FIRST_MS = 250;
const MAX_MS = 20_000;

export class Backoff {
	readonly #clock: Clock;
	#tries = 0;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** The wait before the next try, in milliseconds. */
	next(): number {
		const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** this.#tries);
		this.#tries++;
		return this.#clock.random() * ceiling;
	}

	/** The next wait is a short one again. */
	reset(): void {
		this.#tries = 0;
	}
}
