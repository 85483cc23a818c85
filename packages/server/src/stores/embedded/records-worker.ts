/**
 * The thread of the records: a connection of its own to a small database. Each batch of calls is one transaction, so that
 * those who sign in at the same time share an fsync; an answer means that what was written is on the disk.
 */

import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import type { Expected, RecordQuery } from '../../ports/records.ts';
import { describeFailure } from './failure.ts';
import { checkPlace, filesOfDatabase, watchPlaces } from './files.ts';
import type { CloseRequest, StartReport, StoreFailure } from './messages.ts';
import type {
	RecordRow,
	RecordsBatch,
	RecordsCall,
	RecordsReply,
	RecordsResult,
	RecordsSetup,
	WritePart,
} from './records-messages.ts';
import { openRecordsDatabase } from './schema.ts';

/** Records that one purge removes, so that sign-ins wait for milliseconds at most. */
const PURGE_MAX = 1000;
const PRESENT = '(expires_at_ms IS NULL OR expires_at_ms > ?)';

type Row = Record<string, SQLOutputValue>;

class RecordsDatabase {
	readonly #db: DatabaseSync;
	/** Throws when a file is not in its place any more. */
	readonly #checkPlaces: () => void;
	readonly #begin: StatementSync;
	readonly #commit: StatementSync;
	readonly #rollback: StatementSync;
	readonly #get: StatementSync;
	readonly #list: StatementSync;
	readonly #put: StatementSync;
	readonly #delete: StatementSync;
	readonly #purge: StatementSync;
	readonly #nextVersion: StatementSync;

	constructor({ file, identity }: RecordsSetup) {
		checkPlace(file, identity);
		const db = openRecordsDatabase(file);
		this.#db = db;
		checkPlace(file, identity);
		this.#checkPlaces = watchPlaces(filesOfDatabase(file));
		this.#begin = db.prepare('BEGIN IMMEDIATE');
		this.#commit = db.prepare('COMMIT');
		this.#rollback = db.prepare('ROLLBACK');
		const columns = 'SELECT id, value, version, expires_at_ms FROM record';
		this.#get = db.prepare(`${columns} WHERE kind = ? AND id = ? AND ${PRESENT}`);
		this.#list = db.prepare(`${columns} WHERE kind = ? AND id > ? AND id >= ? AND id < ? AND ${PRESENT} ORDER BY id LIMIT ?`);
		this.#put = db.prepare('INSERT OR REPLACE INTO record (kind, id, value, version, expires_at_ms) VALUES (?, ?, ?, ?, ?)');
		this.#delete = db.prepare('DELETE FROM record WHERE kind = ? AND id = ?');
		this.#purge = db.prepare(
			'DELETE FROM record WHERE (kind, id) IN (SELECT kind, id FROM record WHERE expires_at_ms <= ? LIMIT ?)',
		);
		this.#nextVersion = db.prepare('UPDATE version SET last = last + 1 RETURNING last');
	}

	run({ calls, nowMs }: RecordsBatch): RecordsReply {
		const writes = calls.some(({ call }) => call === 'write' || call === 'purge');
		try {
			if (writes) this.#begin.run();
			const results = calls.map((call) => this.#apply(call, nowMs));
			if (writes) {
				this.#checkPlaces();
				this.#commit.run();
			}
			return { results, failure: null };
		} catch (thrown) {
			if (this.#db.isTransaction) this.#rollback.run();
			return { results: null, failure: describeFailure(thrown) };
		}
	}

	close(): void {
		this.#db.close();
	}

	#apply(call: RecordsCall, nowMs: number): RecordsResult {
		switch (call.call) {
			case 'get': {
				const row = this.#get.get(call.kind, call.id, nowMs);
				return { call: 'rows', rows: row === undefined ? [] : [rowOf(row)] };
			}
			case 'list':
				return { call: 'rows', rows: this.#page(call.kind, call.query, nowMs) };
			case 'write':
				return this.#write(call.parts, nowMs);
			case 'purge': {
				const removed = Number(this.#purge.run(nowMs, PURGE_MAX).changes);
				return { call: 'purged', removed, more: removed === PURGE_MAX };
			}
			case 'check':
				return { call: 'checked', misplaced: this.#misplaced() };
		}
	}

	#misplaced(): StoreFailure | null {
		try {
			this.#checkPlaces();
			return null;
		} catch (thrown) {
			return describeFailure(thrown);
		}
	}

	#page(kind: string, { prefix, after, limit }: RecordQuery, nowMs: number): RecordRow[] {
		// No text sorts above the largest code point, so that it ends the range of what begins with the prefix.
		const end = `${prefix}\u{10ffff}`;
		return this.#list.all(kind, after ?? '', prefix, end, nowMs, limit).map(rowOf);
	}

	#write(parts: readonly WritePart[], nowMs: number): RecordsResult {
		const at = parts.findIndex(({ kind, id, expected }) => !fits(expected, this.#get.get(kind, id, nowMs)));
		if (at >= 0) return { call: 'conflict', at };
		const version = Number(this.#nextVersion.get()?.['last']);
		for (const { op, kind, id, value, expiresAtMs } of parts) {
			if (op === 'put') this.#put.run(kind, id, value, version, expiresAtMs);
			else if (op === 'delete') this.#delete.run(kind, id);
		}
		return { call: 'written', version };
	}
}

function fits(expected: Expected, row: Row | undefined): boolean {
	switch (expected) {
		case 'any':
			return true;
		case 'absent':
			return row === undefined;
		case 'present':
			return row !== undefined;
		default:
			return row?.['version'] === expected;
	}
}

function rowOf(row: Row): RecordRow {
	const expiresAtMs = row['expires_at_ms'];
	return {
		id: String(row['id']),
		value: String(row['value']),
		version: Number(row['version']),
		expiresAtMs: typeof expiresAtMs === 'number' ? expiresAtMs : null,
	};
}

function serve(): void {
	const port = parentPort;
	if (port === null) throw new Error('the records run as a worker');
	const report = (message: StartReport<null>) => port.postMessage(message);
	let database: RecordsDatabase;
	try {
		database = new RecordsDatabase(workerData as RecordsSetup);
	} catch (thrown) {
		report({ kind: 'refused', failure: describeFailure(thrown) });
		return;
	}
	port.on('message', (request: RecordsBatch | CloseRequest) => {
		if (!('calls' in request)) {
			database.close();
			port.close();
			return;
		}
		port.postMessage(database.run(request));
	});
	report({ kind: 'ready', ready: null });
}

serve();
