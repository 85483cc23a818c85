/** `/api/v1/topics…`: the topics themselves. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds, formatMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { isTopicName } from '@pulsar-relay/protocol/topic-name';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Static } from 'typebox';
import type { Topic, TopicChange } from '../../../ports/store.ts';
import type { HttpDeps } from '../deps.ts';
import {
	errorAnswers,
	TopicAnswer,
	TopicCreation,
	TopicList,
	TopicListQuery,
	TopicParams,
	TopicStats,
	TopicUpdate,
} from '../schemas.ts';

const PATH = '/api/v1/topics';
const TAGS = ['topics'];
/** These bodies are a few fields; a larger one is refused before it is parsed. */
export const SMALL_BODY_BYTES_MAX = 64 * 1024;

const READ_ERRORS = ['not_found', 'internal_error', 'storage_unavailable'] as const;
const WRITE_ERRORS = [
	'bad_request',
	'request_timeout',
	'payload_too_large',
	'unsupported_media_type',
	'invalid_json',
	'payload_too_deep',
	'invalid_request',
	'invalid_topic',
] as const;

type Params = Static<typeof TopicParams>;

/** Registers the routes. */
export function registerTopics(scope: FastifyInstance, deps: HttpDeps): void {
	const { topics } = deps.relay;
	const publicOf = (topic: Topic) => topicAnswer(topic, deps.ownerId);

	scope.post<{ Body: Static<typeof TopicCreation> }>(
		PATH,
		{
			bodyLimit: SMALL_BODY_BYTES_MAX,
			schema: {
				operationId: 'createTopic',
				tags: TAGS,
				summary: 'Create a topic',
				description: 'Not needed before a publish: the first publish to a topic creates it.',
				body: TopicCreation,
				response: {
					201: TopicAnswer,
					...errorAnswers(...WRITE_ERRORS, 'topic_exists', 'topic_limit', 'internal_error', 'storage_unavailable'),
				},
			},
		},
		async ({ body }, reply) => {
			const { status, topic } = await topics.createTopic(body.topic_name, changeOf(body));
			if (status === 'exists') throw new RelayError('topic_exists', `topic ${topic.name} already exists`);
			return reply.code(201).send(publicOf(topic));
		},
	);

	scope.get<{ Querystring: Static<typeof TopicListQuery> }>(
		PATH,
		{
			schema: {
				operationId: 'listTopics',
				tags: TAGS,
				summary: 'List the topics',
				querystring: TopicListQuery,
				response: { 200: TopicList, ...errorAnswers('invalid_request', 'internal_error', 'storage_unavailable') },
			},
		},
		async ({ query }) => (await topics.listTopics(query.after ?? null, query.limit)).map(publicOf),
	);

	scope.get(
		`${PATH}/stats`,
		{
			schema: {
				operationId: 'topicStats',
				tags: TAGS,
				summary: 'Count the topics',
				response: { 200: TopicStats, ...errorAnswers('internal_error') },
			},
		},
		async () => ({ total_topics: deps.metrics.totals().topics }),
	);

	scope.get<{ Params: Params }>(
		`${PATH}/:topic_name`,
		{
			schema: {
				operationId: 'getTopic',
				tags: TAGS,
				summary: 'Get a topic',
				params: TopicParams,
				response: { 200: TopicAnswer, ...errorAnswers(...READ_ERRORS) },
			},
		},
		async ({ params }) => publicOf(await existingTopic(deps, params.topic_name)),
	);

	scope.put<{ Params: Params; Body: Static<typeof TopicUpdate> }>(
		`${PATH}/:topic_name`,
		{
			bodyLimit: SMALL_BODY_BYTES_MAX,
			schema: {
				operationId: 'updateTopic',
				tags: TAGS,
				summary: 'Change a topic',
				description: 'An absent field stays as it is; retention that is null becomes the default of the relay again.',
				params: TopicParams,
				body: TopicUpdate,
				response: { 200: TopicAnswer, ...errorAnswers(...WRITE_ERRORS, ...READ_ERRORS) },
			},
		},
		async ({ params, body }) => {
			const topic = isTopicName(params.topic_name) ? await topics.updateTopic(params.topic_name, changeOf(body)) : undefined;
			if (topic === undefined) throw noSuchTopic();
			return publicOf(topic);
		},
	);

	scope.delete<{ Params: Params }>(
		`${PATH}/:topic_name`,
		{
			schema: {
				operationId: 'deleteTopic',
				tags: TAGS,
				summary: 'Delete a topic and its messages',
				description: 'Its subscriptions end, and are told so. Ids go on where they were should it be created again.',
				params: TopicParams,
				response: { 204: { type: 'null', description: 'Deleted' }, ...errorAnswers(...READ_ERRORS) },
			},
		},
		async ({ params }, reply): Promise<FastifyReply> => {
			const deleted = isTopicName(params.topic_name) && (await topics.deleteTopic(params.topic_name));
			if (!deleted) throw noSuchTopic();
			return reply.code(204).send();
		},
	);
}

/** The topic. Rejects with `not_found`, also for what cannot be a name, which never gets as far as the store. */
export async function existingTopic({ relay }: Pick<HttpDeps, 'relay'>, name: string): Promise<Topic> {
	const topic = isTopicName(name) ? await relay.topics.getTopic(name) : undefined;
	if (topic === undefined) throw noSuchTopic();
	return topic;
}

function noSuchTopic(): RelayError {
	return new RelayError('not_found', 'topic not found');
}

/** Null leaves a description as it is, as existing clients send it along; an empty one takes it away. */
function changeOf(body: Static<typeof TopicUpdate>): TopicChange {
	const { description, max_age_s: maxAgeS, max_messages: maxMessages, max_bytes: maxBytes } = body;
	return {
		...(description == null ? {} : { description: description === '' ? null : description }),
		retention: {
			...(maxAgeS === undefined ? {} : { maxAgeS }),
			...(maxMessages === undefined ? {} : { maxMessages }),
			...(maxBytes === undefined ? {} : { maxBytes }),
		},
	};
}

function topicAnswer(topic: Topic, ownerId: string): Static<typeof TopicAnswer> {
	const { retention, tip } = topic;
	return {
		topic_id: topic.topicId,
		topic_name: topic.name,
		owner_id: ownerId,
		created_at: new Date(topic.createdAtMs).toISOString(),
		description: topic.description,
		max_age_s: retention.maxAgeS,
		max_messages: retention.maxMessages,
		max_bytes: retention.maxBytes,
		message_count: topic.messages,
		bytes: topic.bytes,
		last_message_id: compareMessageIds(tip, ZERO_ID) === 0 ? null : formatMessageId(tip),
	};
}
