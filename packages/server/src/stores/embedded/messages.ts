/**
 * What the main thread and the store's two workers say to each other: plain data, cloned or transferred. Both sides import this
 * file and nothing else of each other.
 */

import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { Block } from '../../log/block.ts';
import type { PackedRun } from '../../log/packing.ts';
import type { ReadLimits } from '../../log/page.ts';
import type { DedupeKey, Topic, TopicChange, TopicPosition, TrimStep } from '../../ports/store.ts';
import type { FileIdentity } from './files.ts';

/** What a worker is started with. */
export interface WorkerSetup {
	/** The database file. */
	readonly file: string;
	/** The file that must lie there: a thread that is started again must not go on with another one, or a new one. */
	readonly identity: FileIdentity;
	readonly topicsMax: number;
}

/** A failure as plain data; an Error would lose its SQLite code on the way between threads. */
export interface StoreFailure {
	/** For people and the wire: lower case, no full stop, none of the driver's words. */
	readonly reason: string;
	/** What was thrown, for the log. */
	readonly message: string;
}

/** A worker's first word: it serves, or why it cannot. */
export type StartReport<Ready> =
	| { readonly kind: 'ready'; readonly ready: Ready }
	| { readonly kind: 'refused'; readonly failure: StoreFailure };

/** Asks a worker to let go of its database and end. */
export interface CloseRequest {
	readonly kind: 'close';
}

/** The merged calls of one topic: appended in one piece, or, without room for a new topic, not at all. */
export interface AppendOp {
	readonly kind: 'append';
	readonly topic: string;
	readonly runs: readonly PackedRun[];
	/** One element per message, or null when no message of the op has a key. */
	readonly dedupe: readonly (DedupeKey | null)[] | null;
}

/** Everything but appends. They take their turn among the appends, so that positions and announcements are in one order. */
export type ControlOp =
	| { readonly kind: 'watch'; readonly topic: string }
	| { readonly kind: 'get'; readonly topic: string }
	| { readonly kind: 'list'; readonly after: string | null; readonly limit: number }
	| { readonly kind: 'create'; readonly topic: string; readonly change: TopicChange }
	| { readonly kind: 'update'; readonly topic: string; readonly change: TopicChange }
	| { readonly kind: 'delete'; readonly topic: string }
	| { readonly kind: 'trim'; readonly step: TrimStep }
	| { readonly kind: 'forget'; readonly beforeMs: number; readonly keysMax: number }
	| { readonly kind: 'check' }
	| { readonly kind: 'reclaim' }
	| { readonly kind: 'checkpoint' }
	| { readonly kind: 'vacuum' }
	| { readonly kind: 'probe' };

/** Whether an operation only looks at what the writer has in memory, and so works on a failing disk. */
export function isLook(op: WriteOp): boolean {
	return op.kind === 'watch' || op.kind === 'get' || op.kind === 'list';
}

export type WriteOp = AppendOp | ControlOp;

/** A topic's new floor. */
export interface TrimmedTopic {
	readonly topic: string;
	readonly floor: MessageId;
}

/** Topics that exist and whose newest ids are ahead of the clock. */
export interface TopicsAhead {
	readonly topics: number;
	/** The one that is furthest ahead, and by how much; absent when there is none. */
	readonly furthest?: { readonly topic: string; readonly byMs: number };
}

/** The space that the database takes on the disk. */
export interface SpaceReport {
	/** The database file and its WAL. */
	readonly fileBytes: number;
	/** Of the database file, what is free to be used again or given back. */
	readonly freeBytes: number;
	readonly usedBytes: number;
	/** Whether the file can give space back in steps; those of version 0.3 and before cannot. */
	readonly inSteps: boolean;
}

