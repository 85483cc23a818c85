/**
 * Cursors: where a subscriber stands in one topic or in several (PROTOCOL.md, "Cursors").
 *
 * In one topic the cursor is the id of the last message seen. Over several topics it is the list `topic:id,topic:id`, which
 * travels as the SSE event id, as `since` and as `next_offset`. Neither topic names nor
 * the owners before them (`owner/name`) contain `:` or `,`.
 */

import { formatMessageId, type MessageId, parseMessageId } from './message-id.ts';
import { isTopicReference } from './topic-name.ts';

/** Where to start in one topic: after the tip, at the oldest kept message, or after an id. */
export type StartPosition = 'last' | 'earliest' | MessageId;

/** What {@link parseSince} understood: one position for every topic, or one position per topic. */
export type Since =
	| { readonly kind: 'all'; readonly position: StartPosition }
	| { readonly kind: 'each'; readonly positions: ReadonlyMap<string, MessageId> };

/** Parses one start position: `last`, `earliest` or a message id. Undefined when it is none of them. */
export function parseStartPosition(text: string): StartPosition | undefined {
	return text === 'last' || text === 'earliest' ? text : parseMessageId(text);
}

/**
 * Parses a `since` or `Last-Event-ID` text: a start position, or a cursor over several topics. Undefined for anything else, also
 * for a topic named twice. The caller bounds the text.
 */
export function parseSince(text: string): Since | undefined {
	const position = parseStartPosition(text);
	if (position !== undefined) return { kind: 'all', position };
	const positions = new Map<string, MessageId>();
	for (const part of text.split(',')) {
		const colon = part.indexOf(':');
		if (colon < 0) return undefined;
		const topic = part.slice(0, colon);
		const id = parseMessageId(part.slice(colon + 1));
		if (id === undefined || !isTopicReference(topic) || positions.has(topic)) return undefined;
		positions.set(topic, id);
	}
	return { kind: 'each', positions };
}

/** The wire form of a cursor over the given topics, in their order: `a:1-0,b:2-0`. */
export function formatCursor(positions: Iterable<readonly [topic: string, id: MessageId]>): string {
	let text = '';
	for (const [topic, id] of positions) {
		text += `${text === '' ? '' : ','}${topic}:${formatMessageId(id)}`;
	}
	return text;
}
