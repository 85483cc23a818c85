/**
 * Marks of what has been imported, written in the same step as what they mark. An import that is repeated passes over what is marked, so
 * that what has been changed, revoked or deleted here since then stays as it is.
 */

import { formatMessageId, type MessageId, parseMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { RecordOp, Records } from '../ports/records.ts';

const IMPORTED = 'imported';

export type MarkedKind = 'account' | 'session';

/** Writes a mark, unless there is one. */
export function markOp(kind: MarkedKind, id: string, expiresAtMs: number | null = null): RecordOp {
	return { op: 'put', kind: IMPORTED, id: `${kind}/${id}`, value: {}, expected: 'absent', expiresAtMs };
}

export async function isMarked(records: Records, kind: MarkedKind, id: string): Promise<boolean> {
	return (await records.get(IMPORTED, `${kind}/${id}`)) !== undefined;
}

/** How far a topic has been imported. */
export interface TopicMark {
	/** The last message, by the id it had. */
	readonly upTo: MessageId;
	/** And by the id it got. */
	readonly as: MessageId;
}

export const UNTOUCHED: TopicMark = { upTo: ZERO_ID, as: ZERO_ID };

export async function readTopicMark(records: Records, topic: string): Promise<TopicMark | null> {
	const record = await records.get(IMPORTED, `topic/${topic}`);
	if (record === undefined) return null;
	const read = (name: string) => parseMessageId(String(record.value[name])) ?? ZERO_ID;
	return { upTo: read('upTo'), as: read('as') };
}

export async function writeTopicMark(records: Records, topic: string, { upTo, as }: TopicMark): Promise<void> {
	const value = { upTo: formatMessageId(upTo), as: formatMessageId(as) };
	await records.write([{ op: 'put', kind: IMPORTED, id: `topic/${topic}`, value, expected: 'any' }]);
}
