/** `/auth/oidc/…`: signing in at an OpenID Connect provider. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import type { Auth, BrowserSignIn } from '../../../auth/auth.ts';
import type { FinishedSignIn, OidcSignIn } from '../../../auth/oidc-sign-in.ts';
import { TokensAnswer } from '../auth-schemas.ts';
import type { HttpDeps } from '../deps.ts';
import { problemPage } from '../device-pages.ts';
import type { AnswerError } from '../errors.ts';
import { PAGE_HEADERS } from '../pages.ts';
import { errorAnswers } from '../schemas.ts';
import {
	errorPagesOrJson,
	HandoverRequest,
	PageAnswer,
	ProviderList,
	ProviderLoginQuery,
	ProviderParams,
} from '../sign-in-schemas.ts';
import { findDevice } from './device.ts';
import { askForDecision, devicePages, sentence, show } from './device-page.ts';
import { tokensAnswer } from './tokens.ts';

const TAGS = ['sign-in'];
const BODY_BYTES_MAX = 64 * 1024;
/** In the address of the page that is gone back to: what it exchanges for tokens. */
const HANDOVER_PARAMETER = 'sign_in_code';

/** Registers the routes. */
export function registerOidc(server: FastifyInstance, deps: HttpDeps, auth: Auth, answerError: AnswerError): void {
	const oidc = auth.browser?.oidc ?? null;
	server.get(
		'/auth/oidc/providers',
		{
			schema: {
				operationId: 'listProviders',
				tags: TAGS,
				summary: 'List the identity providers that one can sign in at',
				response: { 200: ProviderList },
			},
		},
		async (): Promise<Static<typeof ProviderList>> =>
			(oidc?.providers ?? []).map(({ name, displayName }) => ({
				name,
				display_name: displayName,
				login_url: `${auth.browser?.baseUrl}/auth/oidc/${name}/login`,
			})),
	);
	registerLogin(server, deps, auth, answerError);
	registerCallback(server, deps, auth, answerError);
	server.post<{ Body: Static<typeof HandoverRequest> }>(
		'/auth/oidc/token',
		{
			bodyLimit: BODY_BYTES_MAX,
			schema: {
				operationId: 'exchangeSignInCode',
				tags: TAGS,
				summary: 'Exchange the code that a page was gone back to with for tokens, once',
				body: HandoverRequest,
				response: { 200: TokensAnswer, ...errorAnswers('invalid_credentials', 'invalid_request') },
			},
		},
		async ({ body }, reply) => {
			const redeemed = (await oidc?.redeem(body.code)) ?? null;
			if (redeemed === null) throw new RelayError('invalid_credentials', 'unknown, used or expired code');
			return answerTokens(reply, auth, redeemed);
		},
	);
}

function registerLogin(server: FastifyInstance, deps: HttpDeps, auth: Auth, answerError: AnswerError): void {
	server.get<{ Params: { provider: string }; Querystring: Static<typeof ProviderLoginQuery> }>(
		'/auth/oidc/:provider/login',
		{
			schema: {
				operationId: 'providerLogin',
				tags: TAGS,
				summary: 'Go to a provider to sign in',
				params: ProviderParams,
				querystring: ProviderLoginQuery,
				response: {
					302: { type: 'null', description: 'To the provider', headers: { location: { type: 'string' } } },
					...errorPagesOrJson('not_found', 'bad_request', 'provider_unavailable'),
				},
			},
		},
		async (request, reply) => {
			const { next = null, device_user_code: deviceUserCode = null } = request.query;
			try {
				const [browser, oidc] = signInOf(auth);
				const { url, sealed, lifetimeS } = await oidc.begin(request.params.provider, { next, deviceUserCode });
				return reply
					.header('set-cookie', cookie(browser, sealed, lifetimeS))
					.header('cache-control', 'no-store')
					.redirect(url, 302);
			} catch (thrown) {
				return fail(deps, auth, answerError, request, reply, thrown);
			}
		},
	);
}

