/**
 * Who may call what. Every route has a row in the table below, or the server does not start; what a row asks for is checked
 * before anything of the request is validated, and the stored account counts, not the token (PROTOCOL.md, "Credentials").
 */

import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify';
import type { Auth } from '../../auth/auth.ts';
import { type Authenticator, bearerOf } from '../../auth/authenticate.ts';
import { type AccountPrincipal, type KnownPrincipal, OPEN, type Permission, type Principal } from '../../auth/principal.ts';
import { permissionRequired } from '../../auth/topic-access.ts';
import type { Budgets } from '../../limits/budgets.ts';
import { checkJsonBody } from './json-body.ts';
import { allowed, type Limiting, tellBalance } from './limiting.ts';
import type { MetricsToken } from './metrics-token.ts';
import type { PartyOf } from './party-of.ts';

/**
 * - `open`: anybody.
 * - `account`: an account by its access token; no key, no scoped token.
 * - `any`: an account, a key or a scoped token; what it may do with which topic is the handler's to ask.
 */
export interface RouteAccess {
	readonly who: 'open' | 'account' | 'any';
	/** What the account must be permitted. */
	readonly permission?: Permission;
	/** What it does outlives the credential: that must be good in the store at this moment, and not only in memory. */
	readonly lasting?: true;
	/** The token for metrics will do, and is needed where that is set and nobody has an account. */
	readonly metricsToken?: true;
	/** A scoped token may come in the query, for clients that cannot set headers: `EventSource`. */
	readonly inQuery?: true;
	/**
	 * Instead of the rate limit of the caller. `none`: for probes. `guess`: the handler counts what turns out to be wrong; what is right is
	 * free, as a host may sign in for thousands. `device`: that of those who ask for device codes.
	 */
	readonly limit?: 'none' | 'guess' | 'device';
}

const OPEN_ROUTE: RouteAccess = { who: 'open' };
const PROBE: RouteAccess = { who: 'open', limit: 'none' };
const GUESS: RouteAccess = { who: 'open', limit: 'guess' };

/** Which route needs what, also for a HEAD of a GET; `*` stands for the rest of a path. Tests take their matrix from here. */
export const ROUTE_ACCESS: Readonly<Record<string, RouteAccess>> = {
	'GET /health': PROBE,
	'GET /ready': PROBE,
	'GET /metrics': { who: 'account', permission: 'admin', metricsToken: true, limit: 'none' },
	'GET /': OPEN_ROUTE,
	'GET /openapi.json': OPEN_ROUTE,
	'GET /docs*': OPEN_ROUTE,
	'POST /api/v1/messages': { who: 'any', permission: 'write' },
	'POST /api/v1/messages/bulk': { who: 'any', permission: 'write' },
	'POST /api/v1/messages/stream': { who: 'any', permission: 'write' },
	'GET /api/v1/poll': { who: 'any', permission: 'read' },
	'POST /messages/poll': { who: 'any', permission: 'read' },
	'GET /messages/poll/stats': { who: 'account' },
	'GET /ws': OPEN_ROUTE,
	'GET /api/v1/events': { who: 'any', permission: 'read', inQuery: true },
	'POST /api/v1/topics': { who: 'account', permission: 'write' },
	'GET /api/v1/topics': { who: 'account' },
	'GET /api/v1/topics/stats': { who: 'account', permission: 'admin' },
	'GET /api/v1/topics/:topic_name': { who: 'any' },
	'PUT /api/v1/topics/:topic_name': { who: 'account' },
	'DELETE /api/v1/topics/:topic_name': { who: 'account' },
	'GET /api/v1/topics/:topic_name/messages': { who: 'any', permission: 'read' },
	'POST /api/v1/topics/:topic_name/permissions': { who: 'account', lasting: true },
	'GET /api/v1/topics/:topic_name/permissions': { who: 'account' },
	'DELETE /api/v1/topics/:topic_name/permissions/:username': { who: 'account' },
	'POST /auth/login': GUESS,
	'POST /auth/logout': { who: 'any' },
	'POST /auth/token/refresh': GUESS,
	'POST /auth/token/revoke': OPEN_ROUTE,
	'POST /auth/token/scoped': { who: 'any' },
	'POST /auth/device/code': { who: 'open', limit: 'device' },
	'POST /auth/device/token': OPEN_ROUTE,
	'POST /auth/device/deny': { who: 'account' },
	'GET /auth/device': OPEN_ROUTE,
	'POST /auth/device': OPEN_ROUTE,
	'POST /auth/device/decision': OPEN_ROUTE,
	'GET /auth/oidc/providers': OPEN_ROUTE,
	'GET /auth/oidc/:provider/login': OPEN_ROUTE,
	'GET /auth/oidc/:provider/callback': OPEN_ROUTE,
	'POST /auth/oidc/token': OPEN_ROUTE,
	'GET /auth/me': { who: 'account' },
	'GET /auth/sessions': { who: 'account' },
	'DELETE /auth/sessions/:jti': { who: 'account' },
	'POST /auth/keys': { who: 'account', lasting: true },
	'GET /auth/keys': { who: 'account' },
	'PATCH /auth/keys/:key_id': { who: 'account', lasting: true },
	'POST /auth/keys/:key_id/rotate': { who: 'account', lasting: true },
	'DELETE /auth/keys/:key_id': { who: 'account' },
	'POST /auth/register': { who: 'account', permission: 'admin', lasting: true },
	'GET /auth/users': { who: 'account', permission: 'admin' },
	'GET /auth/users/stats': { who: 'account', permission: 'admin' },
	'PATCH /auth/users/:user_id': { who: 'account', permission: 'admin', lasting: true },
	'DELETE /auth/users/:user_id': { who: 'account', permission: 'admin' },
};

