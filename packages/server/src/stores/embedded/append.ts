/** Appending within the writer's transaction: dedupe, ids, blocks and the topic's row in one step (I9). */

import { type MessageId, nextMessageId } from '@pulsar-relay/protocol/message-id';
import type { Block } from '../../log/block.ts';
import { type PackedRun, pickFromRun } from '../../log/packing.ts';
import type { DedupeKey } from '../../ports/store.ts';
import type { ArrivalTable } from './arrival-table.ts';
import type { BlockTable } from './block-table.ts';
import type { KeyTable } from './key-table.ts';
import type { KnownTime } from './known-time.ts';
import { APPENDED, type AppendOp, type AppendResult, CONFLICT, DUPLICATE, type EntryOutcomes } from './messages.ts';
import { floorOf, type TopicRow, type TopicTable, tipOf } from './topic-table.ts';

/** What the writer writes. All but the blocks keep something in memory, which follows the transaction. */
export interface Tables {
	readonly topics: TopicTable;
	readonly blocks: BlockTable;
	readonly keys: KeyTable;
	readonly arrivals: ArrivalTable;
	readonly knownTime: KnownTime;
}

/** Appends the op's messages, creating their topic when new. */
export function append(tables: Tables, op: AppendOp, nowMs: number): AppendResult {
	const { topics, keys } = tables;
	if (op.dedupe === null) {
		const row = topics.open(op.topic, {}, nowMs);
		return row === undefined ? refused(topics, op, null) : store(tables, row, op.runs, nextMessageId(tipOf(row), nowMs), null);
	}
	const position = topics.position(op.topic);
	const first = nextMessageId(position.tip, nowMs);
	// Without room for a new topic nothing may be recorded; what would have been appended is what the caller has to refuse.
	const room = position.exists || topics.hasRoom;
	const outcomes = judge(keys, op.dedupe, first, room ? nowMs : null);
	const runs = pickAppended(op.runs, outcomes.statuses);
	// A retry of stored messages needs no topic, and must not bring a deleted one back.
	if (runs.length === 0) return { status: 'done', previous: position.tip, floor: position.floor, blocks: [], outcomes };
	const row = room ? topics.open(op.topic, {}, nowMs) : undefined;
	return row === undefined ? refused(topics, op, outcomes) : store(tables, row, runs, first, outcomes);
}

function refused(topics: TopicTable, op: AppendOp, outcomes: EntryOutcomes | null): AppendResult {
	const { tip, floor } = topics.position(op.topic);
	return { status: 'topic_limit', previous: tip, floor, blocks: [], outcomes };
}

/**
 * Decides about each message, giving ids from `first` on to the new ones.
 *
 * @param recordAtMs when to say the records were made; null to make none
 */
function judge(
	keys: KeyTable,
	dedupe: readonly (DedupeKey | null)[],
	first: MessageId,
	recordAtMs: number | null,
): EntryOutcomes {
	const statuses = new Uint8Array(dedupe.length);
	const ids = new Float64Array(2 * dedupe.length);
	let n = first.n;
	dedupe.forEach((key, i) => {
		const verdict = key === null ? null : keys.verdict(key);
		if (verdict?.status === 'conflict') {
			statuses[i] = CONFLICT;
		} else if (verdict?.status === 'duplicate') {
			statuses[i] = DUPLICATE;
			ids[2 * i] = verdict.id.ms;
			ids[2 * i + 1] = verdict.id.n;
		} else {
			if (key !== null && recordAtMs !== null) keys.insert(key, first.ms, n, recordAtMs);
			statuses[i] = APPENDED;
			ids[2 * i] = first.ms;
			ids[2 * i + 1] = n++;
		}
	});
	return { statuses, ids };
}

function pickAppended(runs: readonly PackedRun[], statuses: Uint8Array): PackedRun[] {
	const picked: PackedRun[] = [];
	let start = 0;
	for (const run of runs) {
		const offset = start;
		const kept = pickFromRun(run, (index) => statuses[offset + index] === APPENDED);
		if (kept !== null) picked.push(kept);
		start += run.count;
	}
	return picked;
}

function store(
	{ topics, blocks: table }: Tables,
	row: TopicRow,
	runs: readonly PackedRun[],
	first: MessageId,
	outcomes: EntryOutcomes | null,
): AppendResult {
	topics.touch(row, false);
	const previous = tipOf(row);
	const blocks: Block[] = [];
	let n = first.n;
	for (const { count, packed } of runs) {
		table.insert(row.id, first.ms, n, count, packed);
		blocks.push({ ms: first.ms, n, count, packed });
		n += count;
		row.messages += count;
		row.bytes += packed.byteLength;
	}
	row.tipMs = first.ms;
	row.tipN = n - 1;
	row.oldestMs ??= first.ms;
	return { status: 'done', previous, floor: floorOf(row), blocks, outcomes };
}
