/**
 * The store in memory: nothing survives the process. It is the model that the other stores are checked against, so each call
 * does what the contract says in one synchronous step, and the steps run in the order of the calls, never inside a call.
 */

import { randomUUID } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds, type MessageId, nextMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { type Block, lastIdOf, type NewMessage, packedBytes, packMessages } from '../../log/block.ts';
import type { Clock } from '../../ports/clock.ts';
import type {
	AppendEntry,
	AppendOutcome,
	LogListener,
	Page,
	ReadLimits,
	Retention,
	Store,
	StoreHealth,
	Topic,
	TopicChange,
	TopicPosition,
	TrimStep,
} from '../../ports/store.ts';
import { BlockLog } from './block-log.ts';
import { IdempotencyRecords } from './idempotency-records.ts';

/** A block is closed at so many messages or bytes of payload and metadata; a larger message is a block alone. */
const BLOCK_MESSAGES_MAX = 1024;
const BLOCK_BYTES_MAX = 1024 * 1024;

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
}

class MemoryStore implements Store {
	readonly #topicsMax: number;
	readonly #clock: Clock;
	readonly #topics = new Map<string, TopicState>();
	/** Where deleted topics ended, so that their ids are never given out again (I1). */
	readonly #endings = new Map<string, MessageId>();
	readonly #keys = new IdempotencyRecords();
	#listener: LogListener | null = null;
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
	watch(topic: string): Promise<TopicPosition> {
		return this.#inTurn(() => this.#position(topic));
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
			// A topic that never had a message stands at 0-0 like an unknown one.
			if (compareMessageIds(tip, ZERO_ID) > 0) this.#endings.set(name, tip);
			this.#listener?.deleted(name, tip);
			return true;
		});
	}

	trim(step: TrimStep): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#inTurn(() => this.#trim(step));
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
		const blocks = packBlocks(first, appended);
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
		const end = this.#endings.get(name) ?? ZERO_ID;
		return { exists: false, tip: end, floor: end };
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
		};
		this.#topics.set(name, topic);
		this.#endings.delete(name);
		return topic;
	}

	#trim(step: TrimStep): { readonly removed: number; readonly more: boolean } {
		let removed = 0;
		let blocksLeft = step.blocksMax;
		for (const [name, { log, retention }] of this.#topics) {
			const kept = {
				sinceMs: step.nowMs - (retention.maxAgeS ?? step.defaultMaxAgeS) * 1000,
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
}

function applyChange(topic: TopicState, { description, retention }: TopicChange): void {
	if (description !== undefined) topic.description = description;
	topic.retention = { ...topic.retention, ...retention };
}

function topicOf(name: string, { topicId, description, createdAtMs, retention, log }: TopicState): Topic {
	const { tip, floor, messages, bytes } = log;
	return { name, exists: true, tip, floor, topicId, description, createdAtMs, retention, messages, bytes };
}

/** Packs messages that get the ids from `first` on into as few blocks as the bounds on a block allow. */
function packBlocks(first: MessageId, messages: readonly NewMessage[]): Block[] {
	const blocks: Block[] = [];
	let from = 0;
	let bytes = 0;
	for (let i = 0; i <= messages.length; i++) {
		const next = messages[i];
		const nextBytes = next === undefined ? 0 : next.payload.byteLength + (next.metadata?.byteLength ?? 0);
		const full = i - from === BLOCK_MESSAGES_MAX || bytes + nextBytes > BLOCK_BYTES_MAX;
		if (i > from && (next === undefined || full)) {
			const run = messages.slice(from, i);
			const packed = packMessages(run, new ArrayBuffer(packedBytes(run)), 0);
			blocks.push({ ms: first.ms, n: first.n + from, count: run.length, packed });
			from = i;
			bytes = 0;
		}
		bytes += nextBytes;
	}
	return blocks;
}
