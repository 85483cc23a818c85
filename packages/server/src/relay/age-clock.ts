/**
 * The time by which messages and records age. It is the clock's, but a jump ahead counts only after a grace: a machine that starts
 * with a clock a year ahead, or is set wrong, must not remove at once what it was to keep. A relay that was stopped for longer sees the
 * same jump, and removes what is due an hour later.
 */

import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';

/** A jump ahead of more than this is not believed at once. */
export const JUMP_MS = 5 * 60_000;
/** How long a jump must last to be believed: time to set the clock right. */
export const JUMP_GRACE_MS = 3_600_000;

export interface AgeClockOptions {
	readonly clock: Clock;
	/** See `Store.lastKnownMs`. */
	readonly lastKnownMs: number | undefined;
	readonly observer: Pick<Observer, 'clockDoubted' | 'clockBelieved'>;
}

export class AgeClock {
	readonly #options: AgeClockOptions;
	/** The time as believed last, and the monotonic time then. */
	#ms: number;
	#atMonotonicMs: number;
	/** The jump that is not believed yet. */
	#jump: { readonly aheadMs: number; readonly believedAtMonotonicMs: number } | null = null;

	constructor(options: AgeClockOptions) {
		const { clock, lastKnownMs } = options;
		this.#options = options;
		this.#ms = lastKnownMs ?? clock.nowMs();
		this.#atMonotonicMs = clock.monotonicMs();
	}

	/** Unix time in ms. Steps back with the clock. */
	nowMs(): number {
		const { clock } = this.#options;
		const monotonicMs = clock.monotonicMs();
		const clockMs = clock.nowMs();
		const expectedMs = this.#ms + monotonicMs - this.#atMonotonicMs;
		this.#ms = this.#believes(clockMs - expectedMs, monotonicMs) ? clockMs : expectedMs;
		this.#atMonotonicMs = monotonicMs;
		// Monotonic time has fractions, stored times have none.
		return Math.floor(this.#ms);
	}

	/** Whether the clock is ahead of what is believed. */
	get doubts(): boolean {
		this.nowMs();
		return this.#jump !== null;
	}

	#believes(aheadMs: number, monotonicMs: number): boolean {
		const { observer } = this.#options;
		const jump = this.#jump;
		if (aheadMs <= JUMP_MS || (jump !== null && monotonicMs >= jump.believedAtMonotonicMs && aheadMs <= jump.aheadMs + JUMP_MS)) {
			if (jump !== null) observer.clockBelieved();
			this.#jump = null;
			return true;
		}
		if (jump === null || aheadMs > jump.aheadMs + JUMP_MS) {
			this.#jump = { aheadMs, believedAtMonotonicMs: monotonicMs + JUMP_GRACE_MS };
			observer.clockDoubted(aheadMs, JUMP_GRACE_MS);
		}
		return false;
	}
}
