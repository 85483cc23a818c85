/**
 * Records on the server that nodes share, over the store's connections. All are in one hash slot: a write is one script call, and each
 * change one message on a channel (ADR 0005). Reading takes no script, and what is asked for in one turn is one command.
 *
 * What other nodes change is heard at once. That nothing was missed shows in the counter of versions, which is looked at each second and
 * after every interruption of the subscription (I10).
 */

import { randomUUID } from 'node:crypto';
import type { Clock } from '../../ports/clock.ts';
import {
	RECORDS_PAGE_MAX,
	type RecordListener,
	type RecordOp,
	type RecordQuery,
	type Records,
	type StoredRecord,
	type WriteOutcome,
} from '../../ports/records.ts';
import { ChangeChain } from './change-chain.ts';
import type { Connection, ScriptCall } from './connection.ts';
import { failureOf, unavailable } from './failure.ts';
import type { Command, Reply } from './glide.ts';
import { type KeySpace, publishCommand } from './keys.ts';
import { type ChangedRecord, changedBy, lexRange, parseChange, parseRecord, partOf, recordName } from './record-text.ts';
import { evaluateReplicated } from './replicas.ts';
import { SCRIPTS } from './scripts.ts';

/** Records that one command reads. */
const NAMES_PER_COMMAND_MAX = 256;
/** Writes that share a turn among the store's. */
const WRITES_PER_TURN_MAX = 64;
/** Calls that may wait (I8); sign-ins are bounded by their hashing long before. */
const WAITING_MAX = 100_000;
/** How often it is looked whether changes were missed. */
const LOOK_INTERVAL_MS = 1000;
/** Records that one purge removes: a millisecond or two of the server. */
const PURGE_MAX = 1000;
/** How long one node has the removing for itself. */
const PURGER_MS = 30_000;

export interface ValkeyRecordsOptions {
	/** Of the store's two, the one that answers or fails sooner. A page is small, and whoever signs in waits for one. */
	readonly writes: Connection;
	readonly announcements: Connection;
	readonly cluster: boolean;
	/** Replicas that must have a write before it is acknowledged; 0 = none is waited for. */
	readonly replicas: number;
	readonly clock: Clock;
	/** Time by the store's clock. */
	readonly nowMs: () => number;
	/** Runs something in its turn among the store's writes. */
	readonly inTurn: <Result>(run: () => Promise<Result>) => Promise<Result>;
}

interface Waiting<Result> {
	readonly resolve: (result: Result) => void;
	readonly reject: (error: Error) => void;
}

interface WaitingRead extends Waiting<StoredRecord | undefined> {
	readonly name: string;
}

interface WaitingWrite extends Waiting<WriteOutcome> {
	readonly changed: readonly ChangedRecord[];
	readonly parts: readonly string[];
}

export class ValkeyRecords implements Records {
	readonly #options: ValkeyRecordsOptions;
	readonly #keys: KeySpace['records'];
	readonly #channel: string;
	readonly #node = randomUUID();
	readonly #listeners = new Set<RecordListener>();
	#chain = new ChangeChain(0);
	#reads: WaitingRead[] = [];
	#writes: WaitingWrite[] = [];
	readonly #underWay = new Set<Promise<unknown>>();
	/** An interruption is being seen to. */
	#resuming = false;
	#cancelLook = () => {};
	#closed: Promise<void> | null = null;

	private constructor(options: ValkeyRecordsOptions) {
		this.#options = options;
		const { keys } = options.writes;
		this.#keys = keys.records;
		this.#channel = keys.recordsChannel;
	}

