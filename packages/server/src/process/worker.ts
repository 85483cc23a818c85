/** The process of a worker: a relay that is told by its primary what to run with, and when to stop. The primary starts it. */

import type { Config } from '../config/schema.ts';
import { joinPrimary } from '../workers/link.ts';
import { EXIT_FAILED, exitOnDefects, firstStopSignal, onHangUp, openLog, outliveReaders } from './lifetime.ts';
import { openFilesMax } from './open-files.ts';
import { serve, stopServing } from './serving.ts';

async function main(): Promise<void> {
	const primary = await joinPrimary<Config>();
	if (primary === null) process.exit(0);
	const config = primary.setup;
	const log = openLog(config, { worker: primary.number });
	const { logger, output } = log;
	exitOnDefects(logger);
	// A terminal and some supervisors signal every process of the group, others the primary only, which then asks.
	const stopSignal = firstStopSignal(logger);
	// The primary passes it on.
	onHangUp(() => {});
	const stopped = Promise.race([stopSignal.then((signal) => ({ signal })), primary.stopped.then((primary) => ({ primary }))]);
	const stopping = new AbortController();
	void stopped.then(() => stopping.abort());
	const outcome = await serve({
		config,
		logger,
		openFilesMax: openFilesMax(),
		lostLogLines: () => output.lostLines,
		metricsOfAll: () => primary.scrape(),
		stopping: stopping.signal,
	});
	if (outcome.status === 'stopped') process.exit(0);
	if (outcome.status === 'failed') {
		await primary.cannotStart(outcome.reason);
		process.exit(EXIT_FAILED);
	}
	const { app } = outcome;
	primary.serving(outcome.served, { report: () => app.report(), reload: () => app.reloadCertificates() });
	// Once for all workers.
	if (primary.number === 1) void app.warnOfAccess();
	await stopServing(outcome.app, await stopped, config, log);
}

outliveReaders();
await main();
