/**
 * The lock on a data directory: one relay at a time. It is a file lock that SQLite takes, which the kernel releases with the
 * process, also on kill -9; so there are no stale locks to clean up. SQLite also keeps two stores of one process apart.
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
// biome-ignore lint/style/noRestrictedImports: the pid is only written down for the operator of a second relay
import { pid } from 'node:process';
import { DatabaseSync } from 'node:sqlite';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { type FileIdentity, identityAt, isSameFile, keepPrivate } from './files.ts';

const SQLITE_BUSY = 5;

/** A held lock. */
export interface DataDirLock {
	/**
	 * Takes the lock again when its file was removed or replaced: without it a second relay could start on the directory.
	 *
	 * @throws as {@link lockDataDir}
	 */
	keep(): 'held' | 'retaken';
	release(): void;
}

/**
 * Takes the lock of a data directory, which must exist.
 *
 * @throws RelayError `storage_unavailable` when another store holds it; what SQLite or Node throws when it cannot be made
 */
export function lockDataDir(dataDir: string): DataDirLock {
	let held = take(dataDir);
	return {
		keep() {
			if (isSameFile(identityAt(lockFileOf(dataDir)), held.identity)) return 'held';
			const again = take(dataDir);
			held.db.close();
			held = again;
			return 'retaken';
		},
		release: () => held.db.close(),
	};
}

interface HeldLock {
	readonly db: DatabaseSync;
	readonly identity: FileIdentity;
}

function take(dataDir: string): HeldLock {
	const lockFile = lockFileOf(dataDir);
	// The pid is in a file of its own: opening and closing the locked file ourselves would drop the lock (POSIX).
	const pidFile = join(dataDir, 'relay.pid');
	const db = new DatabaseSync(lockFile, { timeout: 0 });
	try {
		// Nothing is ever committed: the file stays empty, and with the journal in memory there is none beside it.
		db.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
		const identity = identityAt(lockFile);
		if (identity === null) throw new Error(`${lockFile} was removed while it was being locked`);
		writeFileSync(pidFile, `${pid}\n`, { mode: 0o600 });
		keepPrivate(pidFile);
		keepPrivate(lockFile);
		return { db, identity };
	} catch (thrown) {
		db.close();
		throw isBusy(thrown) ? inUse(dataDir, pidFile) : thrown;
	}
}

function lockFileOf(dataDir: string): string {
	return join(dataDir, 'relay.lock');
}

function isBusy(thrown: unknown): boolean {
	return thrown instanceof Error && 'errcode' in thrown && thrown.errcode === SQLITE_BUSY;
}

function inUse(dataDir: string, pidFile: string): RelayError {
	return new RelayError(
		'storage_unavailable',
		`data directory ${dataDir} is in use by another relay${holder(pidFile)}; stop it, or choose another with PULSAR_DATA_DIR`,
	);
}

/** ` (pid 123)`, or nothing: the holder may not have written it yet, or not been able to. */
function holder(pidFile: string): string {
	try {
		const text = readFileSync(pidFile, 'utf8').trim();
		return /^[0-9]+$/.test(text) ? ` (pid ${text})` : '';
	} catch {
		return '';
	}
}
