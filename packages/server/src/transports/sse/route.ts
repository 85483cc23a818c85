/**
 * The SSE transport: `GET /api/v1/events?topics=a,b`, for a browser's `EventSource` and for `curl -N`. A reconnect resumes by
 * `Last-Event-ID`, which wins over `lastEventId` in the query, as polyfills send it, and that over `since`.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Auth } from '../../auth/auth.ts';
import { holderOf } from '../../auth/principal.ts';
import type { TopicRights } from '../../auth/topic-access.ts';
import type { AccountCaps } from '../../limits/account-caps.ts';
import type { Clock } from '../../ports/clock.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import type { Relay } from '../../relay/relay.ts';
import type { Session } from '../../relay/session.ts';
import type { Start } from '../../relay/start.ts';
import { principalOf } from '../http/access.ts';
import { onClientLeft } from '../http/client-left.ts';
import type { EdgeOptions } from '../http/deps.ts';
import { EVENT_STREAM_TYPE, lastEventIdOf } from '../http/event-stream.ts';
import { Heartbeat } from '../http/heartbeat.ts';
import { headersOf } from '../http/raw-answer.ts';
import { allowStarts, watchRights } from '../http/rights.ts';
import { errorAnswers } from '../http/schemas.ts';
import { cursorOf, readingParameters, readSince, readTopics, startsOf } from '../http/topics-query.ts';
import { SseSink } from './sink.ts';

export interface SseDeps {
	readonly relay: Relay;
	readonly clock: Clock;
	readonly metrics: ConnectionMetrics;
	/** Null where nobody is asked for credentials. */
	readonly auth: Auth | null;
	readonly rights: TopicRights;
	/** Null where accounts have no caps. */
	readonly caps: AccountCaps | null;
	readonly edge: Pick<EdgeOptions, 'traffic'>;
	readonly socketBufferBytes: number;
	readonly heartbeatIntervalS: number;
}

/** How long an `EventSource` waits before it reconnects. */
const RETRY_MS = 1000;

const eventsQuery = (owners: boolean) =>
	Type.Object({
		...readingParameters(owners),
		lastEventId: Type.Optional(
			Type.Union([Type.String(), Type.Array(Type.String())], {
				description: 'What `Last-Event-ID` says, from clients that cannot set headers; that header wins, and this over `since`',
				documented: { type: 'string', anyOf: undefined },
			}),
		),
		access_token: Type.Optional(Type.String({ description: 'A scoped token, for an `EventSource`, which sends no header' })),
	});

type EventsQuery = Static<ReturnType<typeof eventsQuery>>;

type EventsRequest = FastifyRequest<{ Querystring: EventsQuery }>;

const HEADERS = {
	'content-type': EVENT_STREAM_TYPE,
	'cache-control': 'no-cache, no-transform',
	// Reverse proxies that buffer would hold events back.
	'x-accel-buffering': 'no',
	connection: 'close',
};

/** Registers the route. Returns what stops its heartbeat. */
export function registerSse(server: FastifyInstance, deps: SseDeps): () => void {
	const heartbeat = new Heartbeat(deps.clock, deps.heartbeatIntervalS);
	const querystring = eventsQuery(deps.rights.owners);
	server.get<{ Querystring: EventsQuery }>(
		'/api/v1/events',
		{
			exposeHeadRoute: false,
			schema: {
				operationId: 'events',
				tags: ['subscribe'],
				summary: 'Stream messages as server-sent events',
				description:
					'Each event is a message; its id is a cursor over all topics of the stream, to be sent back as `Last-Event-ID`. ' +
					'Other events: `subscribed`, `gap`, `topic_deleted`, `topic_forbidden`, `closed`. With `Accept: text/event-stream`, as browsers ' +
					'send it, a 429 or 503 is a 200 with `retry:`, an event `closed` and the end of the stream. See PROTOCOL.md.',
				querystring,
				response: {
					200: {
						description: 'Events, for as long as the client stays',
						content: { 'text/event-stream': { schema: { type: 'string' } } },
					},
					...errorAnswers(
						'invalid_cursor',
						'invalid_request',
						'invalid_topic',
						'subscription_limit',
						'too_many_connections',
						'account_limit',
						'storage_unavailable',
						'shutting_down',
					),
				},
			},
		},
		(request, reply) => stream(deps, heartbeat, request, reply),
	);
	// Like the GET, but for the stream.
	server.head<{ Querystring: EventsQuery }>('/api/v1/events', { schema: { querystring } }, async (request, reply) => {
		await allowStarts(deps.rights, principalOf(request), startsOfRequest(request, deps.rights));
		const refusal = deps.relay.refusal();
		if (refusal !== null) throw refusal;
		return reply.headers(HEADERS).send();
	});
	return () => heartbeat.stop();
}

