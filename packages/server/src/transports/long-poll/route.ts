/**
 * The long-poll transport: `GET /api/v1/poll`, and `POST /messages/poll` as existing clients speak it. An answer needs no
 * affinity: the cursors in the request are all the state there is.
 */

import type { StartPosition } from '@pulsar-relay/protocol/cursor';
import type { RelayError } from '@pulsar-relay/protocol/errors';
import { parseMessageId } from '@pulsar-relay/protocol/message-id';
import { TOPIC_NAME_PATTERN, TOPIC_REFERENCE_PATTERN } from '@pulsar-relay/protocol/topic-name';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Auth } from '../../auth/auth.ts';
import type { Principal } from '../../auth/principal.ts';
import { denial, type TopicRights } from '../../auth/topic-access.ts';
import type { AccountCaps } from '../../limits/account-caps.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import type { PollAnswer as Polled, PollRequest } from '../../relay/poll.ts';
import type { Relay } from '../../relay/relay.ts';
import type { Start } from '../../relay/start.ts';
import { principalOf } from '../http/access.ts';
import { allowStarts, watchRights } from '../http/rights.ts';
import { CompatiblePollAnswer, errorAnswers, PollAnswer, PollStats } from '../http/schemas.ts';
import { readSince, readTopics, SinceParameter, startsOf, TopicsParameter } from '../http/topics-query.ts';
import { encodeCompatiblePollAnswer, encodePollAnswer } from './sink.ts';

export interface LongPollDeps {
	readonly relay: Relay;
	readonly metrics: ConnectionMetrics;
	/** Null where nobody is asked for credentials. */
	readonly auth: Auth | null;
	readonly rights: TopicRights;
	/** Null where accounts have no caps. */
	readonly caps: AccountCaps | null;
	/** The namespace of topics while there are no accounts; stands before the topic in the keys of the statistics. */
	readonly ownerId: string;
}

/** Bytes of messages in one answer, unless its first message alone is larger. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;
/**
 * The longest wait. A client may ask for 60 s, and proxies by default give up on an answer after 60 s: it goes out a little before.
 */
const WAIT_MS_MAX = 55_000;
const COMPATIBLE_MESSAGES_PER_TOPIC_MAX = 100;
const COMPATIBLE_TOPICS_MAX = 20;

const POLL_ERRORS = [
	'invalid_request',
	'invalid_topic',
	'subscription_limit',
	'too_many_polls',
	'account_limit',
	'storage_unavailable',
	'shutting_down',
] as const;

const PollQuery = Type.Object({
	topics: TopicsParameter,
	since: Type.Optional(SinceParameter),
	timeout: Type.Integer({
		minimum: 0,
		maximum: 60,
		default: 30,
		description: 'seconds to wait for a message; 55 at most are waited',
	}),
	limit: Type.Integer({ minimum: 1, maximum: 1000, default: 100, description: 'messages in the answer at most' }),
});

/** Existing clients send integral floats (`30.0`, an integer in JSON) and decimal strings. */
const Seconds = Type.Union([Type.Integer({ minimum: 1, maximum: 60 }), Type.String({ pattern: '^0*([1-9]|[1-5][0-9]|60)$' })]);

const pollBody = (topicPattern: string) =>
	Type.Object({
		topics: Type.Array(Type.String({ pattern: topicPattern }), { minItems: 1, maxItems: COMPATIBLE_TOPICS_MAX }),
		since: Type.Optional(Type.Union([Type.Object({}, { additionalProperties: Type.String() }), Type.Null()])),
		timeout: Type.Optional(Seconds),
	});

type PollBody = Static<ReturnType<typeof pollBody>>;

