/**
 * `POST /api/v1/messages`: one message. The hot path of the relay: the payload is not parsed, the answer is one string, and
 * between reading the body and the store's answer there is one promise.
 */

import { isUtf8 } from 'node:buffer';
import { timestampOf } from '@pulsar-relay/protocol/frames';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { TopicReference } from '../../../auth/topic-access.ts';
import type { Steps } from '../../../limits/turns.ts';
import type { DedupeKey } from '../../../ports/store.ts';
import type { PublishOutcome } from '../../../relay/publish.ts';
import { principalOf } from '../access.ts';
import type { HttpDeps } from '../deps.ts';
import { type AnswerError, JSON_TYPE } from '../errors.ts';
import { fingerprintInSteps, fingerprintOf, idempotencyConflict, scopedKey } from '../idempotency.ts';
import { afterMark, encodingError, isUtf8InSteps } from '../json-body.ts';
import { type PublicationContext, parsePublication, publicationOf, readPublication, type WellFormed } from '../publication.ts';
import { errorAnswers, IdempotencyHeaders, Message, PublishAnswer, ReferencedMessage } from '../schemas.ts';
import { missingBody } from '../validation.ts';

const PATH = '/api/v1/messages';

/** Registers the route. In this scope bodies come as they are, as Buffers. */
export function registerPublish(scope: FastifyInstance, deps: HttpDeps, answerError: AnswerError): void {
	const { relay, clock, limits, rights, budgets, partyOf } = deps;
	const context: PublicationContext = { payloadDepthMax: limits.maxPayloadDepth, owners: rights.owners, at: ['body'] };
	// What is published together is stored in one millisecond: its timestamp is formatted once.
	let timestampMs = -1;
	let timestamp = '';

	const publish = (request: FastifyRequest, reply: FastifyReply) => {
		const body = request.body as Buffer | undefined;
		if (body === undefined || body.byteLength === 0) throw missingBody();
		const principal = principalOf(request);
		const fail = (error: unknown) => answerError(request, reply, error);
		const store = ({ parsed, dedupe }: PublishRequest) => {
			request.notedTopics = parsed.topic;
			const append = ({ topic, shown }: TopicReference) => {
				relay
					.publish([publicationOf(parsed, topic, clock.nowMs(), dedupe)])
					.then(([outcome]) => answer(request, reply, shown, outcome), fail);
			};
			const reference = rights.allow(principal, 'publish', parsed.topic);
			if (reference instanceof Promise) reference.then(append, fail);
			else append(reference);
		};
		const key = () => scopedKey(request.headers['idempotency-key'], principal);
		if (budgets.turns.admits(body.byteLength)) {
			store(readShortRequest(body, context, key));
			return;
		}
		const party = partyOf(principal, request.raw);
		budgets
			.readLater(party, body.byteLength, readRequest(body, context, key))
			.then(store)
			.catch(fail);
	};

	const answer = (request: FastifyRequest, reply: FastifyReply, topic: string, outcome: PublishOutcome | undefined) => {
		if (outcome === undefined || outcome.status === 'failed') answerError(request, reply, outcome?.error);
		else if (outcome.status === 'conflict') answerError(request, reply, idempotencyConflict());
		else {
			const { id } = outcome;
			if (id.ms !== timestampMs) timestamp = timestampOf(id.ms);
			timestampMs = id.ms;
			reply.code(201).header('content-type', JSON_TYPE);
			// Topic names and ids have nothing in them that JSON would escape.
			reply.send(`{"message_id":"${formatMessageId(id)}","topic":"${topic}","timestamp":"${timestamp}"}`);
		}
	};

	scope.post(
		PATH,
		{
			bodyLimit: limits.maxBodyBytes,
			schema: {
				operationId: 'publish',
				tags: ['publish'],
				summary: 'Publish a message',
				headers: IdempotencyHeaders,
				body: rights.owners ? ReferencedMessage : Message,
				response: { 201: PublishAnswer, ...PUBLISH_ERRORS },
			},
			// The handler validates the bytes themselves; see publication.ts.
			validatorCompiler: () => () => true,
		},
		publish,
	);
}

interface PublishRequest {
	readonly parsed: WellFormed;
	readonly dedupe: DedupeKey | null;
}

/** Nearly every request. Throws `invalid_json` and its kin, and what `keyOf` throws. */
function readShortRequest(body: Buffer, context: PublicationContext, keyOf: () => string | null): PublishRequest {
	if (!isUtf8(body)) throw encodingError();
	const parsed = parsePublication(body, afterMark(body, 0), body.byteLength, context);
	if (parsed.status === 'invalid') throw parsed.error;
	const key = keyOf();
	return { parsed, dedupe: key === null ? null : { key, item: 0, fingerprint: fingerprintOf(PATH, body) } };
}

/** The same in steps. */
function* readRequest(body: Buffer, context: PublicationContext, keyOf: () => string | null): Steps<PublishRequest> {
	if (!(yield* isUtf8InSteps(body, 0, body.byteLength))) throw encodingError();
	const parsed = yield* readPublication(body, afterMark(body, 0), body.byteLength, context);
	if (parsed.status === 'invalid') throw parsed.error;
	const key = keyOf();
	return { parsed, dedupe: key === null ? null : { key, item: 0, fingerprint: yield* fingerprintInSteps(PATH, [body]) } };
}

/** The documented failures of every way to publish. */
export const PUBLISH_ERRORS = errorAnswers(
	'bad_request',
	'topic_limit',
	'request_timeout',
	'payload_too_large',
	'unsupported_media_type',
	'invalid_json',
	'payload_too_deep',
	'invalid_request',
	'invalid_topic',
	'idempotency_conflict',
	'rate_limited',
	'account_full',
	'internal_error',
	'storage_unavailable',
	'overloaded',
	'shutting_down',
);
