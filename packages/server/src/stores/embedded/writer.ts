/**
 * The writer: a worker thread that owns the connection for writing. Each batch is one transaction (group commit): the cost of the
 * fsync is shared by all that waited for the batch before, and an answer means that all of it is on the disk (I2).
 */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { append, type Tables } from './append.ts';
import { ArrivalTable } from './arrival-table.ts';
import { BlockTable } from './block-table.ts';
import { describeFailure } from './failure.ts';
import { FileSpace } from './file-space.ts';
import { checkPlace, filesOfDatabase, watchPlaces } from './files.ts';
import { KeyTable } from './key-table.ts';
import { KnownTime } from './known-time.ts';
import {
	type AppendResult,
	type BatchReply,
	type BatchRequest,
	type ControlResult,
	isLook,
	type StartReport,
	type StoreFailure,
	type StoreTotals,
	type WorkerSetup,
	type WriteOp,
	type WriterReady,
	type WriterRequest,
} from './messages.ts';
import { openWriterDatabase } from './schema.ts';
import { TopicTable, tipOf, toTopic } from './topic-table.ts';
import { Trimmer } from './trim.ts';

type OpResult = AppendResult | ControlResult;

/** Enough that a probe does not succeed in the gaps of a full disk, only to fail with the next append. */
const PROBE_BYTES = 64 * 1024;

class Writer {
	readonly #db: DatabaseSync;
	/** Throws when a file is not in its place any more. */
	readonly #checkPlaces: () => void;
	readonly #tables: Tables;
	readonly #trimmer: Trimmer;
	readonly #space: FileSpace;
	#vacuumFailure: StoreFailure | null = null;
	readonly #begin: StatementSync;
	readonly #commit: StatementSync;
	readonly #rollback: StatementSync;
	readonly #probe: StatementSync;
	readonly #totalChanges: StatementSync;
	readonly #dataVersions: StatementSync;
	/** What SQLite says changes when another connection commits; null = not known. */
	#dataVersion: number | null;
	#outdated = false;
	#commits = 0;

	constructor({ file, identity, topicsMax }: WorkerSetup) {
		checkPlace(file, identity);
		const db = openWriterDatabase(file);
		this.#db = db;
		checkPlace(file, identity);
		this.#checkPlaces = watchPlaces(filesOfDatabase(file));
		this.#dataVersions = db.prepare('PRAGMA data_version');
		// Before the tables are loaded, so that a change in between shows.
		this.#dataVersion = this.#readDataVersion();
		const topics = new TopicTable(db, topicsMax);
		const knownTime = new KnownTime(db, topics.newestMs);
		this.#tables = { topics, blocks: new BlockTable(db), keys: new KeyTable(db), arrivals: new ArrivalTable(db), knownTime };
		// As many deleted topics are remembered as may exist, so that creating and deleting in a loop stays bounded (I8).
		this.#trimmer = new Trimmer(this.#tables, topicsMax);
		this.#space = new FileSpace(db, file);
		this.#begin = db.prepare('BEGIN IMMEDIATE');
		this.#commit = db.prepare('COMMIT');
		this.#rollback = db.prepare('ROLLBACK');
		this.#totalChanges = db.prepare('SELECT total_changes() AS changes');
		this.#probe = db.prepare(`INSERT OR REPLACE INTO probe (id, filler) VALUES (1, zeroblob(${PROBE_BYTES}))`);
	}

	get lastKnownMs(): number | undefined {
		return this.#tables.knownTime.lastKnownMs;
	}

	totals(): StoreTotals {
		const { topics } = this.#tables;
		return { topics: topics.count, messages: topics.messages, bytes: topics.bytes, commits: this.#commits };
	}

	/** Does what cannot be done within a transaction. */
	#prepare(ops: readonly WriteOp[]): void {
		for (const { kind } of ops) {
			if (kind === 'probe' || kind === 'checkpoint') this.#checkpoint();
			else if (kind === 'vacuum') this.#vacuumFailure = this.#space.vacuum();
		}
	}