function registerCallback(server: FastifyInstance, deps: HttpDeps, auth: Auth, answerError: AnswerError): void {
	const pages = devicePages(deps, auth);
	const finish = async (request: FastifyRequest, reply: FastifyReply, signedIn: FinishedSignIn, [browser, oidc]: SignInParts) => {
		reply.header('set-cookie', cookie(browser, '', 0)).header('cache-control', 'no-store');
		const { account, next, deviceUserCode } = signedIn;
		if (deviceUserCode !== null) {
			const device = await findDevice(deps, browser, request, deviceUserCode);
			if (device !== null) return show(reply, await askForDecision(browser, pages, device, account));
			throw new RelayError('bad_request', 'the request of the device has ended or was decided already', {
				detail: 'Device-flow session expired or already consumed',
			});
		}
		if (next === null) return answerTokens(reply, auth, signedIn);
		const url = new URL(next);
		url.searchParams.set(HANDOVER_PARAMETER, await oidc.handOver(signedIn));
		return reply.redirect(url.href, 303);
	};
	server.get<{ Params: { provider: string } }>(
		'/auth/oidc/:provider/callback',
		{
			exposeHeadRoute: false,
			schema: {
				operationId: 'providerCallback',
				tags: TAGS,
				summary: 'Come back from a provider',
				description:
					'Answers with tokens; with the page that asks for the decision, if a device is to be signed in; or by going back to `next` with a `sign_in_code`.',
				params: ProviderParams,
				response: {
					200: {
						description: 'Tokens, or the page that asks for the decision about a device',
						content: { 'application/json': { schema: TokensAnswer }, ...PageAnswer.content },
					},
					303: { type: 'null', description: 'Back to `next`', headers: { location: { type: 'string' } } },
					...errorPagesOrJson('bad_request', 'not_found', 'forbidden', 'account_conflict', 'provider_unavailable'),
				},
			},
		},
		async (request, reply) => {
			try {
				const parts = signInOf(auth);
				const sealed = cookieOf(request, parts[0]);
				const [, query = ''] = /\?(.*)$/.exec(request.raw.url ?? '') ?? [];
				const signedIn = await parts[1].finish(request.params.provider, query, sealed);
				return await finish(request, reply, signedIn, parts);
			} catch (thrown) {
				return fail(deps, auth, answerError, request, reply, thrown);
			}
		},
	);
	// Something that checks links must not use up the sign-in of the person who follows this one.
	server.head('/auth/oidc/:provider/callback', async (_request, reply) => reply.send());
}

type SignInParts = readonly [browser: BrowserSignIn, oidc: OidcSignIn];

function signInOf({ browser }: Auth): SignInParts {
	const oidc = browser?.oidc ?? null;
	if (browser === null || oidc === null) {
		throw new RelayError('not_found', 'nobody signs in at a provider here', { detail: 'OIDC disabled' });
	}
	return [browser, oidc];
}

/** People get a page, programs the JSON that they know. */
function fail(
	deps: HttpDeps,
	auth: Auth,
	answerError: AnswerError,
	request: FastifyRequest,
	reply: FastifyReply,
	thrown: unknown,
): FastifyReply {
	const error = RelayError.from(thrown);
	if (!(request.headers.accept ?? '').includes('text/html')) throw thrown;
	const markup = problemPage(devicePages(deps, auth), 'Sign-in failed', sentence(error.message));
	return answerError(request, reply, error, { headers: PAGE_HEADERS, page: markup });
}

async function answerTokens(
	reply: FastifyReply,
	auth: Auth,
	{ account, clientHint }: Pick<FinishedSignIn, 'account' | 'clientHint'>,
): Promise<FastifyReply> {
	const tokens = await auth.begin(account, clientHint);
	if (tokens === null) throw new RelayError('invalid_credentials', 'the account was changed during the sign-in; sign in again');
	return reply.header('cache-control', 'no-store').send(tokensAnswer(tokens));
}

function cookieNameOf({ baseUrl }: BrowserSignIn): string {
	return baseUrl.startsWith('https:') ? '__Secure-pulsar-sign-in' : 'pulsar-sign-in';
}

/** Lax, since the provider sends people back from its own site; no script, no other route and no other site gets to it. */
function cookie(browser: BrowserSignIn, value: string, maxAgeS: number): string {
	const path = `${new URL(browser.baseUrl).pathname.replace(/\/$/, '')}/auth/oidc`;
	const secure = browser.baseUrl.startsWith('https:') ? '; Secure' : '';
	return `${cookieNameOf(browser)}=${value}; Path=${path}; Max-Age=${maxAgeS}; HttpOnly; SameSite=Lax${secure}`;
}

function cookieOf({ headers }: FastifyRequest, browser: BrowserSignIn): string | null {
	const start = `${cookieNameOf(browser)}=`;
	const found = (headers.cookie ?? '').split(/; */).find((one) => one.startsWith(start));
	return found === undefined || found.length === start.length ? null : found.slice(start.length);
}
