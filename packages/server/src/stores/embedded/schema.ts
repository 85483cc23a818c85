/**
 * The database file: its tables, its settings, and the two ways to open it. Settings on which durability rests are read back,
 * because SQLite answers a pragma it could not honour without an error.
 *
 * One row per block, not per message: a commit costs the same for 1 message as for 1,000, and reading a page is a few rows.
 */

import { DatabaseSync, type SQLOutputValue } from 'node:sqlite';
import { RelayError } from '@pulsar-relay/protocol/errors';

/** The version of the tables below, kept in `user_version`. */
const SCHEMA_VERSION = 1;
/** "PuRl", kept in `application_id`, tells a relay's file from any other SQLite database. */
const APPLICATION_ID = 0x5075526c;
/** Measured best for blocks of 0.4 to 320 kB: 4 KiB costs twice the CPU on large blocks, 16 KiB more on small commits. */
const PAGE_BYTES = 8192;
/**
 * Pages in the WAL at which a commit also checkpoints, 16 MiB. The commit that does takes as long as writing them: with bulk
 * appends some 60 ms, 120 with twice as many; with fewer, bulk appends get slower.
 */
const WAL_AUTOCHECKPOINT_PAGES = 2048;
/** A WAL that a long read let grow is cut back to this. */
const WAL_BYTES_MAX = 64 * 1024 * 1024;
const CACHE_KIB = 16 * 1024;
/** How long the writer waits for a foreign process (a backup, a shell) that holds the write lock. */
const WRITER_BUSY_TIMEOUT_MS = 500;
const READER_BUSY_TIMEOUT_MS = 2000;
const SYNCHRONOUS_FULL = 2;

const TABLES = `
	CREATE TABLE topic (
		id INTEGER PRIMARY KEY,
		name TEXT NOT NULL UNIQUE,
		topic_id TEXT NOT NULL,
		description TEXT,
		created_at_ms INTEGER NOT NULL,
		deleted_at_ms INTEGER,
		tip_ms INTEGER NOT NULL,
		tip_n INTEGER NOT NULL,
		floor_ms INTEGER NOT NULL,
		floor_n INTEGER NOT NULL,
		messages INTEGER NOT NULL,
		bytes INTEGER NOT NULL,
		oldest_ms INTEGER,
		unswept INTEGER NOT NULL,
		max_age_s INTEGER,
		max_messages INTEGER,
		max_bytes INTEGER
	) STRICT;
	CREATE TABLE block (
		id INTEGER PRIMARY KEY,
		topic INTEGER NOT NULL,
		first_ms INTEGER NOT NULL,
		first_n INTEGER NOT NULL,
		count INTEGER NOT NULL,
		packed BLOB NOT NULL
	) STRICT;
	CREATE UNIQUE INDEX block_order ON block (topic, first_ms, first_n);
	CREATE TABLE idempotency (
		key TEXT NOT NULL,
		item INTEGER NOT NULL,
		fingerprint TEXT NOT NULL,
		ms INTEGER NOT NULL,
		n INTEGER NOT NULL,
		at_ms INTEGER NOT NULL,
		PRIMARY KEY (key, item)
	) STRICT, WITHOUT ROWID;
	CREATE TABLE probe (id INTEGER PRIMARY KEY, filler BLOB NOT NULL) STRICT;
`;

/**
 * Whose each idempotency record is (log/key-holders.ts), and the order of each one's by age. Files of relays up to 0.3.0 have one order for all,
 * and get this one when they are opened; one of a million records takes some three seconds for that.
 */
export const KEY_HOLDER = "substr(key, 1, instr(key, '/') - 1)";
const LOG_INDEXES = `
	CREATE INDEX IF NOT EXISTS idempotency_holder ON idempotency (${KEY_HOLDER}, at_ms);
	DROP INDEX IF EXISTS idempotency_age;
`;

/** The file of the records, which is another database: see records.ts. */
const RECORD_TABLES = `
	CREATE TABLE record (
		kind TEXT NOT NULL,
		id TEXT NOT NULL,
		value TEXT NOT NULL,
		version INTEGER NOT NULL,
		expires_at_ms INTEGER,
		PRIMARY KEY (kind, id)
	) STRICT, WITHOUT ROWID;
	CREATE INDEX record_expiry ON record (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
	CREATE TABLE version (last INTEGER NOT NULL) STRICT;
	INSERT INTO version (last) VALUES (0);
`;
/** "PuRa", as {@link APPLICATION_ID}. */
const RECORDS_APPLICATION_ID = 0x50755261;