declare module 'fastify' {
	interface FastifyContextConfig {
		/** Instead of a row of the table: for routes that tests add. */
		access?: RouteAccess;
	}
	interface FastifyRequest {
		/** Null on open routes where credentials are asked for elsewhere; see {@link principalOf}. */
		principal: Principal | null;
		/** Why the request is refused once its body is known to be well-formed. */
		refusal: RelayError | null;
	}
}

/** Bodies up to this are read of requests that will be refused, since what is no JSON is told first. */
const REFUSED_BODY_BYTES_MAX = 64 * 1024;
/** How long a request may take until it is carried out by the credential as it was when its head came. */
const SECOND_LOOK_AFTER_MS = 100;
const QUERY_TOKEN = 'access_token';

/** What the checks ask. */
export interface AccessDeps {
	/** Null where nobody is asked for credentials. */
	readonly auth: Auth | null;
	/** Null where there are no limits. */
	readonly limiting: Limiting | null;
	/** Null where there is none. */
	readonly metricsToken: MetricsToken | null;
	readonly payloadDepthMax: number;
	readonly budgets: Budgets;
	readonly partyOf: PartyOf;
}

/** Adds the checks, and that every route added later has a row. Without `auth` everybody may do everything. */
export function addAccess(server: FastifyInstance, deps: AccessDeps): void {
	const { auth, limiting } = deps;
	server.decorateRequest('principal', null);
	server.decorateRequest('refusal', null);
	server.addHook('onRoute', (route: RouteOptions) => {
		// With each route, not once for all: which row it has need not be found out for each request.
		const [row = OPEN_ROUTE] = [route.method].flat().map((method) => rowOf(method, route.url, route.config?.access));
		const check = checkOf(row, deps);
		if (check !== null) route.onRequest = [check, route.onRequest ?? []].flat();
		if (auth !== null && row.who !== 'open') route.preHandler = [secondLook(row, auth), route.preHandler ?? []].flat();
		if (limiting !== null && row.limit !== 'none' && row.limit !== 'guess') {
			route.preHandler = [limitCheck(row, limiting), route.preHandler ?? []].flat();
		}
	});
	if (auth === null) {
		server.addHook('onRequest', (request, _reply, done) => {
			request.principal = OPEN;
			done();
		});
		return;
	}
	addRefusals(server, deps);
}

type Check = (request: FastifyRequest, reply: FastifyReply, done: (error?: Error) => void) => void;

/** What checks the credentials of a row's requests; null = nothing needs to. */
function checkOf(row: RouteAccess, { auth, limiting, metricsToken }: AccessDeps): Check | null {
	const byToken = row.metricsToken === true ? metricsToken : null;
	if (auth === null) return byToken === null ? null : (request, _reply, done) => done(byToken.refusal(request.raw) ?? undefined);
	if (row.who === 'open') return null;
	const check = credentialsCheck(row, auth, limiting);
	if (byToken === null) return check;
	return (request, reply, done) => (byToken.refusal(request.raw) === null ? done() : check(request, reply, done));
}

/** Once the request is known to be well-formed, as only such ones count. */
function limitCheck({ limit }: RouteAccess, limiting: Limiting): Check {
	return (request, reply, done) => {
		const { principal } = request;
		const balance =
			principal === null || principal.kind === 'open' || limit === 'device'
				? limiting.askByAddress(request.raw, limit === 'device' ? 'device' : 'addresses')
				: limiting.ask(principal);
		tellBalance(reply, balance);
		try {
			allowed(balance);
		} catch (thrown) {
			return done(RelayError.from(thrown));
		}
		done();
	};
}

function credentialsCheck(access: RouteAccess, auth: Auth, limiting: Limiting | null): Check {
	return (request, _reply, done) => {
		const refuse = (thrown: unknown) => {
			const failure = RelayError.from(thrown);
			const error = limiting?.afterFailure(request.raw, failure) ?? failure;
			if (!hasSmallBody(request.raw)) return done(error);
			request.refusal = error;
			done();
		};
		const accept = (principal: KnownPrincipal) => {
			const problem = accessProblem(access, principal);
			if (problem !== null) return refuse(problem);
			request.principal = principal;
			done();
		};
		let principal: KnownPrincipal | Promise<KnownPrincipal>;
		try {
			principal = authenticate(auth, request, access);
		} catch (thrown) {
			refuse(thrown);
			return;
		}
		if (principal instanceof Promise) principal.then(accept, refuse);
		else accept(principal);
	};
}

