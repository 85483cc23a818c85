/** The process that an operator started, when the relay is several: it serves nothing, and looks after the workers that do. */

import type { Served } from '../workers/messages.ts';
import { Supervisor, type SupervisorOptions } from '../workers/supervisor.ts';
import { end, exitOnDefects, failToStart, firstStopSignal, onHangUp, type ProcessLog } from './lifetime.ts';

export interface PrimaryOptions<Setup> extends Omit<SupervisorOptions<Setup>, 'logger'> {
	readonly log: ProcessLog;
	/** Why SIGHUP does nothing, to be logged; null = the workers read their certificates again. */
	readonly nothingToReload: string | null;
	/** How long all workers together may take to drain. */
	readonly stopTimeoutS: number;
	/** Called once all workers serve. */
	readonly onServing: (served: Served) => void;
}

/** Runs the workers until it is told to stop, and ends the process. Workers that lose it drain by themselves. */
export async function runPrimary<Setup>(options: PrimaryOptions<Setup>): Promise<never> {
	const { log, stopTimeoutS, onServing, nothingToReload } = options;
	const { logger } = log;
	exitOnDefects(logger);
	const supervisor = new Supervisor({ ...options, logger });
	const kill = () => supervisor.kill();
	const stopSignal = firstStopSignal(logger, kill);
	onHangUp(() => (nothingToReload === null ? supervisor.reload() : logger.info(nothingToReload)));
	// Told to stop while the workers wait for their store, it has them end.
	const outcome = await Promise.race([supervisor.start(), stopSignal.then(() => ({ status: 'stopped' as const }))]);
	if (outcome.status === 'failed') failToStart(outcome.reason);
	if (outcome.status === 'serving') onServing(outcome.served);
	const why = { signal: await stopSignal };
	return end({ timeoutS: stopTimeoutS, drain: () => supervisor.stop(), giveUp: kill, why }, log);
}
