/**
 * A worker thread that is started again when it dies. It says first whether it serves; from then on it answers messages until it
 * is told to close.
 */

import { Worker } from 'node:worker_threads';
import type { Clock } from '../../ports/clock.ts';
import type { CloseRequest, StartReport, StoreFailure } from './messages.ts';

/** How long after a death, or a start that failed, the worker is started again. */
const RESTART_DELAY_MS = 1000;

/** What the owner of a worker hears. */
export interface WorkerListener<Ready, Reply> {
	/** The worker serves; also after each restart. */
	ready(ready: Ready): void;
	reply(reply: Reply): void;
	/** The worker is gone, and with it what it had not answered. It will be started again. */
	died(failure: StoreFailure): void;
}

export interface SupervisedWorkerOptions<Ready, Reply> {
	/** The worker's module. */
	readonly module: URL;
	/** What the module finds as its `workerData`. */
	readonly setup: object;
	readonly clock: Clock;
	readonly listener: WorkerListener<Ready, Reply>;
}

export class SupervisedWorker<Ready, Request, Reply> {
	readonly #options: SupervisedWorkerOptions<Ready, Reply>;
	#worker: Worker | null = null;
	#serves = false;
	#closing = false;
	#cancelRestart: (() => void) | null = null;

	constructor(options: SupervisedWorkerOptions<Ready, Reply>) {
		this.#options = options;
	}

	/** Whether the worker takes messages now. */
	get serves(): boolean {
		return this.#serves;
	}

	/** Starts the worker. Resolves with null once it serves, or with why it does not; then it is not started again. */
	start(): Promise<StoreFailure | null> {
		return new Promise((resolve) => {
			let failure: StoreFailure = { reason: 'a thread of the store stopped', message: 'the worker exited' };
			const worker = new Worker(this.#options.module, { workerData: this.#options.setup });
			this.#worker = worker;
			worker.once('message', (report: StartReport<Ready>) => {
				if (report.kind === 'refused') {
					failure = report.failure;
					return;
				}
				this.#serves = true;
				worker.on('message', (reply: Reply) => this.#options.listener.reply(reply));
				this.#options.listener.ready(report.ready);
				resolve(null);
			});
			worker.on('error', (error) => {
				failure = { reason: failure.reason, message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
			});
			// Comes last, also after an error; only now is the thread's hold on the database gone.
			worker.once('exit', () => {
				this.#worker = null;
				const served = this.#serves;
				this.#serves = false;
				if (served && !this.#closing) this.#died(failure);
				resolve(failure);
			});
		});
	}

	/** Sends a message. Only while the worker {@link serves}. */
	post(request: Request | CloseRequest, transfer: readonly ArrayBuffer[]): void {
		this.#worker?.postMessage(request, transfer);
	}

	/** Has the worker let go of its database and end; resolves when it is gone. What was posted before is answered before. */
	async close(): Promise<void> {
		this.#closing = true;
		this.#cancelRestart?.();
		const worker = this.#worker;
		if (worker === null) return;
		await new Promise((resolve) => {
			worker.once('exit', resolve);
			worker.postMessage({ kind: 'close' } satisfies CloseRequest);
		});
	}

	#died(failure: StoreFailure): void {
		this.#options.listener.died(failure);
		this.#restartLater();
	}

	#restartLater(): void {
		if (this.#closing) return;
		this.#cancelRestart = this.#options.clock.after(RESTART_DELAY_MS, () => {
			this.start().then(
				(failure) => {
					if (failure !== null) this.#restartLater();
				},
				() => this.#restartLater(),
			);
		});
	}
}
