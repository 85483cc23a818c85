/**
 * Records: the small state that all nodes share beside the log: accounts, sessions, keys, grants. Versioned JSON documents by
 * kind and id, changed by compare-and-set. One contract, one shared suite (test/stores/records-suite.ts); the memory records are
 * the model.
 *
 * A unique claim is a record put with `absent` under a kind of its own. Failures: when the records cannot be served now, a method
 * rejects with RelayError `storage_unavailable`, and it may be unknown whether a write took effect. Expected outcomes are values.
 */

/** What a kind is called: a word of lower-case letters and hyphens. */
export type RecordKind = string;

/** A plain JSON value. What is read is shared between readers, and must not be changed. */
export type RecordValue = Readonly<Record<string, unknown>>;

/** A record as it stands. */
export interface StoredRecord {
	readonly id: string;
	readonly value: RecordValue;
	/** Differs from that of every other write to these records, ever: a record made anew does not get an old version again. */
	readonly version: number;
	/** Unix time in ms from which on the record is absent; null = never. */
	readonly expiresAtMs: number | null;
}

/** What must be there for a write to be made: no record, some record, the record of that version, or whatever. */
export type Expected = 'absent' | 'present' | 'any' | number;

/** One part of a write. `check` changes nothing. */
export type RecordOp =
	| {
			readonly op: 'put';
			readonly kind: RecordKind;
			/** 1 to 512 characters. */
			readonly id: string;
			readonly value: RecordValue;
			readonly expected: Expected;
			/** Absent or null = never; a time that has passed makes the record absent. */
			readonly expiresAtMs?: number | null;
	  }
	| { readonly op: 'delete'; readonly kind: RecordKind; readonly id: string; readonly expected: Expected }
	| { readonly op: 'check'; readonly kind: RecordKind; readonly id: string; readonly expected: Expected };

/** `ok`: every part was made, all with this version. `conflict`: none was; `at` is the place of the first part that did not fit. */
export type WriteOutcome =
	| { readonly status: 'ok'; readonly version: number }
	| { readonly status: 'conflict'; readonly at: number };

/** Which records of a kind to list. */
export interface RecordQuery {
	/** Ids that begin with this; empty = all. */
	readonly prefix: string;
	/** Ids after this one only; null = from the first. */
	readonly after: string | null;
	/** 1 to {@link RECORDS_PAGE_MAX}. */
	readonly limit: number;
}

/** Parts of one write at most: on a server it is one script call, which nothing else runs beside. */
export const RECORD_OPS_MAX = 32;
/** Records of one page at most. */
export const RECORDS_PAGE_MAX = 1000;
/** The longest id, in UTF-16 code units. */
export const RECORD_ID_LENGTH_MAX = 512;
/** The JSON text of one value, in UTF-16 code units. */
export const RECORD_VALUE_LENGTH_MAX = 256 * 1024;

/** Hears of changes, so that caches and live connections learn of a revocation at once. Must not throw. */
export interface RecordListener {
	/**
	 * A record was put or deleted, by this node or another. On this node it is called before the write settles, on others as soon as
	 * they hear. Not called for records that expire.
	 */
	changed(kind: RecordKind, id: string): void;
	/** Changes by other nodes may have been missed: everything that is held must be read anew. */
	missed(): void;
}

export interface Records {
	/** The record, or undefined when there is none or it has expired. */
	get(kind: RecordKind, id: string): Promise<StoredRecord | undefined>;

	/** Records of a kind in the order of their ids' UTF-8 bytes, at most `limit`; the page after goes on from the last id. */
	list(kind: RecordKind, query: RecordQuery): Promise<readonly StoredRecord[]>;

	/**
	 * Makes all parts of a write or none, in one atomic step, durable when it resolves. Every part is compared with what was there
	 * before the write; no two parts may name the same record.
	 *
	 * @param ops 1 to {@link RECORD_OPS_MAX}
	 */
	write(ops: readonly RecordOp[]): Promise<WriteOutcome>;

	/** Adds a listener. Returns what removes it. */
	listen(listener: RecordListener): () => void;

	/** Removes some records that have expired, in a bounded step. `more` when the step ended at its bound. */
	purge(): Promise<{ readonly removed: number; readonly more: boolean }>;

	/** Finishes what is under way and lets go of every resource. Later calls reject with `storage_unavailable`. */
	close(): Promise<void>;
}
