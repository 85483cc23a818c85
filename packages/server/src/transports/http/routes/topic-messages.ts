/** `GET /api/v1/topics/{topic}/messages`: pages of a topic's kept messages, their objects as every transport sends them (I6). */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { formatMessageId, type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import { principalOf } from '../access.ts';
import type { HttpDeps } from '../deps.ts';
import { JSON_TYPE } from '../errors.ts';
import { HistoryAnswer, HistoryQuery } from '../reading-schemas.ts';
import { errorAnswers, TopicParams } from '../schemas.ts';
import { existingTopic } from './topics.ts';

const LIMIT_MAX = 100;
const COMMA = Buffer.from(',');
const HEAD = Buffer.from('{"messages":[');

/** A question for a page, as understood. */
interface PageRequest {
	readonly order: 'asc' | 'desc';
	readonly limit: number;
	readonly cursor: MessageId | null;
}

interface HistoryPage {
	/** In the order of the request. */
	readonly objects: readonly Uint8Array[];
	readonly next: MessageId | null;
}

/** Registers the route. */
export function registerTopicMessages(scope: FastifyInstance, deps: HttpDeps): void {
	scope.get<{ Params: Static<typeof TopicParams>; Querystring: Static<typeof HistoryQuery> }>(
		'/api/v1/topics/:topic_name/messages',
		{
			schema: {
				operationId: 'readTopic',
				tags: ['topics'],
				summary: 'Read kept messages of a topic, page by page',
				params: TopicParams,
				querystring: HistoryQuery,
				response: {
					200: HistoryAnswer,
					...errorAnswers(
						'bad_request',
						'invalid_cursor',
						'not_found',
						'invalid_request',
						'internal_error',
						'storage_unavailable',
					),
				},
			},
		},
		async (request, reply) => {
			const { params, query } = request;
			const { shown, topic } = await existingTopic(deps, principalOf(request), 'look', params.topic_name);
			await deps.rights.allow(principalOf(request), 'subscribe', shown);
			const asked = readQuery(query);
			const page = await readPage(deps, topic.name, shown, asked);
			return reply.header('content-type', JSON_TYPE).send(encodePage(asked, page));
		},
	);
}

function readQuery({ limit, order, cursor }: Static<typeof HistoryQuery>): PageRequest {
	if (limit < 1) throw new RelayError('bad_request', 'limit must be at least 1');
	if (order !== 'asc' && order !== 'desc') throw new RelayError('bad_request', "order must be 'asc' or 'desc'");
	const id = cursor === '' ? null : parseMessageId(cursor);
	if (id === undefined) throw new RelayError('invalid_cursor', 'cursor is not a message id');
	return { order, limit: Math.min(limit, LIMIT_MAX), cursor: id };
}

async function readPage(
	{ relay }: HttpDeps,
	topic: string,
	shown: string,
	{ order, limit, cursor }: PageRequest,
): Promise<HistoryPage> {
	let after = cursor;
	for (;;) {
		const slice = await relay.history(topic, { order, cursor: after, messagesMax: limit }, shown);
		if (slice === null) return { objects: [], next: null };
		const objects: Uint8Array[] = [];
		slice.forEach((_id, json) => {
			objects.push(json);
		});
		const next = order === 'asc' ? slice.last : slice.first;
		if (objects.length > 0) return { objects: order === 'asc' ? objects : objects.reverse(), next };
		// A whole page of expired messages: an empty answer would look like the end.
		after = next;
	}
}

function encodePage({ order, limit, cursor }: PageRequest, { objects, next }: HistoryPage): Buffer {
	const parts: Uint8Array[] = [HEAD];
	for (const [i, object] of objects.entries()) {
		if (i > 0) parts.push(COMMA);
		parts.push(object);
	}
	const idText = (id: MessageId | null) => (id === null ? 'null' : `"${formatMessageId(id)}"`);
	const tail = `"count":${objects.length},"total":${objects.length},"limit":${limit},"order":"${order}","cursor":${idText(cursor)},"next_cursor":${idText(next)}`;
	parts.push(Buffer.from(`],${tail}}`));
	return Buffer.concat(parts);
}
