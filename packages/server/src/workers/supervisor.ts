/**
 * The primary's side: starts the workers, shares the port out among them, and starts each again that dies. Serves nothing itself.
 *
 * All workers accept from one socket (SCHED_NONE of node:cluster); whoever is awake first takes the connection. Where the primary
 * accepts and deals out by turns (SCHED_RR), the spread is even, but a connection that is on its way to a worker when that dies is
 * never heard of again: its client waits for ever. One that is stuck always has such a one. Nothing of the kind can happen here, and
 * the spread is good enough: of 1,000 sockets that came one by one to four workers the fullest had 306 to 346 in six runs, of
 * 4,000 that came as a storm, 1,123 (Node 26, two cores). It also saves the 40 us that each hand-over cost.
 */

import cluster, { type Worker } from 'node:cluster';
import { fileURLToPath } from 'node:url';
import type { Logger } from '../ops/logger.ts';
import { type BackOff, backOffMs } from './back-off.ts';
import type { FromPrimary, FromWorker, Served } from './messages.ts';
import { Scrapes } from './scrapes.ts';

export interface Timings {
	/** How often workers beat, and are looked at. */
	readonly beatMs: number;
	/** Beats that a worker may miss in a row before it counts as stuck. */
	readonly missedBeatsMax: number;
	/** The same before its first word: many that load their code at once take long on few cores. */
	readonly missedFirstBeatsMax: number;
	readonly backOff: BackOff;
	/** A worker that served this long and dies counts as the first in a row again. */
	readonly steadyMs: number;
	/** How long the workers have to report their metrics. */
	readonly reportTimeoutMs: number;
}

export const TIMINGS: Timings = {
	beatMs: 1000,
	missedBeatsMax: 12,
	missedFirstBeatsMax: 60,
	backOff: { minMs: 100, maxMs: 10_000 },
	steadyMs: 60_000,
	reportTimeoutMs: 1000,
};

export interface SupervisorOptions<Setup> {
	/** The module that a worker runs. It says hello with `joinPrimary`. */
	readonly module: URL;
	readonly workers: number;
	/** What every worker starts with, as a structured clone. */
	readonly setup: Setup;
	readonly logger: Logger;
	readonly timings?: Timings;
}

export type StartOutcome =
	| { readonly status: 'serving'; readonly served: Served }
	| { readonly status: 'failed'; readonly reason: string };

/**
 * The place of one worker.
 * - `loading`: its process was started. Leaves to `starting` with its hello.
 * - `starting`: it has what it starts with. Leaves to `serving`.
 * - `serving`: since a time of the monotonic clock.
 * - `gone`: it has no process; `respawn` is the timer of the next, if any. From each of the others, when the process ends.
 */
type Life =
	| { readonly status: 'loading' | 'starting'; readonly worker: Worker }
	| { readonly status: 'serving'; readonly worker: Worker; readonly sinceMs: number }
	| { readonly status: 'gone'; readonly respawn?: NodeJS.Timeout };

interface Place {
	readonly number: number;
	life: Life;
	missedBeats: number;
	/** In a row. */
	deaths: number;
	/** Why it cannot start, in its own words. */
	reason: string | null;
}

export class Supervisor<Setup> {
	readonly #options: SupervisorOptions<Setup>;
	readonly #timings: Timings;
	readonly #places: readonly Place[];
	readonly #scrapes: Scrapes<Worker>;
	/** `starting` until all workers serve for the first time; `over` once one of those could not, or after {@link kill}. */
	#phase: 'starting' | 'running' | 'stopping' | 'over' = 'starting';
	#served: Served | null = null;
	#looking: NodeJS.Timeout | null = null;
	#started: (outcome: StartOutcome) => void = () => {};
	#stopped: (drained: boolean) => void = () => {};
	#allDrained = true;
	#deaths = 0;

