/** A fault run: publishers and subscribers on running relays, a fault in the middle, and what came of it, checked. */

import assert from 'node:assert/strict';
import { compareMessageIds, parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { History, Publish, StoredMessage, TraceItem } from './history.ts';
import { type CheckOptions, checkHistory, type Finding } from './history-checker.ts';
import { type Attempt, Publishers } from './publishers.ts';
import { Subscriber } from './subscriber.ts';

/** How much load, and how long before and after the fault. */
export interface LoadSize {
	readonly topics: number;
	readonly publishers: number;
	readonly subscribers: number;
	readonly messagesPerS: number;
	readonly beforeS: number;
	readonly afterS: number;
}

/** The runs of `npm run test:faults`. */
export const FULL: LoadSize = { topics: 20, publishers: 8, subscribers: 30, messagesPerS: 2000, beforeS: 10, afterS: 12 };
/** Those inside `npm test`. */
export const SMOKE: LoadSize = { topics: 4, publishers: 3, subscribers: 6, messagesPerS: 300, beforeS: 1, afterS: 1 };

export interface LoadOptions extends CheckOptions {
	readonly size: LoadSize;
	/** Of the relays, all over the same store. */
	readonly urls: readonly string[];
	/** Resolves when everything works again, as far as whoever makes the fault can tell. */
	readonly fault: (load: RunningLoad) => Promise<void>;
}

/** The load, as a fault sees it. */
export interface RunningLoad {
	readonly topics: readonly string[];
	readonly publishers: Publishers;
	readonly subscribers: readonly Subscriber[];
	/** What an operator wrote past the relays, to be expected like the rest. */
	readonly byHand: Publish[];
}

export type Gap = TraceItem & { readonly kind: 'gap' } & { readonly subscriber: string; readonly topic: string };

export interface LoadReport {
	readonly history: History;
	readonly findings: readonly Finding[];
	readonly acked: number;
	readonly attempts: readonly Attempt[];
	readonly gaps: readonly Gap[];
	/** Transports of the connections that were broken, one entry each. */
	readonly broken: readonly string[];
	readonly faultFromMs: number;
	readonly faultToMs: number;
	/** From the end of the fault until each relay has acknowledged something that was sent since it began. */
	readonly recoveryMs: number;
	/** The longest try of a publish that overlaps with the fault or the recovery. */
	readonly longestTryMs: number;
}

const SETTLE_MS = 15_000;
/** No phase takes longer than so many times what it should. */
const PATIENCE = 10;
const FAULT_MAX_S = 60;
const RECOVERY_MAX_S = 15;
const LOOK_INTERVAL_MS = 20;
const TOPICS_PER_SUBSCRIBER_MAX = 6;
/** One in so many subscribers is away from before the fault until after the recovery, and learns of it from the log only. */
const ABSENT_EACH = 5;

let runs = 0;

export async function runLoad({ size, urls, fault, ...check }: LoadOptions): Promise<LoadReport> {
	const run = ++runs;
	const topics = Array.from({ length: size.topics }, (_, i) => `run${run}.t${i}`);
	const publishers = new Publishers({ urls, topics, publishers: size.publishers, messagesPerS: size.messagesPerS });
	const subscribers = Array.from({ length: size.subscribers }, (_, i) => new Subscriber(subscriberOptions(i, topics, urls)));
	const byHand: Publish[] = [];
	const running = { topics, publishers, subscribers, byHand };
	for (const subscriber of subscribers) subscriber.start();
	publishers.start();
	const { fromMs, toMs, logs } = await finished(running, size, urls, fault).finally(() =>
		Promise.allSettled([publishers.stop(0), ...subscribers.map((subscriber) => subscriber.stop())]).then(() => {}),
	);
	const history = { publishes: [...publishers.publishes, ...byHand], logs, traces: subscribers.flatMap(({ traces }) => traces) };
	return {
		history,
		findings: checkHistory(history, check),
		acked: publishers.acked,
		attempts: publishers.attempts,
		gaps: gapsOf(history),
		broken: subscribers.flatMap(({ broken }) => broken),
		faultFromMs: fromMs,
		faultToMs: toMs,
		...timesOf(publishers.attempts, fromMs, toMs),
	};
}

function subscriberOptions(i: number, topics: readonly string[], urls: readonly string[]) {
	const count = Math.min(topics.length, 1 + (i % TOPICS_PER_SUBSCRIBER_MAX));
	const followed = Array.from({ length: count }, (_, n) => topics[(i * 3 + n) % topics.length] ?? '');
	return { name: `s${i}`, urls, topics: followed, start: i % 3 === 2 ? ('last' as const) : ('earliest' as const) };
}

/** The phases: before the fault, the fault, after it, until all is delivered. */
async function finished(load: RunningLoad, size: LoadSize, urls: readonly string[], fault: LoadOptions['fault']) {
	const { publishers, subscribers, topics } = load;
	const acked = (seconds: number) => publishers.untilAcked(publishers.acked + size.messagesPerS * seconds);
	await within(acked(size.beforeS), size.beforeS * PATIENCE, publishers, 'before the fault');
	const absent = subscribers.filter((_, i) => i % ABSENT_EACH === ABSENT_EACH - 1);
	await within(Promise.all(absent.map((subscriber) => subscriber.leave())), FAULT_MAX_S, publishers, 'for some to leave');
	const fromMs = performance.now();
	await within(fault(load), FAULT_MAX_S, publishers, 'in the fault');
	const toMs = performance.now();
	const recovered = urls.map((url) => publishers.untilTried((attempt) => attempt.url === url && attempt.status === 201));
	await within(Promise.all(recovered), RECOVERY_MAX_S, publishers, 'for the recovery');
	for (const subscriber of absent) subscriber.comeBack();
	await within(acked(size.afterS), size.afterS * PATIENCE, publishers, 'after the fault');
	await publishers.stop(SETTLE_MS);
	for (const subscriber of subscribers) subscriber.stay();
	const logs = await readLogs(urls, topics);
	await untilSettled(subscribers, logs);
	return { fromMs, toMs, logs };
}

/** Bounds a phase; says what publishers met when it goes on for too long. */
async function within(phase: Promise<unknown>, seconds: number, { attempts }: Publishers, when: string): Promise<void> {
	let timer: NodeJS.Timeout | undefined;
	const late = new Promise<never>((_, reject) => {
		timer = setTimeout(() => {
			const last = attempts.slice(-20).map(({ url, status, tookMs }) => `${url} ${status} after ${Math.round(tookMs)} ms`);
			reject(new Error(`waited ${seconds} s ${when}; the last publishes: ${last.join(', ')}`));
		}, seconds * 1000);
	});
	await Promise.race([phase, late]).finally(() => clearTimeout(timer));
}

/** Each topic's log, page by page, from whichever relay answers. */
async function readLogs(urls: readonly string[], topics: readonly string[]): Promise<Map<string, StoredMessage[]>> {
	const logs = new Map<string, StoredMessage[]>();
	for (const [i, topic] of topics.entries()) logs.set(topic, await readLog(urls[i % urls.length] ?? '', topic));
	return logs;
}

async function readLog(url: string, topic: string): Promise<StoredMessage[]> {
	const log: StoredMessage[] = [];
	for (let cursor: string | null = null; ; ) {
		const query = new URLSearchParams({ order: 'asc', limit: '100', ...(cursor === null ? {} : { cursor }) });
		const response = await fetch(`${url}/api/v1/topics/${topic}/messages?${query}`);
		assert(response.status === 200 || response.status === 404, `${response.status} reading ${topic}`);
		if (response.status === 404) return log;
		const page = (await response.json()) as {
			messages: { message_id: string; payload: unknown }[];
			next_cursor: string | null;
		};
		// The payloads are JSON strings without escapes.
		log.push(...page.messages.map(({ message_id: id, payload }) => ({ id, payload: JSON.stringify(payload) })));
		if (page.next_cursor === null) return log;
		cursor = page.next_cursor;
	}
}

/** Waits until every subscriber is at the end of each of its topics, or for as long as that may take: the checker tells. */
async function untilSettled(
	subscribers: readonly Subscriber[],
	logs: ReadonlyMap<string, readonly StoredMessage[]>,
): Promise<void> {
	const isBehind = (subscriber: Subscriber) =>
		subscriber.topics.some((topic) => {
			const last = parseMessageId(logs.get(topic)?.at(-1)?.id ?? '0-0');
			const position = parseMessageId(subscriber.position(topic) ?? '0-0');
			return last !== undefined && position !== undefined && compareMessageIds(position, last) < 0;
		});
	const deadline = performance.now() + SETTLE_MS;
	while (subscribers.some(isBehind) && performance.now() < deadline) {
		await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS));
	}
}

function gapsOf({ traces }: History): Gap[] {
	return traces.flatMap(({ subscriber, topic, items }) =>
		items.flatMap((item) => (item.kind === 'gap' ? [{ ...item, subscriber, topic }] : [])),
	);
}

function timesOf(attempts: readonly Attempt[], fromMs: number, toMs: number): Pick<LoadReport, 'recoveryMs' | 'longestTryMs'> {
	const firsts = [...Map.groupBy(attempts, ({ url }) => url).values()].map((ofOne) =>
		ofOne.find(({ status, sentAtMs, tookMs }) => status === 201 && sentAtMs >= fromMs && sentAtMs + tookMs >= toMs),
	);
	const recoveredMs = Math.max(
		...firsts.map((first) => (first === undefined ? Number.POSITIVE_INFINITY : first.sentAtMs + first.tookMs)),
	);
	const during = attempts.filter(
		({ sentAtMs, tookMs }) => sentAtMs + tookMs >= fromMs && sentAtMs <= Math.max(toMs, recoveredMs),
	);
	return {
		recoveryMs: recoveredMs - toMs,
		longestTryMs: during.reduce((most, { tookMs }) => Math.max(most, tookMs), 0),
	};
}
