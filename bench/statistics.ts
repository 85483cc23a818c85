/** What is computed from samples: percentiles, exactly, by sorting. */

/** Latencies in milliseconds; NaN where there are no samples. */
export interface LatencySummary {
	readonly p50: number;
	readonly p99: number;
	readonly max: number;
}

/** The smallest sample that at least `fraction` of the samples do not exceed (nearest rank); NaN without samples. */
function percentile(sorted: Float64Array, fraction: number): number {
	return sorted[Math.max(0, Math.ceil(sorted.length * fraction) - 1)] ?? Number.NaN;
}

/** The middle value, or the mean of the middle two; NaN without values. */
export function median(values: readonly number[]): number {
	const sorted = values.toSorted((a, b) => a - b);
	const middle = Math.floor(sorted.length / 2);
	const upper = sorted[middle] ?? Number.NaN;
	return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** Summarises samples that came in several parts. */
export function summarise(parts: readonly Float64Array[]): LatencySummary {
	const all = new Float64Array(parts.reduce((length, part) => length + part.length, 0));
	let at = 0;
	for (const part of parts) {
		all.set(part, at);
		at += part.length;
	}
	all.sort();
	return { p50: percentile(all, 0.5), p99: percentile(all, 0.99), max: percentile(all, 1) };
}

/** A growing list of numbers with an end: samples beyond `max` are dropped, so that a long run does not fill the memory. */
export class Samples {
	readonly #max: number;
	#values = new Float64Array(1024);
	#count = 0;

	constructor(max = 1_000_000) {
		this.#max = max;
	}

	add(value: number): void {
		if (this.#count === this.#max) return;
		if (this.#count === this.#values.length) {
			const larger = new Float64Array(this.#values.length * 2);
			larger.set(this.#values);
			this.#values = larger;
		}
		this.#values[this.#count++] = value;
	}

	/** The samples so far; the list is empty afterwards. */
	take(): Float64Array {
		const taken = this.#values.slice(0, this.#count);
		this.#count = 0;
		return taken;
	}
}
