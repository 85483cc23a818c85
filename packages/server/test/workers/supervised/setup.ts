/** What the tests tell the primary, and it its workers. */

import type { Timings } from '../../../src/workers/supervisor.ts';

export interface WorkerSetup {
	/** Numbers of workers that say they cannot start. */
	readonly cannotStart?: readonly number[];
	/** Number of a worker that ends at its start without a word. */
	readonly diesAtStart?: number;
	/** Workers that find this file cannot start. */
	readonly cannotStartBeside?: string;
	readonly neverDrains?: boolean;
}

export interface PrimarySetup {
	readonly workers: number;
	readonly timings: Timings;
	readonly stopTimeoutS: number;
	readonly worker: WorkerSetup;
	/** As in `PrimaryOptions`. */
	readonly nothingToReload: string | null;
}
