/**
 * The log as the store has it, and readers checked against it: each is told, from its cursor on, exactly the messages that
 * follow, but for those that have expired, and of every hole before what comes after it (I1, I3, I4).
 */

import assert from 'node:assert/strict';
import { type Gap, timestampOf } from '@pulsar-relay/protocol/frames';
import { compareMessageIds, formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { type Block, idAt, readBlock } from '../../../../src/log/block.ts';
import type { Clock } from '../../../../src/ports/clock.ts';
import type { LogListener } from '../../../../src/ports/store.ts';

/** A message as it was stored. */
export interface Stored {
	readonly id: MessageId;
	/** The JSON object that stands for it on every transport. */
	readonly json: string;
	readonly expiresAtMs: number;
}

const text = new TextDecoder();

/** Everything that was ever appended to one topic, and what of it is gone. */
export class TopicTruth {
	readonly messages: Stored[] = [];
	floor = ZERO_ID;
	/** How often the topic was deleted. */
	deletions = 0;

	get tip(): MessageId {
		return this.messages.at(-1)?.id ?? ZERO_ID;
	}

	/** The index of the first message after `id`. */
	indexAfter(id: MessageId): number {
		let low = 0;
		let high = this.messages.length;
		while (low < high) {
			const middle = (low + high) >>> 1;
			if (compareMessageIds((this.messages[middle] as Stored).id, id) > 0) high = middle;
			else low = middle + 1;
		}
		return low;
	}

	/** The messages after `after` up to and including `until`. */
	between(after: MessageId, until: MessageId): Stored[] {
		return this.messages.slice(this.indexAfter(after), Math.max(this.indexAfter(after), this.indexAfter(until)));
	}
}

/** Listens to the store, directly, and remembers. */
export class Truth implements LogListener {
	readonly #topics = new Map<string, TopicTruth>();
	readonly #clock: Clock;
	#latestMs = 0;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** The latest that the wall clock has ever shown: what may have been taken for expired. To be called after it moved. */
	latestMs(): number {
		this.#latestMs = Math.max(this.#latestMs, this.#clock.nowMs());
		return this.#latestMs;
	}

	nowMs(): number {
		return this.#clock.nowMs();
	}

	topic(name: string): TopicTruth {
		let topic = this.#topics.get(name);
		if (topic === undefined) {
			topic = new TopicTruth();
			this.#topics.set(name, topic);
		}
		return topic;
	}

	appended(name: string, previous: MessageId, floor: MessageId, block: Block): void {
		const topic = this.topic(name);
		assert.deepEqual(previous, topic.tip, 'the store announces a chain');
		const reader = readBlock(block.packed);
		const timestamp = timestampOf(block.ms);
		for (let i = 0; i < block.count; i++) {
			const id = idAt(block, i);
			const metadata = text.decode(reader.metadata(i)) || '{}';
			topic.messages.push({
				id,
				json: `{"type":"message","message_id":"${formatMessageId(id)}","topic":"${name}","timestamp":"${timestamp}","payload":${text.decode(reader.payload(i))},"metadata":${metadata}}`,
				expiresAtMs: reader.expiresAtMs(i),
			});
		}
		this.#raiseFloor(topic, floor);
	}

	repositioned(name: string): void {
		assert.fail(`the model loses nothing, not of ${name} either`);
	}

	trimmed(name: string, floor: MessageId): void {
		this.#raiseFloor(this.topic(name), floor);
	}

	deleted(name: string, tip: MessageId): void {
		const topic = this.topic(name);
		topic.deletions++;
		this.#raiseFloor(topic, tip);
	}

	#raiseFloor(topic: TopicTruth, floor: MessageId): void {
		if (compareMessageIds(floor, topic.floor) > 0) topic.floor = floor;
	}
}

/** One reader of one topic: where it stands, and whether what it is told is right. */
export class Trace {
	readonly name: string;
	readonly #truth: Truth;
	readonly #topic: TopicTruth;
	#cursor: MessageId;

	/** @param cursor where the reader was told that it starts */
	constructor(truth: Truth, name: string, cursor: MessageId) {
		this.#truth = truth;
		this.name = name;
		this.#topic = truth.topic(name);
		this.#cursor = cursor;
	}

	/** The id of the last message it was told of, or where a gap or the subscription said that it stands. */
	get cursor(): MessageId {
		return this.#cursor;
	}

	/** @param notExpiredAtMs when the relay looked at the message's time to live */
	message(id: MessageId, json: string, notExpiredAtMs: number): void {
		const what = `${this.name} ${formatMessageId(id)}`;
		const stored = this.#topic.messages[this.#topic.indexAfter({ ms: id.ms, n: id.n - 1 })];
		assert.ok(stored !== undefined && compareMessageIds(stored.id, id) === 0, `${what} is in the log when it is delivered (I3)`);
		assert.ok(compareMessageIds(id, this.#cursor) > 0, `${what} comes after ${formatMessageId(this.#cursor)}`);
		this.#skip({ ms: id.ms, n: id.n - 1 }, `before ${what}`);
		assert.equal(json, stored.json, `${what} is what was stored`);
		assert.ok(stored.expiresAtMs === 0 || stored.expiresAtMs > notExpiredAtMs, `${what} has not expired`);
		this.#cursor = id;
	}

	/** A gap other than one that answers a start position. */
	gap({ reason, from, to }: Gap): void {
		assert.equal(reason, 'trimmed');
		assert.ok(from !== null && compareMessageIds(from, this.#cursor) >= 0, 'a gap begins where the reader stands');
		this.#skip(from, `before the gap at ${formatMessageId(from)}`);
		const what = `the gap of ${this.name} from ${formatMessageId(from)} to ${formatMessageId(to)}`;
		assert.ok(compareMessageIds(to, from) > 0, `${what} goes forward`);
		assert.ok(this.#topic.between(from, to).length > 0, `${what} is not false: there was something in it`);
		assert.ok(compareMessageIds(to, this.#topic.floor) <= 0, `${what} is not false: all in it is gone`);
		this.#cursor = to;
	}

	/** The reader says, or is expected, to have everything up to `id`. */
	reached(id: MessageId, what: string): void {
		this.#skip(id, what);
		if (compareMessageIds(id, this.#cursor) > 0) this.#cursor = id;
	}

	/** Whatever lies after the cursor, up to `until`, must have expired. */
	#skip(until: MessageId, what: string): void {
		const latestMs = this.#truth.latestMs();
		for (const { id, expiresAtMs } of this.#topic.between(this.#cursor, until)) {
			const expired = expiresAtMs !== 0 && expiresAtMs <= latestMs;
			assert.ok(expired, `${what}: ${this.name} ${formatMessageId(id)} is missing after ${formatMessageId(this.#cursor)}`);
		}
	}
}
