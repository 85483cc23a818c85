/**
 * Going over all topics: trimming what retention does not cover, counting what is kept, forgetting what need not be remembered. A
 * cycle visits every topic once, in steps of a few hundred. With many topics it rests between cycles, so that the server
 * spends a fiftieth of its time on it at most, per node.
 */

import { DELETED_TOPIC_KEPT_MS, type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../../ports/clock.ts';
import type { TrimStep } from '../../ports/store.ts';
import { keysOf } from './appends.ts';
import type { Connection, ScriptCall } from './connection.ts';
import { failureOf } from './failure.ts';
import { type KeySpace, publishCommand, type RecordKeys } from './keys.ts';
import { SCRIPTS } from './scripts.ts';
import type { Sizes } from './sizes.ts';
import type { StoreClock } from './store-clock.ts';
import { toNames, topicNames, unlist } from './topic-list.ts';

export interface SweepOptions {
	readonly connection: Connection;
	readonly clock: Clock;
	readonly time: StoreClock;
	readonly cluster: boolean;
	readonly topicsMax: number;
	readonly sizes: Sizes;
	readonly onTrimmed: (topic: string, floor: MessageId) => void;
	readonly onWarning: (text: string, fields: Readonly<Record<string, unknown>>) => void;
}

const TOPICS_PER_STEP_MAX = 500;
/** Messages that one call takes out of one topic: two milliseconds or so of the server. */
const TRIMMED_PER_CALL_MAX = 1024;
/** After so long, or so many messages, a step ends, as appends wait behind it. It keeps up with what a turn of appends may bring. */
const STEP_MS_MAX = 8;
const TRIMMED_PER_STEP_MAX = 16_384;
/** Messages that a cycle takes out of one topic before the others have their turn; then the next cycle begins without a rest. */
const TRIMMED_PER_VISIT_MAX = 65_536;
const ENDINGS_PER_STEP_MAX = 500;
/** Topics with ids ahead of the clock that an operator is told of. */
const TOPICS_TOLD_MAX = 1000;
const RECORDS_PER_STEP_MAX = 10_000;
/** A cycle in which all was trimmed that had to be rests this many times the time its calls took before the next. */
const REST_RATIO = 50;

export class Sweep {
	readonly #options: SweepOptions;
	/** The topic after which the cycle goes on; null = a new one begins. */
	#after: string | null = null;
	/** What the steps of the cycle took. */
	#cycleMs = 0;
	#restUntilMs = 0;
	/** Whether the cycle has left something to trim. */
	#leftSome = false;
	/** The topic that has more to trim, and what was taken out of it since the cycle came to it. */
	#visit = { topic: '', trimmed: 0 };
	/** Topics on the list that do not exist, in this cycle and in the one before: their creation, or deletion, was cut short. */
	#missing = new Set<string>();
	#missingBefore = new Set<string>();
	/** Topics whose ids are ahead of the clock, which an operator was told of; and how many this cycle and the last have found. */
	readonly #ahead = new Set<string>();
	#aheadFound = 0;
	#aheadBefore = 0;
	/** Where forgetting of records goes on, on a Cluster. */
	#recordsAfter: string | null = null;

	constructor(options: SweepOptions) {
		this.#options = options;
	}

	/** Topics whose ids are ahead of the clock, as the last cycle found. */
	get topicsAhead(): number {
		return this.#aheadBefore;
	}

	/** One step of trimming, as the port says. */
	async trim(step: TrimStep): Promise<{ readonly removed: number; readonly more: boolean }> {
		const { clock, sizes } = this.#options;
		const startedMs = clock.monotonicMs();
		if (this.#after === null) {
			if (startedMs < this.#restUntilMs) return { removed: 0, more: false };
			this.#cycleMs = 0;
			this.#leftSome = false;
			this.#aheadFound = 0;
			sizes.beginCount();
		}
		const names = await this.#names(this.#after, TOPICS_PER_STEP_MAX);
		const { removed, reached } = await this.#trimSome(names, step, startedMs);
		this.#cycleMs += clock.monotonicMs() - startedMs;
		if (reached !== null || names.length === TOPICS_PER_STEP_MAX) {
			this.#after = reached ?? names.at(-1) ?? null;
			return { removed, more: true };
		}
		this.#after = null;
		this.#aheadBefore = this.#aheadFound;
		this.#restUntilMs = this.#leftSome ? 0 : clock.monotonicMs() + REST_RATIO * this.#cycleMs;
		this.#missingBefore = this.#missing;
		this.#missing = new Set();
		sizes.endCount();
		const { time } = this.#options;
		const agesMs = time.agesMs(step.nowMs);
		await this.#forgetEndings(agesMs);
		await time.remember(agesMs);
		return { removed, more: this.#leftSome };
	}

	/** Trims topics until the step's bounds are reached; `reached` is then where the next step goes on. */
	async #trimSome(names: readonly string[], step: TrimStep, startedMs: number) {
		let removed = 0;
		let blocksLeft = step.blocksMax;
		// In groups, so that what one group has removed counts before the next begins.
		for (let at = 0; at < names.length; ) {
			const group = names.slice(at, at + Math.max(1, Math.floor(blocksLeft / 4)));
			const { trimmed, blocks, unfinished } = await this.#trimGroup(group, step, blocksLeft);
			removed += trimmed;
			blocksLeft -= blocks;
			const again = unfinished !== null && this.#goesOn(unfinished.topic, unfinished.trimmed) ? unfinished.topic : null;
			at += again === null ? group.length : group.indexOf(again);
			const tookMs = this.#options.clock.monotonicMs() - startedMs;
			if (blocksLeft > 0 && removed < TRIMMED_PER_STEP_MAX && tookMs < STEP_MS_MAX) continue;
			return { removed, reached: again === null ? (group.at(-1) ?? null) : justBefore(again) };
		}
		return { removed, reached: null };
	}

	/** Whether the cycle stays with a topic of which there is more to trim, rather than to come back in the next. */
	#goesOn(topic: string, trimmed: number): boolean {
		if (this.#visit.topic !== topic) this.#visit = { topic, trimmed: 0 };
		this.#visit.trimmed += trimmed;
		if (this.#visit.trimmed < TRIMMED_PER_VISIT_MAX) return true;
		this.#visit = { topic: '', trimmed: 0 };
		this.#leftSome = true;
		return false;
	}

	/** Counts what every topic holds, for a store that was just opened. */
	async count(): Promise<void> {
		const { connection, sizes } = this.#options;
		for (let after: string | null = null; ; ) {
			const names: readonly string[] = await this.#names(after, TOPICS_PER_STEP_MAX);
			const replies = await connection.evaluate(names.map((name) => getCall(connection.keys, name)));
			for (const [i, name] of names.entries()) {
				const reply = replies[i];
				if (reply instanceof Error) continue;
				if (Array.isArray(reply)) sizes.set(name, Number(reply[9]), Number(reply[10]));
			}
			if (names.length < TOPICS_PER_STEP_MAX) return;
			after = names.at(-1) ?? null;
		}
	}

	/** One step of forgetting idempotency records, as the port says. On a Cluster the bound on their number holds per topic. */
	async forgetKeys(beforeMs: number, keysMax: number): Promise<{ readonly removed: number; readonly more: boolean }> {
		const { cluster, connection, clock, time } = this.#options;
		const { keys } = connection;
		// As much earlier as the store's clock is behind the node's.
		const nodeMs = clock.nowMs();
		const agedMs = beforeMs - (nodeMs - time.agesMs(nodeMs));
		if (!cluster) return this.#forget([keys.idempotency(null)], agedMs, keysMax);
		const names = await this.#names(this.#recordsAfter, TOPICS_PER_STEP_MAX);
		const ended = this.#recordsAfter === null ? await this.#endings() : [];
		const done = await this.#forget([...names, ...ended].map(keys.idempotency), agedMs, keysMax);
		const goesOn = names.length === TOPICS_PER_STEP_MAX;
		if (!done.more) this.#recordsAfter = goesOn ? (names.at(-1) ?? null) : null;
		return { removed: done.removed, more: done.more || goesOn };
	}

	async #forget(scopes: readonly RecordKeys[], beforeMs: number, keysMax: number) {
		const args = [String(beforeMs), String(keysMax), String(RECORDS_PER_STEP_MAX)];
		const calls = scopes.map((scope) => ({ script: SCRIPTS.forgetKeys, keys: keysOf(scope), args }));
		let removed = 0;
		let more = false;
		for (const reply of await this.#options.connection.evaluate(calls)) {
			if (!Array.isArray(reply)) throw failureOf(reply);
			removed += Number(reply[0]);
			more ||= reply[1] === 1;
		}
		return { removed, more };
	}

	async #trimGroup(names: readonly string[], step: TrimStep, blocksMax: number) {
		const { connection, cluster, sizes, time, onTrimmed } = this.#options;
		const nowMs = time.nowMs();
		const agesMs = time.agesMs(step.nowMs);
		const replies = await connection.evaluate(
			names.map((name): ScriptCall => {
				const { stream, meta, channel } = connection.keys.topic(name);
				const limits = [agesMs, step.defaultMaxAgeS, step.defaultMaxMessages, blocksMax, TRIMMED_PER_CALL_MAX].map(String);
				return { script: SCRIPTS.trim, keys: [stream, meta], args: [...limits, publishCommand(cluster), channel, String(nowMs)] };
			}),
		);
		let trimmed = 0;
		let blocks = 0;
		let unfinished: { readonly topic: string; readonly trimmed: number } | null = null;
		const missing: string[] = [];
		for (const [i, name] of names.entries()) {
			const reply = replies[i];
			// A topic that cannot be read must not keep the others from being trimmed; its publishers and readers are told.
			if (reply instanceof Error) continue;
			if (!Array.isArray(reply)) {
				missing.push(name);
				continue;
			}
			const [removed, floor, more, messages, bytes] = reply;
			sizes.set(name, Number(messages), Number(bytes));
			trimmed += Number(removed);
			blocks += Number(reply[5]);
			this.#noteAhead(name, Number(reply[6]));
			const id = parseMessageId(String(floor));
			if (Number(removed) > 0 && id !== undefined) onTrimmed(name, id);
			if (more === 1) unfinished ??= { topic: name, trimmed: Number(removed) };
		}
		if (missing.length > 0) await this.#noteMissing(missing, nowMs);
		return { trimmed, blocks, unfinished };
	}

	/** Ids go on from the newest, so that those of a topic stay ahead until the clock has come to them. */
	#noteAhead(topic: string, aheadMs: number): void {
		if (aheadMs === 0) {
			this.#ahead.delete(topic);
			return;
		}
		this.#aheadFound++;
		if (this.#ahead.has(topic) || this.#ahead.size >= TOPICS_TOLD_MAX) return;
		this.#ahead.add(topic);
		this.#options.onWarning('the ids of a topic are ahead of the clock; its messages are kept by when they were seen', {
			topic,
			seconds: Math.round(aheadMs / 1000),
		});
	}

	/** In two cycles is no creation under way. */
	async #noteMissing(names: readonly string[], nowMs: number): Promise<void> {
		for (const name of names) {
			this.#options.sizes.delete(name);
			this.#missing.add(name);
		}
		await unlist(
			this.#options.connection,
			names.filter((name) => this.#missingBefore.has(name)),
			nowMs,
		);
	}

	/** As many endings are kept as topics may exist, so that creating and deleting in a loop stays bounded (I8). */
	async #forgetEndings(nowMs: number): Promise<void> {
		const { connection, cluster, topicsMax } = this.#options;
		const { keys } = connection;
		const limit = String(ENDINGS_PER_STEP_MAX);
		const [old, count] = await connection.run([
			['ZRANGE', keys.endings, '-inf', `(${nowMs - DELETED_TOPIC_KEPT_MS}`, 'BYSCORE', 'LIMIT', '0', limit],
			['ZCARD', keys.endings],
		]);
		const excess = Math.min(ENDINGS_PER_STEP_MAX, Number(count) - topicsMax);
		const [over] = excess > 0 ? await connection.run([['ZRANGE', keys.endings, '0', String(excess - 1)]]) : [[]];
		const names = [...new Set([...toNames(old), ...toNames(over)])];
		if (names.length === 0) return;
		await connection.evaluate(
			names.map((name) => {
				const { stream, meta } = keys.topic(name);
				const { records, order } = keys.idempotency(name);
				return { script: SCRIPTS.forgetEnd, keys: cluster ? [stream, meta, records, order] : [stream, meta], args: [] };
			}),
		);
		await connection.run([['ZREM', keys.endings, ...names]]);
	}

	async #endings(): Promise<readonly string[]> {
		const { connection } = this.#options;
		return toNames((await connection.run([['ZRANGE', connection.keys.endings, '0', '-1']]))[0]);
	}

	#names(after: string | null, limit: number): Promise<readonly string[]> {
		return topicNames(this.#options.connection, after, limit);
	}
}

/** The call that tells of a topic without changing it. */
export function getCall(keys: KeySpace, name: string): ScriptCall {
	const { stream, meta } = keys.topic(name);
	return { script: SCRIPTS.topic, keys: [stream, meta], args: ['get', '', ''] };
}

/** A text below the name and above every name before it, as names have no control characters. */
function justBefore(name: string): string {
	return `${name.slice(0, -1)}${String.fromCharCode(name.charCodeAt(name.length - 1) - 1)}\u007f`;
}