interface Design {
	readonly applicationId: number;
	readonly tables: string;
	/** What is made sure of whenever the file is opened. */
	readonly indexes: string;
}

const LOG: Design = { applicationId: APPLICATION_ID, tables: TABLES, indexes: LOG_INDEXES };
const RECORDS: Design = { applicationId: RECORDS_APPLICATION_ID, tables: RECORD_TABLES, indexes: '' };

/**
 * Opens the file for writing, making it when there is none.
 *
 * @throws RelayError `storage_unavailable` when it is not a relay's file, a newer relay's, or cannot be made durable; what
 * SQLite throws when it cannot be opened or read
 */
export function openWriterDatabase(file: string): DatabaseSync {
	return openForWriting(file, LOG);
}

/** As {@link openWriterDatabase}, the file of the records. */
export function openRecordsDatabase(file: string): DatabaseSync {
	return openForWriting(file, RECORDS);
}

function openForWriting(file: string, design: Design): DatabaseSync {
	const db = new DatabaseSync(file, { timeout: WRITER_BUSY_TIMEOUT_MS, enableForeignKeyConstraints: false });
	try {
		// These take only before the first write, so before the switch to WAL.
		db.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL`);
		checkOrigin(db, design);
		db.exec('PRAGMA journal_mode = WAL');
		db.exec('PRAGMA synchronous = FULL');
		expectPragma(db, 'journal_mode', 'wal');
		expectPragma(db, 'synchronous', SYNCHRONOUS_FULL);
		// Without these, macOS acknowledges a sync that is only in the drive's cache. No effect elsewhere.
		db.exec('PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON');
		db.exec(`PRAGMA wal_autocheckpoint = ${WAL_AUTOCHECKPOINT_PAGES}; PRAGMA journal_size_limit = ${WAL_BYTES_MAX}`);
		db.exec(`PRAGMA cache_size = -${CACHE_KIB}; PRAGMA temp_store = MEMORY`);
		if (pragma(db, 'user_version') === 0) createTables(db, design);
		if (design.indexes !== '') db.exec(`BEGIN IMMEDIATE; ${design.indexes} COMMIT`);
		return db;
	} catch (thrown) {
		db.close();
		throw thrown;
	}
}

/** Opens the file, which the writer has made, for reading. */
export function openReaderDatabase(file: string): DatabaseSync {
	const db = new DatabaseSync(file, { readOnly: true, timeout: READER_BUSY_TIMEOUT_MS });
	db.exec(`PRAGMA cache_size = -${CACHE_KIB}`);
	return db;
}

function checkOrigin(db: DatabaseSync, { applicationId }: Design): void {
	const version = pragma(db, 'user_version');
	const tables = db.prepare('SELECT count(*) AS count FROM sqlite_schema').get()?.['count'];
	const blank = version === 0 && tables === 0;
	if (!blank && pragma(db, 'application_id') !== applicationId) {
		throw new RelayError('storage_unavailable', 'it is the database of another program');
	}
	if (typeof version !== 'number' || version > SCHEMA_VERSION) {
		throw new RelayError(
			'storage_unavailable',
			`it was written by a newer relay (schema version ${version}, this relay knows ${SCHEMA_VERSION})`,
		);
	}
}

function createTables(db: DatabaseSync, { applicationId, tables }: Design): void {
	// One transaction, so that a relay killed here finds either nothing or everything.
	db.exec(`BEGIN IMMEDIATE; ${tables}
		PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
}

function pragma(db: DatabaseSync, name: string): SQLOutputValue | undefined {
	return db.prepare(`PRAGMA ${name}`).get()?.[name];
}

function expectPragma(db: DatabaseSync, name: string, expected: SQLOutputValue): void {
	const actual = pragma(db, name);
	if (actual === expected) return;
	throw new RelayError('storage_unavailable', `it cannot be made durable: ${name} is ${actual} instead of ${expected}`);
}