	/** Subscribes to what other nodes change. Rejects with `storage_unavailable`. */
	static async open(options: ValkeyRecordsOptions): Promise<ValkeyRecords> {
		const records = new ValkeyRecords(options);
		await options.announcements.subscribe([records.#channel]).catch(rethrow);
		records.#chain = new ChangeChain(await records.#lastVersion());
		records.#lookLater();
		return records;
	}

	get(kind: string, id: string): Promise<StoredRecord | undefined> {
		const { clock } = this.#options;
		return this.#call(this.#reads, (waiting) => {
			// Once everything at hand has asked, so that it shares a command.
			if (this.#reads.length === 0) clock.soon(() => void this.#tracked(this.#takeReads()));
			this.#reads.push({ ...waiting, name: recordName(kind, id) });
		});
	}

	async list(kind: string, query: RecordQuery): Promise<readonly StoredRecord[]> {
		this.#refuseClosed();
		return this.#tracked(this.#list(kind, query).catch(rethrow));
	}

	write(ops: readonly RecordOp[]): Promise<WriteOutcome> {
		return this.#call(this.#writes, (waiting) => {
			if (this.#writes.length === 0) this.#takeWritesInTurn();
			this.#writes.push({ ...waiting, changed: changedBy(ops), parts: ops.flatMap(partOf) });
		});
	}

