/** An address of its own for those who run the relay: `/health`, `/ready` and `/metrics`, over plain HTTP. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import fastify, { type FastifyInstance } from 'fastify';
import type { EdgeOptions, HttpDeps } from './deps.ts';
import { createRequestIds, edgeRefusal } from './edge.ts';
import { createErrorAnswers } from './errors.ts';
import { registerOperations } from './routes/operations.ts';
import { ErrorAnswer } from './schemas.ts';
import { SECURITY_HEADERS } from './security-headers.ts';

const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
/** Scrapers and probes: few, and none of them keeps many. */
const CONNECTIONS_MAX = 200;

export interface OperationsServerDeps
	extends Pick<HttpDeps, 'relay' | 'metrics' | 'clock' | 'logger' | 'version' | 'metricsToken'> {
	readonly edge: Pick<EdgeOptions, 'trustsHost' | 'logRefusal'>;
}

/** Makes the server. It does not listen yet. */
export function createOperationsServer(deps: OperationsServerDeps): FastifyInstance {
	const answerError = createErrorAnswers(deps);
	const server = fastify({
		logger: false,
		genReqId: createRequestIds(),
		requestTimeout: REQUEST_TIMEOUT_MS,
		http: { headersTimeout: HEADERS_TIMEOUT_MS },
		exposeHeadRoutes: true,
		routerOptions: { ignoreTrailingSlash: true },
		return503OnClosing: false,
	});
	server.server.maxConnections = CONNECTIONS_MAX;
	server.addSchema(ErrorAnswer);
	server.setSerializerCompiler(() => JSON.stringify);
	server.setErrorHandler((error, request, reply) => answerError(request, reply, error));
	server.setNotFoundHandler((request, reply) => answerError(request, reply, new RelayError('not_found', 'no such route')));
	server.addHook('onRequest', (request, reply, done) => {
		reply.headers(SECURITY_HEADERS).header('x-request-id', request.id);
		const refusal = edgeRefusal(request.raw, deps.edge);
		const isMetrics = request.routeOptions.url === '/metrics';
		done(refusal ?? (isMetrics ? deps.metricsToken?.refusal(request.raw) : null) ?? undefined);
	});
	registerOperations(server, { ...deps, servesMetrics: true }, answerError);
	return server;
}
