/** The full fault runs: `npm run test:faults [-- words…]`. With words, only scenarios whose name has one of them. */

import { valkeyUnavailable } from '../support/valkey.ts';
import { FULL, type LoadSize, SMOKE } from './load.ts';
import { embeddedScenarios, sharedScenarios } from './scenarios/all.ts';
import { TABLE_HEAD, tableRow } from './table.ts';

async function main(words: readonly string[], size: LoadSize): Promise<void> {
	const unavailable = valkeyUnavailable();
	if (unavailable !== null) console.log(`only the scenario on the embedded store: ${unavailable}`);
	const scenarios = [...embeddedScenarios, ...(unavailable === null ? sharedScenarios : [])];
	const rows: string[] = [];
	for (const { name, run } of scenarios) {
		if (words.length > 0 && !words.some((word) => name.includes(word))) continue;
		console.log(`\n${name}`);
		try {
			const result = await run(size);
			rows.push(tableRow(name, result));
			console.log(`  ${rows.at(-1)}`);
			for (const problem of result.problems) console.log(`  ${problem}`);
			if (result.problems.length > 0) process.exitCode = 1;
		} catch (error) {
			console.log(`  failed: ${error instanceof Error ? error.stack : String(error)}`);
			rows.push(`| ${name} | failed | | | | | | NO |`);
			process.exitCode = 1;
		}
	}
	console.log(`\n${TABLE_HEAD}\n${rows.join('\n')}`);
}

const words = process.argv.slice(2);
await main(
	words.filter((word) => word !== '--smoke'),
	words.includes('--smoke') ? SMOKE : FULL,
);
