/** What happened in a run, as its clients saw it: the input of the checker (history-checker.ts). */

/** What a publisher knows of one publish. */
export type PublishOutcome =
	| { readonly status: 'acked'; readonly id: string; readonly atMs: number }
	/** No answer, or one that leaves it open (5xx): it may have been stored. */
	| { readonly status: 'unknown' }
	/** Refused for good (4xx): it must not be stored. */
	| { readonly status: 'refused' };

/** One publish with all its retries, which have the same key and body. */
export interface Publish {
	readonly topic: string;
	/** The idempotency key; no two publishes of a run have the same. */
	readonly key: string;
	/** Publishes of one lane to one topic come one after the other: each begins when the outcome of the one before is known. */
	readonly lane: string;
	/** JSON text, different for every publish of the run. */
	readonly payload: string;
	readonly outcome: PublishOutcome;
}

export interface StoredMessage {
	readonly id: string;
	readonly payload: string;
}

/** One thing that came to a subscriber in one topic. */
export type TraceItem =
	| { readonly kind: 'message'; readonly id: string; readonly payload: string }
	| { readonly kind: 'gap'; readonly reason: string; readonly from: string | null; readonly to: string; readonly atMs: number };

/** Everything that came to one subscriber in one topic, in order, over all its connections: each resumed where the last ended. */
export interface Trace {
	readonly subscriber: string;
	readonly topic: string;
	/** The id after which it began to read. */
	readonly start: string;
	readonly items: readonly TraceItem[];
}

/** A whole run. Every subscriber was there at its end, with time to read what there was. */
export interface History {
	/** In the order in which each lane began them. */
	readonly publishes: readonly Publish[];
	/** Each topic's log as it was read back at the end. */
	readonly logs: ReadonlyMap<string, readonly StoredMessage[]>;
	readonly traces: readonly Trace[];
}
