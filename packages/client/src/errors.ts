/** What goes wrong, as values of two classes whose `code` says which. */

/** Codes of the client itself. Every other code is one of the relay's table (PROTOCOL.md, "Errors"). */
export type ClientErrorCode =
	/** Nothing answers at the address, or the connection broke. */
	| 'unreachable'
	/** Something answers that is not a relay: another server, a captive portal, a proxy's own page. */
	| 'not_a_relay'
	/** The token function failed, or took too long. */
	| 'token_failed'
	/** The relay refuses what the token function gives, twice in a row. */
	| 'token_refused'
	/** Messages are missing, and the read has no `onGap`. */
	| 'gap'
	/** More waits to be published than the outbox holds. */
	| 'outbox_full'
	/** The client was closed. */
	| 'closed'
	/** An argument is wrong. */
	| 'invalid_argument';

export interface ErrorDetails {
	/** HTTP status of the relay's answer. */
	readonly status?: number;
	/** When the relay says that trying again makes sense. */
	readonly retryAfterMs?: number;
	readonly cause?: unknown;
}

/** A failure. `message` names the thing and the way out. */
export class RelayError extends Error {
	readonly code: ClientErrorCode | (string & {});
	readonly status: number | undefined;
	readonly retryAfterMs: number | undefined;

	constructor(code: RelayError['code'], message: string, { status, retryAfterMs, cause }: ErrorDetails = {}) {
		super(message, cause === undefined ? undefined : { cause });
		this.name = 'RelayError';
		this.code = code;
		this.status = status;
		this.retryAfterMs = retryAfterMs;
	}
}

/** A hole in what a read is given (PROTOCOL.md, "Resume"). */
export interface Gap {
	readonly topic: string;
	/**
	 * `trimmed`: the messages are no longer kept. `ahead`: the relay's log ends before the cursor, as after a restore or a failover.
	 * `deleted`: the topic was deleted. `unknown`: the relay did not understand the cursor. Relays may add reasons.
	 */
	readonly reason: 'trimmed' | 'ahead' | 'deleted' | 'unknown' | (string & {});
	/** The cursor as it was; null when it was not understood. */
	readonly from: string | null;
	/** The read goes on after this id. */
	readonly to: string;
}

/** Thrown by a read that meets a gap and has no `onGap`: read again from {@link cursors} to go on. */
export class GapError extends RelayError {
	readonly gap: Gap;
	/** Where the read stands in each of its topics, after the gap. */
	readonly cursors: Readonly<Record<string, string>>;

	constructor(gap: Gap, cursors: Readonly<Record<string, string>>) {
		super(
			'gap',
			`messages of topic ${gap.topic} are missing (${gap.reason}, after ${gap.from}): pass onGap, or read on from .cursors`,
		);
		this.name = 'GapError';
		this.gap = gap;
		this.cursors = cursors;
	}
}
