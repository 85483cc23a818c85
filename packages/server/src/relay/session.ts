/**
 * A session: one attached connection and what it follows. It moves each subscription along the log as far as the sink takes
 * it, and tells of every hole before what comes after it (I4).
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { GapReason } from '@pulsar-relay/protocol/frames';
import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Sink } from '../ports/sink.ts';
import type { HotPage, Hub } from './hub.ts';
import { SLICE_LIMITS, type Slice } from './slice.ts';
import { followAll, type ResolvedStart, type ShownNames, type Start } from './start.ts';
import { Subscription, type SubscriptionOwner } from './subscription.ts';
import type { TopicLog } from './topic-log.ts';

/** Slices sent to one sink in one go before the loop serves others. */
const SLICES_PER_TURN_MAX = 4;
/** How long a subscriber waits before it asks a store that failed again. */
const READ_RETRY_MS = 500;

/** What the sessions of one party share. */
export interface SharedSubscriptions {
	/** Why so many more topics may not be followed, or null. */
	refusal(topics: number): RelayError | null;
	/** So many more topics are followed; fewer when negative. */
	count(topics: number): void;
}

export interface SessionOptions {
	readonly hub: Hub;
	readonly clock: Clock;
	readonly observer: Observer;
	/** Topics that the session may follow at once. */
	readonly subscriptionsMax: number;
	/** Called once, when the session is closed. */
	readonly onClose: (session: Session) => void;
}

export class Session implements SubscriptionOwner {
	readonly sink: Sink;
	readonly #options: SessionOptions;
	readonly #shared: SharedSubscriptions | null;
	/** In the order in which they get their turn when several are behind. */
	readonly #subscriptions = new Map<string, Subscription>();
	/**
	 * Whether a page is being read from the store, for whichever topic. One at a time: a slow socket with a thousand topics behind
	 * would otherwise bring a thousand pages into memory, take the first and read the others again (I8).
	 */
	#reading = false;
	#turnDue = false;
	#closed = false;

	/**
	 * @param options the same object for all sessions of a relay, so that each holds one reference
	 * @param shared what it shares with others of its party; null = nothing
	 */
	constructor(options: SessionOptions, sink: Sink, shared: SharedSubscriptions | null = null) {
		this.#options = options;
		this.#shared = shared;
		this.sink = sink;
		this.sink.onWritable = () => this.#goOn();
	}

	/** The topics followed, as they are in the store. */
	get topics(): IterableIterator<string> {
		return this.#subscriptions.keys();
	}

