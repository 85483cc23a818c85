/** The answers of the routes that give messages out: pages of a topic, and polls. */

import { Type } from 'typebox';
import { MessageIdText, string, Timestamp, TopicAlias } from './schemas.ts';

/** Ids that a relay can have handed out are among these. For the documentation; what is read is decided by `parseMessageId`. */
export const MESSAGE_ID_PATTERN = '(0|[1-9][0-9]{0,14})-(0|[1-9][0-9]{0,14})';

/** `limit` and `order` are checked by the route: existing clients know 400 for what is wrong with them. */
export const HistoryQuery = Type.Object({
	limit: Type.Integer({
		default: 10,
		maximum: Number.MAX_SAFE_INTEGER,
		description: 'Messages in the page: at least 1; more than 100 count as 100',
		documented: { minimum: 1 },
	}),
	order: Type.String({
		default: 'desc',
		description: '`desc`: newest first, `asc`: oldest first',
		documented: { enum: ['asc', 'desc'] },
	}),
	cursor: Type.String({
		default: '',
		description: 'Goes on after this message id, in the given order',
		documented: { pattern: `^(${MESSAGE_ID_PATTERN})?$` },
	}),
});

const messageObject = {
	type: Type.Enum(['message']),
	message_id: MessageIdText,
	topic: TopicAlias,
	timestamp: Timestamp,
	payload: Type.Unknown({ description: 'The JSON value as it was published, byte for byte' }),
	metadata: Type.Unsafe<Record<string, string>>({ type: 'object', additionalProperties: { type: 'string' } }),
};

export const HistoryAnswer = Type.Object(
	{
		messages: Type.Array(Type.Object(messageObject)),
		count: Type.Integer({ description: 'Messages in this page' }),
		total: Type.Integer({
			deprecated: true,
			description: 'The same as `count`, for clients of pulsar-relay 0.2; `message_count` of the topic says how many are kept',
		}),
		limit: Type.Integer(),
		order: Type.Enum(['asc', 'desc']),
		cursor: string({}),
		next_cursor: string({ description: 'The cursor of the next page; null when this one is empty' }),
	},
	{ description: 'A page of kept messages' },
);

const MessageList = Type.Array(Type.Object(messageObject), { description: 'In the order of their ids within each topic' });
const pollTail = {
	has_more: Type.Boolean({ description: 'Whether there is more to be had at once' }),
	gaps: Type.Array(
		Type.Object({
			topic: TopicAlias,
			reason: Type.Enum(['trimmed', 'ahead', 'unknown', 'deleted']),
			from: string({ description: 'The cursor as it was; null when it was not understood' }),
			to: MessageIdText,
		}),
		{ description: 'Holes in what the caller is given; they come before the messages of their topics' },
	),
};

export const PollAnswer = Type.Object(
	{ messages: MessageList, next_offset: Type.String({ description: 'The `since` of the next poll' }), ...pollTail },
	{ description: 'Messages, or none when the time is up' },
);

export const CompatiblePollAnswer = Type.Object(
	{
		messages: Type.Array(Type.Object({ stream_id: MessageIdText, ...messageObject })),
		...pollTail,
	},
	{ description: 'Messages, or none when the time is up' },
);

export const PollStats = Type.Object(
	{
		active_waiters: Type.Integer(),
		subscribed_topics: Type.Integer(),
		topic_subscriber_counts: Type.Unsafe<Record<string, number>>({ type: 'object', additionalProperties: { type: 'integer' } }),
	},
	{ description: 'The polls that wait on this node' },
);
