/**
 * The closed table of errors: code → HTTP status, WebSocket close code, retryable, meaning. PROTOCOL.md carries the same
 * table and a test holds the two together. No other file names a status for a failure.
 */

interface ErrorRow {
	/** HTTP status of the answer. */
	readonly status: number;
	/** WebSocket close code when the failure ends the connection, null when an `error` frame is enough. */
	readonly closeCode: number | null;
	/** Whether the same request can succeed later without a change. */
	readonly retryable: boolean;
	/** One line for the documentation. */
	readonly meaning: string;
}

// biome-ignore format: one row a line, as a table
export const ERRORS = {
	invalid_json: { status: 422, closeCode: null, retryable: false, meaning: 'the body, line or frame is not well-formed JSON in UTF-8' },
	payload_too_deep: { status: 422, closeCode: null, retryable: false, meaning: 'the JSON nests deeper than the limit' },
	invalid_request: { status: 422, closeCode: null, retryable: false, meaning: 'a field is missing, of the wrong type or out of range; `detail` names each' },
	invalid_topic: { status: 422, closeCode: null, retryable: false, meaning: 'a topic name breaks the grammar' },
	invalid_cursor: { status: 400, closeCode: null, retryable: false, meaning: 'a cursor, offset or message id is not one' },
	bad_request: { status: 400, closeCode: null, retryable: false, meaning: 'the HTTP request itself is malformed or ambiguous' },
	untrusted_host: { status: 400, closeCode: null, retryable: false, meaning: 'the `Host` header is not in `PULSAR_TRUSTED_HOSTS`' },
	foreign_origin: { status: 403, closeCode: null, retryable: false, meaning: 'the web page is of an origin that may not use the relay' },
	not_found: { status: 404, closeCode: null, retryable: false, meaning: 'no such route or topic' },
	not_authenticated: { status: 401, closeCode: null, retryable: false, meaning: 'the request has no credentials, and this route needs some' },
	invalid_credentials: { status: 401, closeCode: null, retryable: false, meaning: 'the password, token or key is wrong, expired or revoked' },
	credentials_expired: { status: 401, closeCode: 4401, retryable: false, meaning: 'what the connection was opened with has expired or was revoked; reconnect with a new token' },
	forbidden: { status: 403, closeCode: null, retryable: false, meaning: 'the account, key or token may not do that; the message names what is missing' },
	access_revoked: { status: 403, closeCode: 4403, retryable: false, meaning: 'the account was disabled or lost a permission that the connection needs' },
	account_exists: { status: 400, closeCode: null, retryable: false, meaning: 'an account of this name, or of one that looks like it, exists already' },
	account_conflict: { status: 409, closeCode: null, retryable: false, meaning: 'whoever signed in at a provider is called like an account that is not theirs' },
	provider_unavailable: { status: 502, closeCode: null, retryable: true, meaning: 'the identity provider, or the issuer of a token, does not answer' },
	authorization_pending: { status: 400, closeCode: null, retryable: true, meaning: 'device flow: nobody has decided yet; ask again after the interval' },
	slow_down: { status: 400, closeCode: null, retryable: true, meaning: 'device flow: asked again before the interval had passed' },
	expired_token: { status: 400, closeCode: null, retryable: false, meaning: 'device flow: unknown, used or expired device code' },
	access_denied: { status: 400, closeCode: null, retryable: false, meaning: 'device flow: the request was denied, or the account was disabled' },
	unsupported_grant_type: { status: 400, closeCode: null, retryable: false, meaning: 'device flow: the `grant_type` is another' },
	device_authorization_unavailable: { status: 400, closeCode: null, retryable: false, meaning: 'device flow: the relay has no address for browsers' },
	not_set_up: { status: 503, closeCode: null, retryable: false, meaning: 'this relay is not set up for what the page is for' },
	too_many_logins: { status: 503, closeCode: null, retryable: true, meaning: 'more passwords wait to be checked than the limit allows' },
	method_not_allowed: { status: 405, closeCode: null, retryable: false, meaning: 'the route exists, but not for this method; see `Allow`' },
	upgrade_required: { status: 426, closeCode: null, retryable: false, meaning: 'the route is for upgrades to WebSocket, and the request does not ask for one' },
	request_timeout: { status: 408, closeCode: null, retryable: true, meaning: 'the request, line or frame did not arrive in time' },
	topic_exists: { status: 400, closeCode: null, retryable: false, meaning: 'a topic of this name exists already' },
	topic_deleted: { status: 404, closeCode: null, retryable: false, meaning: 'the topic was deleted; its subscriptions have ended' },
	topic_limit: { status: 403, closeCode: null, retryable: false, meaning: 'the relay, or the account, has as many topics as it may' },
	payload_too_large: { status: 413, closeCode: 1009, retryable: false, meaning: 'the body, line or frame is larger than the limit' },
	headers_too_large: { status: 431, closeCode: null, retryable: false, meaning: 'the request line and headers are larger than the limit' },
	unsupported_media_type: { status: 415, closeCode: null, retryable: false, meaning: 'the `Content-Type` is not one this route reads' },
	idempotency_conflict: { status: 422, closeCode: null, retryable: false, meaning: 'this `Idempotency-Key` was used with another request' },
	unknown_frame: { status: 400, closeCode: null, retryable: false, meaning: 'the frame has an unknown `type` or is binary' },
	subscription_limit: { status: 422, closeCode: null, retryable: false, meaning: 'more topics than one connection or request may follow' },
	too_many_polls: { status: 429, closeCode: null, retryable: true, meaning: 'more polls are waiting than the relay is configured to hold' },
	too_many_connections: { status: 503, closeCode: null, retryable: true, meaning: 'more connections are open than the relay is configured to hold' },
	rate_limited: { status: 429, closeCode: null, retryable: true, meaning: 'more requests, messages or failed sign-ins than the rate limit allows; `Retry-After` says when to go on' },
	account_limit: { status: 429, closeCode: null, retryable: true, meaning: 'the account has as many connections, polls or subscriptions open as one may' },
	account_full: { status: 507, closeCode: null, retryable: true, meaning: 'the topics of the account hold as many bytes as one may store' },
	frame_flood: { status: 429, closeCode: 1008, retryable: false, meaning: 'the peer sends more control frames than the limit allows' },
	storage_unavailable: { status: 503, closeCode: null, retryable: true, meaning: 'the store cannot append or read now; nothing was acknowledged' },
	overloaded: { status: 503, closeCode: null, retryable: true, meaning: 'more bytes wait to be stored, or are arriving, than the limit or the share of the client allows' },
	shutting_down: { status: 503, closeCode: 1012, retryable: true, meaning: 'this node is draining; reconnect, to any node' },
	internal_error: { status: 500, closeCode: 1011, retryable: true, meaning: 'a defect in the relay; the log has the request id' },
} as const satisfies Record<string, ErrorRow>;

