/** The requests and answers of the HTTP routes: one source for validation, types and the API documentation. */

import { ERRORS, type ErrorCode } from '@pulsar-relay/protocol/errors';
import { TOPIC_NAME_PATTERN, TOPIC_REFERENCE_PATTERN } from '@pulsar-relay/protocol/topic-name';
import { type TSchema, Type } from 'typebox';

/** The longest time to live and the longest `max_age_s`: 100 years, so that no expiry leaves the range of a timestamp. */
const AGE_S_MAX = 3_155_760_000;
/** Messages of one bulk request. */
export const BULK_MESSAGES_MAX = 100;
const DESCRIPTION_LENGTH_MAX = 500;
/** Of bodies with one JSON value per line. */
export const NDJSON_TYPE = 'application/x-ndjson';
/** Topics in one list, at most and when the request does not say. */
const TOPICS_LIMIT_MAX = 10_000;
const TOPICS_LIMIT_DEFAULT = 1000;
/** Texts of a query: a request target with a NUL is refused as a whole. */
const NO_NUL = '^[^\\u0000]*$';
const UUID_PATTERN = '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';

/** A field that may also be null. Without `anyOf`, so that what is wrong with a value is one problem and not one per branch. */
function nullable<T>(schema: { readonly type: string } & TSchema) {
	return Type.Unsafe<T | null>({ ...schema, type: [schema.type, 'null'] });
}

/** Fields that may also be null. */
const integer = (options: object) => nullable<number>({ type: 'integer', ...options });
export const string = (options: object) => nullable<string>({ type: 'string', ...options });
const object = (options: object) => nullable<Record<string, string>>({ type: 'object', ...options });

const TopicName = Type.String({
	pattern: TOPIC_NAME_PATTERN,
	description: '1 to 255 of `A-Z a-z 0-9 _ . -`, with a letter or digit, without a leading dot',
	examples: ['jobs.europe'],
});

/** In an answer. */
export const MessageIdText = Type.String({
	description: 'Place in the topic, and the cursor after it',
	examples: ['1795438000123-0'],
});
export const Timestamp = Type.String({ format: 'date-time', examples: ['2026-11-23T12:46:40.123Z'] });

/** A topic in an answer: as the request named it. */
export const TopicAlias = Type.String({ description: 'As the request named it', examples: ['jobs.europe'] });

/** As a request names it where there are accounts. */
export const TopicReferenceText = Type.String({
	pattern: TOPIC_REFERENCE_PATTERN,
	description: "A name, for a topic of one's own, or `owner/name`, where the owner is a user id or a username",
	examples: ['jobs.europe', 'alice/jobs.europe'],
});

/** Entries of a message's metadata, and bytes of its JSON text. */
const METADATA_ENTRIES_MAX = 64;
export const METADATA_BYTES_MAX = 16 * 1024;

const messageFields = {
	payload: Type.Unknown({ description: 'Any JSON value; kept and delivered byte for byte' }),
	ttl: Type.Optional(
		integer({ minimum: 1, maximum: AGE_S_MAX, description: 'Seconds for which the message may be delivered; null: no limit' }),
	),
	metadata: Type.Optional(
		object({
			additionalProperties: { type: 'string' },
			maxProperties: METADATA_ENTRIES_MAX,
			description: `Delivered with the message; at most ${METADATA_BYTES_MAX} bytes of JSON`,
			examples: [{ trace: '7f3a' }],
		}),
	),
};

const messageOptions = {
	description: 'A message to publish',
	examples: [{ topic: 'jobs', payload: { job: 42 }, ttl: 3600, metadata: { trace: '7f3a' } }],
};

/** A message to publish. The payload stays raw text: validation sees null in its place. */
export const Message = Type.Object({ topic: TopicName, ...messageFields }, messageOptions);

/** A message to publish where there are accounts. */
export const ReferencedMessage = Type.Object({ topic: TopicReferenceText, ...messageFields }, messageOptions);

export const PublishAnswer = Type.Object(
	{ message_id: MessageIdText, topic: TopicAlias, timestamp: Timestamp },
	{ description: 'Stored, to the durability that `/ready` tells' },
);

/** For the documentation; the bytes of a bulk request are taken apart by routes/publish-bulk.ts. */
export function bulkRequest(owners: boolean) {
	return Type.Object({
		messages: Type.Array(owners ? ReferencedMessage : Message, { minItems: 1, maxItems: BULK_MESSAGES_MAX }),
	});
}

export const BulkAnswer = Type.Object(
	{
		results: Type.Array(
			Type.Object({
				message_id: string({}),
				topic: TopicAlias,
				status: Type.Enum(['accepted', 'rejected']),
				error: string({ description: 'Why it was rejected' }),
				code: Type.Optional(
					Type.Enum(Object.keys(ERRORS) as ErrorCode[], {
						description: 'Of a rejected message: which row of the table of errors',
					}),
				),
			}),
			{ description: 'In the order of the request' },
		),
		summary: Type.Object({ total: Type.Integer(), accepted: Type.Integer(), rejected: Type.Integer() }),
	},
	{ description: 'A result per message' },
);

export const IdempotencyHeaders = Type.Object({
	'idempotency-key': Type.Optional(
		Type.String({
			minLength: 1,
			maxLength: 255,
			pattern: '^[!-~]+$',
			description:
				'The same key with the same body gives the first answer again and stores nothing; with another body it is refused',
		}),
	),
});

