/**
 * The embedded store: SQLite in one directory, written by one worker thread and read by another. This side queues calls, hands
 * them over and settles them; it never touches the disk after opening.
 */

import { join } from 'node:path';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { ReadLimits } from '../../log/page.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Records } from '../../ports/records.ts';
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
import { takeDataDir } from './data-dir.ts';
import { cannotOpen, describeFailure, unavailable } from './failure.ts';
import { type FileIdentity, type NoticeListener, prepareDatabaseFile } from './files.ts';
import type { DataDirLock } from './lock.ts';
import type { BatchReply, BatchRequest, StoreFailure, StoreTotals, TopicsAhead, WorkerSetup, WriterReady } from './messages.ts';
import { Reads } from './reads.ts';
import { type EmbeddedRecords, openEmbeddedRecords } from './records.ts';
import { SupervisedWorker } from './supervised-worker.ts';
import { Upkeep } from './upkeep.ts';
import { topicLimit, WriteQueue } from './write-queue.ts';

/** How often a store that failed tries a write. */
const PROBE_INTERVAL_MS = 1000;

export interface EmbeddedStoreOptions {
	/** The directory that holds everything; made, readable by its owner only, when there is none. */
	readonly dataDir: string;
	/** Topics that may exist at the same time. */
	readonly topicsMax: number;
	readonly clock: Clock;
	/** Hears of what an operator should know, in words that fit a log; default nobody. */
	readonly onWarning?: NoticeListener;
	/** As `onWarning`, of what is as it should be. */
	readonly onNotice?: NoticeListener;
}

export interface EmbeddedStore extends Store {
	/**
	 * Opens the records of the same directory. Their state is part of the store's health.
	 *
	 * @throws RelayError `storage_unavailable` with one clear line when the database cannot be used
	 */
	openRecords(): Promise<Records>;
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
	const lock = takeDataDir(options.dataDir);
	const file = join(options.dataDir, 'relay.db');
	let identity: FileIdentity;
	try {
		identity = prepareDatabaseFile(file, options.onWarning);
	} catch (thrown) {
		lock.release();
		throw cannotOpen(file, describeFailure(thrown));
	}
	const store = new SqliteStore(options, { file, identity, topicsMax: options.topicsMax }, lock);
	const failure = await store.open();
	if (failure === null) return store;
	await store.close();
	throw cannotOpen(file, failure);
}

const WRITER_DOWN: StoreFailure = { reason: 'a thread of the store stopped', message: 'the writer is not running' };

class SqliteStore implements EmbeddedStore {
	readonly #options: EmbeddedStoreOptions;
	readonly #clock: Clock;
	readonly #topicsMax: number;
	readonly #lock: DataDirLock;
	readonly #writer: SupervisedWorker<WriterReady, BatchRequest, BatchReply>;
	readonly #reads: Reads;
	readonly #queue: WriteQueue;
	#totals: StoreTotals = { topics: 0, messages: 0, bytes: 0, commits: 0 };
	#lastKnownMs: number | undefined;
	#topicsAhead = 0;
	/** Why the store cannot append; null while it can. */
	#failure: StoreFailure | null = null;
	readonly #upkeep: Upkeep;
	#records: EmbeddedRecords | null = null;
	#cancelProbe: (() => void) | null = null;
	#closed: Promise<void> | null = null;

