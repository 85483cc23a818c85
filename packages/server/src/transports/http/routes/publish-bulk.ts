/** `POST /api/v1/messages/bulk`: up to 100 messages, each with a result of its own. */

import type { Problem, RelayError } from '@pulsar-relay/protocol/errors';
import { type ByteRange, objectScanner, scanArrayInSteps } from '@pulsar-relay/protocol/json-scan';
import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { TopicReference } from '../../../auth/topic-access.ts';
import { STEP_BYTES, type Steps } from '../../../limits/turns.ts';
import type { Publication, PublishOutcome } from '../../../relay/publish.ts';
import { principalOf } from '../access.ts';
import type { HttpDeps } from '../deps.ts';
import { type AnswerError, JSON_TYPE, logDefect } from '../errors.ts';
import { fingerprintInSteps, idempotencyConflict, scopedKey } from '../idempotency.ts';
import { afterMark, encodingError, isUtf8InSteps, scanError, scanInSteps } from '../json-body.ts';
import { tellBalance } from '../limiting.ts';
import { publicationOf, readPublication, type WellFormed } from '../publication.ts';
import { BULK_MESSAGES_MAX, BulkAnswer, bulkRequest, IdempotencyHeaders } from '../schemas.ts';
import { invalid, missingBody } from '../validation.ts';
import { PUBLISH_ERRORS } from './publish.ts';

const PATH = '/api/v1/messages/bulk';

const scanRequest = objectScanner(['messages']);

/** Registers the route. In this scope bodies come as they are, as Buffers. */
export function registerPublishBulk(scope: FastifyInstance, deps: HttpDeps, answerError: AnswerError): void {
	const { budgets, partyOf } = deps;
	const publish = (request: FastifyRequest, reply: FastifyReply) => {
		const body = request.body as Buffer | undefined;
		if (body === undefined || body.byteLength === 0) throw missingBody();
		const principal = principalOf(request);
		const fail = (error: unknown) => answerError(request, reply, error);
		const accept = async ({ messages, dedupe }: BulkPublish) => {
			// The request has been counted as one message.
			if (messages.length > 1 && deps.limiting !== null) tellBalance(reply, deps.limiting.take(principal, messages.length - 1));
			const topics = messages.map(({ topic }) => topic);
			if (deps.edge.traffic.isOn) request.notedTopics = [...new Set(topics)].join(',');
			const references = await deps.rights.allowAll(principal, 'publish', topics);
			const outcomes = await deps.relay.publish(publicationsOf(messages, references, dedupe, deps));
			for (const outcome of outcomes) if (outcome.status === 'failed') logDefect(deps.logger, request.id, outcome.error);
			const error = errorOfAll(outcomes);
			if (error !== null) fail(error);
			else reply.code(207).header('content-type', JSON_TYPE).send(bulkAnswer(messages, outcomes));
		};
		const steps = () => readRequest(body, deps, () => scopedKey(request.headers['idempotency-key'], principal));
		const read = budgets.read(() => partyOf(principal, request.raw), body.byteLength, steps);
		Promise.resolve(read).then(accept).catch(fail);
	};
	scope.post(
		PATH,
		{
			bodyLimit: deps.limits.maxBodyBytes,
			schema: {
				operationId: 'publishBulk',
				tags: ['publish'],
				summary: 'Publish up to 100 messages',
				description: 'One malformed message refuses the whole request; a message that cannot be stored is rejected alone.',
				headers: IdempotencyHeaders,
				body: bulkRequest(deps.rights.owners),
				response: { 207: BulkAnswer, ...PUBLISH_ERRORS },
			},
			validatorCompiler: () => () => true,
		},
		publish,
	);
}

interface BulkPublish {
	readonly messages: readonly WellFormed[];
	/** What names the request; null without a key. */
	readonly dedupe: { readonly key: string; readonly fingerprint: string } | null;
}

/** Takes a body apart. One bad message fails all, as existing clients know it. */
function* readRequest(body: Buffer, deps: HttpDeps, keyOf: () => string | null): Steps<BulkPublish> {
	const key = keyOf();
	const messages = yield* readBulk(body, deps);
	return { messages, dedupe: key === null ? null : { key, fingerprint: yield* fingerprintInSteps(PATH, [body]) } };
}

