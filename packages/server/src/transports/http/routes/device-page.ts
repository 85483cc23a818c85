/** `/auth/device`: the page on which somebody lets a device in. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import type { Account } from '../../../auth/accounts.ts';
import type { Auth, BrowserSignIn } from '../../../auth/auth.ts';
import type { PendingDevice } from '../../../auth/device-flow.ts';
import type { HttpDeps } from '../deps.ts';
import { codePage, type DevicePages, decidedPage, decisionPage, problemPage, signInPage } from '../device-pages.ts';
import type { AnswerError } from '../errors.ts';
import { FORM_BYTES_MAX, FORM_MEDIA_TYPES } from '../form-body.ts';
import { PAGE_HEADERS } from '../pages.ts';
import { DeviceDecisionForm, DevicePageQuery, DeviceSignInForm, errorPages, PageAnswer } from '../sign-in-schemas.ts';
import { findDevice, noBodyIsEmpty } from './device.ts';
import { guess } from './tokens.ts';

const TAGS = ['sign-in'];
const NO_SUCH_CODE = 'No device waits under this code. Codes end after some minutes, and each can be used once.';

/** What the page and its forms share. */
interface Context {
	readonly deps: HttpDeps;
	readonly auth: Auth;
	/** Null where there is no address for browsers. */
	readonly browser: BrowserSignIn | null;
	readonly pages: DevicePages;
	/** Answers with an error, on a page that is given or on one that says just that. */
	readonly refuse: (request: FastifyRequest, reply: FastifyReply, error: RelayError, markup?: string) => FastifyReply;
}

/** Registers the page and its forms. In this scope bodies are forms. */
export function registerDevicePage(scope: FastifyInstance, deps: HttpDeps, auth: Auth, answerError: AnswerError): void {
	const pages = devicePages(deps, auth);
	const context: Context = {
		deps,
		auth,
		browser: auth.browser,
		pages,
		refuse: (request, reply, error, markup = problemPage(pages, 'That did not work', sentence(error.message))) => {
			return answerError(request, reply, error, { headers: PAGE_HEADERS, page: markup });
		},
	};
	registerPage(scope, context);
	registerSignInForm(scope, context);
	registerDecisionForm(scope, context);
}

function registerPage(scope: FastifyInstance, context: Context): void {
	const { browser, pages } = context;
	scope.get<{ Querystring: Static<typeof DevicePageQuery> }>(
		'/auth/device',
		{
			schema: {
				operationId: 'devicePage',
				tags: TAGS,
				summary: 'The page on which somebody lets a device in',
				querystring: DevicePageQuery,
				response: { 200: PageAnswer, ...errorPages('not_found', 'rate_limited', 'not_set_up') },
			},
		},
		async (request, reply) => {
			const { user_code: userCode } = request.query;
			if (browser !== null && userCode === undefined) return show(reply, codePage(pages));
			const device = await find(context, request, reply, userCode ?? '');
			return device === null ? reply : show(reply, signInPage(pages, device));
		},
	);
}

function registerSignInForm(scope: FastifyInstance, context: Context): void {
	const { deps, auth, browser, pages, refuse } = context;
	scope.post<{ Body: Static<typeof DeviceSignInForm> }>(
		'/auth/device',
		{
			bodyLimit: FORM_BYTES_MAX,
			schema: {
				operationId: 'deviceSignIn',
				tags: TAGS,
				summary: "The sign-in form of the device's page",
				consumes: FORM_MEDIA_TYPES,
				body: DeviceSignInForm,
				response: {
					200: PageAnswer,
					...errorPages('invalid_credentials', 'forbidden', 'not_found', 'rate_limited', 'not_set_up', 'too_many_logins'),
				},
			},
			preValidation: noBodyIsEmpty,
		},
		async (request, reply) => {
			if (browser !== null && isForeign(request, browser)) return refuse(request, reply, foreign());
			const { user_code: userCode = '', username = '', password = '' } = request.body;
			const device = await find(context, request, reply, userCode);
			if (device === null || browser === null) return reply;
			let account: Account;
			try {
				const check = () => auth.checkPassword(username, password);
				account = await guess(deps.limiting, 'login', { request, reply, subject: username }, check);
			} catch (thrown) {
				const error = RelayError.from(thrown);
				if (error.code === 'internal_error') throw thrown;
				return refuse(request, reply, error, signInPage(pages, device, `${sentence(error.message)} Please try again.`));
			}
			return show(reply, await askForDecision(browser, pages, device, account));
		},
	);
}

