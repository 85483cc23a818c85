/** Aligned tables: each measurement of the relay, the naive way below it, and by what factor the relay is better. */

import type { LatencySummary } from './statistics.ts';

export interface Column {
	readonly title: string;
	/** Which direction is good, for the ratio; null where a ratio says nothing. */
	readonly better: 'more' | 'less' | null;
	/** Digits after the point. */
	readonly digits: number;
}

/** What one server did. */
export interface Outcome {
	/** In the order of the columns; NaN = not measured. */
	readonly values: readonly number[];
	/** What was not as it must be, one line each. */
	readonly problems: readonly string[];
}

export interface Comparison {
	readonly label: string;
	readonly relay: Outcome;
	/** Null when there is nothing to compare with. */
	readonly naive: Outcome | null;
}

export interface Section {
	readonly title: string;
	readonly columns: readonly Column[];
	readonly comparisons: readonly Comparison[];
	/** Lines below the table: what to know when reading it. */
	readonly notes: readonly string[];
}

/** The columns of {@link latencyValues}. */
export const LATENCY_COLUMNS: readonly Column[] = [
	{ title: 'p50 ms', better: 'less', digits: 2 },
	{ title: 'p99 ms', better: 'less', digits: 2 },
	{ title: 'max ms', better: 'less', digits: 1 },
];

/** A summary as row values. */
export function latencyValues(latency: LatencySummary): number[] {
	return [latency.p50, latency.p99, latency.max];
}

/** The section as text, ready to print. */
export function renderSection({ title, columns, comparisons, notes }: Section): string {
	const lines = [['', ...columns.map((column) => column.title)], ...comparisons.flatMap((each) => rowsOf(each, columns))];
	const widths = lines[0]?.map((_, index) => Math.max(...lines.map((cells) => cells[index]?.length ?? 0))) ?? [];
	const table = lines.map((cells) =>
		cells.map((cell, index) => (index === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[index] ?? 0))).join('   '),
	);
	const [head = '', ...body] = table;
	const below = [...notes, ...comparisons.flatMap(problemsOf)].map((line) => `  ${line}`);
	return [`## ${title}`, '', head, '-'.repeat(head.length), ...body, ...below, ''].join('\n');
}

function rowsOf({ label, relay, naive }: Comparison, columns: readonly Column[]): string[][] {
	const indent = ' '.repeat(label.length);
	const rows = [[`${label}  relay`, ...format(relay, columns)]];
	if (naive === null) return rows;
	rows.push([`${indent}  naive`, ...format(naive, columns)]);
	rows.push([`${indent}  ratio`, ...columns.map((column, index) => ratio(column, relay.values[index], naive.values[index]))]);
	return rows;
}

function problemsOf({ label, relay, naive }: Comparison): string[] {
	return [
		...relay.problems.map((problem) => `PROBLEM, relay, ${label}: ${problem}`),
		...(naive?.problems ?? []).map((problem) => `naive, ${label}: ${problem}`),
	];
}

function format({ values }: Outcome, columns: readonly Column[]): string[] {
	return columns.map(({ digits }, index) => {
		const value = values[index] ?? Number.NaN;
		if (!Number.isFinite(value)) return '-';
		return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
	});
}

/** How many times better the relay is; below 1 it is worse. */
function ratio({ better }: Column, relay = Number.NaN, naive = Number.NaN): string {
	const times = better === 'more' ? relay / naive : naive / relay;
	return better === null || !Number.isFinite(times) ? '' : `${times.toFixed(times < 10 ? 2 : 1)}x`;
}