/** Registers the routes. */
export function registerLongPoll(server: FastifyInstance, deps: LongPollDeps): void {
	server.get<{ Querystring: Static<typeof PollQuery> }>(
		'/api/v1/poll',
		{
			exposeHeadRoute: false,
			schema: {
				operationId: 'poll',
				tags: ['subscribe'],
				summary: 'Wait for the next messages of some topics',
				querystring: PollQuery,
				response: { 200: PollAnswer, ...errorAnswers('invalid_cursor', ...POLL_ERRORS) },
			},
		},
		async (request, reply) => {
			const { query } = request;
			const answer = await run(deps, request, reply, startsOf(readTopics(query.topics, deps.rights), readSince(query.since)), {
				waitMs: waitMsOf(query.timeout),
				messagesMax: query.limit,
				messagesPerTopicMax: query.limit,
			});
			return reply.type('application/json').send(encodePollAnswer(answer));
		},
	);
	// Like the GET, but for the waiting: there is nothing to send.
	server.head<{ Querystring: Static<typeof PollQuery> }>(
		'/api/v1/poll',
		{ schema: { querystring: PollQuery } },
		async (request, reply) => {
			const { query } = request;
			const wanted = startsOf(readTopics(query.topics, deps.rights), readSince(query.since));
			await allowStarts(deps.rights, principalOf(request), wanted);
			return reply.type('application/json').send();
		},
	);
	const body = pollBody(deps.rights.owners ? TOPIC_REFERENCE_PATTERN : TOPIC_NAME_PATTERN);
	server.post<{ Body: PollBody }>(
		'/messages/poll',
		{
			schema: {
				operationId: 'pollWithCursors',
				tags: ['subscribe'],
				summary: 'Wait for messages, with a cursor per topic in the body',
				body,
				response: { 200: CompatiblePollAnswer, ...errorAnswers(...POLL_ERRORS) },
			},
		},
		async (request, reply) => {
			const { body } = request;
			const answer = await run(deps, request, reply, compatibleStarts(body), {
				waitMs: waitMsOf(Number(body.timeout ?? 30)),
				messagesMax: COMPATIBLE_MESSAGES_PER_TOPIC_MAX * COMPATIBLE_TOPICS_MAX,
				messagesPerTopicMax: COMPATIBLE_MESSAGES_PER_TOPIC_MAX,
				startGapAnswers: false,
			});
			return reply.type('application/json').send(encodeCompatiblePollAnswer(answer));
		},
	);
	server.get(
		'/messages/poll/stats',
		{
			schema: {
				operationId: 'pollStats',
				tags: ['subscribe'],
				summary: 'Count the waiting polls',
				response: { 200: PollStats },
			},
		},
		async (request) => statistics(deps, principalOf(request)),
	);
}

/** What existing clients ask for: whose poll waits for what. An account that is no administrator sees its own topics only. */
function statistics({ relay, ownerId }: LongPollDeps, principal: Principal) {
	const polls = [...relay.waitingPollsPerTopic];
	if (principal.kind === 'open') {
		return {
			active_waiters: relay.load.waitingPolls,
			subscribed_topics: polls.length,
			topic_subscriber_counts: Object.fromEntries(polls.map(([topic, count]) => [`${ownerId}/${topic}`, count])),
		};
	}
	const seesAll = principal.permissions.includes('admin');
	const own = seesAll ? polls : polls.filter(([topic]) => topic.startsWith(`${principal.accountId}/`));
	return {
		active_waiters: seesAll ? relay.load.waitingPolls : own.reduce((sum, [, count]) => sum + count, 0),
		subscribed_topics: own.length,
		// In the store a topic's name has its owner in front.
		topic_subscriber_counts: Object.fromEntries(own),
	};
}

function waitMsOf(timeoutS: number): number {
	return Math.min(timeoutS * 1000, WAIT_MS_MAX);
}

async function run(
	deps: LongPollDeps,
	request: FastifyRequest,
	reply: FastifyReply,
	wanted: ReadonlyMap<string, Start>,
	limits: Omit<PollRequest, 'starts' | 'shownAs' | 'bytesMax' | 'signal'>,
): Promise<Polled> {
	const principal = principalOf(request);
	const { starts, shownAs } = await allowStarts(deps.rights, principal, wanted);
	const held = principal.kind === 'open' ? null : (deps.caps?.openPoll(principal.accountId) ?? null);
	const gone = new AbortController();
	const onClose = () => gone.abort();
	// Also called once the answer is out, when it no longer matters.
	reply.raw.on('close', onClose);
	// Whoever left while the rights were read has been told of already.
	if (reply.raw.destroyed) gone.abort();
	let refusal: RelayError | null = null;
	const refuse = (error: RelayError) => {
		refusal = error;
		gone.abort();
	};
	const unwatch = watchRights(deps.auth, principal, {
		topics: () => starts.keys(),
		end: refuse,
		endTopic: (topic) => refuse(denial('grant', 'subscribe', shownAs.get(topic) ?? topic)),
	});
	deps.metrics.connectionOpened('longpoll');
	try {
		const answer = await deps.relay.poll({ ...limits, starts, shownAs, bytesMax: ANSWER_BYTES_MAX, signal: gone.signal });
		if (refusal !== null) throw refusal;
		return answer;
	} finally {
		unwatch();
		held?.release();
		deps.metrics.connectionClosed('longpoll');
	}
}

/**
 * The starts of `POST /messages/poll`: without `since` only what comes now; with one, a topic it does not name from the
 * beginning. So does a cursor that makes no sense: the client would otherwise send it again for ever.
 */
function compatibleStarts(body: PollBody): Map<string, Start> {
	const since = new Map(Object.entries(body.since ?? {}));
	const startOf = (topic: string): StartPosition => {
		if (since.size === 0) return 'last';
		return parseMessageId(since.get(topic) ?? '') ?? 'earliest';
	};
	return new Map(body.topics.map((topic) => [topic, startOf(topic)]));
}
