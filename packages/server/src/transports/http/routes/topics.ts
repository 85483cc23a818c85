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
const TOPIC_PATH = `${PATH}/:topic_name`;
const TAGS = ['topics'];
/** These bodies are a few fields; a larger one is refused before it is parsed. */
const SMALL_BODY_BYTES_MAX = 64 * 1024;

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
	registerCreate(scope, deps);
	registerList(scope, deps);
	registerGet(scope, deps);
	registerUpdate(scope, deps);
	registerDelete(scope, deps);
}

function registerCreate(scope: FastifyInstance, { relay, ownerId }: HttpDeps): void {
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
			const { status, topic } = await relay.topics.createTopic(body.topic_name, changeOf(body));
			if (status === 'exists') throw new RelayError('topic_exists', `topic ${topic.name} already exists`);
			return reply.code(201).send(topicAnswer(topic, ownerId));
		},
	);
}

function registerList(scope: FastifyInstance, { relay, metrics, ownerId }: HttpDeps): void {
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
		async ({ query }) => {
			const topics = await relay.topics.listTopics(query.after ?? null, query.limit);
			return topics.map((topic) => topicAnswer(topic, ownerId));
		},
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
		async () => ({ total_topics: metrics.totals().topics }),
	);
}

function registerGet(scope: FastifyInstance, deps: HttpDeps): void {
	scope.get<{ Params: Params }>(
		TOPIC_PATH,
		{
			schema: {
				operationId: 'getTopic',
				tags: TAGS,
				summary: 'Get a topic',
				params: TopicParams,
				response: { 200: TopicAnswer, ...errorAnswers(...READ_ERRORS) },
			},
		},
		async ({ params }) => topicAnswer(await existingTopic(deps, params.topic_name), deps.ownerId),
	);
}

function registerUpdate(scope: FastifyInstance, { relay, ownerId }: HttpDeps): void {
	scope.put<{ Params: Params; Body: Static<typeof TopicUpdate> }>(
		TOPIC_PATH,
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
		async ({ params: { topic_name: name }, body }) => {
			const topic = isTopicName(name) ? await relay.topics.updateTopic(name, changeOf(body)) : undefined;
			if (topic === undefined) throw noSuchTopic();
			return topicAnswer(topic, ownerId);
		},
	);
}

function registerDelete(scope: FastifyInstance, { relay }: HttpDeps): void {
	scope.delete<{ Params: Params }>(
		TOPIC_PATH,
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
		async ({ params: { topic_name: name } }, reply): Promise<FastifyReply> => {
			const deleted = isTopicName(name) && (await relay.topics.deleteTopic(name));
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
