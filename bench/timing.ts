/** One clock for all processes of the benchmark: the machine's monotonic clock, so that a message can carry its time of sending. */

const offsetMs = Number(process.hrtime.bigint()) / 1e6 - performance.now();

/** Milliseconds on the machine's monotonic clock, with fractions. */
export function nowMs(): number {
	return performance.now() + offsetMs;
}

/** Waits. */
export function sleep(ms: number): Promise<void> {
	return new Promise((resolve) => setTimeout(resolve, ms));
}
