/** What answers while the relay waits for its store at the start: `/health` that the process lives, all else that it is not ready. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import fastify, { type FastifyInstance } from 'fastify';
import type { EdgeOptions, HttpDeps } from './deps.ts';
import { createRequestIds, edgeRefusal } from './edge.ts';
import { createErrorAnswers } from './errors.ts';
import { registerOperations } from './routes/operations.ts';
import { ErrorAnswer } from './schemas.ts';
import { SECURITY_HEADERS } from './security-headers.ts';

const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 1000;
const RETRY_AFTER_S = 1;

export interface WaitingServerDeps extends Pick<HttpDeps, 'clock' | 'logger' | 'version'> {
	readonly edge: Pick<EdgeOptions, 'trustsHost' | 'origins' | 'logRefusal' | 'tls'>;
	/** Why the relay is not ready. It is shown to everybody, so that it names no addresses. */
	readonly reason: string;
}

/** Makes the server. It does not listen yet. */
export function createWaitingServer({ clock, logger, version, edge, reason }: WaitingServerDeps): FastifyInstance {
	const answerError = createErrorAnswers({ logger, metrics: { errorAnswered() {} } });
	const options = {
		logger: false,
		genReqId: createRequestIds(),
		requestTimeout: REQUEST_TIMEOUT_MS,
		exposeHeadRoutes: true,
		routerOptions: { ignoreTrailingSlash: true },
		return503OnClosing: false,
	};
	const http = { headersTimeout: HEADERS_TIMEOUT_MS };
	const server =
		edge.tls === null
			? fastify({ ...options, http })
			: (fastify({ ...options, https: { ...http, ...edge.tls } }) as unknown as FastifyInstance);
	server.server.maxConnections = CONNECTIONS_MAX;
	server.addSchema(ErrorAnswer);
	server.setSerializerCompiler(() => JSON.stringify);
	const notReady = () => new RelayError('storage_unavailable', reason, { retryAfterS: RETRY_AFTER_S });
	server.setErrorHandler((error, request, reply) => answerError(request, reply, error));
	// Bodies are not read: their requests are refused whatever they hold.
	server.removeAllContentTypeParsers();
	server.addContentTypeParser('*', (_request, _body, done) => done(null));
	server.setNotFoundHandler((request, reply) => answerError(request, reply, notReady()));
	server.addHook('onRequest', (request, reply, done) => {
		reply.headers(SECURITY_HEADERS).header('x-request-id', request.id);
		reply.raw.shouldKeepAlive = false;
		const refusal = edgeRefusal(request.raw, edge);
		if (refusal !== null) return done(refusal);
		// Pages of allowed origins learn that the relay waits, and come back.
		if (!edge.origins.handle(request, reply, (foreign) => answerError(request, reply, foreign))) done();
	});
	const relay = { draining: false, health: () => ({ status: 'unavailable' as const, reason }) };
	registerOperations(server, { relay, clock, version, metrics: NO_METRICS, servesMetrics: false }, answerError);
	return server;
}

const NO_METRICS = { contentType: 'text/plain', text: () => Promise.resolve('') };