	/** Runs a batch. Throws when the connection, or what is in memory, is of no more use: the thread is then to end. */
	run(request: BatchRequest): BatchReply {
		const { ops, nowMs } = request;
		try {
			this.#prepare(ops);
			return ops.every(needsNoTransaction) ? this.#reply(this.#applyAll(request), null, false) : this.#transact(request);
		} catch (thrown) {
			if (this.#db.isTransaction) this.#rollback.run();
			if (this.#outdated) throw thrown;
			for (const table of this.#inMemory()) table.rolledBack();
			// Giving up a transaction can make SQLite read the file anew, which looks like a change.
			this.#dataVersion = null;
			// Looks need only what is in memory, so a failing disk does not fail them.
			const results = ops.map((op) => (isLook(op) ? this.#apply(op, nowMs) : null));
			return this.#reply(results, describeFailure(thrown), false);
		}
	}

	#inMemory(): readonly { committed(): void; rolledBack(): void }[] {
		const { topics, keys, arrivals, knownTime } = this.#tables;
		return [topics, keys, arrivals, knownTime];
	}

	#transact(request: BatchRequest): BatchReply {
		this.#begin.run();
		this.#checkUnchanged();
		const changesBefore = this.#countChanges();
		const results = this.#applyAll(request);
		this.#tables.topics.flush();
		const changed = this.#countChanges() !== changesBefore;
		// As late as it can still be undone: what is acknowledged was begun, and written, while the files were in their places.
		this.#checkPlaces();
		this.#commit.run();
		for (const table of this.#inMemory()) table.committed();
		if (changed) this.#commits++;
		return this.#reply(results, null, changed);
	}

	/**
	 * What is in the WAL may fit into the database where a full disk has no room for a longer WAL. And when the WAL itself was removed, what
	 * was acknowledged is then in the database.
	 */
	#checkpoint(): void {
		try {
			this.#db.exec('PRAGMA wal_checkpoint(PASSIVE)');
		} catch {
			// There may be room in the WAL all the same: whether appends can be stored is for the write that follows to tell.
		}
	}

	/** Memory mirrors the topics only while nobody else writes the file; a shell that did must not lead to an id used twice (I1). */
	#checkUnchanged(): void {
		const version = this.#readDataVersion();
		if (this.#dataVersion !== null && version !== this.#dataVersion) {
			this.#outdated = true;
			throw new Error('another program has written to the database');
		}
		this.#dataVersion = version;
	}

	#readDataVersion(): number {
		return Number(this.#dataVersions.get()?.['data_version']);
	}

	#countChanges(): number {
		return Number(this.#totalChanges.get()?.['changes']);
	}

	#applyAll({ ops, nowMs }: BatchRequest): OpResult[] {
		return ops.map((op) => this.#apply(op, nowMs));
	}

	/** Moves the WAL into the database, so that the next start has nothing to recover. */
	close(): void {
		try {
			this.#db.exec('PRAGMA wal_checkpoint(TRUNCATE)');
		} catch {
			// Nothing is lost: what could not be moved stays in the WAL, and the next start finds it there.
		}
		this.#db.close();
	}

	#reply(results: readonly OpResult[], failure: StoreFailure | null, committed: boolean): BatchReply {
		return { kind: 'batch', results, failure, committed, totals: this.totals() };
	}

	#apply(op: WriteOp, nowMs: number): OpResult {
		const { topics, keys } = this.#tables;
		switch (op.kind) {
			case 'append':
				return append(this.#tables, op, nowMs);
			case 'watch':
				return topics.position(op.topic);
			case 'get': {
				const row = topics.get(op.topic);
				return row === undefined ? undefined : toTopic(row);
			}
			case 'list':
				return topics.list(op.after, op.limit);
			case 'create': {
				const existing = topics.get(op.topic);
				if (existing !== undefined) return { status: 'exists', topic: toTopic(existing) };
				const row = topics.open(op.topic, op.change, nowMs);
				return row === undefined ? { status: 'topic_limit' } : { status: 'created', topic: toTopic(row) };
			}
			case 'update': {
				const row = topics.get(op.topic);
				if (row === undefined) return undefined;
				topics.update(row, op.change);
				return toTopic(row);
			}
			case 'delete': {
				const row = topics.get(op.topic);
				if (row === undefined) return undefined;
				topics.bury(row, nowMs);
				return tipOf(row);
			}
			case 'trim':
				this.#tables.knownTime.note(op.step.nowMs);
				return this.#trimmer.step(op.step);
			case 'forget':
				return keys.forget(op.beforeMs, op.keysMax);
			case 'check':
				this.#checkPlaces();
				return this.#space.report();
			case 'reclaim':
				this.#space.reclaim();
				return this.#space.report();
			case 'checkpoint':
				return this.#space.report();
			case 'vacuum':
				return { failure: this.#vacuumFailure, space: this.#space.report() };
			case 'probe':
				this.#probe.run();
				return null;
		}
	}
}

function needsNoTransaction(op: WriteOp): boolean {
	return isLook(op) || op.kind === 'check' || op.kind === 'checkpoint' || op.kind === 'vacuum';
}

/** The buffers of the appended blocks: the main thread announces them, so they go back instead of being copied. */
function buffersOf(reply: BatchReply): ArrayBuffer[] {
	const buffers: ArrayBuffer[] = [];
	for (const result of reply.results) {
		if (result === null || result === undefined || !('blocks' in result)) continue;
		for (const block of result.blocks) buffers.push(block.packed.buffer as ArrayBuffer);
	}
	return buffers;
}

function serve(): void {
	const port = parentPort;
	if (port === null) throw new Error('the writer runs as a worker');
	const report = (message: StartReport<WriterReady>) => port.postMessage(message);
	let writer: Writer;
	try {
		writer = new Writer(workerData as WorkerSetup);
	} catch (thrown) {
		report({ kind: 'refused', failure: describeFailure(thrown) });
		return;
	}
	port.on('message', (request: WriterRequest) => {
		if (request.kind === 'close') {
			port.close();
			writer.close();
			return;
		}
		const reply = writer.run(request);
		port.postMessage(reply, buffersOf(reply));
	});
	report({ kind: 'ready', ready: { totals: writer.totals(), lastKnownMs: writer.lastKnownMs } });
}

serve();