/**
 * Once the body has come: a client may send it for a minute, and what it does must not be done by a credential that has ended meanwhile. What
 * outlasts the credential is not done by what is in memory either.
 */
function secondLook(access: RouteAccess, { authenticator }: Auth): Check {
	return (request, reply, done) => {
		const { principal } = request;
		const isDue = access.lasting === true || reply.elapsedTime >= SECOND_LOOK_AFTER_MS;
		if (!isDue || principal === null || principal.kind === 'open') return done();
		const looked = access.lasting === true ? authenticator.confirm(principal) : renewed(authenticator, principal);
		looked.then(
			(now) => {
				request.principal = now;
				done(accessProblem(access, now) ?? undefined);
			},
			(thrown: unknown) => done(RelayError.from(thrown)),
		);
	};
}

async function renewed(authenticator: Authenticator, { credential }: KnownPrincipal): Promise<KnownPrincipal> {
	return authenticator.renew(credential);
}

/** Refuses what was kept back until the body has come. */
function addRefusals(server: FastifyInstance, { budgets, partyOf, payloadDepthMax }: AccessDeps): void {
	server.addHook('preValidation', ({ refusal, body, principal, raw }, _reply, done) => {
		if (refusal === null) {
			done();
			return;
		}
		const check = async () => {
			// Routes that take bytes have not looked at them yet.
			if (!Buffer.isBuffer(body) || body.byteLength === 0) return;
			await budgets.read(
				() => partyOf(principal, raw),
				body.byteLength,
				() => checkJsonBody(body, payloadDepthMax + 3),
			);
		};
		check().then(
			() => done(refusal),
			(thrown: unknown) => done(RelayError.from(thrown)),
		);
	});
}

function authenticate(auth: Auth, request: FastifyRequest, access: RouteAccess): KnownPrincipal | Promise<KnownPrincipal> {
	const { authorization } = request.headers;
	const inQuery = queryToken(request);
	if (inQuery === null) return auth.authenticator.authenticate(bearerOf(authorization));
	if (authorization !== undefined) throw new RelayError('bad_request', 'the request has more than one credential');
	if (access.inQuery !== true) return auth.authenticator.authenticate(bearerOf(authorization));
	return authenticateQuery(auth, inQuery);
}

/** What stands in a query is written down on its way: only what is short-lived and limited may come there. */
async function authenticateQuery(auth: Auth, token: string): Promise<KnownPrincipal> {
	const principal = await auth.authenticator.authenticate(token);
	if (principal.kind === 'scoped') return principal;
	throw new RelayError('invalid_credentials', 'only a scoped token may come in the query', {
		detail: 'Invalid or expired token',
	});
}

function queryToken({ raw, query }: FastifyRequest): string | null {
	if (!(raw.url ?? '').includes(QUERY_TOKEN)) return null;
	const token = (query as Readonly<Record<string, unknown>>)[QUERY_TOKEN];
	if (token === undefined) return null;
	if (typeof token !== 'string') throw new RelayError('bad_request', 'the request has more than one credential');
	return token;
}

/** Why a principal may not call a route, or null. */
export function accessProblem({ who, permission }: RouteAccess, principal: KnownPrincipal): RelayError | null {
	if (who === 'account' && principal.kind !== 'account') {
		return new RelayError('forbidden', 'API keys and scoped tokens cannot do this', { detail: 'An access token is required' });
	}
	return permission === undefined || principal.permissions.includes(permission) ? null : permissionRequired(permission);
}

/** On whose behalf a request is made. */
export function principalOf({ principal }: FastifyRequest): Principal {
	// An open route that asks this is a defect, and must not act as if nobody needed credentials.
	if (principal === null) throw new Error('the route has no principal');
	return principal;
}

/** The account that a request is made by. */
export function accountOf(request: FastifyRequest): AccountPrincipal {
	const principal = principalOf(request);
	if (principal.kind !== 'account') throw new Error('the route has no account');
	return principal;
}

/** Anybody who has shown a credential. */
export function knownOf(request: FastifyRequest): KnownPrincipal {
	const principal = principalOf(request);
	if (principal.kind === 'open') throw new Error('the route asked nobody for credentials');
	return principal;
}

/** The row of a route; throws when there is none. */
export function rowOf(method: string, url: string, own?: RouteAccess): RouteAccess {
	if (own !== undefined) return own;
	const path = url.startsWith('/docs') ? '/docs*' : url.replace(/(.)\/$/, '$1');
	const row = ROUTE_ACCESS[`${method === 'HEAD' ? 'GET' : method} ${path}`];
	if (row === undefined) throw new Error(`${method} ${url} has no row in transports/http/access.ts`);
	return row;
}

function hasSmallBody({ headers }: IncomingMessage): boolean {
	// One that waits to be asked for is not asked for either.
	if (headers['transfer-encoding'] !== undefined || headers.expect !== undefined) return false;
	return Number(headers['content-length'] ?? 0) <= REFUSED_BODY_BYTES_MAX;
}
