/**
 * When messages arrived whose ids are ahead of the clock. Ids only rise (I1), so a topic that was published to while the clock was wrong
 * keeps ids of the future, which never get old. Such a topic gets a mark now and then: how far its log had come, and when.
 */

import { compareMessageIds, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';

/** All messages up to this id had arrived by `atMs`. */
export interface ArrivalMark extends MessageId {
	readonly atMs: number;
}

/** Ids that are ahead of the clock by less are those of a clock that was set back a little; they get old soon enough. */
export const AHEAD_MS = 60_000;
/** Marks are no closer than this, and no more than so many fit into the age of a topic. */
const SPACING_MS_MIN = 60_000;
const MARKS_PER_AGE = 16;

/** What nearly every topic has. */
export const NO_MARKS: readonly ArrivalMark[] = Object.freeze([]);

/** What a topic's marks are made from. */
export interface MarkedLog {
	readonly tip: MessageId;
	readonly floor: MessageId;
	/** How long messages are kept. */
	readonly maxAgeMs: number;
}

/** Whether a log's newest id is ahead of the time `nowMs`. */
export function isAhead(tipMs: number, nowMs: number): boolean {
	return tipMs > nowMs + AHEAD_MS;
}

/** The marks of a log at the time `nowMs`; the same array when nothing has changed. */
export function markArrivals(
	marks: readonly ArrivalMark[],
	{ tip, floor, maxAgeMs }: MarkedLog,
	nowMs: number,
): readonly ArrivalMark[] {
	if (!isAhead(tip.ms, nowMs) || compareMessageIds(floor, tip) >= 0) return NO_MARKS;
	// One of a time that has not come yet was made by a clock that was wrong itself.
	const kept = marks.filter(
		(mark) => compareMessageIds(mark, floor) > 0 && isAhead(mark.ms, nowMs) && !isAhead(mark.atMs, nowMs),
	);
	const last = kept.at(-1);
	const spacingMs = Math.max(SPACING_MS_MIN, maxAgeMs / MARKS_PER_AGE);
	if (last === undefined || (compareMessageIds(last, tip) < 0 && nowMs >= last.atMs + spacingMs))
		return [...kept, { ...tip, atMs: nowMs }];
	return kept.length === marks.length ? marks : kept;
}

/** The newest id that is known to have arrived before the time `beforeMs`; the zero id when none is. */
export function arrivedBefore(marks: readonly ArrivalMark[], beforeMs: number): MessageId {
	return marks.findLast(({ atMs }) => atMs < beforeMs) ?? ZERO_ID;
}