/** What each control operation answers. */
export interface ControlResults {
	watch: TopicPosition;
	get: Topic | undefined;
	list: readonly Topic[];
	create: { readonly status: 'created' | 'exists'; readonly topic: Topic } | { readonly status: 'topic_limit' };
	update: Topic | undefined;
	/** Where the deleted topic ended; undefined when there was none. */
	delete: MessageId | undefined;
	trim: {
		readonly removed: number;
		readonly more: boolean;
		readonly trimmed: readonly TrimmedTopic[];
		readonly ahead: TopicsAhead;
	};
	forget: { readonly removed: number; readonly more: boolean };
	/** The files are in their places; else the batch fails. */
	check: SpaceReport;
	/** Some free space was given back. */
	reclaim: SpaceReport;
	/** What is in the WAL was moved into the file, as far as that was possible. */
	checkpoint: SpaceReport;
	/** The file was written anew, or why not. */
	vacuum: { readonly failure: StoreFailure | null; readonly space: SpaceReport };
	probe: null;
}

export type ControlResult = ControlResults[keyof ControlResults];

/** Codes in {@link EntryOutcomes.statuses}. */
export const APPENDED = 0;
export const DUPLICATE = 1;
export const CONFLICT = 2;

/** What became of each message of an op with idempotency keys, in columns. */
export interface EntryOutcomes {
	readonly statuses: Uint8Array;
	/** `ms` and `n` of each message, in pairs. */
	readonly ids: Float64Array;
}

/** What became of an append op. `topic_limit`: nothing was appended; `outcomes` tells which messages would have been. */
export interface AppendResult {
	readonly status: 'done' | 'topic_limit';
	/** The topic's tip before. */
	readonly previous: MessageId;
	readonly floor: MessageId;
	/** The blocks now in the log, their bytes transferred back. Empty when every message was a duplicate or a conflict. */
	readonly blocks: readonly Block[];
	/** Null when no message had a key: then all are appended, with consecutive ids. */
	readonly outcomes: EntryOutcomes | null;
}

/** What the store holds. */
export interface StoreTotals {
	readonly topics: number;
	readonly messages: number;
	readonly bytes: number;
	/** Transactions with changes that were committed since the writer started. */
	readonly commits: number;
}

/** What the writer knows once it serves. */
export interface WriterReady {
	readonly totals: StoreTotals;
	/** See `Store.lastKnownMs`. */
	readonly lastKnownMs: number | undefined;
}

/** Operations that share one transaction. */
export interface BatchRequest {
	readonly kind: 'batch';
	/** Time of the batch, Unix ms; new ids come from it. */
	readonly nowMs: number;
	readonly ops: readonly WriteOp[];
}

export type WriterRequest = BatchRequest | CloseRequest;

/** The answer to a batch. Batches are answered in the order in which they were posted. */
export interface BatchReply {
	readonly kind: 'batch';
	/** Why the transaction was rolled back, or null. */
	readonly failure: StoreFailure | null;
	/** Whether anything was written and committed, and so whether the answer says something about the disk. */
	readonly committed: boolean;
	/** One per op. After a failure those of the operations that only look are still given, the others are null. */
	readonly results: readonly (AppendResult | ControlResult)[];
	readonly totals: StoreTotals;
}

/** Asks for a page: forwards from `after`, or backwards from `before` (null = from the end). */
export type ReadRequest = { readonly id: number; readonly topic: string; readonly limits: ReadLimits } & (
	| { readonly kind: 'after'; readonly after: MessageId }
	| { readonly kind: 'before'; readonly before: MessageId | null }
);

export type ReaderRequest = ReadRequest | CloseRequest;

/**
 * The blocks of a page in two buffers. A topic that gets its messages one by one has a block for each, and cloning thousands of
 * small objects costs the main thread three times what this does (measured with pages of 4,096 blocks).
 */
export interface FlatBlocks {
	/** `ms`, `n`, `count` and packed bytes of each block. */
	readonly heads: Float64Array;
	/** The packed blocks, each at the next multiple of 8. */
	readonly bytes: ArrayBuffer;
}

export type ReadReply =
	| { readonly kind: 'page'; readonly id: number; readonly position: TopicPosition; readonly blocks: FlatBlocks }
	| { readonly kind: 'failed'; readonly id: number; readonly failure: StoreFailure };
