/** `/auth/device/…` for programs: the codes, the question whether they were approved, and a denial (RFC 8628). */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Static } from 'typebox';
import type { Auth, BrowserSignIn } from '../../../auth/auth.ts';
import type { PendingDevice } from '../../../auth/device-flow.ts';
import type { HttpDeps } from '../deps.ts';
import type { AnswerError } from '../errors.ts';
import { FORM_BYTES_MAX, FORM_MEDIA_TYPES } from '../form-body.ts';
import { errorAnswers } from '../schemas.ts';
import {
	DEVICE_GRANT,
	DeviceCodeAnswer,
	DeviceCodeForm,
	DeviceDenial,
	DeviceDenialForm,
	DeviceTokenForm,
	DeviceTokensAnswer,
} from '../sign-in-schemas.ts';
import { invalid } from '../validation.ts';

const TAGS = ['sign-in'];
const FLAGS: ReadonlyMap<string, boolean> = new Map([
	...['1', 'true', 'yes', 'on', 't', 'y'].map((word) => [word, true] as const),
	...['0', 'false', 'no', 'off', 'f', 'n'].map((word) => [word, false] as const),
]);

/** Registers the routes. In this scope bodies are forms. */
export function registerDevice(scope: FastifyInstance, deps: HttpDeps, auth: Auth, answerError: AnswerError): void {
	registerCode(scope, deps, auth, answerError);
	registerToken(scope, auth, answerError);
	scope.post<{ Body: Static<typeof DeviceDenialForm> }>(
		'/auth/device/deny',
		{
			bodyLimit: FORM_BYTES_MAX,
			schema: {
				operationId: 'denyDevice',
				tags: TAGS,
				summary: 'Deny the request of a device',
				consumes: FORM_MEDIA_TYPES,
				body: DeviceDenialForm,
				response: {
					200: DeviceDenial,
					...errorAnswers('not_authenticated', 'invalid_credentials', 'not_found', 'invalid_request', 'rate_limited'),
				},
			},
			preValidation: noBodyIsEmpty,
		},
		async (request) => {
			const { browser } = auth;
			const device = browser === null ? null : await findDevice(deps, browser, request, request.body.user_code);
			const outcome = device === null ? null : await browser?.device.deny(device);
			if (outcome?.status === 'decided') return { status: 'denied' };
			throw new RelayError('not_found', 'no device waits under this code', { detail: 'Unknown user_code' });
		},
	);
}

function registerCode(scope: FastifyInstance, { limiting }: HttpDeps, auth: Auth, answerError: AnswerError): void {
	scope.post<{ Body: Static<typeof DeviceCodeForm> }>(
		'/auth/device/code',
		{
			bodyLimit: FORM_BYTES_MAX,
			schema: {
				operationId: 'requestDeviceCode',
				tags: TAGS,
				summary: 'Begin to sign in a program without a browser',
				consumes: FORM_MEDIA_TYPES,
				body: DeviceCodeForm,
				response: {
					200: DeviceCodeAnswer,
					...errorAnswers('device_authorization_unavailable', 'invalid_request', 'overloaded'),
				},
			},
			preValidation: noBodyIsEmpty,
		},
		async (request, reply) => {
			const { client_hint: hint, pair } = request.body;
			const isPair = FLAGS.get((pair ?? 'false').toLowerCase());
			if (isPair === undefined) {
				throw invalid([{ type: 'bool_parsing', loc: ['body', 'pair'], msg: 'Input should be a valid boolean' }]);
			}
			if (auth.browser === null) {
				const error = new RelayError('device_authorization_unavailable', 'the relay has no address for browsers');
				return refuse(answerError, request, reply, error);
			}
			const { baseUrl, device } = auth.browser;
			const codes = await device.begin(hint ?? request.headers['user-agent'] ?? null, isPair, limiting?.siteOf(request.raw));
			return reply.header('cache-control', 'no-store').send({
				device_code: codes.deviceCode,
				user_code: codes.userCode,
				verification_uri: `${baseUrl}/auth/device`,
				verification_uri_complete: `${baseUrl}/auth/device?user_code=${codes.userCode}`,
				expires_in: codes.expiresInS,
				interval: codes.intervalS,
			} satisfies Static<typeof DeviceCodeAnswer>);
		},
	);
}

