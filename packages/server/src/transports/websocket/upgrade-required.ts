/**
 * `GET /ws` without an upgrade: 426, with what is missing. A browser shows a page nothing of an upgrade that is refused; this route says
 * whether one would be, and why.
 */

import type { IncomingMessage } from 'node:http';
import { ERRORS, RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from '../../ops/logger.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import { type AnswerError, createErrorAnswers, retryAfter } from '../http/errors.ts';
import { errorAnswers } from '../http/schemas.ts';
import { type AdmissionDeps, admit } from './admission.ts';

export interface UpgradeRequiredDeps extends AdmissionDeps {
	readonly metrics: ConnectionMetrics;
	readonly logger: Logger;
}

/** Registers the route. */
export function registerUpgradeRequired(server: FastifyInstance, deps: UpgradeRequiredDeps): void {
	const answerError = createErrorAnswers(deps);
	server.get(
		'/ws',
		{
			schema: {
				operationId: 'websocket',
				tags: ['subscribe'],
				summary: 'Open a WebSocket, or learn why it would be refused',
				description:
					'An upgrade to WebSocket, see PROTOCOL.md. Any other request is answered 426 `upgrade_required`; `refusal` is why an upgrade would be refused now, or null.',
				response: { 101: { type: 'null', description: 'The connection is a WebSocket' }, ...errorAnswers('upgrade_required') },
			},
		},
		async (request, reply) => {
			const refusal = await refusalOf(deps, request);
			return answerUpgradeRequired(answerError, request, reply, refusal);
		},
	);
}

function refusalOf(deps: AdmissionDeps, request: FastifyRequest): Promise<RelayError | null> {
	return new Promise((resolve) => {
		admit(deps, request.raw, () => resolve(null), resolve);
	});
}

function answerUpgradeRequired(
	answerError: AnswerError,
	request: FastifyRequest,
	reply: FastifyReply,
	refusal: RelayError | null,
): FastifyReply {
	const wait = refusal === null ? undefined : retryAfter(refusal);
	return answerError(request, reply, new RelayError('upgrade_required', whatIsMissing(request.raw)), {
		headers: {
			upgrade: 'websocket',
			connection: reply.raw.shouldKeepAlive ? 'upgrade' : 'upgrade, close',
			...(wait === undefined ? {} : { 'retry-after': wait }),
		},
		fields: {
			refusal: refusal === null ? null : { error: refusal.code, message: refusal.message, status: ERRORS[refusal.code].status },
		},
	});
}

function whatIsMissing({ headers, httpVersion }: IncomingMessage): string {
	if (httpVersion !== '1.1') return `a WebSocket is opened over HTTP/1.1, and the request came over HTTP/${httpVersion}`;
	const missing = [
		headers.upgrade?.toLowerCase() === 'websocket' ? null : '`Upgrade: websocket`',
		tokensOf(headers.connection).includes('upgrade') ? null : '`Connection: Upgrade`',
	].filter((header) => header !== null);
	return `this is the address of WebSockets: the request is missing ${missing.join(' and ')}; a proxy in front may have dropped it`;
}

function tokensOf(header: string | undefined): readonly string[] {
	return (header ?? '').split(',').map((token) => token.trim().toLowerCase());
}
