/**
 * `POST /messages/poll`, as clients of pulsar-relay 0.2 speak it. They take their cursors from messages only: where a poll brings none, the
 * relay remembers for the client where it goes on (compat/poll-starts.ts).
 */

import type { StartPosition } from '@pulsar-relay/protocol/cursor';
import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { TOPIC_NAME_PATTERN, TOPIC_REFERENCE_PATTERN } from '@pulsar-relay/protocol/topic-name';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import type { Principal } from '../../auth/principal.ts';
import type { PollStart, PollStarts } from '../../compat/poll-starts.ts';
import type { PollClient } from '../../compat/start-shelf.ts';
import type { Clock } from '../../ports/clock.ts';
import type { PollAnswer } from '../../relay/poll.ts';
import type { Start } from '../../relay/start.ts';
import { principalOf } from '../http/access.ts';
import { CompatiblePollAnswer, PollStats } from '../http/reading-schemas.ts';
import type { AllowedStarts } from '../http/rights.ts';
import { errorAnswers } from '../http/schemas.ts';
import { Receipts } from './receipts.ts';
import { POLL_ERRORS, type PollDeps, type PollOptions, runPoll, waitMsOf } from './run.ts';
import { encodeCompatiblePollAnswer } from './sink.ts';

export interface CompatiblePollDeps extends PollDeps {
	readonly clock: Clock;
	/** What is remembered of polls without cursors; null where nobody is asked for credentials, and clients cannot be told apart. */
	readonly pollStarts: PollStarts | null;
	/** The namespace of topics while there are no accounts; stands before the topic in the keys of the statistics. */
	readonly ownerId: string;
}

const MESSAGES_PER_TOPIC_MAX = 100;
const TOPICS_MAX = 20;
/** An answer that may have been lost behind a proxy is sent so often; then it counts as delivered. */
const TAKEN_TIMES_MAX = 3;

/** Existing clients send integral floats (`30.0`, an integer in JSON) and decimal strings. */
const Seconds = Type.Union([Type.Integer({ minimum: 1, maximum: 60 }), Type.String({ pattern: '^0*([1-9]|[1-5][0-9]|60)$' })]);

const pollBody = (topicPattern: string) =>
	Type.Object({
		topics: Type.Array(Type.String({ pattern: topicPattern }), { minItems: 1, maxItems: TOPICS_MAX }),
		since: Type.Optional(Type.Union([Type.Object({}, { additionalProperties: Type.String() }), Type.Null()])),
		timeout: Type.Optional(Seconds),
	});

type PollBody = Static<ReturnType<typeof pollBody>>;

