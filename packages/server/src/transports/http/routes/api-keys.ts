/** `/auth/keys…`: the API keys of an account. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { ApiKey, NewApiKey } from '../../../auth/api-keys.ts';
import type { Auth } from '../../../auth/auth.ts';
import { resolveScopes } from '../../../auth/scoped-tokens.ts';
import type { Clock } from '../../../ports/clock.ts';
import { accountOf } from '../access.ts';
import { KeyAnswer, KeyCreation, KeyList, KeyRotation, KeyUpdate, NewKeyAnswer } from '../auth-schemas.ts';
import type { HttpDeps } from '../deps.ts';
import { errorAnswers } from '../schemas.ts';
import { checkPatterns, NO_CONTENT, timestamp, timestampOrNull } from './auth-answers.ts';

const TAGS = ['keys'];
const PATH = '/auth/keys';
const KEY_PATH = `${PATH}/:key_id`;
const BODY_BYTES_MAX = 64 * 1024;
const ERRORS = ['not_authenticated', 'invalid_credentials', 'forbidden', 'invalid_request'] as const;
const KeyParams = { type: 'object', properties: { key_id: { type: 'string' } }, required: ['key_id'] };

interface Params {
	readonly key_id: string;
}

/** Registers the routes. */
export function registerApiKeys(server: FastifyInstance, { clock }: HttpDeps, auth: Auth): void {
	registerCreate(server, clock, auth);
	registerRotate(server, auth);
	server.get(
		PATH,
		{
			schema: {
				operationId: 'listKeys',
				tags: TAGS,
				summary: "List the caller's API keys",
				response: { 200: KeyList, ...errorAnswers(...ERRORS) },
			},
		},
		async (request) => {
			const keys = await auth.keys.list(accountOf(request).accountId);
			return keys.map((key) => ({ ...keyAnswer(key), last_used_at: timestampOrNull(key.lastUsedAtMs) }));
		},
	);
	server.patch<{ Params: Params; Body: Static<typeof KeyUpdate> }>(
		KEY_PATH,
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'changeKey',
				tags: TAGS,
				summary: 'Change the name, scopes or end of an API key',
				params: KeyParams,
				body: KeyUpdate,
				response: { 200: KeyAnswer, ...errorAnswers(...ERRORS, 'not_found') },
			},
		},
		async (request) => {
			const { accountId } = accountOf(request);
			const { name, scopes, expires_in: expiresInS } = request.body;
			checkPatterns(scopes ?? []);
			const key = await auth.keys.change(accountId, request.params.key_id, {
				...(name === undefined ? {} : { name }),
				...(scopes === undefined ? {} : { scopes: await resolveScopes(auth.topics, accountId, scopes), requestedScopes: scopes }),
				...(expiresInS === undefined ? {} : { expiresAtMs: endOf(clock, expiresInS) }),
			});
			if (key === null) throw noSuchKey();
			return keyAnswer(key);
		},
	);
	server.delete<{ Params: Params }>(
		KEY_PATH,
		{
			schema: {
				operationId: 'deleteKey',
				tags: TAGS,
				summary: 'Delete an API key; what uses it is disconnected',
				params: KeyParams,
				response: { 204: NO_CONTENT, ...errorAnswers(...ERRORS, 'not_found') },
			},
		},
		async (request, reply) => {
			if (!(await auth.keys.delete(accountOf(request).accountId, request.params.key_id))) throw noSuchKey();
			return reply.code(204).send();
		},
	);
}

function registerCreate(server: FastifyInstance, clock: Clock, auth: Auth): void {
	server.post<{ Body: Static<typeof KeyCreation> }>(
		PATH,
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'createKey',
				tags: TAGS,
				summary: 'Make an API key',
				body: KeyCreation,
				response: { 201: NewKeyAnswer, ...errorAnswers(...ERRORS) },
			},
		},
		async (request, reply) => {
			const { accountId } = accountOf(request);
			const { name, scopes: requestedScopes, expires_in: expiresInS = null } = request.body;
			checkPatterns(requestedScopes);
			const scopes = await resolveScopes(auth.topics, accountId, requestedScopes);
			const expiresAtMs = endOf(clock, expiresInS);
			const made = await auth.keys.create(accountId, { name, scopes, requestedScopes, expiresAtMs });
			return reply.code(201).send(newKeyAnswer(made));
		},
	);
}

function registerRotate(server: FastifyInstance, auth: Auth): void {
	server.post<{ Params: Params; Body: Static<typeof KeyRotation> }>(
		`${KEY_PATH}/rotate`,
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'rotateKey',
				tags: TAGS,
				summary: 'Give an API key a new secret',
				description: 'The secret before stays good for `overlap` seconds, a day unless the request says otherwise.',
				params: KeyParams,
				body: KeyRotation,
				response: { 200: NewKeyAnswer, ...errorAnswers(...ERRORS, 'not_found') },
			},
			preValidation: (request, _reply, done) => {
				request.body ??= {} as Static<typeof KeyRotation>;
				done();
			},
		},
		async (request) => {
			const rotated = await auth.keys.rotate(accountOf(request).accountId, request.params.key_id, request.body.overlap);
			if (rotated === null) throw noSuchKey();
			return newKeyAnswer(rotated);
		},
	);
}

function endOf(clock: Clock, lifetimeS: number | null): number | null {
	return lifetimeS === null ? null : clock.nowMs() + lifetimeS * 1000;
}

function keyAnswer({ keyId, name, requestedScopes, createdAtMs, expiresAtMs, liveSecrets }: ApiKey) {
	return {
		key_id: keyId,
		name,
		scopes: requestedScopes,
		created_at: timestamp(createdAtMs),
		expires_at: timestampOrNull(expiresAtMs),
		live_secrets: liveSecrets,
	};
}

function newKeyAnswer({ key, secret }: NewApiKey) {
	return { ...keyAnswer(key), api_key: secret };
}

function noSuchKey(): RelayError {
	return new RelayError('not_found', 'no such API key');
}