	/** The topics followed: as they are in the store, by the names that the subscriber gave them. */
	get topicsByShown(): ReadonlyMap<string, string> {
		return new Map([...this.#subscriptions].map(([topic, { shown }]) => [shown, topic]));
	}

	/**
	 * Follows topics, each from its start; a topic that is followed already starts anew from there. `ready` is called with the
	 * cursor per topic, by the names the subscriber knows them by, just before anything of them is delivered.
	 *
	 * Rejects with `subscription_limit`, `account_limit`, `storage_unavailable` or, when the connection closed meanwhile, `shutting_down`; then
	 * nothing has changed.
	 */
	async subscribe(
		starts: ReadonlyMap<string, Start>,
		ready: (cursors: ReadonlyMap<string, MessageId>) => void,
		shownAs: ShownNames = NO_NAMES,
	): Promise<void> {
		this.#checkRoom(starts);
		await followAll(this.#options.hub, starts, (followed) => {
			// Meanwhile the connection may have closed, and another subscribe may have taken the room; `ready` may close it, too.
			this.#checkOpen();
			this.#checkRoom(starts);
			ready(new Map(followed.map(({ topic, start }) => [shownAs.get(topic.name) ?? topic.shown, start.cursor])));
			this.#checkOpen();
			for (const { topic, start } of followed) this.#add(topic, start, shownAs.get(topic.name) ?? topic.shown);
			this.sink.flush();
		});
	}

	/** Stops following a topic. False when it was not followed. */
	unsubscribe(name: string): boolean {
		const subscription = this.#subscriptions.get(name);
		if (subscription === undefined) return false;
		this.#end(subscription);
		return true;
	}

	/** Ends a subscription that is no longer allowed, and says so. */
	forbid(name: string): void {
		const subscription = this.#subscriptions.get(name);
		if (subscription === undefined) return;
		this.#end(subscription);
		this.sink.topicForbidden(subscription.shown);
		this.sink.flush();
	}

	/** Called by the hub: the topic is gone, and so is this subscription. */
	topicDeleted(subscription: Subscription): void {
		this.#end(subscription);
		this.sink.topicDeleted(subscription.shown);
		this.sink.flush();
	}

	/**
	 * Called by the hub: the store has lost messages, so that what was sent may not be all, nor be in the log. Whoever comes by what was
	 * lost is told there; everybody else now, even where nothing after the cursor is known to be missing, unless they were `given` it. Reading
	 * goes on from the cursor, or from the log's end when that is before it.
	 */
	logRewound(subscription: Subscription, reached: MessageId, given: boolean): void {
		if (subscription.state === 'live') {
			subscription.fellBehind(reached);
			this.#options.observer.behind(1);
		}
		// A page that is being read is of the log as it was.
		subscription.state = 'behind';
		const { topic, cursor } = subscription;
		if (!given && !topic.meetsLoss(cursor)) {
			subscription.cursor = earlier(cursor, topic.tip);
			this.#tellGap(subscription, 'ahead', cursor, subscription.cursor);
		}
		this.#advance(subscription);
		this.sink.flush();
	}

	/** Called by the hub: the subscription has left the live set without the sink being full. */
	readOn(subscription: Subscription): void {
		this.#advance(subscription);
		this.sink.flush();
	}

	/** Ends the connection because the node drains. */
	drain(reconnectAfterMs: number): void {
		this.sink.drain(reconnectAfterMs);
	}

	/** The connection is gone. Idempotent. */
	close(): void {
		if (this.#closed) return;
		this.#closed = true;
		for (const subscription of this.#subscriptions.values()) this.#end(subscription);
		this.#options.onClose(this);
	}

	#checkOpen(): void {
		if (this.#closed) throw new RelayError('shutting_down', 'the connection is closed');
	}

	#checkRoom(starts: ReadonlyMap<string, Start>): void {
		const { subscriptionsMax } = this.#options;
		let topics = this.#subscriptions.size;
		for (const name of starts.keys()) if (!this.#subscriptions.has(name)) topics++;
		if (topics > subscriptionsMax) {
			throw new RelayError('subscription_limit', `a connection may follow at most ${subscriptionsMax} topics`);
		}
		const refusal = this.#shared?.refusal(topics - this.#subscriptions.size) ?? null;
		if (refusal !== null) throw refusal;
	}

	#add(topic: TopicLog, start: ResolvedStart, shown: string): void {
		this.unsubscribe(topic.name);
		const subscription = new Subscription(this, topic, start.cursor, shown);
		this.#subscriptions.set(topic.name, subscription);
		this.#shared?.count(1);
		topic.subscribers.add(subscription);
		this.#options.observer.behind(1);
		if (start.gap !== null) this.#tellGap(subscription, start.gap.reason, start.gap.from, start.cursor);
		this.#advance(subscription);
	}

	#end(subscription: Subscription): void {
		if (subscription.state !== 'live') this.#options.observer.behind(-1);
		subscription.end();
		this.#subscriptions.delete(subscription.topic.name);
		this.#shared?.count(-1);
		subscription.topic.subscribers.delete(subscription);
		this.#options.hub.unfollow(subscription.topic);
	}

	/** Gives everybody who is behind a turn while the sink takes more. */
	#goOn(): void {
		let turns = this.#subscriptions.size;
		for (const subscription of this.#subscriptions.values()) {
			if (turns-- === 0 || !this.sink.writable) break;
			if (subscription.state !== 'behind') continue;
			this.#advance(subscription);
		}
		this.sink.flush();
	}

