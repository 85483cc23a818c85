/** Signing in and out: `/auth/login`, `/auth/logout`, `/auth/token/…`. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import type { Auth, Tokens } from '../../../auth/auth.ts';
import { mintScopedToken } from '../../../auth/scoped-tokens.ts';
import { knownOf } from '../access.ts';
import {
	LoginForm,
	RefreshRequest,
	RevokeRequest,
	ScopedTokenAnswer,
	ScopedTokenRequest,
	TokensAnswer,
} from '../auth-schemas.ts';
import type { HttpDeps } from '../deps.ts';
import { FORM_BYTES_MAX, FORM_MEDIA_TYPES } from '../form-body.ts';
import { type GuessKind, type Limiting, tellBalance } from '../limiting.ts';
import { errorAnswers } from '../schemas.ts';
import { checkPatterns, NO_CONTENT } from './auth-answers.ts';

const TAGS = ['tokens'];
const BODY_BYTES_MAX = 64 * 1024;

/** Registers the login. In this scope bodies are forms. */
export function registerLogin(scope: FastifyInstance, { limiting }: HttpDeps, auth: Auth): void {
	scope.post<{ Body: Static<typeof LoginForm> | undefined }>(
		'/auth/login',
		{
			bodyLimit: FORM_BYTES_MAX,
			schema: {
				operationId: 'login',
				tags: TAGS,
				summary: 'Sign in with a password',
				consumes: FORM_MEDIA_TYPES,
				body: LoginForm,
				response: {
					200: TokensAnswer,
					...errorAnswers('invalid_credentials', 'forbidden', 'invalid_request', 'rate_limited', 'too_many_logins'),
				},
			},
			// No body is a form without fields.
			preValidation: (request, _reply, done) => {
				request.body ??= {} as Static<typeof LoginForm>;
				done();
			},
		},
		async (request, reply) => {
			const { username = '', password = '' } = request.body ?? {};
			return tokensAnswer(
				await guess(limiting, 'login', { request, reply, subject: username }, () => auth.login(username, password)),
			);
		},
	);
}

/** Registers the others. */
export function registerTokens(server: FastifyInstance, { limiting }: HttpDeps, auth: Auth): void {
	server.post<{ Body: Static<typeof RefreshRequest> }>(
		'/auth/token/refresh',
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'refresh',
				tags: TAGS,
				summary: 'Get new tokens for a refresh token',
				description: 'The token is replaced by the one in the answer. Used again later, it ends the session.',
				body: RefreshRequest,
				response: { 200: TokensAnswer, ...errorAnswers('invalid_credentials', 'invalid_request', 'rate_limited') },
			},
		},
		async (request, reply) => {
			const { refresh_token: token } = request.body;
			const [subject = ''] = token.split('.', 1);
			return tokensAnswer(await guess(limiting, 'refresh', { request, reply, subject }, () => auth.refresh(token)));
		},
	);
	server.post<{ Body: Static<typeof RevokeRequest> }>(
		'/auth/token/revoke',
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'revoke',
				tags: TAGS,
				summary: 'End the session of a refresh token',
				description: 'The answer is the same for a token that is none.',
				body: RevokeRequest,
				response: { 204: NO_CONTENT, ...errorAnswers('bad_request', 'invalid_request') },
			},
		},
		async ({ body }, reply) => {
			if (await auth.sessions.revoke(body.refresh_token)) return reply.code(204).send();
			throw new RelayError('bad_request', 'malformed refresh token');
		},
	);
	server.post(
		'/auth/logout',
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'logout',
				tags: TAGS,
				summary: 'Revoke the token that the request is made with',
				description: 'Of an access token, also the scoped tokens that were minted in its session. The refresh token stays.',
				response: { 204: NO_CONTENT, ...errorAnswers('not_authenticated', 'invalid_credentials') },
			},
		},
		async (request, reply) => {
			const principal = knownOf(request);
			if (principal.kind === 'apiKey') throw new RelayError('forbidden', 'an API key is deleted, not logged out');
			await auth.logout(principal);
			return reply.code(204).send();
		},
	);
	registerScoped(server, auth);
}

function registerScoped(server: FastifyInstance, auth: Auth): void {
	server.post<{ Body: Static<typeof ScopedTokenRequest> }>(
		'/auth/token/scoped',
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'mintScopedToken',
				tags: TAGS,
				summary: 'Mint a short-lived token for a part of what the caller may do',
				description: 'For browsers: made by a backend, by its account or an API key, and handed on.',
				body: ScopedTokenRequest,
				response: {
					201: ScopedTokenAnswer,
					...errorAnswers('not_authenticated', 'invalid_credentials', 'forbidden', 'invalid_request'),
				},
			},
		},
		async (request, reply) => {
			const { scopes, expires_in: lifetimeS } = request.body;
			checkPatterns(scopes);
			const { token, expiresInS } = await mintScopedToken(auth, knownOf(request), { scopes, lifetimeS });
			return reply.code(201).send({ access_token: token, token_type: 'bearer', expires_in: expiresInS });
		},
	);
}

interface GuessContext {
	readonly request: FastifyRequest;
	readonly reply: FastifyReply;
	/** What is guessed at: an account, a session. */
	readonly subject: string;
}

/** Tries what may be wrong, as far as the limits let it. */
export function guess<T>(
	limiting: Limiting | null,
	kind: GuessKind,
	{ request, reply, subject }: GuessContext,
	attempt: () => Promise<T>,
): Promise<T> {
	if (limiting === null) return attempt();
	return limiting.guess(kind, { request: request.raw, subject }, attempt, (balance) => tellBalance(reply, balance));
}

/** The answer that gives tokens out. */
export function tokensAnswer({ accessToken, expiresInS, refreshToken }: Tokens): Static<typeof TokensAnswer> {
	return {
		access_token: accessToken,
		token_type: 'bearer',
		expires_in: expiresInS,
		refresh_token: refreshToken,
		refresh_token_secondary: null,
	};
}
