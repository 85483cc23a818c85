/**
 * Message ids: `<ms>-<n>`, Valkey's stream form on every store (I1).
 *
 * `ms` is the Unix time of the append in milliseconds, `n` the place within that millisecond. Within a topic ids strictly
 * increase, also when the clock steps back, and are never reused; the id is therefore the cursor.
 */

/** A parsed message id. Both parts are non-negative safe integers. */
export interface MessageId {
	readonly ms: number;
	readonly n: number;
}

/** The position before every message. No message ever has this id. */
export const ZERO_ID: MessageId = Object.freeze({ ms: 0, n: 0 });

/**
 * How long where a deleted topic ended is remembered, and with it the certainty that its ids are not used again: 30 days
 * (PROTOCOL.md, "Message ids").
 */
export const DELETED_TOPIC_KEPT_MS = 30 * 24 * 3600 * 1000;

const FORM = /^(0|[1-9][0-9]{0,15})-(0|[1-9][0-9]{0,15})$/;

/**
 * Parses `<ms>-<n>`. Strict: no signs, spaces or leading zeros, and neither part above 2^53-1 (no relay hands out such ids).
 *
 * @returns undefined when the text is not a message id
 */
export function parseMessageId(text: string): MessageId | undefined {
	const match = FORM.exec(text);
	if (match === null) return undefined;
	const ms = Number(match[1]);
	const n = Number(match[2]);
	return Number.isSafeInteger(ms) && Number.isSafeInteger(n) ? { ms, n } : undefined;
}

/** The wire form of an id. */
export function formatMessageId(id: MessageId): string {
	return `${id.ms}-${id.n}`;
}

/** Negative when `a` comes before `b` in the log, zero when equal, positive when after. */
export function compareMessageIds(a: MessageId, b: MessageId): number {
	return a.ms === b.ms ? a.n - b.n : a.ms - b.ms;
}

/**
 * The id that the first of a batch gets: `nowMs`-0, or, within one millisecond or when the clock stepped back, the next
 * number after `last` (the same rule as Valkey's `XADD *`). The rest of the batch counts on from there.
 */
export function nextMessageId(last: MessageId, nowMs: number): MessageId {
	return nowMs > last.ms ? { ms: nowMs, n: 0 } : { ms: last.ms, n: last.n + 1 };
}
