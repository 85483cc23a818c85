/** `/auth/me`, `/auth/register`, `/auth/users…`: accounts. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance } from 'fastify';
import type { Static } from 'typebox';
import type { Account, AccountChange } from '../../../auth/accounts.ts';
import type { Auth } from '../../../auth/auth.ts';
import { usernameProblem } from '../../../auth/usernames.ts';
import { ownNameOf } from '../../../relay/topic-log.ts';
import { accountOf } from '../access.ts';
import { AccountAnswer, AccountCreation, AccountListQuery, AccountStats, AccountUpdate } from '../auth-schemas.ts';
import type { HttpDeps } from '../deps.ts';
import { errorAnswers } from '../schemas.ts';
import { invalid } from '../validation.ts';
import { NO_CONTENT, timestamp } from './auth-answers.ts';
import { topicsOf } from './topics.ts';

const TAGS = ['accounts'];
const BODY_BYTES_MAX = 64 * 1024;
/** Topics told of one account. */
const OWNED_TOPICS_MAX = 1000;
const ADMIN_ERRORS = ['not_authenticated', 'invalid_credentials', 'forbidden', 'invalid_request'] as const;
const UserParams = { type: 'object', properties: { user_id: { type: 'string' } }, required: ['user_id'] };

/** Registers the routes. */
export function registerAccounts(server: FastifyInstance, deps: HttpDeps, auth: Auth): void {
	server.get(
		'/auth/me',
		{
			schema: {
				operationId: 'me',
				tags: TAGS,
				summary: "Get the caller's account",
				response: { 200: AccountAnswer, ...errorAnswers('not_authenticated', 'invalid_credentials', 'forbidden') },
			},
		},
		async (request) => {
			const account = await auth.accounts.get(accountOf(request).accountId);
			if (account === null) throw new RelayError('invalid_credentials', 'the account is gone', { detail: 'User not found' });
			return accountAnswer(account, deps);
		},
	);
	server.post<{ Body: Static<typeof AccountCreation> }>(
		'/auth/register',
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'register',
				tags: TAGS,
				summary: 'Make an account',
				body: AccountCreation,
				response: { 201: AccountAnswer, ...errorAnswers(...ADMIN_ERRORS, 'account_exists') },
			},
		},
		async ({ body }, reply) => {
			const { username, password, email = null, permissions = [] } = body;
			const problem = usernameProblem(username);
			if (problem !== undefined) throw invalid([{ type: 'string_pattern_mismatch', loc: ['body', 'username'], msg: problem }]);
			const account = await auth.accounts.create({ username, password, email, permissions });
			return reply.code(201).send(await accountAnswer(account, deps));
		},
	);
	registerList(server, deps, auth);
	registerChange(server, deps, auth);
}

function registerList(server: FastifyInstance, deps: HttpDeps, auth: Auth): void {
	server.get<{ Querystring: Static<typeof AccountListQuery> }>(
		'/auth/users',
		{
			schema: {
				operationId: 'listUsers',
				tags: TAGS,
				summary: 'List the accounts',
				querystring: AccountListQuery,
				response: { 200: { type: 'array', items: AccountAnswer, description: 'The accounts' }, ...errorAnswers(...ADMIN_ERRORS) },
			},
		},
		async ({ query }) => {
			const accounts = await auth.accounts.list(query.after ?? null, query.limit);
			return Promise.all(accounts.map((account) => accountAnswer(account, deps)));
		},
	);
	server.get(
		'/auth/users/stats',
		{
			schema: {
				operationId: 'userStats',
				tags: TAGS,
				summary: 'Count the accounts',
				response: { 200: AccountStats, ...errorAnswers(...ADMIN_ERRORS) },
			},
		},
		async () => {
			const { total, active } = await auth.accounts.count();
			return { total_users: total, active_users: active };
		},
	);
}

function registerChange(server: FastifyInstance, deps: HttpDeps, auth: Auth): void {
	server.patch<{ Params: { user_id: string }; Body: Static<typeof AccountUpdate> }>(
		'/auth/users/:user_id',
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'changeUser',
				tags: TAGS,
				summary: 'Change an account',
				description:
					'Only what is given changes, on every node and for open connections at once. A new password, and disabling, end the sessions and all tokens.',
				params: UserParams,
				body: AccountUpdate,
				response: { 200: AccountAnswer, ...errorAnswers(...ADMIN_ERRORS, 'not_found') },
			},
		},
		async ({ params, body }) => {
			const account = await auth.changeAccount(params.user_id, changeOf(body));
			if (account === null) throw noSuchUser(params.user_id);
			return accountAnswer(account, deps);
		},
	);
	server.delete<{ Params: { user_id: string } }>(
		'/auth/users/:user_id',
		{
			schema: {
				operationId: 'deleteUser',
				tags: TAGS,
				summary: 'Delete an account, its sessions and its keys',
				description: 'Its topics stay; nobody can reach them but those they were granted to.',
				params: UserParams,
				response: { 204: NO_CONTENT, ...errorAnswers(...ADMIN_ERRORS, 'bad_request', 'not_found') },
			},
		},
		async (request, reply) => {
			const { user_id: userId } = request.params;
			if (userId === accountOf(request).accountId) {
				throw new RelayError('bad_request', 'an account cannot delete itself', { detail: 'Cannot delete your own user account' });
			}
			if (!(await auth.deleteAccount(userId))) throw noSuchUser(userId);
			return reply.code(204).send();
		},
	);
}

function changeOf({ email, password, permissions, is_active: isActive }: Static<typeof AccountUpdate>): AccountChange {
	return {
		...(email === undefined ? {} : { email }),
		...(password === undefined ? {} : { password }),
		...(permissions === undefined ? {} : { permissions }),
		...(isActive === undefined ? {} : { isActive }),
	};
}

/** Never the hash of the password. */
async function accountAnswer(account: Account, { relay }: HttpDeps): Promise<Static<typeof AccountAnswer>> {
	const topics = await topicsOf(relay, account.accountId, '', OWNED_TOPICS_MAX);
	return {
		user_id: account.accountId,
		username: account.username,
		email: account.email,
		is_active: account.isActive,
		created_at: timestamp(account.createdAtMs),
		permissions: [...account.permissions],
		owned_topics: topics.map(({ name }) => ownNameOf(name)),
	};
}

function noSuchUser(userId: string): RelayError {
	const shown = userId.slice(0, 64).replace(/[^\x20-\x7e]/g, '?');
	return new RelayError('not_found', 'no such account', { detail: `User with ID '${shown}' not found` });
}
