/**
 * Records on disk: a small SQLite database beside the log's, in a worker thread of its own, so that signing in neither waits for
 * a batch of messages nor holds one up (ADR 0005). This side collects calls while a batch is under way and settles them.
 */

import { join } from 'node:path';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../../ports/clock.ts';
import type { RecordListener, RecordOp, RecordQuery, Records, StoredRecord, WriteOutcome } from '../../ports/records.ts';
import { cannotOpen, describeFailure, unavailable } from './failure.ts';
import { type FileIdentity, type NoticeListener, prepareDatabaseFile } from './files.ts';
import type { StoreFailure } from './messages.ts';
import type { RecordRow, RecordsBatch, RecordsCall, RecordsReply, RecordsResult, RecordsSetup } from './records-messages.ts';
import { SupervisedWorker } from './supervised-worker.ts';

/** Calls of one batch at most: the first of them waits for the last. */
const BATCH_CALLS_MAX = 256;
/** How often the files are looked for in their places while nothing is written; each write looks as well. */
const CHECK_INTERVAL_MS = 1000;
/** Calls that may wait (I8); sign-ins are bounded by their hashing long before. */
const WAITING_CALLS_MAX = 100_000;

interface PendingCall {
	readonly call: RecordsCall;
	readonly settle: (result: RecordsResult) => void;
	readonly reject: (error: RelayError) => void;
}

export interface EmbeddedRecordsOptions {
	readonly dataDir: string;
	readonly clock: Clock;
	readonly onWarning?: NoticeListener | undefined;
}

export interface EmbeddedRecords extends Records {
	/** Why nothing can be written, or null. */
	readonly failure: StoreFailure | null;
}

/**
 * Opens the records of a data directory, whose lock the caller holds, making them when there are none.
 *
 * @throws RelayError `storage_unavailable` with one clear line when the database cannot be used
 */
export async function openEmbeddedRecords({ dataDir, clock, onWarning }: EmbeddedRecordsOptions): Promise<EmbeddedRecords> {
	const file = join(dataDir, 'auth.db');
	let identity: FileIdentity;
	try {
		identity = prepareDatabaseFile(file, onWarning);
	} catch (thrown) {
		throw cannotOpen(file, describeFailure(thrown));
	}
	const records = new SqliteRecords({ file, identity }, clock);
	const failure = await records.open();
	if (failure === null) return records;
	await records.close();
	throw cannotOpen(file, failure);
}

class SqliteRecords implements EmbeddedRecords {
	readonly #clock: Clock;
	readonly #worker: SupervisedWorker<null, RecordsBatch, RecordsReply>;
	readonly #listeners = new Set<RecordListener>();
	#waiting: PendingCall[] = [];
	#underWay: readonly PendingCall[] = [];
	#failure: StoreFailure | null = null;
	#closed: Promise<void> | null = null;
	#onIdle: (() => void) | null = null;
	#cancelCheck: (() => void) | null = null;

