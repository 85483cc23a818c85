/**
 * Records of one kind, decoded and kept in memory. The records' announcements keep it right; and since an announcement may be
 * lost on its way from another node, nothing is taken from memory for longer than a few seconds (I10).
 */

import type { Clock } from '../ports/clock.ts';
import type { Records, StoredRecord } from '../ports/records.ts';

/** Revocations take effect within five seconds, whatever is lost on the way. */
const AGE_MS_MAX = 4000;
/** As many as there may be connections, each with a token of its own, and some more; an entry is some hundred bytes. */
const ENTRIES_MAX = 65_536;

export interface RecordCacheOptions<T> {
	readonly records: Records;
	readonly clock: Clock;
	readonly kind: string;
	readonly decode: (record: StoredRecord) => T;
}

interface Entry<T> {
	/** Null when there is no such record. */
	readonly value: T | null;
	readonly expiresAtMs: number | null;
	readonly readMs: number;
}

export class RecordCache<T> {
	readonly #options: RecordCacheOptions<T>;
	readonly #entries = new Map<string, Entry<T>>();
	/** Reads under way. One that a change has overtaken is not here any more, and its outcome is not kept. */
	readonly #reads = new Map<string, Promise<T | null>>();
	readonly #stop: () => void;

	constructor(options: RecordCacheOptions<T>) {
		this.#options = options;
		this.#stop = options.records.listen({
			changed: (kind, id) => {
				if (kind !== options.kind) return;
				this.#entries.delete(id);
				this.#reads.delete(id);
			},
			missed: () => {
				this.#entries.clear();
				this.#reads.clear();
			},
		});
	}

	/** What is known now: the value, null for no such record, undefined when it must be read. */
	peek(id: string): T | null | undefined {
		const entry = this.#entries.get(id);
		if (entry === undefined) return undefined;
		const { clock } = this.#options;
		if (clock.monotonicMs() - entry.readMs > AGE_MS_MAX) return undefined;
		return entry.expiresAtMs !== null && entry.expiresAtMs <= clock.nowMs() ? null : entry.value;
	}

	/** The value, read when it must be; null when there is no such record. */
	async get(id: string): Promise<T | null> {
		const known = this.peek(id);
		if (known !== undefined) return known;
		const underWay = this.#reads.get(id);
		if (underWay !== undefined) return underWay;
		const read = this.#read(id, () => this.#reads.get(id) === read);
		this.#reads.set(id, read);
		return read;
	}

	/** Stops listening. */
	close(): void {
		this.#stop();
		this.#entries.clear();
	}

	async #read(id: string, isCurrent: () => boolean): Promise<T | null> {
		const { records, kind, decode, clock } = this.#options;
		// Before the read: what is true is at least as new as this.
		const readMs = clock.monotonicMs();
		// The caller enters the promise of this call before it goes on.
		await Promise.resolve();
		try {
			const record = await records.get(kind, id);
			const value = record === undefined ? null : decode(record);
			if (isCurrent()) this.#keep(id, { value, expiresAtMs: record?.expiresAtMs ?? null, readMs });
			return value;
		} finally {
			if (isCurrent()) this.#reads.delete(id);
		}
	}

	#keep(id: string, entry: Entry<T>): void {
		this.#entries.delete(id);
		this.#entries.set(id, entry);
		if (this.#entries.size <= ENTRIES_MAX) return;
		for (const oldest of this.#entries.keys()) {
			this.#entries.delete(oldest);
			break;
		}
	}
}
