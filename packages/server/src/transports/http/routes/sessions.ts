/** `/auth/sessions`: where an account is signed in. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance } from 'fastify';
import type { Auth } from '../../../auth/auth.ts';
import { accountOf } from '../access.ts';
import { SessionList } from '../auth-schemas.ts';
import { errorAnswers } from '../schemas.ts';
import { NO_CONTENT, timestamp, timestampOrNull } from './auth-answers.ts';

const TAGS = ['tokens'];

/** Registers the routes. */
export function registerSessions(server: FastifyInstance, auth: Auth): void {
	server.get(
		'/auth/sessions',
		{
			schema: {
				operationId: 'listSessions',
				tags: TAGS,
				summary: "List the caller's sessions",
				response: { 200: SessionList, ...errorAnswers('not_authenticated', 'invalid_credentials') },
			},
		},
		async (request) => {
			const sessions = await auth.sessions.list(accountOf(request).accountId);
			return sessions.map(({ jti, issuedAtMs, expiresAtMs, lastUsedAtMs, clientHint }) => ({
				jti,
				issued_at: timestamp(issuedAtMs),
				expires_at: timestamp(expiresAtMs),
				last_used_at: timestampOrNull(lastUsedAtMs),
				client_hint: clientHint,
			}));
		},
	);
	server.delete<{ Params: { jti: string } }>(
		'/auth/sessions/:jti',
		{
			schema: {
				operationId: 'deleteSession',
				tags: TAGS,
				summary: "End one of the caller's sessions",
				params: { type: 'object', properties: { jti: { type: 'string' } }, required: ['jti'] },
				response: { 204: NO_CONTENT, ...errorAnswers('not_authenticated', 'invalid_credentials', 'not_found') },
			},
		},
		async (request, reply) => {
			if (await auth.sessions.delete(accountOf(request).accountId, request.params.jti)) return reply.code(204).send();
			throw new RelayError('not_found', 'session not found');
		},
	);
}
