/**
 * The start of a reader, be it a subscription or a poll: following its topics, and finding where in each log it begins
 * (PROTOCOL.md, "Resume").
 */

import type { StartPosition } from '@pulsar-relay/protocol/cursor';
import type { GapReason } from '@pulsar-relay/protocol/frames';
import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Hub } from './hub.ts';
import type { TopicLog } from './topic-log.ts';

/** Where a subscriber asked to start; `unknown` is a cursor that could not be understood, answered with a gap. */
export type Start = StartPosition | 'unknown';

/** By what names a reader knows topics, by their names in the store; those that are not in it by their owners' names. */
export type ShownNames = ReadonlyMap<string, string>;

/** A start position resolved against the log: the cursor, and the hole before it, if any. */
export interface ResolvedStart {
	readonly cursor: MessageId;
	readonly gap: { readonly reason: GapReason; readonly from: MessageId | null } | null;
}

/** A followed topic, and where its reader starts. */
export interface Followed {
	readonly topic: TopicLog;
	readonly start: ResolvedStart;
}

/**
 * Follows topics and finds where each is to be read from. All at once: one after the other, each would wait for a batch of the
 * store's writer, and a thousand topics for seconds. Rejects when one of them fails; then none is followed.
 */
export async function followAll(hub: Hub, starts: ReadonlyMap<string, Start>): Promise<readonly Followed[]> {
	const outcomes = await Promise.allSettled(Array.from(starts.keys(), (name) => hub.follow(name)));
	const topics = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
	try {
		for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
		return await resolveAll(hub, topics, starts);
	} catch (error) {
		for (const topic of topics) hub.unfollow(topic);
		throw error;
	}
}

/** Finds all starts, and those again whose log was found to be shorter while others were looked for. */
async function resolveAll(
	hub: Hub,
	topics: readonly TopicLog[],
	starts: ReadonlyMap<string, Start>,
): Promise<readonly Followed[]> {
	const resolve = async (topic: TopicLog) => {
		const { rewinds } = topic;
		return { topic, rewinds, start: await resolveStart(hub, topic, starts.get(topic.name) ?? 'last') };
	};
	let followed = await Promise.all(topics.map(resolve));
	while (followed.some(({ topic, rewinds }) => topic.rewinds !== rewinds)) {
		followed = await Promise.all(followed.map((one) => (one.topic.rewinds === one.rewinds ? one : resolve(one.topic))));
	}
	return followed;
}

/**
 * Finds where a subscriber starts (PROTOCOL.md, "Resume"). The topic must be followed. A cursor below the floor is no gap yet:
 * reading on from it finds that out. A cursor beyond the end is checked with the store first, whose word is final (I10).
 */
async function resolveStart(hub: Hub, topic: TopicLog, start: Start): Promise<ResolvedStart> {
	if (start === 'last') return { cursor: topic.offered, gap: null };
	if (start === 'earliest') return { cursor: topic.floor, gap: null };
	if (start === 'unknown') return { cursor: topic.offered, gap: { reason: 'unknown', from: null } };
	if (compareMessageIds(start, topic.offered) > 0) await hub.verify(topic);
	if (compareMessageIds(start, topic.offered) <= 0) {
		// Of the log as it was before the store lost a part of it, which the end of the log does not show once it has grown again. That
		// the cursor is within what is in memory does not show it either: the memory may be of the new log only.
		const known = compareMessageIds(start, topic.floor) <= 0 || topic.ring.has(start) || topic.lossAt(start) !== undefined;
		const lost = !known && !(await hub.hasSeen(topic, start)) && topic.lossAt(start) === undefined;
		return { cursor: start, gap: lost ? { reason: 'ahead', from: start } : null };
	}
	return { cursor: topic.offered, gap: { reason: 'ahead', from: start } };
}
