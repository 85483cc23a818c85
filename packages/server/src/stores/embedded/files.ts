/**
 * The files of the store: only their owner may read them, and their paths must lead to them. SQLite goes on writing, without an
 * error, to a file that was removed, replaced or mounted over; what it writes there ends with the process.
 */

import { chmodSync, closeSync, openSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { RelayError } from '@pulsar-relay/protocol/errors';

const OWNER_ONLY = 0o600;
/** The rights of the group and of everybody else. */
const OTHERS = 0o077;

/** A file itself, whatever its name is. */
export interface FileIdentity {
	readonly dev: bigint;
	readonly ino: bigint;
}

/** The file at a path; null when there is none. */
export function identityAt(path: string): FileIdentity | null {
	const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
	return stats === undefined ? null : { dev: stats.dev, ino: stats.ino };
}

export function isSameFile(a: FileIdentity | null, b: FileIdentity): boolean {
	return a !== null && a.dev === b.dev && a.ino === b.ino;
}

/** Throws `storage_unavailable` when the file at the path is another one than before, or none. */
export function checkPlace(path: string, before: FileIdentity): void {
	if (!isSameFile(identityAt(path), before)) throw misplaced(path);
}

/** Remembers which files lie at the paths. Calling what it returns throws, as {@link checkPlace} does, once one of them does not. */
export function watchPlaces(paths: readonly string[]): () => void {
	const places = paths.map((path) => {
		const identity = identityAt(path);
		if (identity === null) throw misplaced(path);
		return { path, identity };
	});
	return () => {
		for (const { path, identity } of places) checkPlace(path, identity);
	};
}

/** A database and what SQLite keeps beside it while it is open. */
export function filesOfDatabase(file: string): readonly string[] {
	return [file, `${file}-wal`, `${file}-shm`];
}

function misplaced(path: string): RelayError {
	const name = basename(path);
	return new RelayError(
		'storage_unavailable',
		`${name} was removed, moved or replaced; put the same file back, or restart the relay with the files that are there now`,
	);
}

/** Hears of what an operator should know, in words that fit a log. */
export type NoticeListener = (text: string, fields: Readonly<Record<string, unknown>>) => void;

/**
 * Makes a database's file when there is none, for its owner only, and takes the rights of others on existing ones away. No connection
 * to it may be open: closing a file drops the locks that the process holds on it.
 */
export function prepareDatabaseFile(file: string, onWarning: NoticeListener = () => {}): FileIdentity {
	closeSync(openSync(file, 'a', OWNER_ONLY));
	const identity = identityAt(file);
	if (identity === null) throw misplaced(file);
	const found = { private: [] as string[], tightened: [] as string[], exposed: [] as string[] };
	for (const path of [...filesOfDatabase(file), `${file}-journal`]) found[keepPrivate(path)].push(basename(path));
	const { tightened, exposed } = found;
	if (tightened.length > 0)
		onWarning('other users had rights on files of the store; their mode is 0600 now', { files: tightened });
	if (exposed.length > 0)
		onWarning('other users have rights on files of the store, whose mode cannot be changed', { files: exposed });
	return identity;
}

/** Gives a file, if it exists, the mode 0600. `exposed`: others have rights, and the mode cannot be changed. */
export function keepPrivate(path: string): 'private' | 'tightened' | 'exposed' {
	const mode = modeOf(path);
	if (mode === OWNER_ONLY) return 'private';
	try {
		chmodSync(path, OWNER_ONLY);
	} catch {
		// Only the owner may; what others can do then is for the caller to say.
	}
	if ((mode & OTHERS) === 0) return 'private';
	return (modeOf(path) & OTHERS) === 0 ? 'tightened' : 'exposed';
}

/** The permission bits of a file; those of a private one when there is none. */
function modeOf(path: string): number {
	return (statSync(path, { throwIfNoEntry: false })?.mode ?? OWNER_ONLY) & 0o777;
}
