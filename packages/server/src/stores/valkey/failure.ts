/** Failures of the server and of the way to it, put into the words of the relay. */

import { RelayError } from '@pulsar-relay/protocol/errors';

export const NO_ANSWER = 'the store does not answer';
export const UNREACHABLE = 'the store cannot be reached';
export const TWO_PRIMARIES = 'more than one of the addresses is a primary';
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

/** Any failure of a call as what the port promises. */
export function failureOf(error: unknown): RelayError {
	return error instanceof RelayError ? error : unavailable(reasonOf(error), error);
}
