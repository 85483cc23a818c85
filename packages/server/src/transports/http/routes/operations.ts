/** `/health`, `/ready`, `/metrics`: for those who run the relay. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { HttpDeps } from '../deps.ts';
import type { AnswerError } from '../errors.ts';
import { errorAnswers, HealthAnswer, ReadyAnswer } from '../schemas.ts';

const TAGS = ['operations'];

/** What the routes need. */
export interface OperationsDeps extends Pick<HttpDeps, 'clock' | 'version' | 'servesMetrics'> {
	readonly relay: Pick<HttpDeps['relay'], 'draining' | 'health'>;
	readonly metrics: Pick<HttpDeps['metrics'], 'contentType' | 'text'>;
}

/** Registers the routes. */
export function registerOperations(scope: FastifyInstance, deps: OperationsDeps, answerError: AnswerError): void {
	const { relay, metrics, clock, version, servesMetrics } = deps;

	scope.get(
		'/health',
		{
			schema: { operationId: 'health', tags: TAGS, summary: 'Does the process live?', response: { 200: HealthAnswer } },
		},
		async () => ({ status: 'healthy', timestamp: new Date(clock.nowMs()).toISOString(), version }),
	);

	const ready = (request: FastifyRequest, reply: FastifyReply) => {
		const health = relay.health();
		const storage = health.status === 'ok' ? 'ok' : health.reason;
		if (relay.draining) return notReady(request, reply, new RelayError('shutting_down', 'this node is draining'), storage);
		if (health.status !== 'ok') return notReady(request, reply, new RelayError('storage_unavailable', health.reason), storage);
		return reply.send({ ready: true, checks: { storage }, durability: health.durability });
	};
	const notReady = (request: FastifyRequest, reply: FastifyReply, error: RelayError, storage: string) =>
		answerError(request, reply, error, { fields: { ready: false, checks: { storage }, durability: null } });

	scope.get(
		'/ready',
		{
			schema: {
				operationId: 'ready',
				tags: TAGS,
				summary: 'Would a publish be stored?',
				response: { 200: ReadyAnswer, ...errorAnswers('storage_unavailable', 'shutting_down') },
			},
		},
		ready,
	);

	if (!servesMetrics) return;
	scope.get(
		'/metrics',
		{
			schema: {
				operationId: 'metrics',
				tags: TAGS,
				summary: 'Metrics in the text format of Prometheus',
				response: {
					200: { description: 'The metrics', content: { 'text/plain': { schema: { type: 'string' } } } },
					...errorAnswers('not_authenticated', 'invalid_credentials', 'forbidden', 'internal_error'),
				},
			},
		},
		async (_request, reply) => reply.header('content-type', metrics.contentType).send(await metrics.text()),
	);
}
