/** `/api/v1/topics/{topic}/permissions`: whom a topic's owner lets use it. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { Auth } from '../../../auth/auth.ts';
import { principalOf } from '../access.ts';
import { GrantAnswer, GrantList, GrantParams, GrantQuery, GrantRequest } from '../auth-schemas.ts';
import type { HttpDeps } from '../deps.ts';
import { errorAnswers, TopicParams } from '../schemas.ts';
import { NO_CONTENT } from './auth-answers.ts';
import { existingTopic } from './topics.ts';

const TAGS = ['topics'];
const PATH = '/api/v1/topics/:topic_name/permissions';
const BODY_BYTES_MAX = 64 * 1024;
const ERRORS = ['not_authenticated', 'invalid_credentials', 'forbidden', 'not_found', 'invalid_request'] as const;

/** Registers the routes. */
export function registerTopicPermissions(server: FastifyInstance, deps: HttpDeps, auth: Auth): void {
	server.post<{ Params: Static<typeof TopicParams>; Body: Static<typeof GrantRequest> }>(
		PATH,
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'grantTopic',
				tags: TAGS,
				summary: 'Let an account read a topic, or publish to it',
				params: TopicParams,
				body: GrantRequest,
				response: { 201: GrantAnswer, ...errorAnswers(...ERRORS) },
			},
		},
		async (request, reply) => {
			const { topic, shown } = await existingTopic(deps, principalOf(request), 'manage', request.params.topic_name);
			const { username, permission } = request.body;
			const accountId = await auth.accounts.resolve(username);
			const account = accountId === null ? null : await auth.accounts.get(accountId);
			if (account === null) throw noSuchUser();
			await auth.topics.grant(topic.name, account.accountId, permission);
			return reply.code(201).send({ topic_name: shown, username: account.username, user_id: account.accountId, permission });
		},
	);
	server.get<{ Params: Static<typeof TopicParams> }>(
		PATH,
		{
			schema: {
				operationId: 'listGrants',
				tags: TAGS,
				summary: 'List whom a topic is granted to',
				params: TopicParams,
				response: { 200: GrantList, ...errorAnswers(...ERRORS) },
			},
		},
		async (request) => {
			const { topic, shown } = await existingTopic(deps, principalOf(request), 'manage', request.params.topic_name);
			const { isPublic, byAccount } = await auth.topics.grants(topic.name);
			const permissions = await Promise.all(
				Object.entries(byAccount).map(async ([accountId, granted]) => {
					const account = await auth.accounts.get(accountId);
					// A grant of an account that is gone is nobody's.
					if (account === null) return [];
					return granted.map((permission) => ({ username: account.username, user_id: accountId, permission }));
				}),
			);
			return { topic_name: shown, is_public: isPublic, permissions: permissions.flat() };
		},
	);
	server.delete<{ Params: Static<typeof GrantParams>; Querystring: Static<typeof GrantQuery> }>(
		`${PATH}/:username`,
		{
			schema: {
				operationId: 'revokeGrant',
				tags: TAGS,
				summary: 'Take a grant back; open subscriptions by it end',
				params: GrantParams,
				querystring: GrantQuery,
				response: { 204: NO_CONTENT, ...errorAnswers(...ERRORS) },
			},
		},
		async (request, reply) => {
			const { topic_name: name, username } = request.params;
			const { topic } = await existingTopic(deps, principalOf(request), 'manage', name);
			const accountId = await auth.accounts.resolve(username);
			const { permission = null } = request.query;
			const revoked = accountId !== null && (await auth.topics.revoke(topic.name, accountId, permission));
			if (!revoked) throw new RelayError('not_found', 'no such grant');
			return reply.code(204).send();
		},
	);
}

function noSuchUser(): RelayError {
	return new RelayError('not_found', 'no such account', { detail: 'User not found' });
}
