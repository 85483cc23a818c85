/** When messages with ids ahead of the clock arrived (log/arrivals.ts), by topic: few topics have such, so their marks are in memory. */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type ArrivalMark, NO_MARKS } from '../../log/arrivals.ts';

export class ArrivalTable {
	readonly #insert: StatementSync;
	readonly #delete: StatementSync;
	readonly #marks = new Map<number, readonly ArrivalMark[]>();
	/** What the transaction has replaced. */
	readonly #before = new Map<number, readonly ArrivalMark[]>();

	constructor(db: DatabaseSync) {
		// No version of the schema of its own: an earlier relay can do without it.
		db.exec(`CREATE TABLE IF NOT EXISTS arrival (
			topic INTEGER NOT NULL,
			ms INTEGER NOT NULL,
			n INTEGER NOT NULL,
			at_ms INTEGER NOT NULL,
			PRIMARY KEY (topic, ms, n)
		) STRICT, WITHOUT ROWID`);
		this.#insert = db.prepare('INSERT INTO arrival (topic, ms, n, at_ms) VALUES (?, ?, ?, ?)');
		this.#delete = db.prepare('DELETE FROM arrival WHERE topic = ?');
		for (const { topic, ms, n, atMs } of db
			.prepare('SELECT topic, ms, n, at_ms AS atMs FROM arrival ORDER BY topic, ms, n')
			.all()) {
			const mark = { ms: Number(ms), n: Number(n), atMs: Number(atMs) };
			this.#marks.set(Number(topic), [...this.of(Number(topic)), mark]);
		}
	}

	/** The marks of the topic with this row id. */
	of(topic: number): readonly ArrivalMark[] {
		return this.#marks.get(topic) ?? NO_MARKS;
	}

	/** Replaces the marks of a topic. */
	set(topic: number, marks: readonly ArrivalMark[]): void {
		const before = this.of(topic);
		if (marks === before) return;
		if (!this.#before.has(topic)) this.#before.set(topic, before);
		this.#put(topic, marks);
		this.#delete.run(topic);
		for (const { ms, n, atMs } of marks) this.#insert.run(topic, ms, n, atMs);
	}

	committed(): void {
		this.#before.clear();
	}

	rolledBack(): void {
		for (const [topic, marks] of this.#before) this.#put(topic, marks);
		this.#before.clear();
	}

	#put(topic: number, marks: readonly ArrivalMark[]): void {
		if (marks.length === 0) this.#marks.delete(topic);
		else this.#marks.set(topic, marks);
	}
}