	constructor(options: SupervisorOptions<Setup>) {
		this.#options = options;
		this.#timings = options.timings ?? TIMINGS;
		this.#places = Array.from({ length: options.workers }, (_, i) => ({
			number: i + 1,
			life: { status: 'gone' },
			missedBeats: 0,
			deaths: 0,
			reason: null,
		}));
		this.#scrapes = new Scrapes({
			workers: options.workers,
			timeoutMs: this.#timings.reportTimeoutMs,
			deaths: () => this.#deaths,
			ask: (worker, scrape) => tell(worker, { kind: 'report', scrape }),
		});
	}

	/** Starts all workers. Once; when one fails in its first start there is something that all will meet, and the others are killed. */
	start(): Promise<StartOutcome> {
		cluster.schedulingPolicy = cluster.SCHED_NONE;
		// Not JSON: metrics have numbers that it does not.
		cluster.setupPrimary({ exec: fileURLToPath(this.#options.module), args: [], serialization: 'advanced' });
		return new Promise((resolve) => {
			this.#started = resolve;
			this.#looking = setInterval(() => this.#look(), this.#timings.beatMs);
			for (const place of this.#places) this.#fork(place);
		});
	}

	/** Has all workers read their certificates again. One that has not started yet reads them when it does. */
	reload(): void {
		for (const worker of this.#serving()) tell(worker, { kind: 'reload' });
	}

	/** Has all workers drain. Resolves when they are gone, with whether each of them ended well. */
	stop(): Promise<boolean> {
		this.#phase = 'stopping';
		return new Promise((resolve) => {
			this.#stopped = resolve;
			for (const { life } of this.#places) {
				if (life.status === 'gone') clearTimeout(life.respawn);
				// One that is loading hears nothing yet, and is told when it says hello.
				else if (life.status !== 'loading') tell(life.worker, { kind: 'drain' });
			}
			this.#endWhenAllGone();
		});
	}

	/** Kills all workers at once. */
	kill(): void {
		this.#phase = 'over';
		if (this.#looking !== null) clearInterval(this.#looking);
		for (const { life } of this.#places) {
			if (life.status === 'gone') clearTimeout(life.respawn);
			else life.worker.process.kill('SIGKILL');
		}
	}

	#fork(place: Place): void {
		const worker = cluster.fork();
		place.life = { status: 'loading', worker };
		place.missedBeats = 0;
		place.reason = null;
		worker.on('message', (message: FromWorker) => this.#heard(place, worker, message));
		worker.on('exit', (code, signal) => this.#ended(place, code, signal));
		// A process that could not be started has no `exit`.
		worker.on('error', (error) => {
			if (worker.process.pid !== undefined) return;
			place.reason = error.message;
			this.#ended(place, null, null);
		});
	}

	#heard(place: Place, worker: Worker, message: FromWorker): void {
		place.missedBeats = 0;
		switch (message.kind) {
			case 'hello':
				this.#greet(place, worker);
				break;
			case 'serving':
				this.#serves(place, worker, message.served);
				break;
			case 'cannot start':
				place.reason = message.reason;
				break;
			case 'scrape':
				void this.#scrapes.text(this.#serving()).then((text) => tell(worker, { kind: 'scraped', ask: message.ask, text }));
				break;
			case 'report':
				this.#scrapes.reported(worker, message.scrape, message.report);
		}
	}

	#greet(place: Place, worker: Worker): void {
		const { setup } = this.#options;
		const { number } = place;
		place.life = { status: 'starting', worker };
		if (this.#phase === 'stopping') tell(worker, { kind: 'drain' });
		else tell(worker, { kind: 'start', number, beatMs: this.#timings.beatMs, setup });
	}

	#serves(place: Place, worker: Worker, served: Served): void {
		const { logger } = this.#options;
		place.life = { status: 'serving', worker, sinceMs: performance.now() };
		if (this.#phase === 'running') {
			// While a worker listens, port 0 means its port to the others; when all were gone it is any free one again.
			if (served.url !== this.#served?.url)
				logger.warn({ http: served.url }, 'all workers were gone, and the port is another one');
			this.#served = served;
			logger.info({ worker: place.number, pid: worker.process.pid }, 'a worker serves again');
		} else if (this.#phase === 'starting' && this.#serving().length === this.#places.length) {
			this.#phase = 'running';
			this.#served = served;
			this.#started({ status: 'serving', served });
		}
	}

	#serving(): readonly Worker[] {
		return this.#places.flatMap(({ life }) => (life.status === 'serving' ? [life.worker] : []));
	}

	/**
	 * Kills workers whose event loop is stuck. Silence is counted in looks, not in time: after the machine slept, or the whole
	 * process group was stopped, the workers' beats are only late by one look.
	 */
	#look(): void {
		const { missedBeatsMax, missedFirstBeatsMax, beatMs } = this.#timings;
		for (const place of this.#places) {
			const { life } = place;
			if (life.status === 'gone') continue;
			place.missedBeats++;
			const missedMax = life.status === 'loading' ? missedFirstBeatsMax : missedBeatsMax;
			// Exactly then: a process that does not die of it at once need not be told of again.
			if (place.missedBeats !== missedMax + 1) continue;
			const { pid } = life.worker.process;
			this.#options.logger.error(
				{ worker: place.number, pid, silent_ms: missedMax * beatMs },
				'a worker is stuck, and is killed',
			);
			life.worker.process.kill('SIGKILL');
		}
	}

	#ended(place: Place, code: number | null, signal: string | null): void {
		const { life } = place;
		if (life.status === 'gone') return;
		const servedMs = life.status === 'serving' ? performance.now() - life.sinceMs : 0;
		place.life = { status: 'gone' };
		this.#scrapes.gone(life.worker);
		switch (this.#phase) {
			case 'starting':
				this.kill();
				this.#started({ status: 'failed', reason: place.reason ?? `a worker ended (${signal ?? `exit code ${code}`})` });
				return;
			case 'running':
				this.#deaths++;
				place.deaths = servedMs >= this.#timings.steadyMs ? 1 : place.deaths + 1;
				this.#respawnLater(place, { pid: life.worker.process.pid, code, signal });
				return;
			case 'stopping':
				// One that has not served yet has nothing to finish, however it ends.
				this.#allDrained &&= code === 0 || life.status !== 'serving';
				this.#endWhenAllGone();
				return;
			case 'over':
		}
	}

	#respawnLater(
		place: Place,
		end: { readonly pid: number | undefined; readonly code: number | null; readonly signal: string | null },
	): void {
		const afterMs = Math.round(backOffMs(place.deaths, this.#timings.backOff, Math.random()));
		const fields = { worker: place.number, ...end, reason: place.reason, respawn_ms: afterMs };
		this.#options.logger.error(fields, 'a worker ended, and is started again');
		place.life = { status: 'gone', respawn: setTimeout(() => this.#fork(place), afterMs) };
	}

	#endWhenAllGone(): void {
		if (this.#places.some(({ life }) => life.status !== 'gone')) return;
		if (this.#looking !== null) clearInterval(this.#looking);
		this.#stopped(this.#allDrained);
	}
}

/** A worker that cannot be told is ending, and its exit says so. */
function tell<Setup>(worker: Worker, message: FromPrimary<Setup>): void {
	worker.send(message, () => {});
}
