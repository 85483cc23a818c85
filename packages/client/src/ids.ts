/** Message ids as texts, compared as the log orders them (PROTOCOL.md, "Message ids"). */

import { compareMessageIds, parseMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';

/** Whether `a` comes after `b` in the log of a topic. */
export function isAfter(a: string, b: string): boolean {
	return compareMessageIds(parseMessageId(a) ?? ZERO_ID, parseMessageId(b) ?? ZERO_ID) > 0;
}

/** Whether it is an id rather than `last` or `earliest`. */
export function isMessageId(position: string): boolean {
	return parseMessageId(position) !== undefined;
}