function registerDecisionForm(scope: FastifyInstance, { browser, pages, refuse }: Context): void {
	scope.post<{ Body: Static<typeof DeviceDecisionForm> }>(
		'/auth/device/decision',
		{
			bodyLimit: FORM_BYTES_MAX,
			schema: {
				operationId: 'deviceDecision',
				tags: TAGS,
				summary: "The decision on the device's page",
				consumes: FORM_MEDIA_TYPES,
				body: DeviceDecisionForm,
				response: { 200: PageAnswer, ...errorPages('bad_request', 'forbidden') },
			},
			preValidation: noBodyIsEmpty,
		},
		async (request, reply) => {
			if (browser !== null && isForeign(request, browser)) return refuse(request, reply, foreign());
			const { ticket = '', decision } = request.body;
			if (decision !== 'approve' && decision !== 'deny') {
				return refuse(request, reply, new RelayError('bad_request', 'there was no decision'));
			}
			const outcome = (await browser?.device.decide(ticket, decision)) ?? { status: 'gone' };
			if (outcome.status === 'decided') return show(reply, decidedPage(pages, decision, outcome.clientHint));
			return refuse(request, reply, new RelayError('bad_request', 'the request has ended or was decided already'));
		},
	);
}

/** The device of a code that somebody typed. When it is null, why there is none has been answered. */
async function find(
	{ deps, browser, pages, refuse }: Context,
	request: FastifyRequest,
	reply: FastifyReply,
	userCode: string,
): Promise<PendingDevice | null> {
	if (browser === null) {
		const error = new RelayError('not_set_up', 'devices cannot be connected here');
		refuse(request, reply, error, problemPage(pages, 'Devices cannot be connected here', 'This relay is not set up for it.'));
		return null;
	}
	let device: PendingDevice | null;
	try {
		device = await findDevice(deps, browser, request, userCode);
	} catch (thrown) {
		const error = RelayError.from(thrown);
		if (error.code === 'internal_error') throw thrown;
		refuse(request, reply, error);
		return null;
	}
	if (device !== null) return device;
	refuse(request, reply, new RelayError('not_found', 'no device waits under this code'), codePage(pages, NO_SUCH_CODE));
	return null;
}

/** What the pages of a relay have in common. */
export function devicePages({ appName }: HttpDeps, { browser }: Auth): DevicePages {
	return {
		relay: appName,
		path: browser === null ? '' : new URL(browser.baseUrl).pathname.replace(/\/$/, ''),
		providers: browser?.oidc?.providers ?? [],
	};
}

/** The page that asks an account that has just signed in whether it lets a device in. */
export async function askForDecision(
	{ device: flow }: BrowserSignIn,
	pages: DevicePages,
	device: PendingDevice,
	account: Account,
): Promise<string> {
	return decisionPage(pages, device, { username: account.username, ticket: await flow.admit(device, account) });
}

/** Answers with a page. */
export function show(reply: FastifyReply, markup: string): FastifyReply {
	return reply.headers(PAGE_HEADERS).send(markup);
}

/** A message of an error as people read it. */
export function sentence(message: string): string {
	return `${message.charAt(0).toUpperCase()}${message.slice(1)}.`;
}

/** Whether a form comes from another site's page, as browsers say, each in its way; programs say nothing. */
function isForeign({ headers }: FastifyRequest, { baseUrl }: BrowserSignIn): boolean {
	const site = headers['sec-fetch-site'];
	if (site !== undefined) return site !== 'same-origin' && site !== 'none';
	return headers.origin !== undefined && headers.origin !== new URL(baseUrl).origin;
}

function foreign(): RelayError {
	return new RelayError('forbidden', 'the form was sent by a page of another site');
}
