/**
 * Trimming within the writer's transaction: one bounded step over the topics that are due, which their rows in memory tell.
 * Removing a block costs a page visit per 8 KiB of it, so a step is bounded in bytes as well as in blocks.
 */

import { compareMessageIds, DELETED_TOPIC_KEPT_MS } from '@pulsar-relay/protocol/message-id';
import { arrivedBefore, isAhead, markArrivals } from '../../log/arrivals.ts';
import { type Block, sliceBlock, sliceBytes } from '../../log/block.ts';
import { countWithin } from '../../log/page.ts';
import type { TrimStep } from '../../ports/store.ts';
import type { Tables } from './append.ts';
import type { BlockRow } from './block-table.ts';
import type { ControlResults, TopicsAhead, TrimmedTopic } from './messages.ts';
import { floorOf, type TopicRow, tipOf } from './topic-table.ts';

/** Bytes of blocks that one step removes, about; measured at some 5 ms. */
const STEP_BYTES_MAX = 8 * 1024 * 1024;

/** What is left of a step. */
interface Budget {
	blocks: number;
	bytes: number;
}

/** Trims within a transaction. `deletedMax`: deleted topics remembered at most, the oldest are purged first. */
export class Trimmer {
	readonly #tables: Tables;
	readonly #deletedMax: number;
	/** Row id of the topic that was trimmed last, so that one busy topic does not starve the others. */
	#lastTopic = 0;

	constructor(tables: Tables, deletedMax: number) {
		this.#tables = tables;
		this.#deletedMax = deletedMax;
	}

	step(step: TrimStep): ControlResults['trim'] {
		const budget: Budget = { blocks: step.blocksMax, bytes: STEP_BYTES_MAX };
		const trimmed: TrimmedTopic[] = [];
		const ahead = this.#mark(step);
		let removed = 0;
		for (const row of this.#due(step)) {
			if (spent(budget)) break;
			this.#lastTopic = row.id;
			if (row.unswept === 1) this.#sweep(row, budget);
			const messages = row.unswept === 1 || row.deletedAtMs !== null ? 0 : this.#trim(row, step, budget);
			removed += messages;
			if (messages > 0) trimmed.push({ topic: row.name, floor: floorOf(row) });
		}
		this.#purge(step.nowMs);
		return { removed, more: spent(budget) && this.#due(step).length > 0, ahead, trimmed };
	}

	/** Marks how far the topics have come whose ids are ahead of the clock. */
	#mark(step: TrimStep): TopicsAhead {
		const { topics, arrivals } = this.#tables;
		let count = 0;
		let furthest: TopicRow | undefined;
		for (const row of topics.rows()) {
			if (row.deletedAtMs === null && isAhead(row.tipMs, step.nowMs)) {
				count++;
				if (row.tipMs > (furthest?.tipMs ?? 0)) furthest = row;
			}
			const marks = arrivals.of(row.id);
			if (marks.length === 0 && !isAhead(row.tipMs, step.nowMs)) continue;
			const maxAgeMs = (row.maxAgeS ?? step.defaultMaxAgeS) * 1000;
			arrivals.set(row.id, markArrivals(marks, { tip: tipOf(row), floor: floorOf(row), maxAgeMs }, step.nowMs));
		}
		if (furthest === undefined) return { topics: count };
		return { topics: count, furthest: { topic: furthest.name, byMs: furthest.tipMs - step.nowMs } };
	}

	/** The topics with something to remove, from the one after the last trimmed on. */
	#due(step: TrimStep): TopicRow[] {
		const due: TopicRow[] = [];
		for (const row of this.#tables.topics.rows()) if (this.#isDue(row, step)) due.push(row);
		if (due.length < 2) return due;
		due.sort((a, b) => a.id - b.id);
		const next = due.findIndex((row) => row.id > this.#lastTopic);
		return next <= 0 ? due : [...due.slice(next), ...due.slice(0, next)];
	}

	/** Removes blocks of a deleted incarnation; they are no longer counted. */
	#sweep(row: TopicRow, budget: Budget): void {
		const { topics, blocks } = this.#tables;
		topics.touch(row, false);
		const rows = blocks.oldest(row.id, budget.blocks);
		const asked = budget.blocks;
		for (const block of rows) {
			if (!isBelowFloor(block, row)) {
				row.unswept = 0;
				return;
			}
			if (spent(budget)) return;
			this.#remove(block, budget);
		}
		if (rows.length < asked) row.unswept = 0;
	}

