/**
 * A worker's side of the channel to its primary: what it starts with, when it shall stop, and the metrics of the whole. Beats, so that the
 * primary sees an event loop that is stuck.
 */

import cluster, { type Worker } from 'node:cluster';
import type { Report } from '../ops/report.ts';
import type { FromPrimary, FromWorker, Served, Start } from './messages.ts';

/** Longer than the primary takes to gather what the workers report. */
const SCRAPE_TIMEOUT_MS = 3000;

/**
 * - `asked`: the primary wants the worker to drain.
 * - `lost`: there is no primary any more, so nobody would send connections, or start this worker again.
 */
export type StopReason = 'asked' | 'lost';

/** Says hello to the primary that started this process. Null when it is to end again, without having served. */
export function joinPrimary<Setup>(): Promise<PrimaryLink<Setup> | null> {
	const { worker } = cluster;
	if (worker === undefined) return Promise.reject(new Error('workers are started by their primary'));
	return new Promise((resolve) => {
		// The link listens before this turn ends: no later message is missed.
		worker.once('message', (message: FromPrimary<Setup>) =>
			resolve(message.kind === 'start' ? new PrimaryLink(worker, message) : null),
		);
		void tell(worker, { kind: 'hello' });
	});
}

export class PrimaryLink<Setup> {
	readonly number: number;
	readonly setup: Setup;
	/** Resolves when the worker shall drain. */
	readonly stopped: Promise<StopReason>;
	readonly #worker: Worker;
	#report: () => Promise<Report> = () => Promise.resolve([]);
	#reload: () => void = () => {};
	/** Whoever asks while an answer is awaited gets that one, so that scrapes cannot pile up (I8). */
	#scraping: Promise<string> | null = null;
	#asks = 0;
	#scraped: (ask: number, text: string) => void = () => {};

	constructor(worker: Worker, { number, setup, beatMs }: Start<Setup>) {
		this.#worker = worker;
		this.number = number;
		this.setup = setup;
		this.stopped = new Promise((stop) => {
			worker.on('message', (message: FromPrimary<Setup>) => this.#heard(message, stop));
			worker.on('disconnect', () => {
				// Without this node:cluster ends the process here and now; what is under way is to be finished.
				worker.exitedAfterDisconnect = true;
				stop('lost');
			});
		});
		setInterval(() => void tell(worker, { kind: 'beat' }), beatMs).unref();
	}

	/** Says that this worker listens, and what it does from now on when it is asked to. */
	serving(served: Served, { report, reload }: { report(): Promise<Report>; reload(): void }): void {
		this.#report = report;
		this.#reload = reload;
		void tell(this.#worker, { kind: 'serving', served });
	}

	/** Says why this worker is going to end; resolves when that is on its way. */
	cannotStart(reason: string): Promise<void> {
		return tell(this.#worker, { kind: 'cannot start', reason });
	}

	/** The metrics of all workers as a text. Rejects when the primary does not answer. */
	scrape(): Promise<string> {
		this.#scraping ??= this.#ask().finally(() => {
			this.#scraping = null;
		});
		return this.#scraping;
	}

	#ask(): Promise<string> {
		const ask = ++this.#asks;
		return new Promise((resolve, reject) => {
			const timer = setTimeout(() => reject(new Error('the primary did not gather the metrics in time')), SCRAPE_TIMEOUT_MS);
			this.#scraped = (answered, text) => {
				if (answered !== ask) return;
				clearTimeout(timer);
				resolve(text);
			};
			void tell(this.#worker, { kind: 'scrape', ask });
		});
	}

	#heard(message: FromPrimary<Setup>, stop: (reason: StopReason) => void): void {
		switch (message.kind) {
			case 'drain':
				stop('asked');
				break;
			case 'reload':
				this.#reload();
				break;
			case 'scraped':
				this.#scraped(message.ask, message.text);
				break;
			case 'report':
				void this.#report().then((report) => tell(this.#worker, { kind: 'report', scrape: message.scrape, report }));
		}
	}
}

/** Resolves when the message is sent, or cannot be: then the primary is gone, and `disconnect` says so. */
function tell(worker: Worker, message: FromWorker): Promise<void> {
	return new Promise((resolve) => {
		worker.send(message, () => resolve());
	});
}
