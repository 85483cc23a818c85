/**
 * A subscription: one session's place in one topic's log. Live, catching up, lagging and resuming are the same loop: send the
 * next slice after the cursor while the socket takes it (I5), until the cursor is where the topic's next tick starts.
 */

import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { Sink } from '../ports/sink.ts';
import type { Subscriber, TopicLog } from './topic-log.ts';

/**
 * - `behind`: the cursor is before the topic's offered end, or the socket is full. Leaves to `live` when the cursor gets
 *   there, to `reading` when the next messages are only in the store.
 * - `reading`: a store read is under way. Leaves to `behind` with its answer.
 * - `live`: in the topic's live set; the cursor is the topic's offered end. Leaves to `behind` when the socket is full or the
 *   node has missed an announcement.
 * - `ended`: unsubscribed, topic deleted or session closed. Final.
 */
export type SubscriptionState = 'behind' | 'reading' | 'live' | 'ended';

/** The session, as its subscriptions see it. */
export interface SubscriptionOwner {
	readonly sink: Sink;
	readOn(subscription: Subscription): void;
	topicDeleted(subscription: Subscription): void;
	logRewound(subscription: Subscription, reached: MessageId, given: boolean): void;
}

export class Subscription implements Subscriber {
	readonly sink: Sink;
	readonly topic: TopicLog;
	state: SubscriptionState = 'behind';
	/** The last message sent, or where the subscription started. Not kept up to date while `live`. */
	cursor: MessageId;
	liveIndex = -1;
	readonly shown: string;
	readonly #owner: SubscriptionOwner;

	/** @param shown the name by which the subscriber follows the topic */
	constructor(owner: SubscriptionOwner, topic: TopicLog, cursor: MessageId, shown: string) {
		this.#owner = owner;
		this.sink = owner.sink;
		this.topic = topic;
		this.cursor = cursor;
		this.shown = shown;
	}

	/** Joins the topic's live set. The cursor must be the topic's offered end. */
	enterLive(): void {
		this.state = 'live';
		this.topic.addLive(this);
	}

	fellBehind(cursor: MessageId): void {
		this.topic.removeLive(this);
		this.cursor = cursor;
		this.state = 'behind';
	}

	readOn(): void {
		this.#owner.readOn(this);
	}

	topicDeleted(): void {
		this.#owner.topicDeleted(this);
	}

	logRewound(reached: MessageId, given: boolean): void {
		this.#owner.logRewound(this, reached, given);
	}

	/** Ends it, in whatever state it is. */
	end(): void {
		if (this.state === 'live') this.topic.removeLive(this);
		this.state = 'ended';
	}
}
