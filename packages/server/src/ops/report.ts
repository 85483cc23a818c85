/** What a process counted, in the form in which it can be told to another. */

/** One line of a metric. */
export interface Sample {
	/** When it is not the metric's own. */
	readonly metricName?: string;
	readonly labels: Readonly<Record<string, string>>;
	readonly value: number;
}

export type MetricType = 'counter' | 'gauge' | 'histogram' | 'summary';

/** A metric with its values; as prom-client has them. */
export interface MetricReport {
	readonly name: string;
	readonly help: string;
	readonly type: MetricType;
	/** What the values of several processes are together. */
	readonly aggregator: 'sum' | 'min' | 'max' | 'average' | 'first' | 'omit';
	readonly values: readonly Sample[];
}

/** All metrics of a process. */
export type Report = readonly MetricReport[];
