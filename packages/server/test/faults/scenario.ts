/** A scenario of the fault runs: what is set up, what goes wrong, and what is expected of it. */

import type { Finding, FindingKind } from './history-checker.ts';
import type { Gap, LoadReport, LoadSize, RunningLoad } from './load.ts';

export interface Scenario {
	readonly name: string;
	/** Takes too long to be part of `npm test`, which has a shorter one of the kind. */
	readonly fullOnly?: true;
	run(size: LoadSize): Promise<ScenarioResult>;
}

export interface ScenarioResult {
	readonly report: LoadReport;
	/** What was not as expected, one line each. */
	readonly problems: readonly string[];
}

/** A publish is answered within this, whatever the store does. */
const ANSWER_MS = 2000;
/** Whoever misses something is told so within this, once the store is back. */
const TOLD_MS = 2000;
const DETAILS_MAX = 4;

/** Every finding of other kinds than those expected, each kind with its first few. */
export function findingsBut(report: LoadReport, ...expected: readonly FindingKind[]): string[] {
	const unexpected = Map.groupBy(
		report.findings.filter(({ kind }) => !expected.includes(kind)),
		({ kind }) => kind,
	);
	return [...unexpected].map(([kind, findings]) => describe(kind, findings));
}

function describe(kind: FindingKind, findings: readonly Finding[]): string {
	const messages = findings.reduce((sum, finding) => sum + finding.messages, 0);
	const details = findings.slice(0, DETAILS_MAX).map(({ topic, detail }) => `${topic}: ${detail}`);
	return `${kind}: ${messages} messages, ${findings.length} findings; ${details.join('; ')}`;
}

/** Publishes that were not answered in time, and refusals that do not say when to come again. */
export function answersLate({ attempts }: LoadReport): string[] {
	const late = attempts.filter(({ tookMs }) => tookMs > ANSWER_MS).map(({ tookMs }) => Math.round(tookMs));
	const mute = attempts.filter(({ status, retryAfter }) => status === 503 && retryAfter === null).length;
	return [
		...(late.length === 0 ? [] : [`${late.length} publishes took more than ${ANSWER_MS} ms, up to ${Math.max(...late)} ms`]),
		...(mute === 0 ? [] : [`${mute} answers 503 without Retry-After`]),
	];
}

/** Publishes whose connection was cut where a relay that ends may not cut one. */
export function publishesCut({ attempts }: LoadReport): string[] {
	const cut = attempts.filter((attempt) => attempt.cut);
	return cut.length === 0 ? [] : [`${cut.length} publishes were cut off without an answer`];
}

/** Gaps that came later than they may after the store was back. */
export function gapsLate({ gaps, faultToMs, recoveryMs }: LoadReport): string[] {
	const deadlineMs = faultToMs + recoveryMs + TOLD_MS;
	const late = gaps.filter(({ atMs }) => atMs > deadlineMs);
	const most = late.reduce((max, { atMs }) => Math.max(max, atMs), deadlineMs);
	return late.length === 0
		? []
		: [`${late.length} gaps came up to ${Math.round(most - deadlineMs)} ms too late: ${describeGap(late[0])}`];
}

/** Gaps where none can be. */
export function anyGaps({ gaps }: LoadReport): string[] {
	return gaps.length === 0 ? [] : [`${gaps.length} gaps, the first: ${describeGap(gaps[0])}`];
}

function describeGap(gap: Gap | undefined): string {
	return gap === undefined ? 'none' : `${gap.subscriber} in ${gap.topic}: ${gap.reason} from ${gap.from} to ${gap.to}`;
}

/** A sentence when something that must hold does not. */
export function unless(holds: boolean, problem: string): string[] {
	return holds ? [] : [problem];
}

/** Resolves when a relay has refused some publishes with 503: by then it has noticed that its store is away. */
export function untilRefused({ publishers }: RunningLoad, urls: readonly string[], count = 1): Promise<unknown> {
	return Promise.all(urls.map((url) => publishers.untilTried((attempt) => attempt.url === url && attempt.status === 503, count)));
}
