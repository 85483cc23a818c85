/** A primary as a process of its own, with workers that are small HTTP servers. */

import { openLog } from '../../../src/process/lifetime.ts';
import { runPrimary } from '../../../src/process/primary.ts';
import type { PrimarySetup } from './setup.ts';

const { workers, timings, stopTimeoutS, worker, nothingToReload } = JSON.parse(process.argv[2] ?? '') as PrimarySetup;
const log = openLog({ logFormat: 'json', logLevel: 'info' });
await runPrimary({
	nothingToReload,
	module: new URL('./worker.ts', import.meta.url),
	workers,
	setup: worker,
	log,
	timings,
	stopTimeoutS,
	onServing: ({ url }) => log.logger.info({ http: url }, 'listening'),
});
