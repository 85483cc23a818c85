/** Aligned tables: each measurement of the relay, the naive way below it, and by what factor the relay is better. */

import type { LatencySummary } from './statistics.ts';

export interface Column {
	readonly title: string;
	/** Which direction is good, for the ratio; null where a ratio says nothing. */
	readonly better: 'more' | 'less' | null;
	/** Digits after the point. */
	readonly digits: number;
}

/** One measurement, its values in the order of the columns. NaN = not measured. */
export interface Comparison {
	readonly label: string;
	readonly relay: readonly number[];
	/** Null when there is nothing to compare with. */
	readonly naive: readonly number[] | null;
}

export interface Section {
	readonly title: string;
	readonly columns: readonly Column[];
	readonly comparisons: readonly Comparison[];
	/** Lines below the table: what to know when reading it, and what went wrong. */
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
export function renderSection(section: Section): string {
	const lines = [
		['', ...section.columns.map((column) => column.title)],
		...section.comparisons.flatMap((each) => rowsOf(each, section.columns)),
	];
	const widths = lines[0]?.map((_, index) => Math.max(...lines.map((cells) => cells[index]?.length ?? 0))) ?? [];
	const table = lines.map((cells) =>
		cells.map((cell, index) => (index === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[index] ?? 0))).join('   '),
	);
	const [head = '', ...body] = table;
	return [
		`## ${section.title}`,
		'',
		head,
		'-'.repeat(head.length),
		...body,
		...section.notes.map((note) => `  ${note}`),
		'',
	].join('\n');
}

function rowsOf({ label, relay, naive }: Comparison, columns: readonly Column[]): string[][] {
	const rows = [[`${label}  relay`, ...format(relay, columns)]];
	if (naive === null) return rows;
	const indent = ' '.repeat(label.length);
	rows.push([`${indent}  naive`, ...format(naive, columns)]);
	rows.push([`${indent}  ratio`, ...columns.map((column, index) => ratio(column, relay[index], naive[index]))]);
	return rows;
}

function format(values: readonly number[], columns: readonly Column[]): string[] {
	return columns.map(({ digits }, index) => {
		const value = values[index] ?? Number.NaN;
		return Number.isFinite(value)
			? value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
			: '-';
	});
}

/** How many times better the relay is; below 1 it is worse. */
function ratio({ better }: Column, relay = Number.NaN, naive = Number.NaN): string {
	const times = better === 'more' ? relay / naive : naive / relay;
	return better === null || !Number.isFinite(times) ? '' : `${times.toFixed(times < 10 ? 2 : 1)}x`;
}
