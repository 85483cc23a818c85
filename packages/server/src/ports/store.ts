/**
 * The store: the durable, ordered log of every topic, and the topics themselves. One contract, one shared suite
 * (test/stores/store-suite.ts), several implementations; the memory store is the model for the others.
 *
 * Failures: when the store cannot serve now, a method rejects with RelayError `storage_unavailable` and nothing of that call
 * took effect, or, for a lost connection, it is unknown whether it did. Expected outcomes are values.
 */

import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { Block, NewMessage } from '../log/block.ts';
import type { Loss } from '../log/losses.ts';
import type { ReadLimits } from '../log/page.ts';

/**
 * What an acknowledgement survives (I2): kill -9 of the relay at least, and nothing of the store's (`memory`); all but about the last two
 * seconds also a crash of the store or its machine (`everysec`); kill -9 of the store (`process`); or that and power loss (`disk`).
 */
export type Durability = 'memory' | 'everysec' | 'process' | 'disk';

/** Names one message of one idempotent request. Records are kept for the configured window. */
export interface DedupeKey {
	/** Unique within the publisher's scope; the relay has put the scope in front. */
	readonly key: string;
	/** The message's place in its request, from 0. */
	readonly item: number;
	/** Digest of the whole request; the same key with another fingerprint is a conflict. */
	readonly fingerprint: string;
}

/** A message to append. */
export interface AppendEntry extends NewMessage {
	readonly dedupe: DedupeKey | null;
}

/**
 * What became of one entry. `appended`: stored now. `duplicate`: stored before under the same key, with the first id.
 * `conflict`: the key belongs to another request (the record of this item or of item 0 has another fingerprint).
 */
export type AppendOutcome =
	| { readonly status: 'appended'; readonly id: MessageId }
	| { readonly status: 'duplicate'; readonly id: MessageId }
	| { readonly status: 'conflict' };

/**
 * Where a topic's log stands. An unknown topic stands at 0-0, a deleted one where it ended, for as long as that is remembered:
 * 30 days, and of as many topics at most as may exist. After that it is unknown, and its ids go on from the clock alone.
 */
export interface TopicPosition {
	readonly exists: boolean;
	/** Id of the newest message ever appended; the cursor of a subscriber that has seen all. */
	readonly tip: MessageId;
	/** Id of the newest message that trimming or deletion removed: a cursor at or above it has lost nothing, one below it has. */
	readonly floor: MessageId;
	/** What the store has lost of the log above the floor, oldest first; absent = nothing. Nobody is told twice of the same loss. */
	readonly losses?: readonly Loss[];
}

/** A topic's position, and whether the message that the caller has seen is still part of its log. */
export interface WatchedPosition extends TopicPosition {
	/** False when the store has lost that message without trimming it, and with it perhaps others: after a failover, a wipe. */
	readonly intact: boolean;
}

/** Consecutive messages of a topic, oldest first, with the topic's position at the time of the read. */
export interface Page extends TopicPosition {
	readonly blocks: readonly Block[];
}

/** Retention of a topic; null = the relay's default, for `maxBytes` none. */
export interface Retention {
	readonly maxAgeS: number | null;
	readonly maxMessages: number | null;
	readonly maxBytes: number | null;
}

/** A topic. */
export interface Topic extends TopicPosition {
	readonly name: string;
	/** A UUID, new for each creation. */
	readonly topicId: string;
	readonly description: string | null;
	readonly createdAtMs: number;
	readonly retention: Retention;
	/** Messages kept. */
	readonly messages: number;
	/** Payload and metadata bytes kept, with the packing around them. */
	readonly bytes: number;
}

/** The changeable part of a topic; an absent field stays as it is. */
export interface TopicChange {
	readonly description?: string | null;
	readonly retention?: Partial<Retention>;
}

/** Bounds and defaults of one trimming step. */
export interface TrimStep {
	/** The time by which things age, see relay/age-clock.ts. A store that outlives the process remembers it for {@link Store.lastKnownMs}. */
	readonly nowMs: number;
	readonly defaultMaxAgeS: number;
	readonly defaultMaxMessages: number;
	/** At most about this many blocks are removed in the step, so that appends wait for milliseconds at most. */
	readonly blocksMax: number;
}

/**
 * Hears what happens to the log, in log order per topic, after it is durable (I3) and before the call that did it settles; where other
 * nodes append to the topic at the same time, what they appended before may have to arrive first, and the call does not wait for it. The
 * store may announce topics that nobody watches; it must announce those that are watched. A listener must not throw: the store
 * does not catch it, and what it settles next would be left hanging.
 */
export interface LogListener {
	/** `block` follows the message `previous` directly: a listener whose tip is not `previous` has missed something and must read. */
	appended(topic: string, previous: MessageId, floor: MessageId, block: Block): void;
	/** Messages up to and including `floor` are gone. */
	trimmed(topic: string, floor: MessageId): void;
	/** The topic is gone with its messages, which had reached `tip`. */
	deleted(topic: string, tip: MessageId): void;
	/**
	 * The topic stands elsewhere than announced so far: appends were missed (`intact`; whoever is behind reads them), or the store has
	 * lost what it had announced. Announcements go on from this position. Only of watched topics, and only by stores that are reached
	 * over a network.
	 */
	repositioned(topic: string, position: WatchedPosition): void;
}

