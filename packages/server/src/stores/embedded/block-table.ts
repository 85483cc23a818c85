/** The block table, as the writer uses it. */

import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Block } from '../../log/block.ts';

/** A stored block without its bytes. */
export interface BlockRow {
	readonly id: number;
	readonly ms: number;
	readonly n: number;
	readonly count: number;
	readonly bytes: number;
}

export class BlockTable {
	readonly #insert: StatementSync;
	readonly #oldest: StatementSync;
	readonly #delete: StatementSync;
	readonly #packed: StatementSync;
	readonly #replace: StatementSync;

	constructor(db: DatabaseSync) {
		this.#insert = db.prepare('INSERT INTO block (topic, first_ms, first_n, count, packed) VALUES (?, ?, ?, ?, ?)');
		// length() of a blob is in the row's head: SQLite does not read the bytes for it.
		this.#oldest = db.prepare(`SELECT id, first_ms AS ms, first_n AS n, count, length(packed) AS bytes FROM block
			WHERE topic = ? ORDER BY first_ms, first_n LIMIT ?`);
		this.#delete = db.prepare('DELETE FROM block WHERE id = ?');
		this.#packed = db.prepare('SELECT packed FROM block WHERE id = ?');
		this.#replace = db.prepare('UPDATE block SET first_n = ?, count = ?, packed = ? WHERE id = ?');
	}

	insert(topic: number, ms: number, n: number, count: number, packed: Uint8Array): void {
		this.#insert.run(topic, ms, n, count, packed);
	}

	/** The topic's oldest blocks, oldest first. */
	oldest(topic: number, limit: number): BlockRow[] {
		// Its columns are those of BlockRow, by the statement and the STRICT table.
		return this.#oldest.all(topic, limit) as unknown as BlockRow[];
	}

	/** The block with its bytes. */
	load({ id, ms, n, count }: BlockRow): Block {
		// The column is a blob by the STRICT table.
		return { ms, n, count, packed: this.#packed.get(id)?.['packed'] as Uint8Array };
	}

	/** Puts a part of a block in its place. */
	replace(id: number, part: Block): void {
		this.#replace.run(part.n, part.count, part.packed, id);
	}

	delete(id: number): void {
		this.#delete.run(id);
	}
}
