/** Failures of the server and of the way to it, put into the words of the relay. */

import { RelayError } from '@pulsar-relay/protocol/errors';

export const NO_ANSWER = 'the store does not answer';
export const UNREACHABLE = 'the store cannot be reached';
export const TWO_PRIMARIES = 'more than one of the addresses is a primary';
export const NOTHING_LISTENS = 'nothing listens there';
export const NOTHING_ANSWERS = 'nothing answers there';
export const NO_SUCH_HOST = 'there is no such host';
const LACKS_PERMISSION = 'the user lacks a permission';
const ANOTHER_TYPE = 'a key of the topic holds another type of value; deleting the topic removes it';

/** What the server says → what the relay says. */
const REASONS: readonly (readonly [RegExp, string])[] = [
	[/\bOOM\b|OutOfMemory|used memory > 'maxmemory'/i, 'the store is out of memory (maxmemory)'],
	[/MISCONF|MasterNoReadOnly|unable to persist/i, 'the store cannot write to its disk'],
	[/READONLY|ReadOnly|read only replica|No primary node found/i, 'the store is a read-only replica'],
	[/NOREPLICAS|not enough good replicas/i, 'the store has too few replicas'],
	[/LOADING|BusyLoading/i, 'the store is loading its data'],
	[/TRYAGAIN|TryAgain/, 'the topic is moving to another server of the cluster'],
	[/CLUSTERDOWN|ClusterDown|MasterDown|MASTERDOWN/i, 'the cluster is down'],
	[/WRONGPASS|NOAUTH|AuthenticationFailed|invalid username-password|Authentication required/i, 'wrong user name or password'],
	[/NOPERM|no permissions|PermissionDenied|user executing the script/i, LACKS_PERMISSION],
	[/WRONGTYPE|wrong kind of value/i, ANOTHER_TYPE],
	[/IDSPACE/, 'the topic has no message ids left'],
	[/timed? ?out|TimeoutError/i, NO_ANSWER],
];

/** Reasons that pass by themselves, when the server or a name for it appears, or another server becomes the primary. */
const PASSING: ReadonlySet<string> = new Set([
	...[NO_ANSWER, UNREACHABLE, NOTHING_LISTENS, NOTHING_ANSWERS, NO_SUCH_HOST],
	...['the store is a read-only replica', 'the store is loading its data', 'the cluster is down'],
]);
/** When to try again after one of them. */
const RETRY_AFTER_S = 1;

/** One clause, without a full stop, never a driver's words. */
export function reasonOf(error: unknown): string {
	if (error instanceof RelayError) return error.message;
	const text = error instanceof Error ? `${error.constructor.name} ${error.message}` : String(error);
	const reason = REASONS.find(([pattern]) => pattern.test(text))?.[1] ?? UNREACHABLE;
	if (reason !== LACKS_PERMISSION) return reason;
	const command = /run the '([\w|]+)' command/.exec(text)?.[1];
	return command === undefined ? `${reason} on keys or channels` : `the user lacks the permission for ${command.toUpperCase()}`;
}

/** Whether the user of the server may not do what was asked. */
export function isForbidden(error: unknown): boolean {
	return error instanceof Error && /NOPERM|no permissions|PermissionDenied|user executing the script/i.test(error.message);
}

export function isOfAnotherType(error: Error): boolean {
	return reasonOf(error) === ANOTHER_TYPE;
}

/** Whether the server does not know a script, so that nothing was run. */
export function isUnknownScript(error: unknown): boolean {
	return error instanceof Error && /NOSCRIPT|NoScript/i.test(error.message);
}

export function unavailable(reason: string, cause?: unknown): RelayError {
	return new RelayError('storage_unavailable', reason, cause === undefined ? {} : { cause });
}

/** Whether a failure of the start passes by itself: the error says when to try again. */
export function passes(error: unknown): boolean {
	return error instanceof RelayError && error.retryAfterS !== undefined;
}

/** The error of a start that fails. */
export function cannotStart(what: string, reason: string, cause: unknown): RelayError {
	const retry = PASSING.has(reason) || passes(cause) ? { retryAfterS: RETRY_AFTER_S } : {};
	return new RelayError('storage_unavailable', `${what}: ${reason}`, { cause, ...retry });
}

/** Any failure of a call as what the port promises. */
export function failureOf(error: unknown): RelayError {
	return error instanceof RelayError ? error : unavailable(reasonOf(error), error);
}
