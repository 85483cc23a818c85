/** One clock for all processes of the benchmark: the machine's monotonic clock, so that a message can carry its time of sending. */

/** Milliseconds on the machine's monotonic clock, with fractions. Unlike `performance.now`, it starts at the same time everywhere. */
export function nowMs(): number {
	return Number(process.hrtime.bigint()) / 1e6;
}

/** Waits. */
export function sleep(ms: number): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, ms));
}
