/** The space that the database file takes, in the writer's thread: how much of it is free, and how it is given back. */

import { statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { describeFailure } from './failure.ts';
import type { SpaceReport, StoreFailure } from './messages.ts';

/** Pages that one step gives back, 2 MiB: some 2 ms, when they have to be moved. */
const STEP_PAGES = 256;
const INCREMENTAL = 2;

export class FileSpace {
	readonly #db: DatabaseSync;
	readonly #file: string;
	readonly #pageCount: StatementSync;
	readonly #freeCount: StatementSync;
	readonly #pageBytes: number;

	constructor(db: DatabaseSync, file: string) {
		this.#db = db;
		this.#file = file;
		this.#pageCount = db.prepare('PRAGMA page_count');
		this.#freeCount = db.prepare('PRAGMA freelist_count');
		this.#pageBytes = Number(db.prepare('PRAGMA page_size').get()?.['page_size']);
	}

	report(): SpaceReport {
		const free = Number(this.#freeCount.get()?.['freelist_count']);
		const used = Number(this.#pageCount.get()?.['page_count']) - free;
		return {
			fileBytes: sizeOf(this.#file) + sizeOf(`${this.#file}-wal`),
			freeBytes: free * this.#pageBytes,
			usedBytes: used * this.#pageBytes,
			inSteps: this.#db.prepare('PRAGMA auto_vacuum').get()?.['auto_vacuum'] === INCREMENTAL,
		};
	}

	/** Gives some free pages back, within a transaction. The file gets shorter when the WAL is moved into it. */
	reclaim(): void {
		this.#db.exec(`PRAGMA incremental_vacuum(${STEP_PAGES})`);
	}

	/**
	 * Writes the whole file anew, outside of a transaction, so that from then on it gives space back in steps. Atomic: a relay that is killed
	 * meanwhile finds the file as it was. The copy that it needs is beside the file, without a name.
	 *
	 * @returns why it could not, or null
	 */
	vacuum(): StoreFailure | null {
		try {
			this.#db.exec(`PRAGMA temp_store_directory = '${dirname(this.#file).replaceAll("'", "''")}'; PRAGMA temp_store = FILE`);
			this.#db.exec('PRAGMA auto_vacuum = INCREMENTAL; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)');
			return null;
		} catch (thrown) {
			return describeFailure(thrown);
		} finally {
			this.#db.exec("PRAGMA temp_store = MEMORY; PRAGMA temp_store_directory = ''");
		}
	}
}

function sizeOf(path: string): number {
	return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
