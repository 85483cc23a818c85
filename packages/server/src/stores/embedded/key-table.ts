/** The idempotency records: which message was stored for which item of which request. */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import { holderOf, levelOf } from '../../log/key-holders.ts';
import type { DedupeKey } from '../../ports/store.ts';
import { KEY_HOLDER } from './schema.ts';

/** What a record, or the lack of one, says about a message. */
export type KeyVerdict =
	| { readonly status: 'new' }
	| { readonly status: 'duplicate'; readonly id: MessageId }
	| { readonly status: 'conflict' };

/** Records forgotten per step: keys are random, so each is a page of its own, and this many take some 20 ms. */
const FORGET_STEP = 1000;

/** What somebody has of the records. */
interface Holding {
	readonly count: number;
	/** When the oldest was made. */
	readonly oldestMs: number;
}

export class KeyTable {
	readonly #find: StatementSync;
	readonly #insert: StatementSync;
	readonly #oldest: StatementSync;
	readonly #delete: StatementSync;
	readonly #holdings: Map<string, Holding>;
	/** Of those that the transaction under way has changed, what they had before. */
	readonly #before = new Map<string, Holding | undefined>();
	#count = 0;
	#newestMs = 0;

	constructor(db: DatabaseSync) {
		this.#find = db.prepare('SELECT fingerprint, ms, n FROM idempotency WHERE key = ? AND item = ?');
		this.#insert = db.prepare('INSERT INTO idempotency (key, item, fingerprint, ms, n, at_ms) VALUES (?, ?, ?, ?, ?, ?)');
		this.#oldest = db.prepare(`SELECT key, item, at_ms AS atMs FROM idempotency WHERE ${KEY_HOLDER} = ? ORDER BY at_ms LIMIT ?`);
		this.#delete = db.prepare('DELETE FROM idempotency WHERE key = ? AND item = ?');
		const holdings = db.prepare(
			`SELECT ${KEY_HOLDER} AS holder, count(*) AS count, min(at_ms) AS oldestMs, max(at_ms) AS newestMs
			FROM idempotency GROUP BY ${KEY_HOLDER}`,
		);
		this.#holdings = new Map();
		for (const { holder, count, oldestMs, newestMs } of holdings.iterate()) {
			this.#holdings.set(String(holder), { count: Number(count), oldestMs: Number(oldestMs) });
			this.#count += Number(count);
			this.#newestMs = Math.max(this.#newestMs, Number(newestMs));
		}
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
		const holder = holderOf(key.key);
		const { count, oldestMs } = this.#holdings.get(holder) ?? { count: 0, oldestMs: this.#newestMs };
		this.#set(holder, { count: count + 1, oldestMs });
	}

	/** Forgets records from before `beforeMs`, and beyond `keysMax` the oldest of those with most; a bounded number per call. */
	forget(beforeMs: number, keysMax: number): { readonly removed: number; readonly more: boolean } {
		let left = FORGET_STEP;
		for (const [holder, { oldestMs }] of this.#holdings) {
			if (oldestMs < beforeMs && left > 0) left -= this.#remove(holder, left, (atMs) => atMs < beforeMs);
		}
		const excess = () => this.#count - keysMax;
		if (excess() > 0) {
			const level = levelOf(
				[...this.#holdings.values()].map(({ count }) => count),
				keysMax,
			);
			for (const [holder, { count }] of this.#holdings) {
				const most = Math.min(left, count - level, excess());
				if (most > 0) left -= this.#remove(holder, most, () => true);
			}
		}
		return { removed: FORGET_STEP - left, more: left === 0 };
	}

	committed(): void {
		this.#before.clear();
	}

	rolledBack(): void {
		for (const [holder, before] of this.#before) this.#set(holder, before);
		this.#before.clear();
	}

	/** Removes the oldest records of a holder, so many at most, as long as they shall go; gives how many. */
	#remove(holder: string, most: number, shallGo: (atMs: number) => boolean): number {
		let removed = 0;
		for (const { key, item, atMs } of this.#oldest.all(holder, most)) {
			if (!shallGo(Number(atMs))) break;
			this.#delete.run(key ?? null, item ?? null);
			removed++;
		}
		const count = (this.#holdings.get(holder)?.count ?? 0) - removed;
		const [oldest] = this.#oldest.all(holder, 1);
		this.#set(holder, oldest === undefined ? undefined : { count, oldestMs: Number(oldest['atMs']) });
		return removed;
	}

	#set(holder: string, holding: Holding | undefined): void {
		const now = this.#holdings.get(holder);
		if (!this.#before.has(holder)) this.#before.set(holder, now);
		this.#count += (holding?.count ?? 0) - (now?.count ?? 0);
		if (holding === undefined) this.#holdings.delete(holder);
		else this.#holdings.set(holder, holding);
	}
}
