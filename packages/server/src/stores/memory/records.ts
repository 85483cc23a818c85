/** Records in memory: the model of their contract (ports/records.ts). Nothing outlives the process. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../../ports/clock.ts';
import type {
	Expected,
	RecordListener,
	RecordOp,
	RecordQuery,
	Records,
	StoredRecord,
	WriteOutcome,
} from '../../ports/records.ts';

/** Makes empty records. */
export function createMemoryRecords({ clock }: { readonly clock: Clock }): Records {
	return new MemoryRecords(clock);
}

class MemoryRecords implements Records {
	readonly #clock: Clock;
	readonly #kinds = new Map<string, Map<string, StoredRecord>>();
	readonly #listeners = new Set<RecordListener>();
	#lastVersion = 0;
	#closed = false;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	get(kind: string, id: string): Promise<StoredRecord | undefined> {
		return this.#run(() => this.#present(kind, id));
	}

	list(kind: string, { prefix, after, limit }: RecordQuery): Promise<readonly StoredRecord[]> {
		return this.#run(() => {
			const ids = [...(this.#kinds.get(kind)?.keys() ?? [])];
			return ids
				.filter((id) => id.startsWith(prefix) && (after === null || compareIds(id, after) > 0))
				.sort(compareIds)
				.map((id) => this.#present(kind, id))
				.filter((record) => record !== undefined)
				.slice(0, limit);
		});
	}

	write(ops: readonly RecordOp[]): Promise<WriteOutcome> {
		return this.#run(() => {
			const at = ops.findIndex(({ kind, id, expected }) => !fits(expected, this.#present(kind, id)));
			if (at >= 0) return { status: 'conflict', at };
			const version = ++this.#lastVersion;
			for (const op of ops) this.#apply(op, version);
			for (const op of ops) {
				if (op.op !== 'check') for (const listener of this.#listeners) listener.changed(op.kind, op.id);
			}
			return { status: 'ok', version };
		});
	}

	listen(listener: RecordListener): () => void {
		this.#listeners.add(listener);
		return () => void this.#listeners.delete(listener);
	}

	purge(): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#run(() => {
			let removed = 0;
			for (const records of this.#kinds.values()) {
				for (const record of records.values()) if (this.#isOver(record) && records.delete(record.id)) removed++;
			}
			return { removed, more: false };
		});
	}

	async close(): Promise<void> {
		this.#closed = true;
		this.#listeners.clear();
	}

	#run<T>(call: () => T): Promise<T> {
		if (this.#closed) return Promise.reject(new RelayError('storage_unavailable', 'the records are closed'));
		return Promise.resolve(call());
	}

	#present(kind: string, id: string): StoredRecord | undefined {
		const record = this.#kinds.get(kind)?.get(id);
		return record === undefined || this.#isOver(record) ? undefined : record;
	}

	#isOver({ expiresAtMs }: StoredRecord): boolean {
		return expiresAtMs !== null && expiresAtMs <= this.#clock.nowMs();
	}

	#apply(op: RecordOp, version: number): void {
		if (op.op === 'check') return;
		let records = this.#kinds.get(op.kind);
		if (records === undefined) {
			records = new Map();
			this.#kinds.set(op.kind, records);
		}
		if (op.op === 'delete') records.delete(op.id);
		// A copy: what the caller does with its value afterwards is not in the records.
		else records.set(op.id, { id: op.id, value: structuredClone(op.value), version, expiresAtMs: op.expiresAtMs ?? null });
	}
}

function fits(expected: Expected, record: StoredRecord | undefined): boolean {
	switch (expected) {
		case 'any':
			return true;
		case 'absent':
			return record === undefined;
		case 'present':
			return record !== undefined;
		default:
			return record?.version === expected;
	}
}

function compareIds(a: string, b: string): number {
	return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
