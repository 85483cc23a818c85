/**
 * The topics, as the writer knows them: every row in memory, changed there first and written once per transaction. A rollback
 * puts the rows back as they were, so that memory never runs ahead of the disk.
 */

import { randomUUID } from 'node:crypto';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { Topic, TopicChange, TopicPosition } from '../../ports/store.ts';

/** A row of the topic table. Deleted topics keep theirs for a while, so that their ids are not used again (I1). */
export interface TopicRow {
	readonly id: number;
	readonly name: string;
	topicId: string;
	description: string | null;
	createdAtMs: number;
	/** Null while the topic exists. */
	deletedAtMs: number | null;
	tipMs: number;
	tipN: number;
	floorMs: number;
	floorN: number;
	messages: number;
	/** Bytes of the blocks that have a message above the floor. */
	bytes: number;
	/** `ms` of the oldest message, null when there is none. */
	oldestMs: number | null;
	/** 1 while blocks of a deleted incarnation, all below the floor, wait to be removed. */
	unswept: number;
	maxAgeS: number | null;
	maxMessages: number | null;
	maxBytes: number | null;
}

/** A row as it was when the transaction first touched it; null = it was not there. */
type Before = TopicRow | null;

const COLUMNS = `id, name, topic_id AS topicId, description, created_at_ms AS createdAtMs, deleted_at_ms AS deletedAtMs,
	tip_ms AS tipMs, tip_n AS tipN, floor_ms AS floorMs, floor_n AS floorN, messages, bytes, oldest_ms AS oldestMs, unswept,
	max_age_s AS maxAgeS, max_messages AS maxMessages, max_bytes AS maxBytes`;

export class TopicTable {
	readonly #topicsMax: number;
	readonly #rows = new Map<string, TopicRow>();
	readonly #touched = new Map<TopicRow, Before>();
	readonly #save: StatementSync;
	readonly #saveLog: StatementSync;
	readonly #delete: StatementSync;
	/** Touched rows of which more than the log part changed. */
	readonly #rewritten = new Set<TopicRow>();
	/** Names of existing topics in order; null after a change. */
	#names: string[] | null = null;
	#count = 0;
	#messages = 0;
	#bytes = 0;
	#lastId = 0;

