/** `/api/v1/topics…`: the topics themselves. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds, formatMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { FastifyInstance, FastifyReply } from 'fastify';
import type { Static } from 'typebox';
import type { KnownPrincipal, Principal } from '../../../auth/principal.ts';
import { permissionRequired, type TopicAction, type TopicReference, UNOWNED_ID } from '../../../auth/topic-access.ts';
import { countUnowned, listUnowned } from '../../../auth/unowned-topics.ts';
import type { Topic, TopicChange } from '../../../ports/store.ts';
import type { Relay } from '../../../relay/relay.ts';
import { ownNameOf } from '../../../relay/topic-log.ts';
import { principalOf } from '../access.ts';
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

/** The longest name from a path that an answer repeats. */
const TOLD_NAME_LENGTH_MAX = 310;

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

function registerCreate(scope: FastifyInstance, deps: HttpDeps): void {
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
		async (request, reply) => {
			const { body } = request;
			const reference = await deps.rights.allow(principalOf(request), 'manage', body.topic_name);
			await deps.usage?.admit(reference.topic);
			const { status, topic } = await deps.relay.topics.createTopic(reference.topic, changeOf(body));
			if (status === 'exists') throw topicExists(topic);
			if (body.is_public === true) await deps.auth?.topics.setPublic(topic.name, true);
			return reply.code(201).send(topicAnswer(topic, deps.ownerId));
		},
	);
}

function registerList(scope: FastifyInstance, { relay, metrics, ownerId, auth }: HttpDeps): void {
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
		async (request) => {
			const { after, limit, owner_id: ownerAsked } = request.query;
			const principal = principalOf(request);
			const topics =
				principal.kind === 'open'
					? await relay.topics.listTopics(after ?? null, limit)
					: await topicsOf(relay, listedOwner(principal, ownerAsked), after ?? '', limit);
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
		async () => ({
			total_topics: metrics.totals().topics,
			unowned_topics: auth === null ? 0 : await countUnowned(relay.topics),
		}),
	);
}

/** Whose topics are listed. Throws `forbidden` when that is not the caller's to see. */
function listedOwner({ accountId, permissions }: KnownPrincipal, asked = accountId): string {
	if (asked !== accountId && !permissions.includes('admin')) throw permissionRequired('admin');
	return asked;
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
		async (request) => {
			const { topic } = await existingTopic(deps, principalOf(request), 'look', request.params.topic_name);
			return topicAnswer(topic, deps.ownerId);
		},
	);
}

function registerUpdate(scope: FastifyInstance, deps: HttpDeps): void {
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
		async (request) => {
			const { params, body } = request;
			const reference = await topicOf(deps, principalOf(request), 'manage', params.topic_name);
			const topic = await deps.relay.topics.updateTopic(reference.topic, changeOf(body));
			if (topic === undefined) throw noSuchTopic(params.topic_name);
			if (typeof body.is_public === 'boolean') await deps.auth?.topics.setPublic(topic.name, body.is_public);
			return topicAnswer(topic, deps.ownerId);
		},
	);
}

function registerDelete(scope: FastifyInstance, deps: HttpDeps): void {
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
		async (request, reply): Promise<FastifyReply> => {
			const { topic_name: name } = request.params;
			const { topic } = await topicOf(deps, principalOf(request), 'manage', name);
			if (!(await deps.relay.topics.deleteTopic(topic))) throw noSuchTopic(name);
			await deps.auth?.topics.forget(topic);
			return reply.code(204).send();
		},
	);
}

/** The topic that a path names. Rejects with `not_found`, also for what cannot be a name, which never gets as far as the store. */
export async function topicOf(
	{ rights }: Pick<HttpDeps, 'rights'>,
	principal: Principal,
	action: TopicAction,
	name: string,
): Promise<TopicReference> {
	if (rights.problemOf(name) !== undefined) throw noSuchTopic(name);
	return rights.allow(principal, action, name);
}

/** As {@link topicOf}, with the topic itself. */
export async function existingTopic(
	deps: Pick<HttpDeps, 'relay' | 'rights'>,
	principal: Principal,
	action: TopicAction,
	name: string,
): Promise<{ readonly topic: Topic; readonly shown: string }> {
	const reference = await topicOf(deps, principal, action, name);
	const topic = await deps.relay.topics.getTopic(reference.topic);
	if (topic === undefined) throw noSuchTopic(name);
	return { topic, shown: reference.shown };
}

/** An owner's topics in the order of their names, after the name `after`. */
export async function topicsOf(relay: Relay, accountId: string, after: string, limit: number): Promise<readonly Topic[]> {
	if (accountId === UNOWNED_ID) return listUnowned(relay.topics, after, limit);
	const prefix = `${accountId}/`;
	// The name of a topic is never empty, so that all of an account's come after the account's own text.
	const topics = await relay.topics.listTopics(`${prefix}${after}`, limit);
	const end = topics.findIndex(({ name }) => !name.startsWith(prefix));
	return end < 0 ? topics : topics.slice(0, end);
}

function noSuchTopic(name: string): RelayError {
	const shown = name.slice(0, TOLD_NAME_LENGTH_MAX).replace(/[^\x20-\x7e]/g, '?');
	return new RelayError('not_found', 'topic not found', { detail: `Topic '${shown}' not found` });
}

function topicExists({ name }: Topic): RelayError {
	const shown = ownNameOf(name);
	const detail = `Topic '${shown}' already exists for owner ${name.slice(0, name.indexOf('/'))}`;
	return new RelayError('topic_exists', `topic ${shown} already exists`, name.includes('/') ? { detail } : {});
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

/** @param openOwnerId the owner of a topic that nobody owns */
function topicAnswer(topic: Topic, openOwnerId: string): Static<typeof TopicAnswer> {
	const { retention, tip } = topic;
	return {
		topic_id: topic.topicId,
		topic_name: ownNameOf(topic.name),
		owner_id: topic.name.includes('/') ? topic.name.slice(0, topic.name.indexOf('/')) : openOwnerId,
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
