/**
 * A clock for tests, which stands still until the test moves it. Tests that need real time take the one of src/ops/clock.ts.
 */

import type { Clock } from '../../src/ports/clock.ts';

/** A clock that only moves when told to. Its `soon` is the event loop's own: the order of a turn is not a matter of time. */
export interface FakeClock extends Clock {
	/** Moves wall and monotonic time on and runs the timers that fall due, each at its own time, in order. */
	advance(ms: number): void;
	/** Sets the wall clock, in either direction. Monotonic time and the timers stay as they are. */
	setNowMs(nowMs: number): void;
	/** Timers that wait. */
	readonly timers: number;
}

/** @param startMs the wall clock's first reading; the default is an arbitrary fixed time */
export function createFakeClock(startMs = 1_750_000_000_000): FakeClock {
	let wallMs = startMs;
	let elapsedMs = 0;
	const timers = new Set<{ readonly dueMs: number; readonly run: () => void }>();

	function moveTo(targetMs: number): void {
		wallMs += targetMs - elapsedMs;
		elapsedMs = targetMs;
	}

	function nextDue(untilMs: number) {
		let next: { readonly dueMs: number; readonly run: () => void } | undefined;
		for (const timer of timers) {
			if (timer.dueMs <= untilMs && (next === undefined || timer.dueMs < next.dueMs)) next = timer;
		}
		return next;
	}

	return {
		nowMs: () => wallMs,
		monotonicMs: () => elapsedMs,
		after(delayMs, run) {
			const timer = { dueMs: elapsedMs + Math.max(0, delayMs), run };
			timers.add(timer);
			return () => void timers.delete(timer);
		},
		soon: (run) => void setImmediate(run),
		advance(ms) {
			const untilMs = elapsedMs + ms;
			for (let timer = nextDue(untilMs); timer !== undefined; timer = nextDue(untilMs)) {
				timers.delete(timer);
				moveTo(timer.dueMs);
				timer.run();
			}
			moveTo(untilMs);
		},
		setNowMs(nowMs) {
			wallMs = nowMs;
		},
		get timers() {
			return timers.size;
		},
	};
}
