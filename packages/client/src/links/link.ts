/**
 * A link: one way of getting messages from a relay, behind one interface. A link follows topics from their cursors and says what
 * comes; it neither retries nor waits. It ends once, and says why; who owns it decides what then (lane.ts).
 */

import type { Gap, RelayError } from '../errors.ts';

export type TransportKind = 'ws' | 'sse' | 'poll';

/** `last`, `earliest`, or the id of the last message that was taken. */
export type Position = string;

/** Why a link is over. */
export type LinkEnd =
	/** The connection broke, or this way to the relay does not work. */
	| { readonly kind: 'lost'; readonly error: RelayError }
	/** Nothing answers at all; says nothing against the transport. */
	| { readonly kind: 'unreachable'; readonly error: RelayError }
	/** The relay answers, and refuses this; says nothing against the transport. */
	| { readonly kind: 'refused'; readonly error: RelayError }
	/** The node drains: any other takes over after the delay. */
	| { readonly kind: 'drained'; readonly retryAfterMs: number };

/** What a link says, in order. Nothing comes after `ended`. */
export interface LinkEvents {
	/** Something came from the relay. */
	alive(): void;
	/** These topics are followed from here on. For those that began at `last` or `earliest`, where that is. */
	following(cursors: ReadonlyMap<string, string>): void;
	/** @param text the message object */
	message(text: string): void;
	gap(gap: Gap): void;
	/** One topic is not followed any more: it was deleted, or its name or the rights to it are wrong. */
	topicEnded(topic: string, error: RelayError): void;
	ended(end: LinkEnd): void;
}

export interface Link {
	readonly kind: TransportKind;
	/**
	 * Follows topics, from the positions of {@link LinkOptions.positionOf}; for one that is followed already, anew. What was sent for it before
	 * is not given out any more.
	 */
	follow(topics: readonly string[]): void;
	unfollow(topics: readonly string[]): void;
	/** Asks the other end for a sign of life, where the transport can. */
	probe(): void;
	/** Goes on with another token, where the transport can; else the next request takes it. */
	refresh(token: string): void;
	/** Ends it at once, without `ended`. */
	close(): void;
}

export interface LinkOptions {
	readonly events: LinkEvents;
	/** Where a topic stands when it is asked for. */
	readonly positionOf: (topic: string) => Position;
}
