/**
 * The HTTP server: limits, edge checks, bodies, errors and the plain request routes. Transports that stream or wait add their
 * routes to it from outside.
 */

import type { IncomingMessage } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { RelayError } from '@pulsar-relay/protocol/errors';
import fastify, {
	type FastifyHttpsOptions,
	type FastifyInstance,
	type FastifyReply,
	type FastifyRequest,
	type RouteOptions,
} from 'fastify';
import { tokensFor } from '../../limits/budgets.ts';
import { printable } from '../../ops/printable.ts';
import { addAccess } from './access.ts';
import { BodyReader, hasBody } from './bodies.ts';
import type { HttpDeps } from './deps.ts';
import { createRequestIds, edgeRefusal, HEADERS_MAX } from './edge.ts';
import { type AnswerError, createErrorAnswers } from './errors.ts';
import { askForBodiesWhenRead } from './expect-continue.ts';
import { parseJsonBody } from './json-body.ts';
import { OpenConnections } from './open-connections.ts';
import { isMissingDocsFile, registerOpenApi } from './openapi.ts';
import { answerBrokenRequest } from './raw-answer.ts';
import { RouteTable } from './route-table.ts';
import { registerAuth } from './routes/auth.ts';
import { registerFrontPage } from './routes/front-page.ts';
import { registerOperations } from './routes/operations.ts';
import { registerPublish } from './routes/publish.ts';
import { registerPublishBulk } from './routes/publish-bulk.ts';
import { registerPublishStream } from './routes/publish-stream.ts';
import { registerTopicMessages } from './routes/topic-messages.ts';
import { registerTopics } from './routes/topics.ts';
import { SECURITY_HEADERS, TLS_SECURITY_HEADERS } from './security-headers.ts';
import type { TlsCredentials } from './tls.ts';
import { compileValidator } from './validation.ts';

const HEADER_BYTES_MAX = 32 * 1024;
const HEADERS_TIMEOUT_MS = 10_000;
/** How often Node looks for requests whose headers are late. */
const HEADERS_CHECK_INTERVAL_MS = 1000;
/** JSON bodies that are parsed: enough for a poll that names its topics with their cursors, and parsed in some 3 ms. */
const BODY_BYTES_MAX = 128 * 1024;
/** A topic name with its owner, each of their characters percent-encoded. */
const PARAM_LENGTH_MAX = 3 * (50 + 1 + 255);

/**
 * `application/json` and its kin. No other type is read, which also means that a page of another origin cannot publish by a form
 * or a simple request: for these types browsers ask first (CORS), and the relay does not answer that question.
 */