	listen(listener: RecordListener): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	async purge(): Promise<{ readonly removed: number; readonly more: boolean }> {
		this.#refuseClosed();
		const { writes, nowMs } = this.#options;
		const args = [String(nowMs()), this.#node, String(PURGER_MS), String(PURGE_MAX)];
		const call = writes.evaluate([{ script: SCRIPTS.purgeRecords, keys: this.#scriptKeys(), args }]).catch(rethrow);
		const [reply] = await this.#tracked(call);
		if (!Array.isArray(reply)) throw failureOf(reply);
		return { removed: Number(reply[0]), more: reply[1] === 1 };
	}

	close(): Promise<void> {
		this.#closed ??= this.#close();
		return this.#closed;
	}

	/** A message has come on the channel. */
	heard(message: Uint8Array): void {
		const change = parseChange(message);
		if (change !== undefined) this.#hear(change.previous, change.version, change.changed);
	}

	/** The subscription, or the way to read what changed, was interrupted and is there again. Never rejects. */
	async interrupted(): Promise<void> {
		if (this.#resuming) return;
		this.#resuming = true;
		try {
			this.#chain.restart(await this.#tracked(this.#lastVersion()));
		} catch {
			// The connection knows. Where the chain ended stands, so that the next look finds what is missing.
		}
		this.#resuming = false;
		this.#missed();
	}

	async #close(): Promise<void> {
		this.#cancelLook();
		while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay);
		this.#options.announcements.unsubscribe([this.#channel]);
		this.#listeners.clear();
	}

	#refuseClosed(): void {
		if (this.#closed !== null) throw unavailable('the records are closed');
	}

	/** Enters a call among those that wait. */
	#call<Result>(waiting: readonly unknown[], enter: (call: Waiting<Result>) => void): Promise<Result> {
		if (this.#closed !== null) return Promise.reject(unavailable('the records are closed'));
		if (waiting.length >= WAITING_MAX) return Promise.reject(unavailable('too many calls wait for the records'));
		return this.#tracked(new Promise<Result>((resolve, reject) => enter({ resolve, reject })));
	}

	async #takeReads(): Promise<void> {
		const calls = this.#reads;
		this.#reads = [];
		try {
			const found = await this.#read(calls.map(({ name }) => name));
			for (const [i, { resolve }] of calls.entries()) resolve(found[i]);
		} catch (error) {
			for (const { reject } of calls) reject(failureOf(error));
		}
	}

	/** Records by their names; undefined for those that are not there, or have expired. */
	async #read(names: readonly string[]): Promise<readonly (StoredRecord | undefined)[]> {
		const commands: Command[] = [];
		for (let at = 0; at < names.length; at += NAMES_PER_COMMAND_MAX) {
			commands.push(['HMGET', this.#keys.records, ...names.slice(at, at + NAMES_PER_COMMAND_MAX)]);
		}
		const texts = (await this.#options.writes.run(commands)).flatMap(arrayOf);
		const nowMs = this.#options.nowMs();
		return names.map((name, i) => {
			const record = parseRecord(name, texts[i] ?? null);
			return record?.expiresAtMs != null && record.expiresAtMs <= nowMs ? undefined : record;
		});
	}

	/** What has expired, or is deleted between the names and the records, is passed over, and the next ones are taken instead. */
	async #list(kind: string, { prefix, after, limit }: RecordQuery): Promise<readonly StoredRecord[]> {
		const { writes } = this.#options;
		const records: StoredRecord[] = [];
		for (let from = after; records.length < limit; ) {
			const wanted = Math.min(limit - records.length, RECORDS_PAGE_MAX, NAMES_PER_COMMAND_MAX);
			const [min, max] = lexRange(kind, prefix, from);
			const [reply] = await writes.run([['ZRANGE', this.#keys.names, min, max, 'BYLEX', 'LIMIT', '0', String(wanted)]]);
			const names = arrayOf(reply ?? null).map(String);
			const found = names.length === 0 ? [] : await this.#read(names);
			records.push(...found.filter((record) => record !== undefined));
			if (names.length < wanted) break;
			from = names.at(-1)?.slice(kind.length + 1) ?? null;
		}
		return records;
	}

	#takeWritesInTurn(): void {
		const { inTurn } = this.#options;
		inTurn(() => this.#takeWrites()).catch((error: unknown) => {
			for (const { reject } of this.#writes.splice(0)) reject(failureOf(error));
		});
	}

	/** Makes the writes that wait together. Never rejects: what went wrong goes to the calls. */
	async #takeWrites(): Promise<void> {
		const { writes, replicas } = this.#options;
		const calls = this.#writes.splice(0, WRITES_PER_TURN_MAX);
		if (this.#writes.length > 0) this.#takeWritesInTurn();
		try {
			const replies = await evaluateReplicated(
				writes,
				calls.map((call) => this.#scriptOf(call)),
				replicas,
			);
			for (const [i, call] of calls.entries()) this.#settle(call, replies[i] ?? null);
		} catch (error) {
			for (const { reject } of calls) reject(failureOf(error));
		}
	}

	#scriptKeys(): string[] {
		const { records, names, expiries, meta } = this.#keys;
		return [records, names, expiries, meta];
	}

	#scriptOf({ changed, parts }: WaitingWrite): ScriptCall {
		const { nowMs, cluster } = this.#options;
		const args = [String(nowMs()), publishCommand(cluster), this.#channel, JSON.stringify(changed), ...parts];
		return { script: SCRIPTS.writeRecords, keys: this.#scriptKeys(), args };
	}

	#settle({ changed, resolve, reject }: WaitingWrite, reply: Reply): void {
		if (reply instanceof Error) reject(failureOf(reply));
		else if (typeof reply === 'number') resolve({ status: 'conflict', at: reply });
		else if (!Array.isArray(reply)) reject(failureOf(reply));
		else {
			const [previous, version] = reply.map(Number) as [number, number];
			this.#hear(previous, version, changed);
			resolve({ status: 'ok', version });
		}
	}

	#hear(previous: number, version: number, changed: readonly ChangedRecord[]): void {
		if (!this.#chain.hear(previous, version)) return;
		for (const [kind, id] of changed) for (const listener of this.#listeners) listener.changed(kind, id);
	}

	#missed(): void {
		for (const listener of this.#listeners) listener.missed();
	}

	async #lastVersion(): Promise<number> {
		const [reply] = await this.#options.writes.run([['HGET', this.#keys.meta, 'version']]);
		if (reply instanceof Error) throw failureOf(reply);
		return reply == null ? 0 : Number(String(reply));
	}

	#lookLater(): void {
		this.#cancelLook = this.#options.clock.after(LOOK_INTERVAL_MS, () => {
			void this.#tracked(this.#look()).then(() => {
				if (this.#closed === null) this.#lookLater();
			});
		});
	}

	/** Never rejects. */
	async #look(): Promise<void> {
		const tipBefore = this.#chain.tip;
		try {
			if (!this.#chain.look(await this.#lastVersion(), tipBefore)) this.#missed();
		} catch {
			// The connection knows and says so in its state; the next look is due.
		}
	}

	#tracked<Result>(call: Promise<Result>): Promise<Result> {
		const tracked = call.finally(() => this.#underWay.delete(tracked));
		this.#underWay.add(tracked);
		return tracked;
	}
}

function arrayOf(reply: Reply): readonly Reply[] {
	if (Array.isArray(reply)) return reply as readonly Reply[];
	throw failureOf(reply);
}

function rethrow(error: unknown): never {
	throw failureOf(error);
}
