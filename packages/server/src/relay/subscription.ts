/**
 * A subscription: one session's place in one topic's log. Live, catching up, lagging and resuming are the same loop: send the
 * next slice after the cursor while the socket takes it (I5), until the cursor is where the topic's next tick starts.
 */

import { type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { Session } from './session.ts';
import type { TopicLog } from './topic-log.ts';

/**
 * - `behind`: the cursor is before the topic's offered end, or the socket is full. Leaves to `live` when the cursor gets
 *   there, to `reading` when the next messages are only in the store.
 * - `reading`: a store read is under way. Leaves to `behind` with its answer.
 * - `live`: in the topic's live set; the cursor is the topic's offered end. Leaves to `behind` when the socket is full or the
 *   node has missed an announcement.
 * - `ended`: unsubscribed, topic deleted or session closed. Final.
 */
export type SubscriptionState = 'behind' | 'reading' | 'live' | 'ended';

export class Subscription {
	readonly session: Session;
	readonly topic: TopicLog;
	state: SubscriptionState = 'behind';
	/** The last message sent, or where the subscription started. Not kept up to date while `live`. */
	cursor: MessageId = ZERO_ID;
	/** The place in the topic's live set while `live`. */
	liveIndex = -1;

	constructor(session: Session, topic: TopicLog) {
		this.session = session;
		this.topic = topic;
	}

	/** Joins the topic's live set. The cursor must be the topic's offered end. */
	enterLive(): void {
		this.state = 'live';
		this.liveIndex = this.topic.live.length;
		this.topic.live.push(this);
	}

	/** Leaves the live set with the given cursor; the last of the set takes its place. */
	leaveLive(cursor: MessageId, state: 'behind' | 'ended'): void {
		const { live } = this.topic;
		const last = live.pop();
		if (last !== undefined && last !== this) {
			live[this.liveIndex] = last;
			last.liveIndex = this.liveIndex;
		}
		this.liveIndex = -1;
		this.cursor = cursor;
		this.state = state;
	}
}