function* readBulk(body: Buffer, { limits, rights }: HttpDeps): Steps<WellFormed[]> {
	const ranges = yield* scanBulk(body, limits.maxPayloadDepth);
	const messages: WellFormed[] = [];
	const problems: Problem[] = [];
	let bytes = 0;
	for (const [item, { start, end }] of ranges.entries()) {
		const at = ['body', 'messages', item];
		const context = { payloadDepthMax: limits.maxPayloadDepth, owners: rights.owners, at };
		const parsed = yield* readPublication(body, start, end, context);
		if (parsed.status === 'ok') {
			messages.push(parsed);
		} else if (parsed.error.problems === undefined) {
			throw parsed.error;
		} else {
			problems.push(...parsed.error.problems);
		}
		bytes += end - start;
		if (bytes < STEP_BYTES) continue;
		bytes = 0;
		yield;
	}
	if (problems.length > 0) throw invalid(problems);
	return messages;
}

function publicationsOf(
	messages: readonly WellFormed[],
	references: readonly TopicReference[],
	dedupe: BulkPublish['dedupe'],
	{ clock }: HttpDeps,
): Publication[] {
	const nowMs = clock.nowMs();
	return messages.map((message, item) => {
		const { topic } = references[item] as TopicReference;
		return publicationOf(message, topic, nowMs, dedupe === null ? null : { ...dedupe, item });
	});
}

function* scanBulk(body: Buffer, payloadDepthMax: number): Steps<readonly ByteRange[]> {
	if (!(yield* isUtf8InSteps(body, 0, body.byteLength))) throw encodingError();
	const start = afterMark(body, 0);
	// Around a payload there are the request, its list and the message.
	const scan = yield* scanInSteps(scanRequest.inSteps(body, start, body.byteLength, payloadDepthMax + 3), start);
	if (scan.status === 'not_object') {
		throw invalid([{ type: 'model_attributes_type', loc: ['body'], msg: 'Input should be a valid dictionary' }]);
	}
	if (scan.status !== 'ok') throw scanError(scan, 0, payloadDepthMax);
	const [list] = scan.members;
	if (list === undefined) throw wrongList('missing', 'Field required');
	const limits = { depthMax: payloadDepthMax + 2, elementsMax: BULK_MESSAGES_MAX };
	const elements = yield* scanInSteps(scanArrayInSteps(body, list.start, list.end, limits), list.start);
	switch (elements.status) {
		case 'ok':
			if (elements.elements.length > 0) return elements.elements;
			throw wrongList('too_short', 'List should have at least 1 item after validation, not 0');
		case 'too_many':
			throw wrongList('too_long', `List should have at most ${BULK_MESSAGES_MAX} items after validation, not more`);
		case 'not_array':
			throw wrongList('list_type', 'Input should be a valid list');
		default:
			throw scanError(elements, 0, payloadDepthMax);
	}
}

function wrongList(type: string, msg: string): RelayError {
	return invalid([{ type, loc: ['body', 'messages'], msg }]);
}

/**
 * The error that answers the whole request: its key is another request's, or the store took nothing. Then the client retries as
 * after any 503, where results would leave it to find out from a hundred texts that it should.
 */
function errorOfAll(outcomes: readonly PublishOutcome[]): RelayError | null {
	if (outcomes.some((outcome) => outcome.status === 'conflict')) return idempotencyConflict();
	const refused = outcomes.filter((outcome) => outcome.status === 'failed' && outcome.error.code === 'storage_unavailable');
	const [first] = refused;
	return refused.length === outcomes.length && first?.status === 'failed' ? first.error : null;
}

function bulkAnswer(messages: readonly WellFormed[], outcomes: readonly PublishOutcome[]): string {
	let accepted = 0;
	const results = outcomes.map((outcome, i) => {
		const topic = messages[i]?.topic;
		if (outcome.status === 'appended' || outcome.status === 'duplicate') {
			accepted++;
			return `{"message_id":"${formatMessageId(outcome.id)}","topic":"${topic}","status":"accepted","error":null}`;
		}
		const { code, message } = outcome.status === 'failed' ? outcome.error : idempotencyConflict();
		return `{"message_id":null,"topic":"${topic}","status":"rejected","error":${JSON.stringify(message)},"code":"${code}"}`;
	});
	const summary = `{"total":${outcomes.length},"accepted":${accepted},"rejected":${outcomes.length - accepted}}`;
	return `{"results":[${results.join(',')}],"summary":${summary}}`;
}
