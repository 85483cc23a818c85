/**
 * The relay: what every transport talks to. It joins the publisher, the hub and the store, and keeps count of who is attached.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Sink } from '../ports/sink.ts';
import type { Store } from '../ports/store.ts';
import { HotBlock } from './hot-block.ts';
import type { HotTierLimits } from './hot-tier.ts';
import { Hub } from './hub.ts';
import { type PollAnswer, type PollRequest, poll } from './poll.ts';
import { type Publication, Publisher, type PublishOutcome } from './publish.ts';
import { type RetentionOptions, startRetention } from './retention.ts';
import { Session, type SessionOptions, type SharedSubscriptions } from './session.ts';
import { type BlockRange, Slice } from './slice.ts';
import { followAll } from './start.ts';
import { ownNameOf } from './topic-log.ts';

export interface RelayOptions {
	readonly store: Store;
	readonly clock: Clock;
	readonly ageClock: RetentionOptions['ageClock'];
	readonly observer: Observer;
	readonly hotTier: HotTierLimits;
	readonly publishQueueBytesMax: number;
	readonly connectionsMax: number;
	readonly subscriptionsPerConnectionMax: number;
	readonly waitingPollsMax: number;
	readonly retention: Pick<
		RetentionOptions,
		'defaultMaxAgeS' | 'defaultMaxMessages' | 'idempotencyWindowS' | 'idempotencyKeysMax'
	>;
}

/** Which messages of a topic to read: `asc` after the cursor, `desc` before it; null = from the first, from the last. */
export interface HistoryRequest {
	readonly order: 'asc' | 'desc';
	readonly cursor: MessageId | null;
	readonly messagesMax: number;
}

/** One answer of {@link Relay.history} holds about this much, unless its first message alone is larger. */
const HISTORY_BYTES_MAX = 8 * 1024 * 1024;
/** Closed subscribers come back at random times up to this, so that a restart is not followed by a stampede. */
const RECONNECT_SPREAD_MS = 3000;

export class Relay {
	readonly #options: RelayOptions;
	readonly #hub: Hub;
	readonly #publisher: Publisher;
	readonly #sessions = new Set<Session>();
	readonly #sessionOptions: SessionOptions;
	readonly #stopRetention: () => void;
	/** The polls under way; calling one makes it answer at once. */
	readonly #polls = new Set<() => void>();
	#draining = false;

	constructor(options: RelayOptions) {
		const { store, clock, ageClock, observer } = options;
		this.#options = options;
		this.#hub = new Hub({ store, clock, observer, hotTier: options.hotTier });
		this.#publisher = new Publisher({ store, clock, observer, queueBytesMax: options.publishQueueBytesMax });
		this.#sessionOptions = {
			hub: this.#hub,
			clock,
			observer,
			subscriptionsMax: options.subscriptionsPerConnectionMax,
			onClose: (session) => this.#sessions.delete(session),
		};
		store.listen(this.#hub);
		this.#stopRetention = startRetention({ store, clock, ageClock, observer, ...options.retention });
	}

	/** The topics themselves: create, read, change, delete. */
	get topics(): Pick<Store, 'createTopic' | 'getTopic' | 'listTopics' | 'updateTopic' | 'deleteTopic'> {
		return this.#options.store;
	}

	/** What the gauges show. */
	get load(): {
		readonly sessions: number;
		readonly waitingPolls: number;
		readonly hotBytes: number;
		readonly queuedBytes: number;
	} {
		return {
			sessions: this.#sessions.size,
			waitingPolls: this.#polls.size,
			hotBytes: this.#hub.hotBytes,
			queuedBytes: this.#publisher.queuedBytes,
		};
	}

	/** The polls waiting per topic, for topics with any. */
	get waitingPollsPerTopic(): ReadonlyMap<string, number> {
		return new Map(this.#hub.waitingPolls());
	}

	get draining(): boolean {
		return this.#draining;
	}

	/**
	 * Publishes messages together; see {@link Publisher.publish}. Also while the node drains: a request on a connection that is still open
	 * would otherwise fail for no reason that its client could know.
	 */
	publish(publications: readonly Publication[]): Promise<readonly PublishOutcome[]> {
		return this.#publisher.publish(publications);
	}

	/** Why a connection would not be attached now: `too_many_connections`, `shutting_down`, or null. */
	refusal(): RelayError | null {
		if (this.#draining) return new RelayError('shutting_down', 'this node is draining');
		const { connectionsMax } = this.#options;
		if (this.#sessions.size < connectionsMax) return null;
		return new RelayError('too_many_connections', `this node holds at most ${connectionsMax} connections`);
	}

	/**
	 * Attaches a connection; its transport closes the session when the connection is gone. Throws what {@link refusal} tells.
	 *
	 * @param shared see {@link Session}
	 */
	attach(sink: Sink, shared: SharedSubscriptions | null = null): Session {
		const refusal = this.refusal();
		if (refusal !== null) throw refusal;
		const session = new Session(this.#sessionOptions, sink, shared);
		this.#sessions.add(session);
		return session;
	}

	/** Runs a poll, which does not wait while the node drains. Rejects with `too_many_polls` or `storage_unavailable`. */
	async poll(request: PollRequest): Promise<PollAnswer> {
		if (this.#polls.size >= this.#options.waitingPollsMax) {
			throw new RelayError('too_many_polls', 'too many concurrent poll connections');
		}
		const { clock, observer } = this.#options;
		return poll({ hub: this.#hub, clock, observer, underWay: this.#polls }, this.#draining ? { ...request, waitMs: 0 } : request);
	}

	/** Where topics end now, by their names in the store: what a poll that starts at `last` begins after. Rejects with `storage_unavailable`. */
	async endsOf(topics: Iterable<string>): Promise<ReadonlyMap<string, MessageId>> {
		const ends = new Map<string, MessageId>();
		await followAll(this.#hub, new Map(Array.from(topics, (topic) => [topic, 'last'])), (followed) => {
			for (const { topic, start } of followed) {
				ends.set(topic.name, start.cursor);
				this.#hub.unfollow(topic);
			}
		});
		return ends;
	}

	/**
	 * Reads a topic's kept messages from the store, oldest first in either order; expired ones are left out.
	 *
	 * @param shown the name that they are told under; default: the owner's
	 */
	async history(topic: string, request: HistoryRequest, shown = ownNameOf(topic)): Promise<Slice | null> {
		const { store, clock } = this.#options;
		const limits = { messagesMax: request.messagesMax, bytesMax: HISTORY_BYTES_MAX };
		const page =
			request.order === 'asc'
				? await store.read(topic, request.cursor ?? ZERO_ID, limits)
				: await store.readBefore(topic, request.cursor, limits);
		const ranges: BlockRange[] = page.blocks.map((block) => ({ block: new HotBlock(shown, block), from: 0, to: block.count }));
		return ranges.length === 0 ? null : new Slice(shown, ranges, clock.nowMs());
	}

	/** Whether an append would be stored now, and what it would survive. */
	health(): ReturnType<Store['health']> {
		return this.#options.store.health();
	}

	/** Refuses new subscribers, answers every poll and tells every subscriber to go elsewhere; resolves when the publishes are settled. */
	async drain(): Promise<void> {
		this.#draining = true;
		for (const session of this.#sessions) session.drain(Math.round(Math.random() * RECONNECT_SPREAD_MS));
		for (const finish of this.#polls) finish();
		await this.#publisher.idle();
	}

	/** Stops the background work. The store is closed by whoever opened it. */
	close(): void {
		this.#stopRetention();
		this.#hub.close();
	}
}
