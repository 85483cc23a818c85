/**
 * `subscribe {topics, offset?, since?}` → `subscribed {topics, cursors}`, then the messages. Any number of times; a topic that
 * is followed already starts anew from the position given.
 */

import { parseStartPosition, type StartPosition } from '@pulsar-relay/protocol/cursor';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { formatMessageId, type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { allowStarts } from '../../http/rights.ts';
import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';
import { readTopics } from './topics.ts';

export async function subscribe(context: CommandContext, frame: ClientFrame): Promise<void> {
	const fields = frame.fields();
	const { rights } = context.deps;
	const topics = readTopics(fields['topics'], rights);
	const wanted = readStarts(topics, fields['offset'] ?? 'last', fields['since'] ?? {});
	const { starts, shownAs } = await allowStarts(rights, context.principal, wanted);
	const answer = (cursors: ReadonlyMap<string, MessageId>) => {
		context.reply(frame, {
			type: 'subscribed',
			topics,
			cursors: Object.fromEntries([...cursors].map(([topic, id]) => [topic, formatMessageId(id)])),
			session_id: context.id,
			timestamp: context.timestamp(),
		});
	};
	await context.session.subscribe(starts, answer, shownAs);
	context.recheck();
}

function readStarts(topics: readonly string[], offset: unknown, since: unknown): Map<string, StartPosition> {
	const fallback = typeof offset === 'string' ? parseStartPosition(offset) : undefined;
	if (fallback === undefined)
		throw new RelayError('invalid_cursor', '`offset` is neither "last" nor "earliest" nor a message id');
	if (typeof since !== 'object' || since === null || Array.isArray(since)) {
		throw new RelayError('invalid_request', '`since` is not an object of message ids');
	}
	const ids = new Map<string, unknown>(Object.entries(since));
	return new Map(
		topics.map((topic) => {
			const id = ids.get(topic);
			if (id === undefined) return [topic, fallback];
			const position = typeof id === 'string' ? parseMessageId(id) : undefined;
			if (position === undefined) throw new RelayError('invalid_cursor', `\`since\` of topic ${topic} is not a message id`);
			return [topic, position];
		}),
	);
}
