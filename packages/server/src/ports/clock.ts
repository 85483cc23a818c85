/** Time, injected so that tests can move it. */
export interface Clock {
	/** Unix time in ms; may step in either direction. */
	nowMs(): number;
	/** Monotonic time in ms, for durations. */
	monotonicMs(): number;
	/** Calls `run` after `delayMs`. The timer does not keep the process alive. Returns what cancels it. */
	after(delayMs: number, run: () => void): () => void;
	/** Calls `run` once this turn of the event loop has handled the input it has at hand. */
	soon(run: () => void): void;
}
