/** What went wrong, in words for the operator and the wire, from what SQLite or Node threw. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { StoreFailure } from './messages.ts';

/** The reason when something else lies where a directory should. */
export const NOT_A_DIRECTORY = 'not a directory';

/** SQLite's primary result codes, and Node's codes of file errors, that an operator can do something about. */
const REASONS: ReadonlyMap<unknown, string> = new Map<number | string, string>([
	[3, 'permission denied'],
	[5, 'the database is locked by another process'],
	[7, 'out of memory'],
	[8, 'the database is read-only'],
	[10, 'input/output error'],
	[11, 'the database is damaged'],
	[13, 'disk is full'],
	[14, 'the file cannot be opened'],
	[26, 'it is not a database, or damaged'],
	['EACCES', 'permission denied'],
	['EPERM', 'permission denied'],
	['EROFS', 'the file system is read-only'],
	['ENOSPC', 'disk is full'],
	['EDQUOT', 'the disk quota is used up'],
	['ENOTDIR', NOT_A_DIRECTORY],
	['EEXIST', NOT_A_DIRECTORY],
	['EISDIR', 'it is a directory'],
	['EIO', 'input/output error'],
]);

/** Reduces anything thrown to plain data. */
export function describeFailure(thrown: unknown): StoreFailure {
	if (thrown instanceof RelayError) return { reason: thrown.message, message: thrown.message };
	if (!(thrown instanceof Error)) return { reason: 'internal error', message: String(thrown) };
	if ('errcode' in thrown && typeof thrown.errcode === 'number') {
		// The low byte is the primary code; the rest tells which system call failed.
		const reason = REASONS.get(thrown.errcode & 0xff) ?? 'internal error';
		return { reason, message: `${thrown.message} (SQLite ${thrown.errcode})` };
	}
	const reason = REASONS.get('code' in thrown ? thrown.code : undefined) ?? systemReason(thrown) ?? 'internal error';
	return { reason, message: thrown.stack ?? thrown.message };
}

/** The system's own words for an error of a file: `ELOOP: too many symbolic links encountered, stat '/data'`. */
function systemReason({ message }: Error): string | undefined {
	return /^E[A-Z0-9]+: ([^,]+),/.exec(message)?.[1];
}

/** The error of a database that cannot be opened, as one line. */
export function cannotOpen(file: string, failure: StoreFailure): RelayError {
	return new RelayError('storage_unavailable', `cannot open ${file}: ${failure.reason}`, { cause: new Error(failure.message) });
}

/** The error of a call that a failing store could not serve; nothing of that call took effect. */
export function unavailable(failure: StoreFailure): RelayError {
	return new RelayError('storage_unavailable', `the store is unavailable: ${failure.reason}`, {
		cause: new Error(failure.message),
	});
}