async function stream(deps: SseDeps, heartbeat: Heartbeat, request: EventsRequest, reply: FastifyReply): Promise<void> {
	const principal = principalOf(request);
	const wanted = startsOfRequest(request, deps.rights);
	const { starts, shownAs } = await allowStarts(deps.rights, principal, wanted);
	const response = reply.raw;
	if (response.destroyed) {
		// The client left while its rights were read: that it did has been told, and nothing would ever let go of what is held from here.
		reply.hijack();
		return;
	}
	const sink = new SseSink(response, deps.socketBufferBytes);
	const held = principal.kind === 'open' ? null : (deps.caps?.openConnection(holderOf(principal)) ?? null);
	let session: Session;
	try {
		session = deps.relay.attach(sink, held);
	} catch (error) {
		held?.release();
		throw error;
	}
	deps.metrics.connectionOpened('sse');
	let place: number | null = null;
	let unwatch = () => {};
	const openedMs = deps.clock.monotonicMs();
	const { traffic } = deps.edge;
	const client = traffic.isOn ? traffic.clientOf(request.raw) : '';
	response.on('close', () => {
		if (traffic.isOn) {
			traffic.ended({
				transport: 'sse',
				principal,
				client,
				durationMs: deps.clock.monotonicMs() - openedMs,
				topics: [...session.topics].length,
				messagesOut: sink.messages,
				socket: request.raw.socket,
				more: { request_id: request.id, closed_by: response.writableEnded ? 'relay' : 'client' },
			});
		}
		if (place !== null) heartbeat.leave(sink, place);
		unwatch();
		session.close();
		held?.release();
		deps.metrics.connectionClosed('sse');
	});
	onClientLeft(request.raw, response, () => request.raw.socket.destroySoon());
	try {
		await session.subscribe(
			starts,
			(cursors) => {
				// The drain came before there was a stream to end: the answer is that of any refused request.
				if (deps.relay.draining) throw new RelayError('shutting_down', 'this node is draining');
				reply.hijack();
				// Without a length or chunks the end of the connection ends the stream: nothing is added around each write.
				response.shouldKeepAlive = false;
				response.useChunkedEncodingByDefault = false;
				response.writeHead(200, { ...headersOf(reply), ...HEADERS });
				sink.open(cursors, RETRY_MS);
				place = heartbeat.join(sink);
				unwatch = watchRights(deps.auth, principal, {
					topics: () => session.topics,
					end: (error) => sink.refuse(error),
					endTopic: (topic) => session.forbid(topic),
				});
			},
			shownAs,
		);
	} catch (error) {
		// A stream that could not start is answered like any failed request, and is not a subscriber.
		session.close();
		throw error;
	}
}

/**
 * An `EventSource` cannot act on a refusal other than by giving up for good, so a `Last-Event-ID` that makes no sense is not
 * refused: each topic starts at its end, after a gap that says so.
 */
function startsOfRequest(request: EventsRequest, rights: TopicRights): Map<string, Start> {
	const { query } = request;
	const topics = readTopics(query.topics, rights);
	const lastEventId = lastEventIdOf(request);
	if (lastEventId === '') return startsOf(topics, readSince(query.since, topics));
	const since = cursorOf(lastEventId, topics);
	return since === undefined ? new Map(topics.map((topic) => [topic, 'unknown'])) : startsOf(topics, since);
}