	/** Puts a subscription that was just served behind the others. */
	#requeue(subscription: Subscription): void {
		const { name } = subscription.topic;
		this.#subscriptions.delete(name);
		this.#subscriptions.set(name, subscription);
	}

	#goOnSoon(): void {
		if (this.#turnDue) return;
		this.#turnDue = true;
		this.#options.clock.soon(() => {
			this.#turnDue = false;
			this.#goOn();
		});
	}

	/** The loop: sends slice after slice until the sink is full, the store must be asked, or the end is reached. */
	#advance(subscription: Subscription): void {
		const { topic } = subscription;
		for (let slices = 0; subscription.state === 'behind' && this.sink.writable; slices++) {
			if (slices === SLICES_PER_TURN_MAX) {
				this.#goOnSoon();
				return;
			}
			if (compareMessageIds(subscription.cursor, topic.floor) < 0) {
				this.#passTo(subscription, 'trimmed', topic.floor);
			}
			const loss = topic.lossAt(subscription.cursor);
			if (loss !== undefined) this.#passTo(subscription, 'ahead', loss.to);
			if (compareMessageIds(subscription.cursor, topic.offered) >= 0) {
				subscription.enterLive();
				this.#options.observer.behind(-1);
				return;
			}
			const slice = topic.covers(subscription.cursor)
				? topic.sliceAfter(subscription.cursor, SLICE_LIMITS, this.#options.clock.nowMs())
				: null;
			if (slice === null) {
				// Otherwise it has its turn when the read under way has ended.
				if (!this.#reading) this.#readFromStore(subscription);
				return;
			}
			this.#deliver(subscription, slice);
		}
	}

	#deliver(subscription: Subscription, slice: Slice): void {
		this.sink.deliver(slice.named(subscription.shown));
		this.#options.observer.delivered(this.sink.transport, slice.count);
		subscription.cursor = slice.last;
		this.#requeue(subscription);
	}

	#readFromStore(subscription: Subscription): void {
		subscription.state = 'reading';
		this.#reading = true;
		this.#requeue(subscription);
		this.#options.hub.readPage(subscription.topic, subscription.cursor).then(
			(page) => {
				this.#takePage(subscription, page);
				this.#readEnded();
			},
			() => {
				// The observer has counted it. The subscriber stays connected and gets the rest after recovery.
				this.#readLater(subscription);
				this.#readEnded();
			},
		);
	}

	#readEnded(): void {
		this.#reading = false;
		this.#goOn();
	}

	#readLater(subscription: Subscription): void {
		this.#options.clock.after(READ_RETRY_MS, () => {
			if (subscription.state !== 'reading') return;
			subscription.state = 'behind';
			this.readOn(subscription);
		});
	}

	#takePage(subscription: Subscription, { blocks, tip }: HotPage): void {
		// Unsubscribed, or subscribed anew, while the read was under way.
		if (subscription.state !== 'reading') return;
		subscription.state = 'behind';
		const { topic, cursor } = subscription;
		if (compareMessageIds(cursor, topic.floor) >= 0 && topic.lossAt(cursor) === undefined) {
			if (blocks.length === 0) {
				this.#passHole(subscription, earlier(tip, topic.offered));
			} else if (this.sink.writable) {
				// What the store has beyond `offered` reaches everybody through the next tick; taking it here would deliver it twice.
				const slice = topic.sliceOfPage(blocks, cursor, SLICE_LIMITS, this.#options.clock.nowMs());
				const loss = topic.nextLossAfter(cursor);
				if (slice !== null) this.#deliver(subscription, slice);
				// Nothing is left before the loss, not even the message that it began after: somebody else removed that.
				else if (loss !== undefined) this.#passTo(subscription, 'ahead', loss.to);
			}
		}
	}

	/**
	 * The log was announced to have more after the cursor, has not been trimmed by the relay, and had nothing up to `end`: somebody else
	 * removed it. If it ended before, the store has lost it, and will say so; until then there is nothing to send.
	 */
	#passHole(subscription: Subscription, end: MessageId): void {
		const { cursor } = subscription;
		if (compareMessageIds(end, cursor) > 0) {
			this.#passTo(subscription, 'trimmed', end);
		} else {
			subscription.state = 'reading';
			this.#readLater(subscription);
		}
	}

	/** Passes a hole, and tells of it. */
	#passTo(subscription: Subscription, reason: GapReason, to: MessageId): void {
		this.#tellGap(subscription, reason, subscription.cursor, to);
		subscription.cursor = to;
	}

	#tellGap({ shown }: Subscription, reason: GapReason, from: MessageId | null, to: MessageId): void {
		this.#options.observer.gap(reason);
		this.sink.gap({ topic: shown, reason, from, to });
	}
}

const NO_NAMES: ShownNames = new Map();

function earlier(a: MessageId, b: MessageId): MessageId {
	return compareMessageIds(a, b) < 0 ? a : b;
}
