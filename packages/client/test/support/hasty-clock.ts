/** A clock whose timers run faster than those of the machine: what takes half a minute shows in seconds. */

import type { Clock } from '../../src/clock.ts';

/** @param random default: no jitter, so that each wait is as long as it may be */
export function hastyClock(factor: number, random: () => number = () => 1): Clock {
	return {
		nowMs: () => performance.now() * factor,
		after(delayMs, run) {
			const timer = setTimeout(run, delayMs / factor);
			return () => clearTimeout(timer);
		},
		random,
	};
}