	constructor(options: EmbeddedStoreOptions, setup: WorkerSetup, lock: DataDirLock) {
		const { clock } = options;
		this.#options = options;
		this.#clock = clock;
		this.#topicsMax = setup.topicsMax;
		this.#lock = lock;
		this.#writer = new SupervisedWorker({
			module: new URL('./writer.ts', import.meta.url),
			setup,
			clock,
			listener: {
				ready: (ready) => this.#writerReady(ready),
				reply: (reply) => this.#settleBatch(reply),
				died: (failure) => this.#writerDied(failure),
			},
		});
		this.#reads = new Reads(setup, clock);
		this.#queue = new WriteQueue({
			clock,
			topicsMax: setup.topicsMax,
			post: (request, transfer) => this.#writer.post(request, transfer),
		});
		const isSound = () => this.#failure === null && this.#writer.serves;
		this.#upkeep = new Upkeep({ ...options, lock, queue: this.#queue, isSound });
	}

	/** Starts the threads, the writer first, which makes the tables. Null when both serve, else why not. */
	async open(): Promise<StoreFailure | null> {
		const failure = (await this.#writer.start()) ?? (await this.#reads.open());
		if (failure === null) this.#upkeep.start();
		return failure;
	}

	async openRecords(): Promise<Records> {
		const { dataDir, clock, onWarning } = this.#options;
		this.#records = await openEmbeddedRecords({ dataDir, clock, onWarning });
		return this.#records;
	}

	get lastKnownMs(): number | undefined {
		return this.#lastKnownMs;
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
		return this.#closed === null ? this.#reads.after(topic, after, limits) : Promise.reject(closedError());
	}

	readBefore(topic: string, before: MessageId | null, limits: ReadLimits): Promise<Page> {
		return this.#closed === null ? this.#reads.before(topic, before, limits) : Promise.reject(closedError());
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
		const { removed, more, ahead } = await this.#control({ kind: 'trim', step }, ({ trimmed }, listener) => {
			for (const { topic, floor } of trimmed) listener.trimmed(topic, floor);
		});
		this.#noteAhead(ahead);
		return { removed, more };
	}

	forgetKeys(beforeMs: number, keysMax: number): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#control({ kind: 'forget', beforeMs, keysMax });
	}

	health(): StoreHealth {
		if (this.#closed !== null) return { status: 'unavailable', reason: 'the store is closed' };
		const failure = this.#upkeep.lockFailure ?? this.#failure ?? this.#reads.failure ?? this.#records?.failure ?? null;
		return failure === null ? { status: 'ok', durability: 'disk' } : { status: 'unavailable', reason: failure.reason };
	}

	stats(): { readonly topics: number; readonly messages: number; readonly bytes: number } {
		const { topics, messages, bytes } = this.#totals;
		return { topics, messages, bytes };
	}

	clocks(): { readonly topicsAhead: number } {
		return { topicsAhead: this.#topicsAhead };
	}

	space(): { readonly fileBytes: number; readonly freeBytes: number } {
		return this.#upkeep.space;
	}

	close(): Promise<void> {
		this.#closed ??= this.#close();
		return this.#closed;
	}

	async #close(): Promise<void> {
		this.#cancelProbe?.();
		this.#upkeep.stop();
		await this.#queue.idle();
		// The reader first: the last connection to close is the one that can fold the WAL into the database.
		await this.#reads.close();
		await this.#writer.close();
		this.#lock.release();
	}

	/** Why a call cannot be taken at all, or null. */
	#refusal(): RelayError | null {
		if (this.#closed !== null) return closedError();
		const { lockFailure } = this.#upkeep;
		if (lockFailure !== null) return unavailable(lockFailure);
		return this.#writer.serves ? null : unavailable(this.#failure ?? WRITER_DOWN);
	}

	#control: WriteQueue['control'] = (op, announce) => {
		const refusal = this.#refusal();
		return refusal === null ? this.#queue.control(op, announce) : Promise.reject(refusal);
	};

	#noteAhead({ topics, furthest }: TopicsAhead): void {
		if (furthest !== undefined && this.#topicsAhead === 0) {
			const seconds = Math.round(furthest.byMs / 1000);
			this.#options.onWarning?.('the ids of topics are ahead of the clock; their messages age from when they were seen there', {
				topics,
				furthest: furthest.topic,
				seconds,
			});
		}
		this.#topicsAhead = topics;
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

	#writerReady({ totals, lastKnownMs }: WriterReady): void {
		this.#totals = totals;
		this.#lastKnownMs = lastKnownMs;
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

function closedError(): RelayError {
	return new RelayError('storage_unavailable', 'the store is closed');
}

/** For a promise whose failure is dealt with where its reply arrives. */
function ignoreFailure(): void {}
