/**
 * From failures to answers: the one place where an error becomes an HTTP answer. The status comes from the error table, the body
 * is `{error, message, detail, request_id}`, and nothing of a cause reaches the wire.
 */

import { ERRORS, type ErrorCode, RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../../ops/logger.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import type { HttpDeps } from './deps.ts';
import { EVENT_STREAM_TYPE, refusalStream } from './event-stream.ts';
import { why } from './traffic-log.ts';

export const JSON_TYPE = 'application/json; charset=utf-8';

/** Retrying clients are spread over so many seconds. */
const RETRY_AFTER_S_MAX = 5;

/** What the framework's own refusals are called here. All others of its failures are defects. */
const FRAMEWORK_ERRORS: ReadonlyMap<string, readonly [code: ErrorCode, message: string]> = new Map([
	[
		'FST_ERR_CTP_INVALID_MEDIA_TYPE',
		[
			'unsupported_media_type',
			'the Content-Type is missing or not one this route reads: most take application/json, the stream route application/x-ndjson',
		],
	],
	['FST_ERR_BAD_URL', ['bad_request', 'the path is not properly percent-encoded']],
	['FST_ERR_MAX_PARAM_LENGTH', ['not_found', 'no such topic']],
]);

/** The RelayError for anything that was thrown. */
function relayErrorOf(thrown: unknown): RelayError {
	if (thrown instanceof RelayError) return thrown;
	const known = thrown instanceof Error && 'code' in thrown ? FRAMEWORK_ERRORS.get(String(thrown.code)) : undefined;
	return known === undefined ? RelayError.from(thrown) : new RelayError(...known);
}

/** Where an answer differs from what the error alone says. */
export interface ErrorAnswerOptions {
	/** Instead of the message or the problems. */
	readonly detail?: string;
	readonly headers?: Readonly<Record<string, string>>;
	/** More fields of the body, before the error's own. */
	readonly fields?: Readonly<Record<string, unknown>>;
	/** Instead of a JSON body: a page for people, whose type is among the headers. */
	readonly page?: string;
}

/** The body of an error answer. */
export function errorBody(error: RelayError, requestId: string, { detail, fields }: ErrorAnswerOptions = {}): string {
	const { code, message, problems } = error;
	return JSON.stringify({
		...fields,
		error: code,
		message,
		detail: detail ?? problems ?? error.detail ?? message,
		request_id: requestId,
	});
}

/** The `Retry-After` of an answer, in seconds, or undefined when trying again does not help. */
export function retryAfter({ code, retryAfterS }: RelayError): string | undefined {
	if (retryAfterS !== undefined) return String(retryAfterS);
	const { status, retryable } = ERRORS[code];
	if (!retryable || (status !== 503 && status !== 429)) return undefined;
	return String(1 + Math.floor(Math.random() * RETRY_AFTER_S_MAX));
}

/** Logs a failure when it is a defect of the relay; what clients do wrong and what passes is not worth a line each. */
export function logDefect(logger: Logger, requestId: string, thrown: unknown): void {
	const error = RelayError.from(thrown);
	if (error.code === 'internal_error') logger.error({ request_id: requestId, err: error.cause ?? error }, 'a request failed');
}

/** Answers a request with an error. */
export type AnswerError = (
	request: FastifyRequest,
	reply: FastifyReply,
	thrown: unknown,
	options?: ErrorAnswerOptions,
) => FastifyReply;

/** Makes the function that answers with errors, counts them, and logs the defects. */
export function createErrorAnswers({
	metrics,
	logger,
}: Pick<HttpDeps, 'logger'> & { readonly metrics: Pick<ConnectionMetrics, 'errorAnswered'> }): AnswerError {
	return (request, reply, thrown, options = {}) => {
		const error = relayErrorOf(thrown);
		metrics.errorAnswered('http', error.code);
		logDefect(logger, request.id, error);
		if (logger.isLevelEnabled('debug')) logger.debug({ request_id: request.id, ...why(error) }, 'a request was refused');
		if (ERRORS[error.code].status === 401) reply.header('www-authenticate', 'Bearer');
		const wait = retryAfter(error);
		if (wait !== undefined) reply.header('retry-after', wait);
		// The framework closes the connection after every failure to read a body. Only where the rest of it is not awaited must it.
		if (error.code === 'request_timeout') reply.header('connection', 'close');
		else if (reply.hasHeader('connection')) reply.header('connection', reply.raw.shouldKeepAlive ? 'keep-alive' : 'close');
		const stream = wait === undefined ? null : refusalStream(request, error, Number(wait));
		if (stream !== null) return reply.code(200).header('content-type', EVENT_STREAM_TYPE).send(stream);
		return reply
			.code(ERRORS[error.code].status)
			.headers({ 'content-type': JSON_TYPE, ...options.headers })
			.send(options.page ?? errorBody(error, request.id, options));
	};
}
