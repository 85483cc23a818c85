/** What fault runs showed, as a table in Markdown. */

import { countFindings } from './history-checker.ts';
import type { ScenarioResult } from './scenario.ts';

export const TABLE_HEAD = [
	'| fault | acknowledged | lost | duplicates | gaps | recovery, ms | slowest publish in the fault, ms | as expected |',
	'|---|---:|---:|---:|---:|---:|---:|---|',
].join('\n');

export function tableRow(name: string, { report, problems }: ScenarioResult): string {
	const cells = [
		name,
		report.acked,
		countFindings(report.findings, 'lost'),
		countFindings(report.findings, 'duplicate'),
		report.gaps.length,
		Math.round(report.recoveryMs),
		Math.round(report.longestTryMs),
		problems.length === 0 ? 'yes' : 'NO',
	];
	return `| ${cells.join(' | ')} |`;
}