	constructor(setup: RecordsSetup, clock: Clock) {
		this.#clock = clock;
		this.#worker = new SupervisedWorker({
			module: new URL('./records-worker.ts', import.meta.url),
			setup,
			clock,
			listener: {
				ready: () => {
					this.#failure = null;
				},
				reply: (reply) => this.#settle(reply),
				died: (failure) => this.#died(failure),
			},
		});
	}

	async open(): Promise<StoreFailure | null> {
		const failure = await this.#worker.start();
		if (failure === null) this.#checkLater();
		return failure;
	}

	get failure(): StoreFailure | null {
		return this.#failure;
	}

	async get(kind: string, id: string): Promise<StoredRecord | undefined> {
		const result = await this.#call({ call: 'get', kind, id });
		return recordsOf(result)[0];
	}

	async list(kind: string, query: RecordQuery): Promise<readonly StoredRecord[]> {
		return recordsOf(await this.#call({ call: 'list', kind, query }));
	}

	async write(ops: readonly RecordOp[]): Promise<WriteOutcome> {
		const parts = ops.map((op) => ({
			op: op.op,
			kind: op.kind,
			id: op.id,
			expected: op.expected,
			value: op.op === 'put' ? JSON.stringify(op.value) : null,
			expiresAtMs: op.op === 'put' ? (op.expiresAtMs ?? null) : null,
		}));
		const result = await this.#call({ call: 'write', parts });
		return result.call === 'written'
			? { status: 'ok', version: result.version }
			: { status: 'conflict', at: result.call === 'conflict' ? result.at : 0 };
	}

	listen(listener: RecordListener): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	async purge(): Promise<{ readonly removed: number; readonly more: boolean }> {
		const result = await this.#call({ call: 'purge' });
		return result.call === 'purged' ? { removed: result.removed, more: result.more } : { removed: 0, more: false };
	}

	close(): Promise<void> {
		this.#closed ??= this.#close();
		return this.#closed;
	}

	async #close(): Promise<void> {
		this.#cancelCheck?.();
		if (this.#underWay.length > 0 || this.#waiting.length > 0) {
			await new Promise<void>((resolve) => {
				this.#onIdle = resolve;
			});
		}
		await this.#worker.close();
		this.#listeners.clear();
	}

	/** Looks whether the files are where they were, also while nothing is written. */
	#checkLater(): void {
		this.#cancelCheck = this.#clock.after(CHECK_INTERVAL_MS, () => {
			void this.#check().finally(() => {
				if (this.#closed === null) this.#checkLater();
			});
		});
	}

	async #check(): Promise<void> {
		try {
			const result = await this.#call({ call: 'check' });
			if (result.call === 'checked') this.#failure = result.misplaced;
		} catch {
			// The thread is gone, which has set the failure, or is too busy to be asked.
		}
	}

	#call(call: RecordsCall): Promise<RecordsResult> {
		if (this.#closed !== null) return Promise.reject(new RelayError('storage_unavailable', 'the records are closed'));
		if (!this.#worker.serves) return Promise.reject(unavailable(this.#failure ?? NOT_RUNNING));
		if (this.#waiting.length >= WAITING_CALLS_MAX) return Promise.reject(new RelayError('overloaded', 'too many calls wait'));
		return new Promise((settle, reject) => {
			this.#waiting.push({ call, settle, reject });
			this.#send();
		});
	}

	#send(): void {
		if (this.#underWay.length > 0) return;
		if (this.#waiting.length === 0) {
			this.#onIdle?.();
			return;
		}
		this.#underWay = this.#waiting.splice(0, BATCH_CALLS_MAX);
		this.#worker.post({ nowMs: this.#clock.nowMs(), calls: this.#underWay.map(({ call }) => call) }, []);
	}

	#settle({ results, failure }: RecordsReply): void {
		const calls = this.#underWay;
		this.#underWay = [];
		for (const [i, { call, settle, reject }] of calls.entries()) {
			const result = results?.[i];
			if (result === undefined) {
				reject(unavailable(failure ?? NOT_RUNNING));
				continue;
			}
			if (call.call === 'write' && result.call === 'written') this.#announce(call.parts);
			settle(result);
		}
		this.#send();
	}

	#announce(parts: Extract<RecordsCall, { call: 'write' }>['parts']): void {
		for (const { op, kind, id } of parts) {
			if (op !== 'check') for (const listener of this.#listeners) listener.changed(kind, id);
		}
	}

	#died(failure: StoreFailure): void {
		this.#failure = failure;
		for (const { reject } of [...this.#underWay, ...this.#waiting]) reject(unavailable(failure));
		this.#underWay = [];
		this.#waiting = [];
		this.#onIdle?.();
		// What was under way may have been written without being announced.
		for (const listener of this.#listeners) listener.missed();
	}
}

const NOT_RUNNING: StoreFailure = {
	reason: 'a thread of the store stopped',
	message: 'the thread of the records is not running',
};

function recordsOf(result: RecordsResult): StoredRecord[] {
	return result.call === 'rows' ? result.rows.map(recordOf) : [];
}

function recordOf({ id, value, version, expiresAtMs }: RecordRow): StoredRecord {
	return { id, value: JSON.parse(value) as StoredRecord['value'], version, expiresAtMs };
}
