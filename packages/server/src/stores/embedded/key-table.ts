/** The idempotency records: which message was stored for which item of which request. */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { DedupeKey } from '../../ports/store.ts';

/** What a record, or the lack of one, says about a message. */
export type KeyVerdict =
	| { readonly status: 'new' }
	| { readonly status: 'duplicate'; readonly id: MessageId }
	| { readonly status: 'conflict' };

/** Records forgotten per step: keys are random, so each is a page of its own, and this many take some 20 ms. */
const FORGET_STEP = 1000;

export class KeyTable {
	readonly #find: StatementSync;
	readonly #insert: StatementSync;
	readonly #oldest: StatementSync;
	readonly #delete: StatementSync;
	#count: number;
	#countBefore: number;
	#newestMs: number;

	constructor(db: DatabaseSync) {
		this.#find = db.prepare('SELECT fingerprint, ms, n FROM idempotency WHERE key = ? AND item = ?');
		this.#insert = db.prepare('INSERT INTO idempotency (key, item, fingerprint, ms, n, at_ms) VALUES (?, ?, ?, ?, ?, ?)');
		this.#oldest = db.prepare('SELECT key, item, at_ms AS atMs FROM idempotency ORDER BY at_ms LIMIT ?');
		this.#delete = db.prepare('DELETE FROM idempotency WHERE key = ? AND item = ?');
		this.#count = Number(db.prepare('SELECT count(*) AS count FROM idempotency').get()?.['count'] ?? 0);
		this.#newestMs = Number(db.prepare('SELECT max(at_ms) AS newestMs FROM idempotency').get()?.['newestMs'] ?? 0);
		this.#countBefore = this.#count;
	}

	/** Looks a message up, also among the records of the transaction under way. */
	verdict(key: DedupeKey): KeyVerdict {
		const own = this.#find.get(key.key, key.item);
		if (own !== undefined && own['fingerprint'] !== key.fingerprint) return { status: 'conflict' };
		// Item 0 stands for the whole request: a longer or shorter request under the same key shows there.
		const first = key.item === 0 ? own : this.#find.get(key.key, 0);
		if (first !== undefined && first['fingerprint'] !== key.fingerprint) return { status: 'conflict' };
		return own === undefined ? { status: 'new' } : { status: 'duplicate', id: { ms: Number(own['ms']), n: Number(own['n']) } };
	}

	/** Records a message. Records are never dated before older ones, so that the oldest are the first made, also when the clock steps back. */
	insert(key: DedupeKey, ms: number, n: number, nowMs: number): void {
		this.#newestMs = Math.max(this.#newestMs, nowMs);
		this.#insert.run(key.key, key.item, key.fingerprint, ms, n, this.#newestMs);
		this.#count++;
	}

	/** Forgets records from before `beforeMs`, and the oldest beyond `keysMax`, a bounded number per call. */
	forget(beforeMs: number, keysMax: number): { readonly removed: number; readonly more: boolean } {
		let removed = 0;
		for (const { key, item, atMs } of this.#oldest.all(FORGET_STEP)) {
			if (Number(atMs) >= beforeMs && this.#count <= keysMax) break;
			this.#delete.run(key ?? null, item ?? null);
			this.#count--;
			removed++;
		}
		return { removed, more: removed === FORGET_STEP };
	}

	committed(): void {
		this.#countBefore = this.#count;
	}

	rolledBack(): void {
		this.#count = this.#countBefore;
	}
}
