/**
 * `subscribe {topics, offset?, since?}` → `subscribed {topics, cursors}`, then the messages. Any number of times; a topic that
 * is followed already starts anew from the position given.
 */

import { parseStartPosition, type StartPosition } from '@pulsar-relay/protocol/cursor';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { TopicRights } from '../../../auth/topic-access.ts';
import type { Steps } from '../../../limits/turns.ts';
import { allowStarts } from '../../http/rights.ts';
import type { CommandContext } from '../command.ts';
import type { ClientFrame } from '../frame.ts';
import { readSince, readTopics } from './topics.ts';

const OFFSET_TEXT_BYTES_MAX = 512;

export async function subscribe(context: CommandContext, frame: ClientFrame): Promise<void> {
	const { rights } = context.deps;
	const { topics, wanted } = await context.read(frame, readStarts(frame, rights));
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

interface Wanted {
	readonly topics: readonly string[];
	readonly wanted: ReadonlyMap<string, StartPosition>;
}

function* readStarts(frame: ClientFrame, rights: TopicRights): Steps<Wanted> {
	const topics = yield* readTopics(frame, rights);
	const offset = frame.value('offset', OFFSET_TEXT_BYTES_MAX) ?? 'last';
	const fallback = typeof offset === 'string' ? parseStartPosition(offset) : undefined;
	if (fallback === undefined)
		throw new RelayError('invalid_cursor', '`offset` is neither "last" nor "earliest" nor a message id');
	const since = yield* readSince(frame, topics);
	return { topics, wanted: new Map(topics.map((topic) => [topic, since.get(topic) ?? fallback])) };
}
