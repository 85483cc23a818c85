/**
 * The long-poll transport: `GET /api/v1/poll`, and `POST /messages/poll` as existing clients speak it. An answer needs no
 * affinity: the cursors in the request are all the state there is.
 */

import type { StartPosition } from '@pulsar-relay/protocol/cursor';
import { parseMessageId } from '@pulsar-relay/protocol/message-id';
import { TOPIC_NAME_PATTERN } from '@pulsar-relay/protocol/topic-name';
import type { FastifyInstance, FastifyReply } from 'fastify';
import { type Static, Type } from 'typebox';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import type { PollAnswer, PollRequest } from '../../relay/poll.ts';
import type { Relay } from '../../relay/relay.ts';
import type { Start } from '../../relay/start.ts';
import { readSince, readTopics, startsOf } from '../http/topics-query.ts';
import { encodeCompatiblePollAnswer, encodePollAnswer } from './sink.ts';

export interface LongPollDeps {
	readonly relay: Relay;
	readonly metrics: ConnectionMetrics;
	/** The namespace of topics while there are no accounts; stands before the topic in the keys of the statistics. */
	readonly ownerId: string;
}

/** Bytes of messages in one answer, unless its first message alone is larger. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
const COMPATIBLE_MESSAGES_PER_TOPIC_MAX = 100;
const COMPATIBLE_TOPICS_MAX = 20;

const PollQuery = Type.Object({
	topics: Type.String({ description: '1 to 50 topic names, separated by commas; they need not exist yet' }),
	since: Type.Optional(
		Type.String({ description: '`last` (default), `earliest`, a message id, or the `next_offset` of the answer before' }),
	),
	timeout: Type.Integer({ minimum: 0, maximum: 60, default: 30, description: 'seconds to wait for a message' }),
	limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'messages in the answer at most' }),
});

/** Existing clients send integral floats (`30.0`, an integer in JSON) and decimal strings. */
const Seconds = Type.Union([Type.Integer({ minimum: 1, maximum: 60 }), Type.String({ pattern: '^0*([1-9]|[1-5][0-9]|60)$' })]);

const PollBody = Type.Object({
	topics: Type.Array(Type.String({ pattern: TOPIC_NAME_PATTERN }), { minItems: 1, maxItems: COMPATIBLE_TOPICS_MAX }),
	since: Type.Optional(Type.Union([Type.Object({}, { additionalProperties: Type.String() }), Type.Null()])),
	timeout: Type.Optional(Seconds),
});

/** Registers the routes. */
export function registerLongPoll(server: FastifyInstance, deps: LongPollDeps): void {
	server.get<{ Querystring: Static<typeof PollQuery> }>(
		'/api/v1/poll',
		{ schema: { tags: ['subscribe'], summary: 'Wait for the next messages of some topics', querystring: PollQuery } },
		async ({ query }, reply) => {
			const answer = await run(deps, reply, {
				starts: startsOf(readTopics(query.topics), readSince(query.since)),
				waitMs: query.timeout * 1000,
				messagesMax: query.limit,
				messagesPerTopicMax: query.limit,
			});
			return reply.type('application/json').send(encodePollAnswer(answer));
		},
	);
	server.post<{ Body: Static<typeof PollBody> }>(
		'/messages/poll',
		{ schema: { tags: ['subscribe'], summary: 'Wait for messages, with a cursor per topic in the body', body: PollBody } },
		async ({ body }, reply) => {
			const answer = await run(deps, reply, {
				starts: compatibleStarts(body),
				waitMs: Number(body.timeout ?? 30) * 1000,
				messagesMax: COMPATIBLE_MESSAGES_PER_TOPIC_MAX * COMPATIBLE_TOPICS_MAX,
				messagesPerTopicMax: COMPATIBLE_MESSAGES_PER_TOPIC_MAX,
			});
			return reply.type('application/json').send(encodeCompatiblePollAnswer(answer));
		},
	);
	server.get('/messages/poll/stats', { schema: { tags: ['subscribe'], summary: 'Count the waiting polls' } }, async () => {
		const polls = deps.relay.waitingPollsPerTopic;
		return {
			active_waiters: deps.relay.load.waitingPolls,
			subscribed_topics: polls.size,
			topic_subscriber_counts: Object.fromEntries([...polls].map(([topic, count]) => [`${deps.ownerId}/${topic}`, count])),
		};
	});
}

async function run(
	deps: LongPollDeps,
	reply: FastifyReply,
	request: Omit<PollRequest, 'bytesMax' | 'signal'>,
): Promise<PollAnswer> {
	const gone = new AbortController();
	const onClose = () => gone.abort();
	// Also called once the answer is out, when it no longer matters.
	reply.raw.on('close', onClose);
	deps.metrics.connectionOpened('longpoll');
	try {
		return await deps.relay.poll({ ...request, bytesMax: ANSWER_BYTES_MAX, signal: gone.signal });
	} finally {
		deps.metrics.connectionClosed('longpoll');
	}
}

/**
 * The starts of `POST /messages/poll`: without `since` only what comes now; with one, a topic it does not name from the
 * beginning. So does a cursor that makes no sense: the client would otherwise send it again for ever.
 */
function compatibleStarts(body: Static<typeof PollBody>): Map<string, Start> {
	const since = new Map(Object.entries(body.since ?? {}));
	const startOf = (topic: string): StartPosition => {
		if (since.size === 0) return 'last';
		return parseMessageId(since.get(topic) ?? '') ?? 'earliest';
	};
	return new Map(body.topics.map((topic) => [topic, startOf(topic)]));
}
