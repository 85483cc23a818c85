/** The relay as one process. */

import type { Config } from '../config/schema.ts';
import { announce } from './announcement.ts';
import { end, exitOnDefects, failToStart, firstStopSignal, NOTHING_TO_RELOAD, onHangUp, openLog } from './lifetime.ts';
import { openFilesMax } from './open-files.ts';
import { serve, stopServing } from './serving.ts';

/** Serves until it is told to stop, and ends the process. */
export async function runAlone(config: Config, warnings: readonly string[]): Promise<never> {
	const log = openLog(config);
	const { logger } = log;
	exitOnDefects(logger);
	// Before the start, so that a signal during it is not lost: the relay then starts, and drains at once.
	const stopSignal = firstStopSignal(logger);
	let reload = () => logger.info('SIGHUP has no effect while the relay starts');
	onHangUp(() => reload());
	for (const warning of warnings) logger.warn(warning);
	const stopping = new AbortController();
	void stopSignal.then(() => stopping.abort());
	const outcome = await serve({
		config,
		logger,
		openFilesMax: openFilesMax(),
		lostLogLines: () => log.output.lostLines,
		stopping: stopping.signal,
	});
	if (outcome.status === 'failed') failToStart(outcome.reason);
	if (outcome.status === 'stopped') return end({ timeoutS: 0, drain: async () => true, why: { signal: await stopSignal } }, log);
	const { app } = outcome;
	reload = config.tlsCert === null ? () => logger.info(NOTHING_TO_RELOAD) : () => app.reloadCertificates();
	announce(outcome.served, config, log);
	void outcome.app.warnOfAccess();
	return stopServing(outcome.app, { signal: await stopSignal }, config, log);
}
