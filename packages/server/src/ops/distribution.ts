/** A distribution: how many values fell into which bucket, as Prometheus histograms have them. */

/** One line of a histogram. */
export interface BucketSample {
	readonly metricName: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly value: number;
}

export class Distribution {
	readonly #bounds: readonly number[];
	/** One more than bounds: the last is for what is above all of them. */
	readonly #counts: Float64Array;
	#sum = 0;
	#count = 0;

	/** @param bounds upper bounds of the buckets, each included in its own, ascending */
	constructor(bounds: readonly number[]) {
		this.#bounds = bounds;
		this.#counts = new Float64Array(bounds.length + 1);
	}

	/** Values counted. */
	get count(): number {
		return this.#count;
	}

	add(value: number): void {
		let bucket = 0;
		while (bucket < this.#bounds.length && value > (this.#bounds[bucket] as number)) bucket++;
		this.#counts[bucket] = (this.#counts[bucket] as number) + 1;
		this.#sum += value;
		this.#count++;
	}

	/** The lines of a histogram called `name`: buckets, each with all below it, then sum and count. */
	samples(name: string, labels: Readonly<Record<string, string>>): readonly BucketSample[] {
		const samples: BucketSample[] = [];
		let below = 0;
		for (const [i, bound] of [...this.#bounds, '+Inf'].entries()) {
			below += this.#counts[i] as number;
			samples.push({ metricName: `${name}_bucket`, labels: { ...labels, le: String(bound) }, value: below });
		}
		samples.push({ metricName: `${name}_sum`, labels, value: this.#sum });
		samples.push({ metricName: `${name}_count`, labels, value: this.#count });
		return samples;
	}
}
