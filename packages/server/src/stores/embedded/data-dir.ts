/** The data directory: made when there is none, taken by one relay at a time, and readable by its owner only. */

import { accessSync, closeSync, constants, fsyncSync, lstatSync, mkdirSync, openSync, readlinkSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { describeFailure, NOT_A_DIRECTORY } from './failure.ts';
import { type DataDirLock, lockDataDir } from './lock.ts';

/**
 * Takes a data directory for this relay.
 *
 * @throws RelayError `storage_unavailable` with one clear line when it cannot be made or used, or another relay has it
 */
export function takeDataDir(dataDir: string): DataDirLock {
	try {
		makeDirectory(resolve(dataDir));
		accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
		return lockDataDir(dataDir);
	} catch (thrown) {
		if (thrown instanceof RelayError) throw thrown;
		const reason = brokenLink(resolve(dataDir)) ?? reasonOf(thrown, resolve(dataDir));
		throw new RelayError('storage_unavailable', `cannot use data directory ${dataDir}: ${reason}`, { cause: thrown });
	}
}

/** Step by step, because `recursive` gives ENOENT for whatever keeps it from making a parent. */
function makeDirectory(path: string): void {
	const stats = statSync(path, { throwIfNoEntry: false });
	if (stats?.isDirectory()) return;
	const parent = dirname(path);
	if (stats === undefined && parent !== path) makeDirectory(parent);
	mkdirSync(path, { mode: 0o700 });
	syncEntries(parent);
}

/** Makes the entry of a new directory durable. SQLite does this for its own files. */
function syncEntries(path: string): void {
	try {
		const descriptor = openSync(path, 'r');
		fsyncSync(descriptor);
		closeSync(descriptor);
	} catch {
		// Not every system can sync a directory, and a parent need not be readable: then it becomes durable in its own time.
	}
}

/** What is wrong, and with which directory when one above could not be made. */
function reasonOf(thrown: unknown, dataDir: string): string {
	const { reason } = describeFailure(thrown);
	const failed =
		thrown instanceof Error && 'syscall' in thrown && thrown.syscall === 'mkdir' && 'path' in thrown ? thrown.path : dataDir;
	return failed === dataDir || reason === NOT_A_DIRECTORY ? reason : `cannot make ${failed}: ${reason}`;
}

/** Says that a part of the path is a link to nothing; null when none is. */
function brokenLink(path: string): string | null {
	for (let part = path; dirname(part) !== part; part = dirname(part)) {
		try {
			if (lstatSync(part).isSymbolicLink() && statSync(part, { throwIfNoEntry: false }) === undefined) {
				return `${part} is a link to ${readlinkSync(part)}, which does not exist`;
			}
		} catch {
			// A part that cannot be looked at is no broken link that could be named.
		}
	}
	return null;
}