	/** Removes what retention no longer covers; the messages removed. */
	#trim(row: TopicRow, step: TrimStep, budget: Budget): number {
		const { topics, blocks } = this.#tables;
		topics.touch(row, false);
		const before = row.messages;
		for (const block of blocks.oldest(row.id, budget.blocks)) {
			row.oldestMs = block.ms;
			if (spent(budget) || !this.#isDue(row, step)) break;
			const kept = this.#keptOf(block, row, step);
			if (kept === null) {
				this.#remove(block, budget);
			} else {
				// Exact to the message: what is kept of the block takes its place.
				blocks.replace(block.id, kept);
				budget.blocks--;
				budget.bytes -= block.bytes;
			}
			const gone = block.count - (kept?.count ?? 0);
			row.messages -= gone;
			row.bytes -= block.bytes - (kept?.packed.byteLength ?? 0);
			row.floorMs = block.ms;
			row.floorN = block.n + gone - 1;
		}
		row.oldestMs = row.messages === 0 ? null : (blocks.oldest(row.id, 1)[0]?.ms ?? null);
		return before - row.messages;
	}

	/** The part of the oldest block that retention covers, null when it covers none. All its messages are of one age. */
	#keptOf(oldest: BlockRow, row: TopicRow, step: TrimStep): Block | null {
		const excess = Math.max(0, row.messages - (row.maxMessages ?? step.defaultMaxMessages));
		const excessBytes = row.maxBytes === null ? 0 : Math.max(0, row.bytes - row.maxBytes);
		if (this.#isOld(oldest, row, step) || excess >= oldest.count || excessBytes >= oldest.bytes) return null;
		const block = this.#tables.blocks.load(oldest);
		const bytesMax = oldest.bytes - excessBytes;
		const fitting = countWithin(oldest.count, bytesMax, (count) => sliceBytes(block, oldest.count - count, oldest.count));
		const kept = Math.min(oldest.count - excess, fitting);
		return kept === 0 ? null : sliceBlock(block, oldest.count - kept, oldest.count);
	}

	/** Whether a block is older than its topic keeps. The marks are at the ends of blocks. */
	#isOld(block: BlockRow, row: TopicRow, step: TrimStep): boolean {
		const oldestMs = oldestKept(row, step);
		if (block.ms < oldestMs) return true;
		const last = { ms: block.ms, n: block.n + block.count - 1 };
		return compareMessageIds(last, arrivedBefore(this.#tables.arrivals.of(row.id), oldestMs)) <= 0;
	}

	#isDue(row: TopicRow, step: TrimStep): boolean {
		if (isDue(row, step)) return true;
		const marks = this.#tables.arrivals.of(row.id);
		return (
			marks.length > 0 && row.messages > 0 && compareMessageIds(arrivedBefore(marks, oldestKept(row, step)), floorOf(row)) > 0
		);
	}

	#remove(block: BlockRow, budget: Budget): void {
		this.#tables.blocks.delete(block.id);
		budget.blocks--;
		budget.bytes -= block.bytes;
	}

	/** Forgets deleted topics that are swept: those of before the time they are kept, and the oldest of too many. */
	#purge(nowMs: number): void {
		const { topics } = this.#tables;
		const swept = [...topics.rows()].filter((row) => row.deletedAtMs !== null && row.unswept === 0);
		swept.sort((a, b) => (a.deletedAtMs ?? 0) - (b.deletedAtMs ?? 0) || (a.name < b.name ? -1 : 1));
		for (const row of swept) {
			// One that was deleted by a clock ahead of this one counts from now on.
			if (isAhead(row.deletedAtMs ?? 0, nowMs)) {
				topics.touch(row, true);
				row.deletedAtMs = nowMs;
			}
			if ((row.deletedAtMs ?? 0) >= nowMs - DELETED_TOPIC_KEPT_MS && topics.deletedCount <= this.#deletedMax) break;
			topics.purge(row);
		}
	}
}

function spent(budget: Budget): boolean {
	return budget.blocks <= 0 || budget.bytes <= 0;
}

function isDue(row: TopicRow, step: TrimStep): boolean {
	if (row.unswept === 1) return true;
	return (
		row.messages > (row.maxMessages ?? step.defaultMaxMessages) ||
		(row.maxBytes !== null && row.bytes > row.maxBytes) ||
		(row.oldestMs !== null && row.oldestMs < oldestKept(row, step))
	);
}

/** `ms` of the oldest message that is young enough; all messages of a block have the same. */
function oldestKept(row: TopicRow, step: TrimStep): number {
	return step.nowMs - (row.maxAgeS ?? step.defaultMaxAgeS) * 1000;
}

function isBelowFloor(block: BlockRow, row: TopicRow): boolean {
	return block.ms < row.floorMs || (block.ms === row.floorMs && block.n + block.count - 1 <= row.floorN);
}