/** Registers the routes that only existing clients use. */
export function registerCompatiblePoll(server: FastifyInstance, deps: CompatiblePollDeps): void {
	const receipts = new Receipts(server.server, deps.clock);
	const body = pollBody(deps.rights.owners ? TOPIC_REFERENCE_PATTERN : TOPIC_NAME_PATTERN);
	server.post<{ Body: PollBody }>(
		'/messages/poll',
		{
			schema: {
				operationId: 'pollWithCursors',
				tags: ['subscribe'],
				summary: 'Wait for messages, with a cursor per topic in the body',
				body,
				response: { 200: CompatiblePollAnswer, ...errorAnswers('overloaded', ...POLL_ERRORS) },
			},
		},
		async (request, reply) => {
			const client = clientOf(principalOf(request));
			const { pollStarts } = deps;
			if (pollStarts === null || client === null) {
				return answerWith(reply, await runPoll(deps, request, reply, startsOf(request.body), optionsFor(request.body)));
			}
			if (!bringsCursors(request.body)) return pollOn(deps, pollStarts, receipts, client, request, reply);
			const place = async ({ starts }: AllowedStarts) => {
				pollStarts.cameWith(client, starts);
				return starts;
			};
			const options = { ...optionsFor(request.body), place };
			return answerWith(reply, await runPoll(deps, request, reply, startsOf(request.body), options));
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

/** Polls on from where the client's polls without cursors began. */
async function pollOn(
	deps: CompatiblePollDeps,
	pollStarts: PollStarts,
	receipts: Receipts,
	client: PollClient,
	request: FastifyRequest<{ Body: PollBody }>,
	reply: FastifyReply,
): Promise<FastifyReply> {
	const opened: { start: PollStart | null; shownAs: AllowedStarts['shownAs'] } = { start: null, shownAs: new Map() };
	const place: PollOptions['place'] = async (allowed) => {
		const start = await pollStarts.open(client, allowed.starts.keys());
		opened.start = start;
		opened.shownAs = allowed.shownAs;
		const { positions } = start;
		// In the order of the request, which is the order of the answer.
		if (positions !== null) return new Map(Array.from(allowed.starts.keys(), (topic) => [topic, positions.get(topic) ?? 'last']));
		const ends = await deps.relay.endsOf(allowed.starts.keys());
		// Before it waits: what has once been seen to wait is remembered.
		await start.begun(ends);
		return ends;
	};
	try {
		const answer = await runPoll(deps, request, reply, startsOf(request.body), { ...optionsFor(request.body), place });
		const { start, shownAs } = opened;
		if (start !== null && answer.slices.length > 0 && (await receipts.canReach(request.raw))) {
			const times = await start.answering(lastIdsOf(answer, shownAs));
			receipts.watch(request.raw, reply.raw, (receipt) => {
				if (receipt === 'received' || (receipt === 'taken' && times >= TAKEN_TIMES_MAX)) start.delivered();
			});
		}
		return answerWith(reply, answer);
	} finally {
		opened.start?.end();
	}
}

function answerWith(reply: FastifyReply, answer: PollAnswer): FastifyReply {
	return reply.type('application/json').send(encodeCompatiblePollAnswer(answer));
}

/** Whose memory a poll uses; null for what has none: scoped tokens, which are many and short-lived, and tokens without a name. */
function clientOf(principal: Principal): PollClient | null {
	if (principal.kind === 'apiKey') {
		return { kind: 'key', accountId: principal.accountId, id: principal.keyId, tokenEndsAtMs: null };
	}
	if (principal.kind !== 'account' || principal.sessionId === null) return null;
	return { kind: 'session', accountId: principal.accountId, id: principal.sessionId, tokenEndsAtMs: principal.expiresAtMs };
}

/** The last id that an answer has of each topic of which it has messages, by the topics' names in the store. */
function lastIdsOf({ slices, cursors }: PollAnswer, shownAs: AllowedStarts['shownAs']): Map<string, MessageId> {
	const answered = new Set(slices.map(({ topic }) => topic));
	const ids = new Map<string, MessageId>();
	for (const [topic, shown] of shownAs) {
		const last = cursors.get(shown);
		if (last !== undefined && answered.has(shown)) ids.set(topic, last);
	}
	return ids;
}

function optionsFor({ timeout = 30 }: PollBody): PollOptions {
	return {
		waitMs: waitMsOf(Number(timeout)),
		messagesMax: MESSAGES_PER_TOPIC_MAX * TOPICS_MAX,
		messagesPerTopicMax: MESSAGES_PER_TOPIC_MAX,
		startGapAnswers: false,
	};
}

function bringsCursors({ since }: PollBody): boolean {
	return Object.keys(since ?? {}).length > 0;
}

/**
 * The starts of `POST /messages/poll`: without `since` only what comes now; with one, a topic it does not name from the
 * beginning. So does a cursor that makes no sense: the client would otherwise send it again for ever.
 */
function startsOf(body: PollBody): Map<string, Start> {
	const since = new Map(Object.entries(body.since ?? {}));
	const startOf = (topic: string): StartPosition => {
		if (since.size === 0) return 'last';
		return parseMessageId(since.get(topic) ?? '') ?? 'earliest';
	};
	return new Map(body.topics.map((topic) => [topic, startOf(topic)]));
}

/** What existing clients ask for: whose poll waits for what. An account that is no administrator sees its own topics only. */
function statistics({ relay, ownerId }: CompatiblePollDeps, principal: Principal) {
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
