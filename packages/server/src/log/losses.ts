/**
 * Losses: what a store had acknowledged, and no longer has. The log goes on after a loss, and whoever reads across it must be told (I4);
 * so it is kept with the topic, for those who were away when it happened.
 */

import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';

/** One hole in a topic's log. No message has an id between the two, nor ever will. */
export interface Loss {
	/** The message before it, or where the log began: a reader that stands here or later, and before `to`, has missed it. */
	readonly after: MessageId;
	/** The first id after what was lost. No message has it: a reader that stands here has been told. */
	readonly to: MessageId;
	/** Somebody removed it from the store, where it could be read until then: who is beyond it was given it. */
	readonly removed?: true;
}

/** What nearly every log has. */
export const NO_LOSSES: readonly Loss[] = Object.freeze([]);

/** The loss before which, or within which, a reader at `cursor` stands; undefined when what comes next is not lost. */
export function lossAt(losses: readonly Loss[], cursor: MessageId): Loss | undefined {
	return losses.find(({ after, to }) => compareMessageIds(after, cursor) <= 0 && compareMessageIds(cursor, to) < 0);
}

/** The next loss that begins after a cursor; undefined when there is none. */
export function nextLossAfter(losses: readonly Loss[], cursor: MessageId): Loss | undefined {
	return losses.find(({ after }) => compareMessageIds(after, cursor) > 0);
}

/** Whether a reader that goes on from `cursor` is told of a loss on its way. */
export function meetsLoss(losses: readonly Loss[], cursor: MessageId): boolean {
	const last = losses.at(-1);
	return last !== undefined && compareMessageIds(cursor, last.to) < 0;
}

/** Those of the losses that are not among the known ones. */
export function newsOf(losses: readonly Loss[], known: readonly Loss[]): readonly Loss[] {
	if (losses.length === 0) return NO_LOSSES;
	return losses.filter(({ after, to }) => {
		const same = known.find((loss) => compareMessageIds(loss.to, to) === 0);
		return same === undefined || compareMessageIds(same.after, after) !== 0;
	});
}

/** Whether some of the losses are not among the known ones. */
export function hasNews(losses: readonly Loss[], known: readonly Loss[]): boolean {
	return newsOf(losses, known).length > 0;
}
