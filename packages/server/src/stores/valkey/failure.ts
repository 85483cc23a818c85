/** Failures of the server and of the way to it, put into the words of the relay. */

import { RelayError } from '@pulsar-relay/protocol/errors';

export const LACKS_PERMISSION = 'the user lacks a permission';

/** What the server says → what the relay says. */
const REASONS: readonly (readonly [RegExp, string])[] = [
	[/\bOOM\b|OutOfMemory|used memory > 'maxmemory'/i, 'the store is out of memory (maxmemory)'],
	[/MISCONF|MasterNoReadOnly|unable to persist/i, 'the store cannot write to its disk'],
	[/READONLY|ReadOnly|read only replica/i, 'the store is a read-only replica'],
	[/NOREPLICAS|not enough good replicas/i, 'the store has too few replicas'],
	[/LOADING|BusyLoading/i, 'the store is loading its data'],
	[/CLUSTERDOWN|ClusterDown|MasterDown|MASTERDOWN/i, 'the cluster is down'],
	[/WRONGPASS|NOAUTH|AuthenticationFailed|invalid username-password|Authentication required/i, 'wrong user name or password'],
	[/NOPERM|no permissions|NoPerm/i, LACKS_PERMISSION],
	[/WRONGTYPE|wrong kind of value/i, 'a key of the topic holds another type of value'],
	[/IDSPACE/, 'the topic has no message ids left'],
	[/timed? ?out|TimeoutError/i, 'the store does not answer'],
];

/** One clause, without a full stop, never a driver's words. */
export function reasonOf(error: unknown): string {
	if (error instanceof RelayError) return error.message;
	const text = error instanceof Error ? `${error.constructor.name} ${error.message}` : String(error);
	return REASONS.find(([pattern]) => pattern.test(text))?.[1] ?? 'the store cannot be reached';
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
