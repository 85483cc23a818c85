/**
 * The store in memory: nothing survives the process. It is the model that the other stores are checked against, so each call
 * does what the contract says in one synchronous step, and the steps run in the order of the calls, never inside a call.
 */

import { randomUUID } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { DELETED_TOPIC_KEPT_MS, type MessageId, nextMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { type ArrivalMark, arrivedBefore, isAhead, markArrivals, NO_MARKS } from '../../log/arrivals.ts';
import { type Block, lastIdOf } from '../../log/block.ts';
import { packRuns } from '../../log/packing.ts';
import type { ReadLimits } from '../../log/page.ts';
import type { Clock } from '../../ports/clock.ts';
import type {
	AppendEntry,
	AppendOutcome,
	LogListener,
	Page,
	Retention,
	Store,
	StoreHealth,
	Topic,
	TopicChange,
	TopicPosition,
	TrimStep,
	WatchedPosition,
} from '../../ports/store.ts';
import { BlockLog } from './block-log.ts';
import { IdempotencyRecords } from './idempotency-records.ts';

export interface MemoryStoreOptions {
	/** Topics that may exist at the same time. */
	readonly topicsMax: number;
	readonly clock: Clock;
}

/** Opens an empty store of durability `memory`. */
export function createMemoryStore(options: MemoryStoreOptions): Store {
	return new MemoryStore(options);
}

interface TopicState {
	readonly topicId: string;
	readonly createdAtMs: number;
	readonly log: BlockLog;
	description: string | null;
	retention: Retention;
	/** See log/arrivals.ts. */
	marks: readonly ArrivalMark[];
}

/** The end of a deleted topic. */
interface Ending {
	readonly tip: MessageId;
	deletedAtMs: number;
}

class MemoryStore implements Store {
	readonly #topicsMax: number;
	readonly #clock: Clock;
	readonly #topics = new Map<string, TopicState>();
	/** Where deleted topics ended, so that their ids are not given out again (I1). */
	readonly #endings = new Map<string, Ending>();
	readonly #keys = new IdempotencyRecords();
	#listener: LogListener | null = null;
	/** Topics whose newest id was ahead of the clock at the last trimming. */
	#topicsAhead = 0;
	#closed = false;

	constructor({ topicsMax, clock }: MemoryStoreOptions) {
		this.#topicsMax = topicsMax;
		this.#clock = clock;
	}

	listen(listener: LogListener): void {
		this.#listener = listener;
	}

	append(topic: string, entries: readonly AppendEntry[]): Promise<readonly AppendOutcome[]> {
		return this.#inTurn(() => this.#append(topic, entries));
	}

	read(topic: string, after: MessageId, limits: ReadLimits): Promise<Page> {
		return this.#inTurn(() => this.#page(topic, (log) => log.read(after, limits)));
	}

	readBefore(topic: string, before: MessageId | null, limits: ReadLimits): Promise<Page> {
		return this.#inTurn(() => this.#page(topic, (log) => log.readBefore(before, limits)));
	}

	/** Announces every topic, watched or not, so that watching is only asking for the position. */
	watch(topic: string): Promise<WatchedPosition> {
		return this.#inTurn(() => ({ ...this.#position(topic), intact: true }));
	}

	unwatch(_topic: string): void {}

	createTopic(name: string, change: TopicChange): Promise<{ readonly status: 'created' | 'exists'; readonly topic: Topic }> {
		return this.#inTurn(() => {
			const existing = this.#topics.get(name);
			if (existing !== undefined) return { status: 'exists', topic: topicOf(name, existing) };
			const created = this.#create(name);
			applyChange(created, change);
			return { status: 'created', topic: topicOf(name, created) };
		});
	}

	getTopic(name: string): Promise<Topic | undefined> {
		return this.#inTurn(() => {
			const topic = this.#topics.get(name);
			return topic === undefined ? undefined : topicOf(name, topic);
		});
	}

	listTopics(after: string | null, limit: number): Promise<readonly Topic[]> {
		return this.#inTurn(() =>
			[...this.#topics]
				.filter(([name]) => after === null || name > after)
				.sort(([a], [b]) => (a < b ? -1 : 1))
				.slice(0, limit)
				.map(([name, topic]) => topicOf(name, topic)),
		);
	}

	updateTopic(name: string, change: TopicChange): Promise<Topic | undefined> {
		return this.#inTurn(() => {
			const topic = this.#topics.get(name);
			if (topic === undefined) return undefined;
			applyChange(topic, change);
			return topicOf(name, topic);
		});
	}

	deleteTopic(name: string): Promise<boolean> {
		return this.#inTurn(() => {
			const topic = this.#topics.get(name);
			if (topic === undefined) return false;
			const { tip } = topic.log;
			this.#topics.delete(name);
			this.#endings.set(name, { tip, deletedAtMs: this.#clock.nowMs() });
			this.#listener?.deleted(name, tip);
			return true;
		});
	}

	trim(step: TrimStep): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#inTurn(() => {
			this.#mark(step);
			const trimmed = this.#trim(step);
			this.#forgetEndings(step.nowMs);
			return trimmed;
		});
	}

	forgetKeys(beforeMs: number, keysMax: number): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#inTurn(() => this.#keys.forget(beforeMs, keysMax));
	}

	health(): StoreHealth {
		return this.#closed ? { status: 'unavailable', reason: 'the store is closed' } : { status: 'ok', durability: 'memory' };
	}

	stats(): { readonly topics: number; readonly messages: number; readonly bytes: number } {
		let messages = 0;
		let bytes = 0;
		for (const { log } of this.#topics.values()) {
			messages += log.messages;
			bytes += log.bytes;
		}
		return { topics: this.#topics.size, messages, bytes };
	}

	clocks(): { readonly topicsAhead: number } {
		return { topicsAhead: this.#topicsAhead };
	}

	close(): Promise<void> {
		this.#closed = true;
		// Resolves after the steps that were called before.
		return Promise.resolve().then(() => undefined);
	}

	/** Runs one step after those of the calls before it. A call after `close` rejects; one before it is served. */
	#inTurn<T>(step: () => T): Promise<T> {
		if (this.#closed) return Promise.reject(new RelayError('storage_unavailable', 'the store is closed'));
		return Promise.resolve().then(step);
	}

	/** A call that appends nothing, being empty or all duplicates and conflicts, creates no topic either. */
	#append(name: string, entries: readonly AppendEntry[]): readonly AppendOutcome[] {
		const nowMs = this.#clock.nowMs();
		const first = nextMessageId(this.#position(name).tip, nowMs);
		const { outcomes, appended, records } = this.#keys.judge(entries, first, nowMs);
		if (appended.length === 0) return outcomes;
		const { log } = this.#topics.get(name) ?? this.#create(name);
		this.#keys.record(records);
		let previous = log.tip;
		let { n } = first;
		const blocks = packRuns(appended).map(({ count, packed }): Block => {
			const block = { ms: first.ms, n, count, packed };
			n += count;
			return block;
		});
		for (const block of blocks) log.push(block);
		for (const block of blocks) {
			this.#listener?.appended(name, previous, log.floor, block);
			previous = lastIdOf(block);
		}
		return outcomes;
	}

	#page(name: string, read: (log: BlockLog) => Block[]): Page {
		const topic = this.#topics.get(name);
		return { ...this.#position(name), blocks: topic === undefined ? [] : read(topic.log) };
	}

	#position(name: string): TopicPosition {
		const topic = this.#topics.get(name);
		if (topic !== undefined) return { exists: true, tip: topic.log.tip, floor: topic.log.floor };
		const { tip } = this.#endings.get(name) ?? { tip: ZERO_ID };
		return { exists: false, tip, floor: tip };
	}

	#create(name: string): TopicState {
		if (this.#topics.size >= this.#topicsMax) {
			throw new RelayError('topic_limit', `the relay holds ${this.#topicsMax} topics, its limit`);
		}
		const topic: TopicState = {
			topicId: randomUUID(),
			createdAtMs: this.#clock.nowMs(),
			log: new BlockLog(this.#position(name).tip),
			description: null,
			retention: { maxAgeS: null, maxMessages: null, maxBytes: null },
			marks: NO_MARKS,
		};
		this.#topics.set(name, topic);
		this.#endings.delete(name);
		return topic;
	}

	/** Marks how far the topics have come whose ids are ahead of the clock. */
	#mark(step: TrimStep): void {
		this.#topicsAhead = 0;
		for (const topic of this.#topics.values()) {
			const { tip, floor } = topic.log;
			if (isAhead(tip.ms, step.nowMs)) this.#topicsAhead++;
			const maxAgeMs = (topic.retention.maxAgeS ?? step.defaultMaxAgeS) * 1000;
			topic.marks = markArrivals(topic.marks, { tip, floor, maxAgeMs }, step.nowMs);
		}
	}

	#trim(step: TrimStep): { readonly removed: number; readonly more: boolean } {
		let removed = 0;
		let blocksLeft = step.blocksMax;
		for (const [name, { log, retention, marks }] of this.#topics) {
			const sinceMs = step.nowMs - (retention.maxAgeS ?? step.defaultMaxAgeS) * 1000;
			const kept = {
				sinceMs,
				after: arrivedBefore(marks, sinceMs),
				messagesMax: retention.maxMessages ?? step.defaultMaxMessages,
				bytesMax: retention.maxBytes ?? Number.POSITIVE_INFINITY,
			};
			const { messages, blocks, more } = log.trim(kept, blocksLeft);
			removed += messages;
			blocksLeft -= blocks;
			if (messages > 0) this.#listener?.trimmed(name, log.floor);
			if (more) return { removed, more: true };
		}
		return { removed, more: false };
	}

	/** As many endings are kept as topics may exist, so that creating and deleting in a loop stays bounded (I8). */
	#forgetEndings(nowMs: number): void {
		const oldest = [...this.#endings].sort(([a, x], [b, y]) => x.deletedAtMs - y.deletedAtMs || (a < b ? -1 : 1));
		for (const [name, ending] of oldest) {
			// One that was deleted by a clock ahead of this one counts from now on.
			if (isAhead(ending.deletedAtMs, nowMs)) ending.deletedAtMs = nowMs;
			if (ending.deletedAtMs >= nowMs - DELETED_TOPIC_KEPT_MS && this.#endings.size <= this.#topicsMax) break;
			this.#endings.delete(name);
		}
	}
}

function applyChange(topic: TopicState, { description, retention }: TopicChange): void {
	if (description !== undefined) topic.description = description;
	topic.retention = { ...topic.retention, ...retention };
}

function topicOf(name: string, { topicId, description, createdAtMs, retention, log }: TopicState): Topic {
	const { tip, floor, messages, bytes } = log;
	return { name, exists: true, tip, floor, topicId, description, createdAtMs, retention, messages, bytes };
}
