/** How often somebody may be wrong: each wrong guess counts against whoever made it, right ones never do. */

import type { Clock } from '../ports/clock.ts';

const WINDOW_MS = 60_000;
const WRONG_MAX = 20;
/** Those whose guesses are counted; beyond it the ones that were counted first are forgotten. */
const GUESSERS_MAX = 10_000;

interface Count {
	readonly sinceMs: number;
	wrong: number;
}

export class Guesses {
	readonly #clock: Clock;
	readonly #counts = new Map<string, Count>();

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** Whether `who` may guess again. */
	allows(who: string): boolean {
		return (this.#current(who)?.wrong ?? 0) < WRONG_MAX;
	}

	/** `who` was wrong. */
	wrong(who: string): void {
		const count = this.#current(who);
		if (count !== undefined) {
			count.wrong++;
			return;
		}
		this.#counts.delete(who);
		this.#counts.set(who, { sinceMs: this.#clock.monotonicMs(), wrong: 1 });
		if (this.#counts.size <= GUESSERS_MAX) return;
		for (const oldest of this.#counts.keys()) {
			this.#counts.delete(oldest);
			break;
		}
	}

	#current(who: string): Count | undefined {
		const count = this.#counts.get(who);
		return count !== undefined && this.#clock.monotonicMs() - count.sinceMs < WINDOW_MS ? count : undefined;
	}
}
