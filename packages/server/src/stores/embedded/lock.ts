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

const SQLITE_BUSY = 5;

/** A held lock. */
export interface DataDirLock {
	release(): void;
}

/**
 * Takes the lock of a data directory, which must exist.
 *
 * @throws RelayError `storage_unavailable` when another store holds it; what SQLite or Node throws when it cannot be made
 */
export function lockDataDir(dataDir: string): DataDirLock {
	// The pid is in a file of its own: opening and closing the locked file ourselves would drop the lock (POSIX).
	const pidFile = join(dataDir, 'relay.pid');
	const db = new DatabaseSync(join(dataDir, 'relay.lock'), { timeout: 0 });
	try {
		// Nothing is ever committed: the file stays empty, and with the journal in memory there is none beside it.
		db.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
		writeFileSync(pidFile, `${pid}\n`);
	} catch (thrown) {
		db.close();
		throw isBusy(thrown) ? inUse(dataDir, pidFile) : thrown;
	}
	return { release: () => db.close() };
}

function isBusy(thrown: unknown): boolean {
	return thrown instanceof Error && 'errcode' in thrown && thrown.errcode === SQLITE_BUSY;
}

function inUse(dataDir: string, pidFile: string): RelayError {
	return new RelayError('storage_unavailable', `data directory ${dataDir} is in use by another relay${holder(pidFile)}`);
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
