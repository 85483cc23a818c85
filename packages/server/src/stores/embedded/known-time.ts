/** The time at which the store was at work last, kept so that a start can tell whether the clock has jumped. */

import type { DatabaseSync, StatementSync } from 'node:sqlite';

/** How exact it is: an idle relay writes it this often. */
const INTERVAL_MS = 60_000;

export class KnownTime {
	readonly #save: StatementSync;
	#ms: number | undefined;
	#before: number | undefined;

	/** @param fallbackMs what is known from elsewhere, for a file of an earlier version */
	constructor(db: DatabaseSync, fallbackMs: number | undefined) {
		db.exec('CREATE TABLE IF NOT EXISTS known_time (id INTEGER PRIMARY KEY, ms INTEGER NOT NULL) STRICT');
		this.#save = db.prepare('INSERT OR REPLACE INTO known_time (id, ms) VALUES (1, ?)');
		const ms = db.prepare('SELECT ms FROM known_time').get()?.['ms'];
		this.#ms = ms === undefined ? undefined : Number(ms);
		this.#before = this.#ms;
		this.lastKnownMs = this.#ms ?? fallbackMs;
	}

	/** As it was when the store was opened; undefined for a new one. */
	readonly lastKnownMs: number | undefined;

	note(nowMs: number): void {
		if (this.#ms !== undefined && Math.abs(nowMs - this.#ms) < INTERVAL_MS) return;
		this.#ms = nowMs;
		this.#save.run(nowMs);
	}

	committed(): void {
		this.#before = this.#ms;
	}

	rolledBack(): void {
		this.#ms = this.#before;
	}
}
