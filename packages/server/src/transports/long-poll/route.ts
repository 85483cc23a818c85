/**
 * The long-poll transport: `GET /api/v1/poll`, where the cursors in the request are all the state there is, so that any node answers; and
 * `POST /messages/poll`, as existing clients speak it.
 */

import type { FastifyInstance } from 'fastify';
import { type Static, Type } from 'typebox';
import type { TopicRights } from '../../auth/topic-access.ts';
import type { Start } from '../../relay/start.ts';
import { principalOf } from '../http/access.ts';
import { PollAnswer } from '../http/reading-schemas.ts';
import { allowStarts } from '../http/rights.ts';
import { errorAnswers } from '../http/schemas.ts';
import { readingParameters, readSince, readTopics, startsOf } from '../http/topics-query.ts';
import { type CompatiblePollDeps, registerCompatiblePoll } from './compatible-route.ts';
import { POLL_ERRORS, runPoll, waitMsOf } from './run.ts';
import { encodePollAnswer } from './sink.ts';

const pollQuery = (owners: boolean) =>
	Type.Object({
		...readingParameters(owners),
		timeout: Type.Integer({
			minimum: 0,
			maximum: 60,
			default: 30,
			description: 'seconds to wait for a message; 55 at most are waited',
		}),
		limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'messages in the answer at most' }),
	});

type PollQuery = Static<ReturnType<typeof pollQuery>>;

/** Registers the routes. */
export function registerLongPoll(server: FastifyInstance, deps: CompatiblePollDeps): void {
	const querystring = pollQuery(deps.rights.owners);
	server.get<{ Querystring: PollQuery }>(
		'/api/v1/poll',
		{
			exposeHeadRoute: false,
			schema: {
				operationId: 'poll',
				tags: ['subscribe'],
				summary: 'Wait for the next messages of some topics',
				querystring,
				response: { 200: PollAnswer, ...errorAnswers('invalid_cursor', ...POLL_ERRORS) },
			},
		},
		async (request, reply) => {
			const { query } = request;
			const answer = await runPoll(deps, request, reply, startsOfQuery(query, deps.rights), {
				waitMs: waitMsOf(query.timeout),
				messagesMax: query.limit,
				messagesPerTopicMax: query.limit,
			});
			return reply.type('application/json').send(encodePollAnswer(answer));
		},
	);
	// Like the GET, but for the waiting: there is nothing to send.
	server.head<{ Querystring: PollQuery }>('/api/v1/poll', { schema: { querystring } }, async (request, reply) => {
		const { query } = request;
		const wanted = startsOfQuery(query, deps.rights);
		await allowStarts(deps.rights, principalOf(request), wanted);
		return reply.type('application/json').send();
	});
	registerCompatiblePoll(server, deps);
}

function startsOfQuery({ topics, since }: PollQuery, rights: TopicRights): Map<string, Start> {
	const names = readTopics(topics, rights);
	return startsOf(names, readSince(since, names));
}
