/** What the main thread and the thread of the records say to each other: plain data, cloned. */

import type { Expected, RecordQuery } from '../../ports/records.ts';
import type { FileIdentity } from './files.ts';
import type { StoreFailure } from './messages.ts';

/** A part of a write; the value is JSON text. */
export interface WritePart {
	readonly op: 'put' | 'delete' | 'check';
	readonly kind: string;
	readonly id: string;
	readonly expected: Expected;
	readonly value: string | null;
	readonly expiresAtMs: number | null;
}

export type RecordsCall =
	| { readonly call: 'get'; readonly kind: string; readonly id: string }
	| { readonly call: 'list'; readonly kind: string; readonly query: RecordQuery }
	| { readonly call: 'write'; readonly parts: readonly WritePart[] }
	| { readonly call: 'purge' }
	| { readonly call: 'check' };

/** Calls that are made together: what they write is one transaction, with one fsync for all. */
export interface RecordsBatch {
	readonly nowMs: number;
	readonly calls: readonly RecordsCall[];
}

/** A record as it lies in the table. */
export interface RecordRow {
	readonly id: string;
	readonly value: string;
	readonly version: number;
	readonly expiresAtMs: number | null;
}

export type RecordsResult =
	| { readonly call: 'rows'; readonly rows: readonly RecordRow[] }
	| { readonly call: 'written'; readonly version: number }
	| { readonly call: 'conflict'; readonly at: number }
	| { readonly call: 'purged'; readonly removed: number; readonly more: boolean }
	| { readonly call: 'checked'; readonly misplaced: StoreFailure | null };

/** The results in the order of the calls; or, when the batch failed, why: then nothing of it took effect. */
export type RecordsReply =
	| { readonly results: readonly RecordsResult[]; readonly failure: null }
	| { readonly results: null; readonly failure: StoreFailure };

/** What the thread is started with. */
export interface RecordsSetup {
	/** The database file. */
	readonly file: string;
	/** The file that must lie there. */
	readonly identity: FileIdentity;
}
