/**
 * The embedded store: SQLite in one directory, written by one worker thread and read by another. This side queues calls, hands
 * them over and settles them; it never touches the disk after opening.
 */

import { accessSync, closeSync, constants, fsyncSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { ReadLimits } from '../../log/page.ts';
import type { Clock } from '../../ports/clock.ts';
import type {
	AppendEntry,
	AppendOutcome,
	LogListener,
	Page,
	Store,
	StoreHealth,
	Topic,
	TopicChange,
	TrimStep,
	WatchedPosition,
} from '../../ports/store.ts';
import { describeFailure, unavailable } from './failure.ts';
import { unflattenBlocks } from './flat-blocks.ts';
import { type DataDirLock, lockDataDir } from './lock.ts';
import type { BatchReply, BatchRequest, ReadReply, ReadRequest, StoreFailure, StoreTotals, WorkerSetup } from './messages.ts';
import { SupervisedWorker } from './supervised-worker.ts';
import { topicLimit, WriteQueue } from './write-queue.ts';

/** How often a store that failed tries a write. */
const PROBE_INTERVAL_MS = 1000;

export interface EmbeddedStoreOptions {
	/** The directory that holds everything; made, readable by its owner only, when there is none. */
	readonly dataDir: string;
	/** Topics that may exist at the same time. */
	readonly topicsMax: number;
	readonly clock: Clock;
}

export interface EmbeddedStore extends Store {
	/** Transactions committed since the writer's thread was started; messages per commit tell how well group commit works. */
	readonly commits: number;
}

/**
 * Opens the store, making it when there is none. Its durability is `disk`.
 *
 * @throws RelayError `storage_unavailable` with one clear line when the directory cannot be used, is in use by another relay, or
 * holds a database that is damaged, of a newer relay or of another program
 */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<EmbeddedStore> {
	const { dataDir } = options;
	const lock = takeDataDir(dataDir);
	const setup = { file: join(dataDir, 'relay.db'), topicsMax: options.topicsMax };
	const store = new SqliteStore(options, setup, lock);
	const failure = await store.open();
	if (failure === null) return store;
	await store.close();
	throw new RelayError('storage_unavailable', `cannot open ${setup.file}: ${failure.reason}`, {
		cause: new Error(failure.message),
	});
}

function takeDataDir(dataDir: string): DataDirLock {
	try {
		const made = mkdirSync(dataDir, { recursive: true, mode: 0o700 });
		if (made !== undefined) syncEntries(resolve(dataDir), resolve(made));
		accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
		return lockDataDir(dataDir);
	} catch (thrown) {
		if (thrown instanceof RelayError) throw thrown;
		const { reason } = describeFailure(thrown);
		throw new RelayError('storage_unavailable', `cannot use data directory ${dataDir}: ${reason}`, { cause: thrown });
	}
}

/** Makes the entries of new directories durable, from `path` up to `topmost`. SQLite does this for its own files. */
function syncEntries(path: string, topmost: string): void {
	const parent = dirname(path);
	try {
		const descriptor = openSync(parent, 'r');
		fsyncSync(descriptor);
		closeSync(descriptor);
	} catch {
		// Not every system can sync a directory, and a parent need not be readable: then it becomes durable in its own time.
	}
	if (path !== topmost && parent !== path) syncEntries(parent, topmost);
}

const WRITER_DOWN: StoreFailure = { reason: 'a thread of the store stopped', message: 'the writer is not running' };

interface ReadCall {
	readonly resolve: (page: Page) => void;
	readonly reject: (error: RelayError) => void;
}

class SqliteStore implements EmbeddedStore {
	readonly #clock: Clock;
	readonly #topicsMax: number;
	readonly #lock: DataDirLock;
	readonly #writer: SupervisedWorker<StoreTotals, BatchRequest, BatchReply>;
	readonly #reader: SupervisedWorker<null, ReadRequest, ReadReply>;
	readonly #queue: WriteQueue;
	readonly #reads = new Map<number, ReadCall>();
	#lastReadId = 0;
	#totals: StoreTotals = { topics: 0, messages: 0, bytes: 0, commits: 0 };
	/** Why the store cannot append; null while it can. */
	#failure: StoreFailure | null = null;
	#readFailure: StoreFailure | null = null;
	#cancelProbe: (() => void) | null = null;
	#closed: Promise<void> | null = null;

	constructor({ clock }: EmbeddedStoreOptions, setup: WorkerSetup, lock: DataDirLock) {
		this.#clock = clock;
		this.#topicsMax = setup.topicsMax;
		this.#lock = lock;
		this.#writer = new SupervisedWorker({
			module: new URL('./writer.ts', import.meta.url),
			setup,
			clock,
			listener: {
				ready: (totals) => this.#writerReady(totals),
				reply: (reply) => this.#settleBatch(reply),
				died: (failure) => this.#writerDied(failure),
			},
		});
		this.#reader = new SupervisedWorker({
			module: new URL('./reader.ts', import.meta.url),
			setup,
			clock,
			listener: {
				ready: () => {
					this.#readFailure = null;
				},
				reply: (reply) => this.#settleRead(reply),
				died: (failure) => this.#readerDied(failure),
			},
		});
		this.#queue = new WriteQueue({
			clock,
			topicsMax: setup.topicsMax,
			post: (request, transfer) => this.#writer.post(request, transfer),
		});
	}

	/** Starts the threads, the writer first, which makes the tables. Null when both serve, else why not. */
	async open(): Promise<StoreFailure | null> {
		return (await this.#writer.start()) ?? (await this.#reader.start());
	}

	get commits(): number {
		return this.#totals.commits;
	}

	listen(listener: LogListener): void {
		this.#queue.listen(listener);
	}

	append(topic: string, entries: readonly AppendEntry[]): Promise<readonly AppendOutcome[]> {
		// Refused at once rather than queued for a disk that has just failed; the probe finds out when it works again.
		const refusal = this.#refusal() ?? (this.#failure === null ? null : unavailable(this.#failure));
		if (refusal !== null) return Promise.reject(refusal);
		return entries.length === 0 ? Promise.resolve([]) : this.#queue.append(topic, entries);
	}

	read(topic: string, after: MessageId, limits: ReadLimits): Promise<Page> {
		return this.#read({ kind: 'after', id: ++this.#lastReadId, topic, after, limits });
	}

	readBefore(topic: string, before: MessageId | null, limits: ReadLimits): Promise<Page> {
		return this.#read({ kind: 'before', id: ++this.#lastReadId, topic, before, limits });
	}

	/** Every topic is announced, watched or not, so that watching is only asking for the position. */
	async watch(topic: string): Promise<WatchedPosition> {
		return { ...(await this.#control({ kind: 'watch', topic })), intact: true };
	}

	unwatch(_topic: string): void {}

	async createTopic(
		name: string,
		change: TopicChange,
	): Promise<{ readonly status: 'created' | 'exists'; readonly topic: Topic }> {
		const result = await this.#control({ kind: 'create', topic: name, change });
		if (result.status === 'topic_limit') throw topicLimit(this.#topicsMax);
		return result;
	}

	getTopic(name: string): Promise<Topic | undefined> {
		return this.#control({ kind: 'get', topic: name });
	}

	listTopics(after: string | null, limit: number): Promise<readonly Topic[]> {
		return this.#control({ kind: 'list', after, limit });
	}

	updateTopic(name: string, change: TopicChange): Promise<Topic | undefined> {
		return this.#control({ kind: 'update', topic: name, change });
	}

	async deleteTopic(name: string): Promise<boolean> {
		const tip = await this.#control({ kind: 'delete', topic: name }, (ended, listener) => {
			if (ended !== undefined) listener.deleted(name, ended);
		});
		return tip !== undefined;
	}

	async trim(step: TrimStep): Promise<{ readonly removed: number; readonly more: boolean }> {
		const { removed, more } = await this.#control({ kind: 'trim', step }, ({ trimmed }, listener) => {
			for (const { topic, floor } of trimmed) listener.trimmed(topic, floor);
		});
		return { removed, more };
	}

	forgetKeys(beforeMs: number, keysMax: number): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#control({ kind: 'forget', beforeMs, keysMax });
	}

	health(): StoreHealth {
		if (this.#closed !== null) return { status: 'unavailable', reason: 'the store is closed' };
		const failure = this.#failure ?? this.#readFailure;
		return failure === null ? { status: 'ok', durability: 'disk' } : { status: 'unavailable', reason: failure.reason };
	}

	stats(): { readonly topics: number; readonly messages: number; readonly bytes: number } {
		const { topics, messages, bytes } = this.#totals;
		return { topics, messages, bytes };
	}

	close(): Promise<void> {
		this.#closed ??= this.#close();
		return this.#closed;
	}

	async #close(): Promise<void> {
		this.#cancelProbe?.();
		await this.#queue.idle();
		// The reader first: the last connection to close is the one that can fold the WAL into the database.
		await this.#reader.close();
		await this.#writer.close();
		this.#lock.release();
	}

	/** Why a call cannot be taken at all, or null. */
	#refusal(): RelayError | null {
		if (this.#closed !== null) return new RelayError('storage_unavailable', 'the store is closed');
		return this.#writer.serves ? null : unavailable(this.#failure ?? WRITER_DOWN);
	}

	#control: WriteQueue['control'] = (op, announce) => {
		const refusal = this.#refusal();
		return refusal === null ? this.#queue.control(op, announce) : Promise.reject(refusal);
	};

	#read(request: ReadRequest): Promise<Page> {
		if (this.#closed !== null) return Promise.reject(new RelayError('storage_unavailable', 'the store is closed'));
		if (this.#readFailure !== null) return Promise.reject(unavailable(this.#readFailure));
		return new Promise((resolve, reject) => {
			this.#reads.set(request.id, { resolve, reject });
			this.#reader.post(request, []);
		});
	}

	#settleRead(reply: ReadReply): void {
		const call = this.#reads.get(reply.id);
		this.#reads.delete(reply.id);
		if (reply.kind === 'page') call?.resolve({ ...reply.position, blocks: unflattenBlocks(reply.blocks) });
		else call?.reject(unavailable(reply.failure));
	}

	#readerDied(failure: StoreFailure): void {
		this.#readFailure = failure;
		for (const call of this.#reads.values()) call.reject(unavailable(failure));
		this.#reads.clear();
	}

	#settleBatch(reply: BatchReply): void {
		this.#totals = reply.totals;
		if (reply.failure !== null) this.#fail(reply.failure);
		else if (reply.committed) this.#recover();
		this.#queue.settle(reply);
	}

	#writerDied(failure: StoreFailure): void {
		this.#fail(failure);
		this.#queue.refuseAll(failure);
	}

	#writerReady(totals: StoreTotals): void {
		this.#totals = totals;
		if (this.#failure !== null) this.#probe();
	}

	#fail(failure: StoreFailure): void {
		this.#failure = failure;
		this.#queue.refuseAppends(failure);
		this.#probeLater();
	}

	#recover(): void {
		this.#failure = null;
		this.#cancelProbe?.();
		this.#cancelProbe = null;
	}

	#probeLater(): void {
		this.#cancelProbe?.();
		this.#cancelProbe = this.#clock.after(PROBE_INTERVAL_MS, () => this.#probe());
	}

	/** Tries a write. Its outcome shows in the reply, like any other's, and a failure there sets up the next probe. */
	#probe(): void {
		// A writer that is down is started again by its supervisor, and probed when it serves.
		if (this.#closed !== null || !this.#writer.serves) return;
		this.#control({ kind: 'probe' }).catch(ignoreFailure);
	}
}

/** For a promise whose failure is dealt with where its reply arrives. */
function ignoreFailure(): void {}