	constructor(db: DatabaseSync, topicsMax: number) {
		this.#topicsMax = topicsMax;
		this.#save = db.prepare(`INSERT OR REPLACE INTO topic (id, name, topic_id, description, created_at_ms, deleted_at_ms, tip_ms,
			tip_n, floor_ms, floor_n, messages, bytes, oldest_ms, unswept, max_age_s, max_messages, max_bytes)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`);
		this.#saveLog = db.prepare(`UPDATE topic SET tip_ms = ?, tip_n = ?, floor_ms = ?, floor_n = ?, messages = ?, bytes = ?,
			oldest_ms = ?, unswept = ? WHERE id = ?`);
		this.#delete = db.prepare('DELETE FROM topic WHERE id = ?');
		for (const loaded of db.prepare(`SELECT ${COLUMNS} FROM topic`).iterate()) {
			// Its columns are those of TopicRow, by COLUMNS and the STRICT table.
			const row = { ...loaded } as unknown as TopicRow;
			this.#rows.set(row.name, row);
			if (row.deletedAtMs === null) this.#count++;
			this.#messages += row.messages;
			this.#bytes += row.bytes;
			this.#lastId = Math.max(this.#lastId, row.id);
		}
	}

	/** Topics that exist. */
	get count(): number {
		return this.#count;
	}

	/** Whether one more topic may be created. */
	get hasRoom(): boolean {
		return this.#count < this.#topicsMax;
	}

	/** The time of the newest id of all topics, as loaded; undefined when there is none. */
	get newestMs(): number | undefined {
		let newestMs: number | undefined;
		for (const { tipMs } of this.#rows.values()) if (tipMs > (newestMs ?? 0)) newestMs = tipMs;
		return newestMs;
	}

	/** Messages of all topics, as committed. */
	get messages(): number {
		return this.#messages;
	}

	/** Bytes of all topics, as committed. */
	get bytes(): number {
		return this.#bytes;
	}

	/** Deleted topics whose rows are kept. */
	get deletedCount(): number {
		return this.#rows.size - this.#count;
	}

	/** All rows, also of deleted topics, in no particular order. */
	rows(): IterableIterator<TopicRow> {
		return this.#rows.values();
	}

	/** The row of an existing topic. */
	get(name: string): TopicRow | undefined {
		const row = this.#rows.get(name);
		return row === undefined || row.deletedAtMs !== null ? undefined : row;
	}

	position(name: string): TopicPosition {
		const row = this.#rows.get(name);
		if (row === undefined) return { exists: false, tip: ZERO_ID, floor: ZERO_ID };
		return { exists: row.deletedAtMs === null, tip: tipOf(row), floor: floorOf(row) };
	}

	/** Existing topics after the name `after`, in name order. */
	list(after: string | null, limit: number): Topic[] {
		// Names are ASCII, so the default order of strings is that of their bytes.
		this.#names ??= [...this.#rows.values()]
			.filter((row) => row.deletedAtMs === null)
			.map((row) => row.name)
			.sort();
		const names = this.#names;
		let start = 0;
		let end = after === null ? 0 : names.length;
		while (start < end) {
			const middle = (start + end) >> 1;
			if ((names[middle] as string) <= (after as string)) start = middle + 1;
			else end = middle;
		}
		return names.slice(start, start + limit).map((name) => toTopic(this.#rows.get(name) as TopicRow));
	}

	/** The row of a topic, made or revived when there is none; undefined when there is no room for it. */
	open(name: string, change: TopicChange, nowMs: number): TopicRow | undefined {
		const existing = this.#rows.get(name);
		if (existing !== undefined && existing.deletedAtMs === null) return existing;
		if (!this.hasRoom) return undefined;
		const row = existing ?? blankRow(++this.#lastId, name);
		this.touch(row, true);
		if (existing === undefined) {
			this.#touched.set(row, null);
			this.#rows.set(name, row);
		}
		row.topicId = randomUUID();
		row.createdAtMs = nowMs;
		row.deletedAtMs = null;
		applyChange(row, { description: null, retention: { maxAgeS: null, maxMessages: null, maxBytes: null } });
		applyChange(row, change);
		this.#count++;
		this.#names = null;
		return row;
	}

	update(row: TopicRow, change: TopicChange): void {
		this.touch(row, true);
		applyChange(row, change);
	}

	/** Marks a topic deleted: its log ends where it stands, and its blocks, now all below the floor, wait to be swept. */
	bury(row: TopicRow, nowMs: number): void {
		this.touch(row, true);
		row.deletedAtMs = nowMs;
		if (row.messages > 0) row.unswept = 1;
		row.floorMs = row.tipMs;
		row.floorN = row.tipN;
		row.messages = 0;
		row.bytes = 0;
		row.oldestMs = null;
		this.#count--;
		this.#names = null;
	}

	/** Removes the row of a deleted topic for good. */
	purge(row: TopicRow): void {
		this.touch(row, false);
		this.#rows.delete(row.name);
		this.#delete.run(row.id);
	}

	/** To be called before a row is changed. `rewrite`: more than its log part changes. */
	touch(row: TopicRow, rewrite: boolean): void {
		if (!this.#touched.has(row)) this.#touched.set(row, { ...row });
		if (rewrite) this.#rewritten.add(row);
	}

	/** Writes the touched rows into the transaction. */
	flush(): void {
		for (const row of this.#touched.keys()) {
			if (this.#rows.get(row.name) !== row) continue;
			if (this.#rewritten.has(row)) this.#saveWhole(row);
			else {
				const { tipMs, tipN, floorMs, floorN, messages, bytes, oldestMs, unswept } = row;
				this.#saveLog.run(tipMs, tipN, floorMs, floorN, messages, bytes, oldestMs, unswept, row.id);
			}
		}
	}

	/** The transaction is durable. */
	committed(): void {
		for (const [row, before] of this.#touched) {
			this.#messages += row.messages - (before?.messages ?? 0);
			this.#bytes += row.bytes - (before?.bytes ?? 0);
		}
		this.#touched.clear();
		this.#rewritten.clear();
	}

	/** The transaction is undone: so are the rows. */
	rolledBack(): void {
		for (const [row, before] of this.#touched) {
			if (before !== null) {
				Object.assign(row, before);
				this.#rows.set(row.name, row);
			} else if (this.#rows.get(row.name) === row) this.#rows.delete(row.name);
		}
		this.#touched.clear();
		this.#rewritten.clear();
		this.#names = null;
		this.#count = 0;
		for (const row of this.#rows.values()) if (row.deletedAtMs === null) this.#count++;
	}

	#saveWhole(row: TopicRow): void {
		this.#save.run(
			row.id,
			row.name,
			row.topicId,
			row.description,
			row.createdAtMs,
			row.deletedAtMs,
			row.tipMs,
			row.tipN,
			row.floorMs,
			row.floorN,
			row.messages,
			row.bytes,
			row.oldestMs,
			row.unswept,
			row.maxAgeS,
			row.maxMessages,
			row.maxBytes,
		);
	}
}

export function tipOf(row: TopicRow): MessageId {
	return { ms: row.tipMs, n: row.tipN };
}

export function floorOf(row: TopicRow): MessageId {
	return { ms: row.floorMs, n: row.floorN };
}

export function toTopic(row: TopicRow): Topic {
	return {
		exists: true,
		tip: tipOf(row),
		floor: floorOf(row),
		name: row.name,
		topicId: row.topicId,
		description: row.description,
		createdAtMs: row.createdAtMs,
		retention: { maxAgeS: row.maxAgeS, maxMessages: row.maxMessages, maxBytes: row.maxBytes },
		messages: row.messages,
		bytes: row.bytes,
	};
}

function blankRow(id: number, name: string): TopicRow {
	return {
		id,
		name,
		topicId: '',
		description: null,
		createdAtMs: 0,
		deletedAtMs: null,
		tipMs: 0,
		tipN: 0,
		floorMs: 0,
		floorN: 0,
		messages: 0,
		bytes: 0,
		oldestMs: null,
		unswept: 0,
		maxAgeS: null,
		maxMessages: null,
		maxBytes: null,
	};
}

function applyChange(row: TopicRow, change: TopicChange): void {
	if (change.description !== undefined) row.description = change.description;
	const { retention } = change;
	if (retention?.maxAgeS !== undefined) row.maxAgeS = retention.maxAgeS;
	if (retention?.maxMessages !== undefined) row.maxMessages = retention.maxMessages;
	if (retention?.maxBytes !== undefined) row.maxBytes = retention.maxBytes;
}