/** What the store is really able to do at the moment. */
export type StoreHealth =
	| { readonly status: 'ok'; readonly durability: Durability }
	| { readonly status: 'unavailable'; readonly reason: string };

export interface Store {
	/**
	 * The last time at which the store is known to have been at work before it was opened, Unix ms: a clock far ahead of it may be wrong.
	 * Absent when nothing is known.
	 */
	readonly lastKnownMs?: number | undefined;

	/** Sets the one listener. Called once, before anything else; what happens before it is called is announced to nobody. */
	listen(listener: LogListener): void;

	/**
	 * Appends entries to a topic, creating it when new, in one atomic step (I9): dedupe, ids, append, announce. Ids of one call
	 * are consecutive among its appended entries. Resolves, in call order per topic, when the entries have reached the store's
	 * durability (I2), with one outcome per entry. A call that appends nothing, being empty or all duplicates and conflicts, creates no
	 * topic either. Rejects with `topic_limit`, and appends nothing, when the topic would be new and there is no room for it.
	 *
	 * @param entries their bytes are read until the promise settles, and must not change before
	 */
	append(topic: string, entries: readonly AppendEntry[]): Promise<readonly AppendOutcome[]>;

	/**
	 * Reads the messages after `after`, oldest first, within the limits, and in none of its blocks a message that is trimmed. Of a
	 * topic that does not exist: no blocks. The blocks are the caller's to read, not to change.
	 */
	read(topic: string, after: MessageId, limits: ReadLimits): Promise<Page>;

	/** Reads the newest messages before `before` (null = before the end), as {@link read} does: blocks are oldest first. */
	readBefore(topic: string, before: MessageId | null, limits: ReadLimits): Promise<Page>;

	/**
	 * From here on the topic is announced, existing or not. Resolves with its position; every later append is announced after that.
	 * Idempotent, and not counted: one {@link unwatch} ends it.
	 *
	 * @param seen the newest message that this store has announced to the caller, which the store looks for, default none; when it is
	 * not there, that is written down as a loss
	 */
	watch(topic: string, seen?: MessageId): Promise<WatchedPosition>;

	/**
	 * Whether a message, of which somebody says that the topic had it, is part of the log or was before it was trimmed. Absent when the
	 * store never loses what it has announced, so that nobody need ask.
	 */
	readonly has?: (topic: string, id: MessageId) => Promise<boolean>;

	/** The topic need no longer be announced. */
	unwatch(topic: string): void;

	/** Creates a topic. `exists` when there is one of that name; rejects with `topic_limit` when there is no room. */
	createTopic(name: string, change: TopicChange): Promise<{ readonly status: 'created' | 'exists'; readonly topic: Topic }>;

	/** The topic, or undefined. */
	getTopic(name: string): Promise<Topic | undefined>;

	/** Topics in the order of their names' code units, after the name `after` (null = from the first), at most `limit`. */
	listTopics(after: string | null, limit: number): Promise<readonly Topic[]>;

	/** Changes a topic. Undefined when there is none. */
	updateTopic(name: string, change: TopicChange): Promise<Topic | undefined>;

	/**
	 * Deletes a topic and its messages, at once for every reader; its next incarnation continues the ids (I1) while its end is
	 * remembered (see {@link TopicPosition}). False when there is none.
	 */
	deleteTopic(name: string): Promise<boolean>;

	/**
	 * Removes some messages that retention no longer covers, oldest first, and announces the new floors; forgets deleted topics that
	 * need not be remembered. A message is as old as its id says; one whose id is ahead of the time of the step, as old as it was seen there.
	 * `removed` counts messages, of topics that exist. `more` when the step ended at its bound rather than for lack of work.
	 */
	trim(step: TrimStep): Promise<{ readonly removed: number; readonly more: boolean }>;

	/**
	 * Forgets idempotency records from before `beforeMs`, and beyond `keysMax` the oldest of the holders with most (log/key-holders.ts), in a
	 * bounded step. A record is one item of one key; `removed` counts records. `more` as in {@link trim}.
	 */
	forgetKeys(beforeMs: number, keysMax: number): Promise<{ readonly removed: number; readonly more: boolean }>;

	/** What the last append or probe showed; a store that failed probes itself until it works again. Never touches the disk. */
	health(): StoreHealth;

	/** Totals of the topics that exist, for the metrics. Never touches the disk. */
	stats(): { readonly topics: number; readonly messages: number; readonly bytes: number };

	/** The bytes that the store's file takes on the disk, and how many of them are free to be used again. Absent without a file of its own. */
	readonly space?: () => { readonly fileBytes: number; readonly freeBytes: number };

	/**
	 * How the clocks stand: how many topics have ids that are ahead of the clock by more than a minute, and, where the store has a clock of its own, by
	 * how much this machine's is ahead of it. Absent when the store does not look.
	 */
	readonly clocks?: () => { readonly topicsAhead: number; readonly skewMs?: number };

	/**
	 * Finishes what is under way and lets go of every resource. Later calls reject with `storage_unavailable`; a second close resolves
	 * when the first does.
	 */
	close(): Promise<void>;
}