/** Retention of a topic: null is the relay's default, which for bytes is no limit. */
const retention = {
	max_age_s: Type.Optional(integer({ minimum: 1, maximum: AGE_S_MAX, description: 'Seconds for which messages are kept' })),
	max_messages: Type.Optional(integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'Messages kept' })),
	max_bytes: Type.Optional(integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER, description: 'Bytes of messages kept' })),
};
const Description = string({ maxLength: DESCRIPTION_LENGTH_MAX });

/** Ignored where nobody is asked for credentials, and there every topic is public. */
const IsPublic = Type.Optional(Type.Boolean({ description: 'Whether every account may read it; default no' }));

export const TopicCreation = Type.Object({
	topic_name: TopicName,
	description: Type.Optional(Description),
	is_public: IsPublic,
	...retention,
});

export const TopicUpdate = Type.Object({
	description: Type.Optional(
		string({ maxLength: DESCRIPTION_LENGTH_MAX, description: 'Null or absent: stays as it is. Empty: none' }),
	),
	is_public: IsPublic,
	...retention,
});

export const TopicAnswer = Type.Object(
	{
		topic_id: Type.String({ format: 'uuid' }),
		topic_name: TopicName,
		owner_id: Type.String({ format: 'uuid' }),
		created_at: Timestamp,
		description: Description,
		max_age_s: integer({}),
		max_messages: integer({}),
		max_bytes: integer({}),
		message_count: Type.Integer({ description: 'Messages kept' }),
		bytes: Type.Integer({ description: 'Bytes kept' }),
		last_message_id: string({ description: 'The newest message ever published; null when there was none' }),
	},
	{ description: 'The topic' },
);

export const TopicList = Type.Array(TopicAnswer, { description: 'The topics, in name order' });

export const TopicListQuery = Type.Object({
	after: Type.Optional(
		Type.String({ pattern: NO_NUL, description: 'Topics after this name only: the last name of the page before' }),
	),
	limit: Type.Integer({ minimum: 1, maximum: TOPICS_LIMIT_MAX, default: TOPICS_LIMIT_DEFAULT }),
	owner_id: Type.Optional(
		Type.String({
			pattern: UUID_PATTERN,
			description:
				"Another account's topics instead of one's own, for administrators; `00000000-0000-0000-0000-000000000000` owns the topics " +
				'that were made without accounts. Ignored where nobody is asked for credentials',
		}),
	),
});

export const TopicStats = Type.Object(
	{
		total_topics: Type.Integer(),
		unowned_topics: Type.Integer({
			description:
				'Of these, topics that were made without accounts, which only administrators see; 0 where there are no accounts',
		}),
	},
	{ description: 'Totals' },
);

/** Names that no topic can have are answered like those that no topic has. */
export const TopicParams = Type.Object({
	topic_name: Type.String({ documented: { pattern: TOPIC_REFERENCE_PATTERN }, examples: ['jobs.europe'] }),
});

export const FrontPage = {
	description: 'What this is',
	content: {
		'text/html': { schema: { type: 'string' } },
		'application/json': {
			schema: Type.Object({
				name: Type.String(),
				version: Type.String(),
				docs: Type.String({ description: 'The documentation to browse, relative to this URL, as are the others' }),
				openapi: Type.String(),
				health: Type.String(),
				ready: Type.String(),
			}),
		},
	},
} as const;

export const HealthAnswer = Type.Object(
	{ status: Type.Enum(['healthy']), timestamp: Timestamp, version: Type.String() },
	{ description: 'The process lives' },
);

export const ReadyAnswer = Type.Object(
	{
		ready: Type.Boolean(),
		checks: Type.Object({ storage: Type.String({ description: '`ok`, or why the store cannot append' }) }),
		durability: string({
			enum: ['memory', 'everysec', 'process', 'disk', null],
			description: 'What an acknowledgement survives',
		}),
	},
	{ description: 'Publishes would be stored' },
);

/** `$id` under which the document's other parts refer to it. */
export const ErrorAnswer = Type.Object(
	{
		error: Type.Enum(Object.keys(ERRORS) as ErrorCode[]),
		message: Type.String(),
		detail: Type.Unsafe<unknown>({
			description: 'The message, or what is wrong with each field',
			anyOf: [
				{ type: 'string' },
				{
					type: 'array',
					items: {
						type: 'object',
						required: ['type', 'loc', 'msg'],
						properties: {
							type: { type: 'string' },
							loc: { type: 'array', items: { type: ['string', 'integer'] } },
							msg: { type: 'string' },
						},
					},
				},
			],
		}),
		request_id: Type.String(),
	},
	{ $id: 'Error', description: 'A failure' },
);

/** An answer in the documentation. */
export interface DocumentedFailure {
	readonly description: string;
	readonly content: object;
}

/** The documented error answers of a route: one per status, its description listing the codes. */
export function errorAnswers(...codes: readonly ErrorCode[]): Record<number, DocumentedFailure> {
	const answers: Record<number, DocumentedFailure> = {};
	for (const code of codes) {
		const { status, meaning } = ERRORS[code];
		const line = `\`${code}\`: ${meaning}`;
		const known = answers[status]?.description;
		answers[status] = {
			description: known === undefined ? line : `${known}\n\n${line}`,
			content: { 'application/json': { schema: { $ref: 'Error#' } } },
		};
	}
	return answers;
}
