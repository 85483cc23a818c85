/** Time, as the client asks for it: tests bring a clock of their own. */

export interface Clock {
	/** Milliseconds of a clock that only goes forward; it may stand still while the machine sleeps. */
	nowMs(): number;
	/** Runs once after the delay. Returns what cancels it. */
	after(delayMs: number, run: () => void): () => void;
	/** 0 up to, not including, 1. */
	random(): number;
}

export const systemClock: Clock = {
	nowMs: () => performance.now(),
	after(delayMs, run) {
		const timer = setTimeout(run, delayMs);
		return () => clearTimeout(timer);
	},
	random: Math.random,
};