/** A code of the table. */
export type ErrorCode = keyof typeof ERRORS;

/** One pointed-out problem of a request, in the shape existing clients know (`loc` starts with `body`, `query` or `path`). */
export interface Problem {
	readonly type: string;
	readonly loc: readonly (string | number)[];
	readonly msg: string;
}

export interface RelayErrorOptions {
	readonly cause?: unknown;
	readonly problems?: readonly Problem[];
	readonly detail?: string;
	/** When trying again makes sense, where that is known. */
	readonly retryAfterS?: number;
}

/**
 * The one error type of the relay. `message` goes on the wire: lower case, no full stop, never a driver's words. `cause` is
 * for the log only.
 */
export class RelayError extends Error {
	readonly code: ErrorCode;
	readonly problems: readonly Problem[] | undefined;
	/** What existing clients know the failure by, where that is not the message. */
	readonly detail: string | undefined;
	readonly retryAfterS: number | undefined;

	constructor(code: ErrorCode, message: string, options?: RelayErrorOptions) {
		super(message, options?.cause === undefined ? undefined : { cause: options.cause });
		this.name = 'RelayError';
		this.code = code;
		this.problems = options?.problems;
		this.detail = options?.detail;
		this.retryAfterS = options?.retryAfterS;
	}

	/** Wraps anything that was thrown: a RelayError stays itself, all else becomes `internal_error` with the cause kept. */
	static from(thrown: unknown): RelayError {
		return thrown instanceof RelayError
			? thrown
			: new RelayError('internal_error', 'an internal error occurred', { cause: thrown });
	}
}
