/**
 * The entry: arguments and environment in, and what they ask for done. Here and in process/ is all that touches `process`; its exit
 * codes are listed in process/lifetime.ts.
 */

import { readFileSync } from 'node:fs';
import packageJson from '../package.json' with { type: 'json' };
import { loadConfig } from './config/load.ts';
import type { Config } from './config/schema.ts';
import { runAlone } from './process/alone.ts';
import { announce } from './process/announcement.ts';
import { runImportProcess } from './process/import.ts';
import { CLOSE_GRACE_S, EXIT_WRONG_SETTINGS, NOTHING_TO_RELOAD, openLog, outliveReaders } from './process/lifetime.ts';
import { openFilesMax, openFilesWarnings } from './process/open-files.ts';
import { runPrimary } from './process/primary.ts';

/** Over the time in which every worker ends by itself, how long the primary waits for it. */
const WORKERS_GRACE_S = 2;

async function main(): Promise<void> {
	const loaded = loadConfig({
		argv: process.argv.slice(2),
		env: process.env,
		readFile: (path) => readFileSync(path, 'utf8'),
	});
	switch (loaded.status) {
		case 'help':
			process.stdout.write(loaded.text);
			return;
		case 'version':
			process.stdout.write(`pulsar-relay ${packageJson.version}, Node ${process.versions.node}\n`);
			return;
		case 'invalid':
			process.stderr.write(`pulsar-relay: wrong settings, see --help\n${loaded.problems.map((line) => `  ${line}\n`).join('')}`);
			process.exitCode = EXIT_WRONG_SETTINGS;
			return;
		case 'ok':
			if (loaded.task.kind === 'import') await runImportProcess(loaded.config, loaded.task.dryRun);
			else {
				const warnings = [...loaded.warnings, ...openFilesWarnings(loaded.config, openFilesMax())];
				await (loaded.config.workers === 1 ? runAlone : runWorkers)(loaded.config, warnings);
			}
	}
}

function runWorkers(config: Config, warnings: readonly string[]): Promise<never> {
	const log = openLog(config);
	for (const warning of warnings) log.logger.warn(warning);
	return runPrimary({
		module: new URL('./process/worker.ts', import.meta.url),
		workers: config.workers,
		setup: config,
		log,
		nothingToReload: config.tlsCert === null ? NOTHING_TO_RELOAD : null,
		stopTimeoutS: config.drainTimeoutS + CLOSE_GRACE_S + WORKERS_GRACE_S,
		onServing: (served) => announce(served, config, log),
	});
}

outliveReaders();
await main();
