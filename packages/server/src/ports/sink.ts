/**
 * A sink: the writing end of one attached connection. A session writes slices of the log and notices to it; how they look on
 * the wire is the sink's business. Reading from the connection is its transport's.
 */

import type { Gap } from '@pulsar-relay/protocol/frames';
import type { MessageId } from '@pulsar-relay/protocol/message-id';

/** Which wire a subscriber is on; the label of the delivery metrics. */
export type TransportName = 'websocket' | 'sse' | 'longpoll';

/** Messages to deliver, encoded at most once per wire form however many sinks take them (I7). */
export interface Deliverable {
	readonly topic: string;
	/** Messages in it that are still to be delivered (not expired). */
	readonly count: number;
	/** The newest id it covers: the cursor of whoever has taken it. */
	readonly last: MessageId;
	/** A WebSocket text frame per message. */
	websocket(): Uint8Array;
	/** An SSE event per message, each with its message id as event id. */
	sse(): Uint8Array;
	/** Calls `take` for each message in order with its id and what its SSE event has before the event id, the same bytes for all. */
	forEachEvent(take: (id: MessageId, data: Uint8Array) => void): void;
	/** Calls `take` for each message in order with its id and its JSON object. */
	forEach(take: (id: MessageId, json: Uint8Array) => void): void;
}

export interface Sink {
	readonly transport: TransportName;
	/** False while more bytes wait for the peer than the limit allows (I5). It turns true again before `onWritable` is called. */
	readonly writable: boolean;
	/** Set by the session: called when a sink that was not writable is writable again, never from inside {@link flush}. */
	onWritable: () => void;
	/** Takes a slice, always. Held until {@link flush}. Returns true when it is the first thing held since the last flush. */
	deliver(slice: Deliverable): boolean;
	/** Tells the subscriber of a hole, in order with the slices around it (I4). Held until {@link flush}. */
	gap(gap: Gap): void;
	/** Tells the subscriber that a topic was deleted and is no longer followed. Held until {@link flush}. */
	topicDeleted(topic: string): void;
	/** Tells the subscriber that it may no longer follow a topic, and does not. Held until {@link flush}. */
	topicForbidden(topic: string): void;
	/** Writes all that is held, in one write. */
	flush(): void;
	/** Ends the connection because this node drains, with advice when to come back. */
	drain(reconnectAfterMs: number): void;
}
