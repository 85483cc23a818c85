/**
 * The reader: a worker thread with a read-only connection, so that a page read from the disk delays neither the main thread nor
 * a commit. Position and blocks of a page are of one snapshot.
 */

import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { compareMessageIds, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { type Block, firstIndexAfter } from '../../log/block.ts';
import { PageBuilder } from '../../log/page.ts';
import type { Page } from '../../ports/store.ts';
import { describeFailure } from './failure.ts';
import { checkPlace } from './files.ts';
import { flattenBlocks } from './flat-blocks.ts';
import type { ReaderRequest, ReadReply, ReadRequest, StartReport, WorkerSetup } from './messages.ts';
import { openReaderDatabase } from './schema.ts';

type Row = Record<string, SQLOutputValue>;

const BLOCK_COLUMNS = 'first_ms AS ms, first_n AS n, count, packed';

class Reader {
	readonly #db: DatabaseSync;
	readonly #begin: StatementSync;
	readonly #commit: StatementSync;
	readonly #topic: StatementSync;
	readonly #lastStart: StatementSync;
	readonly #forwards: StatementSync;
	readonly #backwards: StatementSync;

	constructor({ file, identity }: WorkerSetup) {
		checkPlace(file, identity);
		const db = openReaderDatabase(file);
		this.#db = db;
		this.#begin = db.prepare('BEGIN');
		this.#commit = db.prepare('COMMIT');
		this.#topic = db.prepare(`SELECT id, deleted_at_ms AS deletedAtMs, tip_ms AS tipMs, tip_n AS tipN, floor_ms AS floorMs,
			floor_n AS floorN FROM topic WHERE name = ?`);
		this.#lastStart = db.prepare(`SELECT first_ms AS ms, first_n AS n, count FROM block
			WHERE topic = ? AND (first_ms, first_n) <= (?, ?) ORDER BY first_ms DESC, first_n DESC LIMIT 1`);
		this.#forwards = db.prepare(`SELECT ${BLOCK_COLUMNS} FROM block
			WHERE topic = ? AND (first_ms, first_n) >= (?, ?) ORDER BY first_ms, first_n`);
		this.#backwards = db.prepare(`SELECT ${BLOCK_COLUMNS} FROM block
			WHERE topic = ? AND (first_ms, first_n) < (?, ?) ORDER BY first_ms DESC, first_n DESC`);
	}

	/** Reads a page in a transaction of its own, so that its position and its blocks belong together. */
	read(request: ReadRequest): Page {
		this.#begin.run();
		try {
			return this.#page(request);
		} finally {
			this.#commit.run();
		}
	}

	close(): void {
		this.#db.close();
	}

	#page(request: ReadRequest): Page {
		const row = this.#topic.get(request.topic);
		if (row === undefined) return { exists: false, tip: ZERO_ID, floor: ZERO_ID, blocks: [] };
		const exists = row['deletedAtMs'] === null;
		const tip = { ms: Number(row['tipMs']), n: Number(row['tipN']) };
		const floor = { ms: Number(row['floorMs']), n: Number(row['floorN']) };
		const page = new PageBuilder(request.limits);
		// A floor at the tip says that nothing is left, also of a deleted topic whose blocks still wait to be swept.
		if (compareMessageIds(floor, tip) < 0) {
			const topic = Number(row['id']);
			if (request.kind === 'after') this.#collectAfter(page, topic, later(request.after, floor));
			else this.#collectBefore(page, topic, floor, request.before);
		}
		return { exists, tip, floor, blocks: request.kind === 'after' ? page.blocks : page.blocks.reverse() };
	}

	/** The messages after `after`, which is at or above the floor. */
	#collectAfter(page: PageBuilder, topic: number, after: MessageId): void {
		const start = this.#startOf(topic, after);
		for (const row of this.#forwards.iterate(topic, start.ms, start.n)) {
			const block = blockOf(row);
			const from = firstIndexAfter(block, after);
			if (from < block.count && !page.take(block, from, block.count, false)) return;
		}
	}

	/** Where the block with the first message after `after` starts, or an id above all blocks before it. */
	#startOf(topic: number, after: MessageId): MessageId {
		const row = this.#lastStart.get(topic, after.ms, after.n);
		if (row === undefined) return after;
		const ms = Number(row['ms']);
		const n = Number(row['n']);
		const last = { ms, n: n + Number(row['count']) - 1 };
		// A reader that goes on where a block ended need not load that block again.
		return compareMessageIds(last, after) > 0 ? { ms, n } : { ms: after.ms, n: after.n + 1 };
	}

	/** The messages above the floor and before `before`, newest blocks first. */
	#collectBefore(page: PageBuilder, topic: number, floor: MessageId, before: MessageId | null): void {
		const end = before ?? { ms: Number.MAX_SAFE_INTEGER, n: 0 };
		for (const row of this.#backwards.iterate(topic, end.ms, end.n)) {
			const block = blockOf(row);
			const from = firstIndexAfter(block, floor);
			// The block starts before `end`, so a place in its own millisecond is all that can lie beyond.
			const to = block.ms < end.ms ? block.count : Math.min(block.count, end.n - block.n);
			if (to <= from || !page.take(block, from, to, true) || from > 0) return;
		}
	}
}

function blockOf(row: Row): Block {
	// The column is a blob by the STRICT table.
	return { ms: Number(row['ms']), n: Number(row['n']), count: Number(row['count']), packed: row['packed'] as Uint8Array };
}

function later(a: MessageId, b: MessageId): MessageId {
	return compareMessageIds(a, b) >= 0 ? a : b;
}

function serve(): void {
	const port = parentPort;
	if (port === null) throw new Error('the reader runs as a worker');
	const report = (message: StartReport<null>) => port.postMessage(message);
	let reader: Reader;
	try {
		reader = new Reader(workerData as WorkerSetup);
	} catch (thrown) {
		report({ kind: 'refused', failure: describeFailure(thrown) });
		return;
	}
	port.on('message', (request: ReaderRequest) => {
		if (request.kind === 'close') {
			reader.close();
			port.close();
			return;
		}
		answer(reader, request, (reply, transfer) => port.postMessage(reply, transfer));
	});
	report({ kind: 'ready', ready: null });
}

function answer(reader: Reader, request: ReadRequest, reply: (reply: ReadReply, transfer: ArrayBuffer[]) => void): void {
	let page: Page;
	try {
		page = reader.read(request);
	} catch (thrown) {
		reply({ kind: 'failed', id: request.id, failure: describeFailure(thrown) }, []);
		return;
	}
	const { exists, tip, floor } = page;
	const blocks = flattenBlocks(page.blocks);
	const transfer = [blocks.heads.buffer as ArrayBuffer, blocks.bytes];
	reply({ kind: 'page', id: request.id, position: { exists, tip, floor }, blocks }, transfer);
}

serve();