function registerToken(scope: FastifyInstance, auth: Auth, answerError: AnswerError): void {
	scope.post<{ Body: Static<typeof DeviceTokenForm> }>(
		'/auth/device/token',
		{
			bodyLimit: FORM_BYTES_MAX,
			schema: {
				operationId: 'pollDeviceToken',
				tags: TAGS,
				summary: 'Ask whether a device was approved, and get its tokens, once',
				consumes: FORM_MEDIA_TYPES,
				body: DeviceTokenForm,
				response: {
					200: DeviceTokensAnswer,
					...errorAnswers(
						'authorization_pending',
						'slow_down',
						'expired_token',
						'access_denied',
						'unsupported_grant_type',
						'invalid_request',
					),
				},
			},
			preValidation: noBodyIsEmpty,
		},
		async (request, reply) => {
			const { grant_type: grant, device_code: deviceCode } = request.body;
			const answer = grant === DEVICE_GRANT ? await tokensOf(auth, deviceCode) : unsupportedGrant();
			if (answer instanceof RelayError) return refuse(answerError, request, reply, answer);
			return reply.header('cache-control', 'no-store').send(answer);
		},
	);
}

/** The tokens of a device that was approved, or what it is told instead. */
async function tokensOf(auth: Auth, deviceCode: string): Promise<Static<typeof DeviceTokensAnswer> | RelayError> {
	const outcome = (await auth.browser?.device.poll(deviceCode)) ?? { status: 'expired' };
	switch (outcome.status) {
		case 'expired':
			return new RelayError('expired_token', 'Unknown device_code');
		case 'pending':
			return new RelayError('authorization_pending', 'nobody has decided yet');
		case 'too_soon':
			return new RelayError('slow_down', 'the device must wait longer between its questions');
		case 'denied':
			return new RelayError('access_denied', 'the request was denied');
		case 'approved': {
			const { account, clientHint, pair } = outcome;
			const first = await auth.begin(account, clientHint);
			// A session of its own: what becomes of one of the two is nothing to the other.
			const second = pair ? await auth.begin(account, clientHint === null ? 'secondary' : `${clientHint}-secondary`) : null;
			if (first === null) return new RelayError('access_denied', 'the account is not active, or has another password since');
			return {
				access_token: first.accessToken,
				token_type: 'bearer',
				expires_in: first.expiresInS,
				refresh_token: first.refreshToken,
				...(second === null ? {} : { refresh_token_secondary: second.refreshToken }),
			};
		}
	}
}

/** Answers as OAuth clients read it: `error` is the code there, too. */
function refuse(answerError: AnswerError, request: FastifyRequest, reply: FastifyReply, error: RelayError): FastifyReply {
	return answerError(request, reply, error, { fields: { error_description: error.message } });
}

function unsupportedGrant(): RelayError {
	return new RelayError('unsupported_grant_type', `this route takes the grant ${DEVICE_GRANT}`);
}

/** The device of a code that somebody typed; null when there is none. Rejects with `rate_limited` after too many wrong ones. */
export function findDevice(
	{ limiting }: HttpDeps,
	{ device }: BrowserSignIn,
	request: FastifyRequest,
	userCode: string,
): Promise<PendingDevice | null> {
	const find = () => device.find(userCode);
	return limiting === null ? find() : limiting.tryUserCode(request.raw, find);
}

/** No body is a form without fields. */
export function noBodyIsEmpty(request: FastifyRequest, _reply: FastifyReply, done: () => void): void {
	request.body ??= {};
	done();
}
