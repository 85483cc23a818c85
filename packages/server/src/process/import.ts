/** The process of `pulsar-relay import`: what it says while it works, and its exit code. */

import type { Config } from '../config/schema.ts';
import type { Counts, ImportListener } from '../import/report.ts';
import { importEarlierData } from '../import-app.ts';
import { createLogger } from '../ops/logger.ts';
import { EXIT_FAILED } from './lifetime.ts';

const PROGRESS_INTERVAL_MS = 2000;
/** What was passed over is told one by one so many times, and after that only counted. */
const SKIPPED_LINES_MAX = 100;
const KINDS = ['accounts', 'sessions', 'topics', 'messages'] as const;

/** Imports, and tells on standard output what was done; what was passed over, and why, on standard error. */
export async function runImportProcess(config: Config, dryRun: boolean): Promise<void> {
	const started = performance.now();
	try {
		const logger = createLogger({ level: config.logLevel, format: 'json', to: process.stderr });
		const counts = await importEarlierData({ config, logger, dryRun, listener: tell(started) });
		process.stdout.write(summary(counts, dryRun));
	} catch (error) {
		const message = error instanceof Error ? error.message : String(error);
		process.stderr.write(`pulsar-relay: the import has ended early: ${message}; run it again to go on\n`);
		process.exitCode = EXIT_FAILED;
	}
}

function tell(started: number): ImportListener {
	let lastMs = started;
	let lines = 0;
	return {
		skipped(kind, key, why) {
			if (++lines <= SKIPPED_LINES_MAX) process.stderr.write(`passed over, ${kind}: ${JSON.stringify(key)}: ${why}\n`);
			else if (lines === SKIPPED_LINES_MAX + 1) process.stderr.write('what else is passed over is only counted\n');
		},
		progressed(counts) {
			const nowMs = performance.now();
			if (nowMs - lastMs < PROGRESS_INTERVAL_MS) return;
			lastMs = nowMs;
			const parts = KINDS.map((kind) => `${counts[kind].taken} ${kind}`);
			process.stderr.write(`${Math.round((nowMs - started) / 1000)} s: ${parts.join(', ')}\n`);
		},
	};
}

function summary(counts: Counts, dryRun: boolean): string {
	const header = dryRun ? 'would be imported' : 'imported';
	const rows = KINDS.map((kind) => {
		const { taken, before, skipped } = counts[kind];
		return `${kind.padEnd(10)}  ${taken} ${header}, ${before} by an import before, ${skipped} passed over\n`;
	});
	if (counts.renumbered > 0) rows.push(`${counts.renumbered} of the messages have a later id than they had\n`);
	if (counts.legacyTopics > 0) rows.push(`${counts.legacyTopics} topics of a server before 0.2 were not read\n`);
	return rows.join('');
}
