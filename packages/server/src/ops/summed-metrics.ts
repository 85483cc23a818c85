/** The metrics of several processes as those of one relay. */

import { AggregatorRegistry, collectDefaultMetrics, Registry } from 'prom-client';
import type { MetricReport, Report } from './report.ts';

/**
 * How metrics go together where it is not as prom-client has it, which for most is the sum. What every process sees of the one store is
 * no sum; a mean of event loop lags would hide the one that is stuck; and the relay is as old as its oldest process.
 */
const AGGREGATORS: Readonly<Record<string, MetricReport['aggregator']>> = {
	relay_topics: 'max',
	relay_topic_message_count: 'max',
	relay_stored_messages: 'max',
	relay_stored_bytes: 'max',
	relay_storage_up: 'min',
	relay_storage_durability: 'max',
	relay_storage_clock_skew_seconds: 'max',
	relay_topics_ahead_of_clock: 'max',
	relay_clock_doubted: 'max',
	process_start_time_seconds: 'min',
	nodejs_eventloop_lag_seconds: 'max',
	nodejs_eventloop_lag_mean_seconds: 'max',
	nodejs_eventloop_lag_stddev_seconds: 'max',
	nodejs_eventloop_lag_p50_seconds: 'max',
	nodejs_eventloop_lag_p90_seconds: 'max',
	nodejs_eventloop_lag_p99_seconds: 'max',
};

/** Puts reports together. */
export function sumReports(reports: readonly Report[]): Report {
	return aggregate(reports).getMetricsAsArray() as unknown as Report;
}

/** Reports put together, in the text format of Prometheus. */
export function reportsText(reports: readonly Report[]): Promise<string> {
	return aggregate(reports).metrics();
}

/** What of a report stays true when its process is gone. */
export function countersOf(report: Report): Report {
	return report.filter(({ type }) => type === 'counter' || type === 'histogram');
}

function aggregate(reports: readonly Report[]): Registry {
	return AggregatorRegistry.aggregate(reports.map((report) => report.map(aggregable)));
}

function aggregable(metric: MetricReport): MetricReport {
	return {
		...metric,
		aggregator: AGGREGATORS[metric.name] ?? metric.aggregator,
		// Not a number: a lag of which there was no sample since the last scrape. It must not make one of all the others, too.
		values: metric.values.filter(({ value }) => !Number.isNaN(value)),
	};
}

/** How the workers of a primary are. */
export interface WorkerCounts {
	readonly configured: number;
	/** Those whose metrics are in the scrape. */
	readonly answering: number;
	/** Those that ended although they should not, since the start. */
	readonly deaths: number;
}

/** The metrics of a primary: the numbers of its process, and how its workers are. */
export class PrimaryMetrics {
	readonly #registry = new Registry();

	constructor() {
		collectDefaultMetrics({ register: this.#registry });
	}

	async report({ configured, answering, deaths }: WorkerCounts): Promise<Report> {
		return [
			...((await this.#registry.getMetricsAsJSON()) as unknown as Report),
			one('relay_workers', 'gauge', 'Workers that answered this scrape.', answering),
			one('relay_workers_configured', 'gauge', 'Workers that there ought to be.', configured),
			one('relay_worker_deaths_total', 'counter', 'Workers that ended although they should not.', deaths),
		];
	}
}

function one(name: string, type: 'counter' | 'gauge', help: string, value: number): MetricReport {
	return { name, help, type, aggregator: 'sum', values: [{ labels: {}, value }] };
}
