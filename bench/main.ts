/**
 * The benchmarks: `npm run bench [-- names...] [--seconds N] [--cpu-prof DIR]`. What they measure and how to read them is in
 * README.md.
 */

import { closeSync, fdatasyncSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { authenticatedPublishes } from './cases/authenticated-publishes.ts';
import { batchPublishes } from './cases/batch-publishes.ts';
import { catchUp } from './cases/catch-up.ts';
import { fanOutPaced } from './cases/fan-out-paced.ts';
import { fanOutSaturated } from './cases/fan-out-saturated.ts';
import { idleSockets } from './cases/idle-sockets.ts';
import { logins } from './cases/logins.ts';
import { singleCommands } from './cases/single-commands.ts';
import { singlePublishes } from './cases/single-publishes.ts';
import { twoNodes } from './cases/two-nodes.ts';
import type { BenchOptions } from './measure.ts';
import { ValkeyServer } from './servers/valkey.ts';
import { renderSection, type Section } from './table.ts';

const BENCHMARKS: ReadonlyMap<string, (options: BenchOptions) => Promise<Section>> = new Map([
	['single', singlePublishes],
	['batch', batchPublishes],
	['saturated', fanOutSaturated],
	['paced', fanOutPaced],
	['catch-up', catchUp],
	['idle', idleSockets],
	['tokens', authenticatedPublishes],
	['logins', logins],
	['nodes', twoNodes],
	['commands', singleCommands],
]);

/** Those that make sense only where nodes share a store. */
const ON_VALKEY_ONLY = ['nodes', 'commands'];

const USAGE = `npm run bench -- [names...] [--seconds N] [--valkey] [--cpu-prof DIR]

  names        which to run: ${[...BENCHMARKS.keys()].join(', ')}; default all
  --seconds    length of each measurement, 0.5 to 60, default 3
  --valkey     run the relay on a Valkey server that is started for it; needed for ${ON_VALKEY_ONLY.join(' and ')}
  --cpu-prof   write CPU profiles of the relay into this directory
`;

const DEFAULT_SECONDS = 3;
const SYNC_PROBE_MS = 300;
/** A benchmark that takes longer than this, and than so many of its measurements, hangs. */
const PATIENCE_S = 120;
const PATIENCE_MEASUREMENTS = 20;

async function main(): Promise<void> {
	const { values, positionals } = parseArgs({
		options: {
			seconds: { type: 'string' },
			valkey: { type: 'boolean' },
			'cpu-prof': { type: 'string' },
			help: { type: 'boolean' },
		},
		allowPositionals: true,
	});
	const seconds = Number(values.seconds ?? DEFAULT_SECONDS);
	const unknown = positionals.filter((name) => !BENCHMARKS.has(name));
	if (values.help === true || unknown.length > 0 || !(seconds >= 0.5 && seconds <= 60)) {
		process.stdout.write(USAGE);
		process.exitCode = values.help === true ? 0 : 2;
		return;
	}
	const profiles = values['cpu-prof'];
	if (profiles !== undefined) mkdirSync(profiles, { recursive: true });
	process.stdout.write(`${machine()}\n\n`);
	await using valkey = values.valkey === true ? await ValkeyServer.start() : null;
	for (const [name, run] of BENCHMARKS) {
		if (positionals.length > 0 && !positionals.includes(name)) continue;
		if (valkey === null && ON_VALKEY_ONLY.includes(name)) continue;
		const patience = setTimeout(() => giveUp(name), (PATIENCE_S + PATIENCE_MEASUREMENTS * seconds) * 1000);
		try {
			const section = await run({ seconds, profileDirectory: profiles === undefined ? null : resolve(profiles, name), valkey });
			process.stdout.write(`${renderSection(section)}\n`);
			if (section.comparisons.some(({ relay }) => relay.problems.length > 0)) process.exitCode = 1;
		} catch (error) {
			process.stdout.write(`## ${name}: failed\n\n  ${error instanceof Error ? error.message : String(error)}\n\n`);
			process.exitCode = 1;
		} finally {
			clearTimeout(patience);
		}
	}
}

/** Something hangs. The processes of the benchmark end with the channel to this one. */
function giveUp(name: string): void {
	process.stdout.write(`## ${name}: given up, it takes too long\n`);
	process.exit(1);
}

/** What the numbers depend on. */
function machine(): string {
	const model = cpus()[0]?.model.trim() ?? 'unknown processor';
	return `Node ${process.versions.node}, ${availableParallelism()} x ${model}, ${tmpdir()}: ${Math.round(syncsPerSecond())} fdatasync/s`;
}

/** How often the disk below the temporary directory confirms a small append: the limit for whoever syncs per message. */
function syncsPerSecond(): number {
	const directory = mkdtempSync(join(tmpdir(), 'pulsar-bench-'));
	const file = openSync(join(directory, 'probe'), 'w');
	const startedMs = performance.now();
	let syncs = 0;
	try {
		for (; performance.now() - startedMs < SYNC_PROBE_MS; syncs++) {
			writeSync(file, 'x'.repeat(300));
			fdatasyncSync(file);
		}
	} finally {
		closeSync(file);
		rmSync(directory, { recursive: true });
	}
	return (syncs / (performance.now() - startedMs)) * 1000;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
	// The processes of the benchmark end with the channel to this one.
	process.once(signal, () => process.exit(1));
}
await main();
