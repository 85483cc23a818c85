/**
 * Checks a run against what the relay promises (I1 to I4). It knows nothing of relays: it compares what was published, what the log
 * holds at the end, and what each subscriber saw. Its own test plants every kind of fault into a good history.
 *
 * A subscriber's trace must be the log, cut into slices by gaps. What the log once held and no longer holds, because the store lost it
 * or somebody removed it, is known from acknowledgements and from what other subscribers saw: whoever missed it must have been told
 * by a gap.
 */

import assert from 'node:assert/strict';
import { compareMessageIds, type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { History, Publish, StoredMessage, Trace, TraceItem } from './history.ts';

export type FindingKind =
	/** Acknowledged, and not in the log. */
	| 'lost'
	/** In the log or delivered, although nobody published it or it was refused; or delivered, and not in the log (I3). */
	| 'phantom'
	/** One publish, stored twice. */
	| 'duplicate'
	/** The log is not in the order of its ids, or of a lane; or a subscriber saw a message again or too late. */
	| 'order'
	/** One id, two contents; or acknowledged under one id and stored under another. */
	| 'disagreement'
	/** A subscriber was not given a message that is in the log, although it was given a later one or a gap that goes past it. */
	| 'hole'
	/** A subscriber was not given a message that is no longer in the log, and no gap told it so (I4). */
	| 'silent-loss'
	/** A gap where nothing was missing, or not from where the subscriber stood. */
	| 'false-gap'
	/** At the end, messages of the log had not come to a subscriber. */
	| 'stuck';

export interface Finding {
	readonly kind: FindingKind;
	readonly topic: string;
	/** What exactly, for a person. */
	readonly detail: string;
	/** How many messages it is about. */
	readonly messages: number;
}

export interface CheckOptions {
	/** The store lost messages, or an operator removed some: what was delivered need not be in the log at the end. */
	readonly removed?: boolean;
}

/** A message that is, or once was, in a topic's log. */
interface Known extends StoredMessage {
	readonly parsed: MessageId;
	/** Whether the log still has it. */
	readonly kept: boolean;
}

export function checkHistory(history: History, options: CheckOptions = {}): readonly Finding[] {
	const publishes = Map.groupBy(history.publishes, ({ topic }) => topic);
	const traces = Map.groupBy(history.traces, ({ topic }) => topic);
	const topics = new Set([...publishes.keys(), ...traces.keys(), ...history.logs.keys()]);
	return [...topics].flatMap((topic) => {
		const check = new TopicCheck(topic, options);
		check.readLog(history.logs.get(topic) ?? [], publishes.get(topic) ?? []);
		check.readPublishes(publishes.get(topic) ?? []);
		check.readDeliveries(traces.get(topic) ?? []);
		for (const trace of traces.get(topic) ?? []) check.follow(trace);
		return check.findings;
	});
}

/** The checks of one topic, in the order of its methods. */
class TopicCheck {
	readonly findings: Finding[] = [];
	readonly #topic: string;
	readonly #removed: boolean;
	readonly #known = new Map<string, Known>();
	readonly #published = new Map<string, Publish>();
	#sorted: readonly Known[] | null = null;

	constructor(topic: string, { removed = false }: CheckOptions) {
		this.#topic = topic;
		this.#removed = removed;
	}

	/** The log by itself, and against what was published. */
	readLog(log: readonly StoredMessage[], publishes: readonly Publish[]): void {
		for (const publish of publishes) this.#published.set(publish.payload, publish);
		const places = new Map<string, string>();
		let last: MessageId = { ms: 0, n: 0 };
		for (const { id, payload } of log) {
			const parsed = parse(id);
			if (compareMessageIds(parsed, last) <= 0) this.#find('order', `${id} comes after ${last.ms}-${last.n} in the log`);
			last = parsed;
			const place = places.get(payload);
			if (place !== undefined) this.#find('duplicate', `${payload} is stored at ${place} and at ${id}`);
			places.set(payload, id);
			const publish = this.#published.get(payload);
			if (publish === undefined) this.#find('phantom', `${payload} at ${id} was published by nobody`);
			else if (publish.outcome.status === 'refused') this.#find('phantom', `${payload} at ${id} was refused`);
			this.#known.set(id, { id, payload, parsed, kept: true });
		}
	}

	/** What was acknowledged, against the log and in the order of each lane. */
	readPublishes(publishes: readonly Publish[]): void {
		const kept = new Map([...this.#known.values()].map(({ id, payload }) => [payload, id]));
		const lastOfLane = new Map<string, MessageId>();
		for (const { key, lane, payload, outcome } of publishes) {
			if (outcome.status !== 'acked') continue;
			const parsed = parse(outcome.id);
			const before = lastOfLane.get(lane);
			if (before !== undefined && compareMessageIds(parsed, before) <= 0) {
				this.#find('order', `${key} has ${outcome.id}, and the one before it in its lane ${before.ms}-${before.n}`);
			}
			lastOfLane.set(lane, parsed);
			const elsewhere = kept.get(payload);
			if (elsewhere !== undefined && elsewhere !== outcome.id) {
				this.#find('disagreement', `${key} was acknowledged as ${outcome.id}, stored as ${elsewhere}`);
				continue;
			}
			if (elsewhere === undefined) this.#find('lost', `${key}, acknowledged as ${outcome.id}`);
			this.#know(outcome.id, payload, 'an acknowledgement');
		}
	}

	/** What subscribers were given, each message by itself. */
	readDeliveries(traces: readonly Trace[]): void {
		for (const { subscriber, items } of traces) {
			for (const item of items) {
				if (item.kind === 'gap') continue;
				this.#know(item.id, item.payload, subscriber);
				const kept = this.#known.get(item.id)?.kept === true;
				if (!this.#published.has(item.payload) || (!kept && !this.#removed)) {
					this.#find('phantom', `${subscriber} was given ${item.payload} as ${item.id}, which is not in the log`);
				}
			}
		}
	}

	/** One subscriber's trace: contiguous between gaps, with gaps where there was a hole and nowhere else, up to the end. */
	follow(trace: Trace): void {
		const who = trace.subscriber;
		const seen = new Map<string, string>();
		const missed = (after: MessageId, to: MessageId | null) => this.#between(after, to).filter(({ id }) => !seen.has(id));
		let position = parse(trace.start);
		// A gap that goes back says that the log is shorter than it was: of all that was beyond its end then, not just of what it names.
		// It holds until the log is longer again than the subscriber knew it.
		let toldBeyond: MessageId | null = null;
		// What it was led past before anybody knew that it was lost. A gap that comes then tells of it, late.
		let untold: { readonly passed: readonly Known[]; readonly detail: string }[] = [];
		for (const item of trace.items) {
			const at = parse(item.kind === 'message' ? item.id : item.to);
			if (item.kind === 'gap') {
				this.#checkGap(who, position, item, missed(position, at), untold.length > 0);
				if (item.reason === 'ahead') untold = [];
				if (compareMessageIds(at, position) <= 0) toldBeyond ??= position;
			} else if (compareMessageIds(at, position) <= 0 || seen.get(item.id) === item.payload) {
				this.#find('order', `${who} was given ${item.id} again or late, at ${position.ms}-${position.n}`);
				continue;
			} else {
				const skipped = missed(position, at).filter(({ id }) => id !== item.id);
				this.#findMissed('hole', skipped.filter(isKept), `${who} was given ${item.id} before it`);
				const passed = skipped.filter(isGone);
				if (toldBeyond === null && passed.length > 0)
					untold.push({ passed, detail: `${who} was given ${item.id} without a gap` });
				seen.set(item.id, item.payload);
				if (toldBeyond !== null && compareMessageIds(at, toldBeyond) > 0) toldBeyond = null;
			}
			position = at;
		}
		for (const { passed, detail } of untold) this.#findMissed('silent-loss', passed, detail);
		this.#findMissed('stuck', missed(position, null).filter(isKept), `${who} stands at ${position.ms}-${position.n} at the end`);
	}

	#checkGap(
		who: string,
		position: MessageId,
		gap: TraceItem & { readonly kind: 'gap' },
		passed: readonly Known[],
		late: boolean,
	): void {
		const where = `${who}: gap ${gap.reason} from ${gap.from} to ${gap.to}, standing at ${position.ms}-${position.n}`;
		this.#findMissed('hole', passed.filter(isKept), where);
		// What it stood at is gone: its log is not the log any more.
		const anchor = this.#known.get(`${position.ms}-${position.n}`);
		const honest = passed.some(isGone) || anchor?.kept === false || (late && gap.reason === 'ahead');
		const fromElsewhere = gap.from !== null && compareMessageIds(parse(gap.from), position) !== 0;
		if (!honest || fromElsewhere) this.#find('false-gap', where);
	}

	/** Notes that an id had a content. */
	#know(id: string, payload: string, source: string): void {
		const known = this.#known.get(id);
		if (known === undefined) this.#known.set(id, { id, payload, parsed: parse(id), kept: false });
		else if (known.payload !== payload) this.#find('disagreement', `${id} is ${known.payload}, and for ${source} ${payload}`);
	}

	/** All messages ever known after one position, up to and including another; null = the end. */
	#between(after: MessageId, to: MessageId | null): readonly Known[] {
		this.#sorted ??= [...this.#known.values()].sort((a, b) => compareMessageIds(a.parsed, b.parsed));
		const first = countUpTo(this.#sorted, after);
		return this.#sorted.slice(first, to === null ? undefined : Math.max(first, countUpTo(this.#sorted, to)));
	}

	#find(kind: FindingKind, detail: string): void {
		this.findings.push({ kind, topic: this.#topic, detail, messages: 1 });
	}

	#findMissed(kind: FindingKind, missed: readonly Known[], detail: string): void {
		const [first] = missed;
		if (first === undefined) return;
		const span = missed.length === 1 ? first.id : `${first.id} to ${missed.at(-1)?.id} (${missed.length})`;
		this.findings.push({ kind, topic: this.#topic, detail: `${span}: ${detail}`, messages: missed.length });
	}
}

function isKept({ kept }: Known): boolean {
	return kept;
}

function isGone({ kept }: Known): boolean {
	return !kept;
}

/** How many of the sorted messages have an id up to and including this one. */
function countUpTo(sorted: readonly Known[], id: MessageId): number {
	let low = 0;
	let high = sorted.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		const known = sorted[middle];
		if (known !== undefined && compareMessageIds(known.parsed, id) <= 0) low = middle + 1;
		else high = middle;
	}
	return low;
}

function parse(id: string): MessageId {
	const parsed = parseMessageId(id);
	assert(parsed !== undefined, `${id} is not a message id`);
	return parsed;
}

/** The number of messages that findings of one kind are about. */
export function countFindings(findings: readonly Finding[], kind: FindingKind): number {
	return findings.reduce((sum, finding) => sum + (finding.kind === kind ? finding.messages : 0), 0);
}