const JSON_TYPES = /^application\/(?:[\w!#$&^.+-]+\+)?json(?:;|$)/;

/** What existing clients call the parts of a request in the place of a problem. */
const PLACES: ReadonlyMap<string, string> = new Map([
	['querystring', 'query'],
	['params', 'path'],
]);

declare module 'fastify' {
	interface FastifyRequest {
		/** The topics of a request that has them in its body, for the log; null = none were noted. */
		notedTopics: string | null;
	}
	interface FastifyInstance {
		/** The connections that are open: what they may ask at once, and how they end. */
		readonly openConnections: OpenConnections;
	}
}

/** Makes the server with its routes. It does not listen yet; routes that are added now are documented and counted too. */
export async function createHttpServer(deps: HttpDeps): Promise<FastifyInstance> {
	const { clock, limits } = deps;
	const bodies = new BodyReader({ clock, receptions: deps.budgets.receptions, partyOf: deps.partyOf });
	const answerError = createErrorAnswers(deps);
	// What is left of the request's body is dropped first: nobody will read it now.
	const answerFailure = (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
		bodies.discard(request.raw);
		return answerError(request, reply, refusedFor(error, request));
	};
	const server = createServer(deps, answerFailure);
	server.decorate('openConnections', new OpenConnections(server.server, clock, () => deps.relay.draining));
	server.setErrorHandler(answerFailure);
	// For routes that find nothing to answer with; requests without a route are answered at the edge.
	server.setNotFoundHandler((request, reply) => answerNotThere(deps, request, reply, answerError));
	server.addHook('onClose', async () => bodies.close());
	addEdge(server, deps, bodies, answerError);
	addAccess(server, { ...deps, payloadDepthMax: limits.maxPayloadDepth });
	addValidation(server);
	addJsonBodies(server, bodies, deps);
	await registerOpenApi(server, deps);
	await server.register((scope, _options, done) => {
		scope.removeAllContentTypeParsers();
		addRawBodies(scope, bodies, deps);
		registerPublish(scope, deps, answerError);
		registerPublishBulk(scope, deps, answerError);
		done();
	});
	await server.register((scope, _options, done) => {
		scope.removeAllContentTypeParsers();
		registerPublishStream(scope, deps, bodies);
		done();
	});
	registerFrontPage(server, deps);
	registerTopics(server, deps);
	registerTopicMessages(server, deps);
	registerOperations(server, deps, answerError);
	if (deps.auth !== null) await registerAuth(server, deps, deps.auth, bodies, answerError);
	return server;
}

/** Malformed JSON is reported before an authentication failure. */
function refusedFor(error: unknown, { refusal }: FastifyRequest): unknown {
	const isBody = error instanceof RelayError && (error.code === 'invalid_json' || error.code === 'payload_too_deep');
	return isBody ? error : (refusal ?? error);
}

function createServer(
	deps: HttpDeps,
	answerFailure: (error: unknown, request: FastifyRequest, reply: FastifyReply) => FastifyReply,
): FastifyInstance {
	const { limits, edge } = deps;
	const requestIds = createRequestIds();
	const http = {
		maxHeaderSize: HEADER_BYTES_MAX,
		headersTimeout: HEADERS_TIMEOUT_MS,
		connectionsCheckingInterval: HEADERS_CHECK_INTERVAL_MS,
		// Checked at the edge, where the answer has a body that says so.
		requireHostHeader: false,
		// An offer of another protocol may be passed over (RFC 9110, 7.8): some clients offer `h2c` with their first request.
		shouldUpgradeCallback: ({ headers }: IncomingMessage) => headers.upgrade?.toLowerCase() === 'websocket',
	};
	const options = {
		logger: false,
		genReqId: requestIds,
		keepAliveTimeout: limits.keepAliveTimeoutS * 1000,
		// Streams and polls take as long as they take; headers and bodies have deadlines of their own.
		requestTimeout: 0,
		bodyLimit: Math.min(BODY_BYTES_MAX, limits.maxBodyBytes),
		// A draining node still answers for itself, with the reason.
		return503OnClosing: false,
		// Routes whose GET waits or acts have a HEAD of their own.
		exposeHeadRoutes: true,
		routerOptions: { ignoreTrailingSlash: true, maxParamLength: PARAM_LENGTH_MAX },
		// Before routing: no hook has run.
		frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
			void answerFailure(error, request, reply.header('x-request-id', request.id).headers(SECURITY_HEADERS)),
		clientErrorHandler: (error: Error, socket: Duplex) => answerBrokenRequest(deps, error, socket, requestIds()),
	};
	const server =
		edge.tls === null
			? fastify({ ...options, http })
			: fastifyOverTls({ ...options, https: { ...http, ...tlsOptions(edge.tls) } });
	server.server.maxHeadersCount = HEADERS_MAX;
	// A client that has closed its sending side gets its answer. Not among the documented properties, but as old as they are.
	Object.assign(server.server, { httpAllowHalfOpen: true });
	askForBodiesWhenRead(server.server);
	return server;
}

function tlsOptions(credentials: TlsCredentials) {
	const clientsNeedCertificates = credentials.ca !== undefined;
	return {
		...credentials,
		allowHalfOpen: true,
		requestCert: clientsNeedCertificates,
		rejectUnauthorized: clientsNeedCertificates,
		handshakeTimeout: HEADERS_TIMEOUT_MS,
	};
}

/** The framework's types tell the servers of both schemes apart; nothing here needs to. */
function fastifyOverTls(options: FastifyHttpsOptions<HttpsServer>): FastifyInstance {
	return fastify(options) as unknown as FastifyInstance;
}

function addValidation(server: FastifyInstance): void {
	server.setValidatorCompiler(({ schema, httpPart = 'body' }) => {
		const validate = compileValidator(schema as object);
		const at = [PLACES.get(httpPart) ?? httpPart];
		return (value: unknown) => {
			const error = validate(value, at);
			return error === null ? { value } : { error };
		};
	});
	// The schemas of answers document them. Rebuilding each answer by its schema would only take time.
	server.setSerializerCompiler(() => JSON.stringify);
}

/** What happens to every request first, and to its numbers last. */
function addEdge(server: FastifyInstance, deps: HttpDeps, bodies: BodyReader, answerError: AnswerError): void {
	const { metrics, clock, edge } = deps;
	const securityHeaders = edge.tls === null ? SECURITY_HEADERS : TLS_SECURITY_HEADERS;
	const table = new RouteTable();
	const unrouted = metrics.route('any', 'none');
	server.decorateRequest('notedTopics', null);
	server.addHook('onRoute', (route: RouteOptions) => {
		table.add(route);
		const handler = metrics.route(String(route.method), route.url);
		const counted = (request: FastifyRequest, reply: FastifyReply, done: () => void) => {
			handler.answered(reply.statusCode, reply.elapsedTime / 1000);
			logRequest(deps, request, reply);
			done();
		};
		route.onResponse = [counted, ...[route.onResponse ?? []].flat()];
	});
	server.addHook('onRequest', (request, reply, done) => {
		// What a connection has sent beyond its bound is not served after it was cut off.
		if (request.raw.socket.destroyed) return void reply.hijack();
		reply.headers(securityHeaders).header('x-request-id', request.id);
		const refuse = (error: RelayError) => answerError(request, reply, error);
		const refusal = edgeRefusal(request.raw, edge);
		const answered = refusal === null && edge.origins.handle(request, reply, refuse);
		const nowhere = request.is404 || isMissingDocsFile(request);
		if (refusal === null && !answered && !nowhere) {
			// Nobody reads the body of a GET: whatever is sent as one is dropped, and not for ever.
			if ((request.method === 'GET' || request.method === 'HEAD') && hasBody(request.raw)) bodies.discard(request.raw);
			done(encodingProblem(request));
			return;
		}
		bodies.discard(request.raw);
		const startedMs = clock.monotonicMs();
		if (refusal !== null) refuse(refusal);
		else if (!answered) answerNotFound(table, deps, request, reply, answerError);
		if (!request.is404) return;
		unrouted.answered(reply.statusCode, (clock.monotonicMs() - startedMs) / 1000);
		logRequest(deps, request, reply);
	});
}

/** Bodies are read as they come: one that was compressed must not be taken for JSON that is broken. */
function encodingProblem({ headers }: FastifyRequest): RelayError | undefined {
	const encoding = headers['content-encoding']?.toLowerCase() ?? 'identity';
	if (encoding === 'identity') return undefined;
	return new RelayError('unsupported_media_type', 'this relay does not read bodies with a Content-Encoding');
}

function answerNotFound(
	table: RouteTable,
	deps: HttpDeps,
	request: FastifyRequest,
	reply: FastifyReply,
	answerError: AnswerError,
): void {
	const methods = isMissingDocsFile(request) ? [] : table.methodsOf(request.url);
	if (methods.length === 0) {
		answerNotThere(deps, request, reply, answerError);
		return;
	}
	const allow = methods.join(', ');
	const error = new RelayError('method_not_allowed', `this route takes ${allow}`);
	answerError(request, reply, error, { detail: 'Method Not Allowed', headers: { allow } });
}

function answerNotThere(
	{ auth }: HttpDeps,
	request: FastifyRequest,
	reply: FastifyReply,
	answerError: AnswerError,
): FastifyReply {
	const lacksAccounts = auth === null && request.url.startsWith('/auth/');
	const message = lacksAccounts ? 'this relay has no accounts: it was started without PULSAR_AUTH=required' : 'no such route';
	return answerError(request, reply, new RelayError('not_found', message), { detail: 'Not Found' });
}

function logRequest({ edge: { traffic } }: HttpDeps, request: FastifyRequest, reply: FastifyReply): void {
	if (!traffic.isOn) return;
	const { id, method, routeOptions } = request;
	const { statusCode: status } = reply;
	// What is no topic may be anything that was put in its place, such as a credential.
	const topics = status < 400 || status === 403 || status >= 500 ? topicsOf(request) : {};
	const fields = { request_id: id, method, route: routeOptions.url, ...topics, status };
	traffic.answered(request.raw, request.principal, { ...fields, ms: reply.elapsedTime });
}

/** The beginning of a JWT or of an API key, and what follows. */
const LIKE_CREDENTIAL = /(eyJ[\w-]+\.|prk_)[\w.-]*/g;

/** The topics of a request: those that its handler has noted, else those in its path, query or body. */
function topicsOf({ notedTopics, params, query, body }: FastifyRequest): { readonly topics?: string } {
	const inBody = (body as { readonly topics?: unknown } | null | undefined)?.topics;
	const inPath = (params as { readonly topic_name?: unknown } | null)?.topic_name;
	const inQuery = (query as { readonly topics?: unknown } | null)?.topics;
	const topics = notedTopics ?? inPath ?? inQuery ?? (Array.isArray(inBody) ? inBody.join(',') : null);
	return typeof topics === 'string' ? { topics: printable(topics).replace(LIKE_CREDENTIAL, '[redacted]') } : {};
}

/** JSON bodies as values, for all routes that do not say otherwise. */
function addJsonBodies(server: FastifyInstance, bodies: BodyReader, deps: HttpDeps): void {
	server.removeAllContentTypeParsers();
	server.addContentTypeParser(JSON_TYPES, (request: FastifyRequest, _payload, done) => {
		bodies.read(request, request.routeOptions.bodyLimit, (error, body) => {
			if (error !== null || body === undefined || body.byteLength === 0) return done(error, undefined);
			const fail = (thrown: unknown) => done(RelayError.from(thrown), undefined);
			try {
				chargeBody(deps, request, body);
				const party = () => deps.partyOf(request.principal, request.raw);
				const value = deps.budgets.read(party, body.byteLength, () => parseJsonBody(body, deps.limits.maxPayloadDepth));
				if (value instanceof Promise) value.then((later) => done(null, later), fail);
				else done(null, value);
			} catch (thrown) {
				fail(thrown);
			}
		});
	});
}

/** JSON bodies as the bytes that came, for the routes that store them. */
function addRawBodies(scope: FastifyInstance, bodies: BodyReader, deps: HttpDeps): void {
	scope.addContentTypeParser(JSON_TYPES, (request: FastifyRequest, _payload, done) => {
		bodies.read(request, deps.limits.maxBodyBytes, (error, body) => {
			if (error !== null || body === undefined) return done(error, undefined);
			try {
				chargeBody(deps, request, body);
			} catch (thrown) {
				return done(RelayError.from(thrown), undefined);
			}
			done(null, body);
		});
	});
}

/** What a long body costs is paid before it is looked at. Throws `rate_limited`. */
function chargeBody({ limiting }: HttpDeps, { principal }: FastifyRequest, { byteLength }: Buffer): void {
	const tokens = tokensFor(byteLength);
	if (tokens > 0 && principal !== null) limiting?.take(principal, tokens);
}
