/**
 * The metrics of the whole relay, gathered from its workers when somebody asks one of them.
 *
 * A counter must never step back: to whoever computes rates that is a restart, and all that was ever counted comes as one burst. So
 * what each worker reported last is kept. Of one that does not answer in time the counters of then are shown, and of one that
 * ended they stay part of the sum. Gauges are those of the workers that answer.
 */

import type { Report } from '../ops/report.ts';
import { countersOf, PrimaryMetrics, reportsText, sumReports } from '../ops/summed-metrics.ts';

export interface ScrapesOptions<Source> {
	/** How many workers there ought to be. */
	readonly workers: number;
	/** How long they have to report. */
	readonly timeoutMs: number;
	/** How many died so far. */
	readonly deaths: () => number;
	/** Asks for a report, which comes by {@link Scrapes.reported}. */
	readonly ask: (source: Source, scrape: number) => void;
}

interface Scrape<Source> {
	/** Who has not answered. */
	readonly missing: Set<Source>;
	readonly end: () => void;
}

/** @typeParam Source a worker's process */
export class Scrapes<Source> {
	readonly #options: ScrapesOptions<Source>;
	readonly #own = new PrimaryMetrics();
	readonly #underWay = new Map<number, Scrape<Source>>();
	#scrapes = 0;
	readonly #last = new Map<Source, Report>();
	/** What processes that are gone had counted. */
	#past: Report = [];

	constructor(options: ScrapesOptions<Source>) {
		this.#options = options;
	}

	/** Asks these processes, and puts together what they report in time, as a text. */
	async text(sources: readonly Source[]): Promise<string> {
		const missing = new Set(sources);
		await this.#gather(missing);
		// All read in one turn: a process that ended meanwhile, having answered or not, is part of the past and of nothing else.
		const reports = [this.#past];
		let answering = 0;
		for (const [source, report] of this.#last) {
			const answered = !missing.has(source);
			if (answered) answering++;
			reports.push(answered ? report : countersOf(report));
		}
		const counts = { configured: this.#options.workers, answering, deaths: this.#options.deaths() };
		return reportsText([await this.#own.report(counts), ...reports]);
	}

	reported(source: Source, scrape: number, report: Report): void {
		this.#last.set(source, report);
		this.#answered(scrape, source);
	}

	/** The process has ended. */
	gone(source: Source): void {
		this.#past = sumReports([this.#past, countersOf(this.#last.get(source) ?? [])]);
		this.#last.delete(source);
		for (const scrape of this.#underWay.keys()) this.#answered(scrape, source);
	}

	/** Resolves when everybody has answered or ended, or the time is over. */
	async #gather(missing: Set<Source>): Promise<void> {
		if (missing.size === 0) return;
		const scrape = ++this.#scrapes;
		const { promise: ended, resolve: end } = Promise.withResolvers<void>();
		const timer = setTimeout(end, this.#options.timeoutMs);
		this.#underWay.set(scrape, { missing, end });
		for (const source of missing) this.#options.ask(source, scrape);
		await ended;
		clearTimeout(timer);
		this.#underWay.delete(scrape);
	}

	#answered(scrape: number, source: Source): void {
		const underWay = this.#underWay.get(scrape);
		underWay?.missing.delete(source);
		if (underWay?.missing.size === 0) underWay.end();
	}
}
