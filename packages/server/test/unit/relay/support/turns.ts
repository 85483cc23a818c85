/** A fake clock whose `soon` also waits for the test, so that the test decides what happens between two turns of the loop. */

import { createFakeClock, type FakeClock } from '../../../support/clock.ts';

export interface TurnClock extends FakeClock {
	/** Runs the oldest `count` of what waits for the end of the turn; what they add waits for the next call. */
	turn(count: number): void;
	/** How many wait for the end of the turn. */
	readonly waiting: number;
}

/** @param tickMs how much each look at the monotonic time moves it, so that work appears to take time; default 0 */
export function createTurnClock(tickMs: () => number = () => 0): TurnClock {
	const clock = createFakeClock();
	const soon: (() => void)[] = [];
	let workedMs = 0;
	return {
		nowMs: clock.nowMs,
		monotonicMs() {
			workedMs += tickMs();
			return clock.monotonicMs() + workedMs;
		},
		after: clock.after,
		soon: (run) => void soon.push(run),
		advance: clock.advance,
		setNowMs: clock.setNowMs,
		turn(count) {
			for (const run of soon.splice(0, count)) run();
		},
		get waiting() {
			return soon.length;
		},
		get timers() {
			return clock.timers;
		},
	};
}

/** Resolves when everything that only waited for promises has run. */
export function settled(): Promise<void> {
	return new Promise((resolve) => void setImmediate(resolve));
}
