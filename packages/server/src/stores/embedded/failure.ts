/** What went wrong, in words for the operator and the wire, from what SQLite or Node threw. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { StoreFailure } from './messages.ts';

/** SQLite's primary result codes that an operator can do something about. */
const REASONS: ReadonlyMap<unknown, string> = new Map([
	[3, 'permission denied'],
	[5, 'the database is locked by another process'],
	[7, 'out of memory'],
	[8, 'the database is read-only'],
	[10, 'input/output error'],
	[11, 'the database is damaged'],
	[13, 'disk is full'],
	[14, 'the database file cannot be opened'],
	[26, 'not a database'],
]);

/** Reduces anything thrown to plain data. */
export function describeFailure(thrown: unknown): StoreFailure {
	if (thrown instanceof RelayError) return { reason: thrown.message, message: thrown.message };
	if (!(thrown instanceof Error)) return { reason: 'internal error', message: String(thrown) };
	const code = 'errcode' in thrown && typeof thrown.errcode === 'number' ? thrown.errcode : null;
	const message = code === null ? (thrown.stack ?? thrown.message) : `${thrown.message} (SQLite ${code})`;
	// The low byte is the primary code; the rest tells which call failed.
	return { reason: REASONS.get(code === null ? null : code & 0xff) ?? 'internal error', message };
}

/** The error of a call that a failing store could not serve; nothing of that call took effect. */
export function unavailable(failure: StoreFailure): RelayError {
	return new RelayError('storage_unavailable', `the store is unavailable: ${failure.reason}`, { cause: new Error(failure.message) });
}
