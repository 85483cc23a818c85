/** The requests and answers of signing in by a browser, for a device and at a provider. */

import type { ErrorCode } from '@pulsar-relay/protocol/errors';
import { Type } from 'typebox';
import { errorAnswers } from './schemas.ts';

/** What a program asks for with a device code (RFC 8628). */
export const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const FIELD_LENGTH_MAX = 2048;
const Field = Type.String({ maxLength: FIELD_LENGTH_MAX });

export const DeviceCodeForm = Type.Object({
	client_hint: Type.Optional(Type.String({ maxLength: FIELD_LENGTH_MAX, description: 'What the program is called' })),
	pair: Type.Optional(
		Type.String({
			maxLength: 16,
			description: 'Whether two independent sessions are wanted',
			documented: { pattern: '^(1|true|yes|on|t|y|0|false|no|off|f|n)$' },
			examples: ['true'],
		}),
	),
});

export const DeviceCodeAnswer = Type.Object(
	{
		device_code: Type.String({ description: 'For the program' }),
		user_code: Type.String({ description: 'For a person to type', examples: ['7R7X-B92N'] }),
		verification_uri: Type.String(),
		verification_uri_complete: Type.String(),
		expires_in: Type.Integer({ description: 'Seconds' }),
		interval: Type.Integer({ description: 'Seconds to wait between two questions' }),
	},
	{ description: 'The codes' },
);

export const DeviceTokenForm = Type.Object({
	grant_type: Type.String({ maxLength: FIELD_LENGTH_MAX, documented: { enum: [DEVICE_GRANT] } }),
	device_code: Field,
});

export const DeviceTokensAnswer = Type.Object(
	{
		access_token: Type.String(),
		token_type: Type.Enum(['bearer']),
		expires_in: Type.Integer({ description: 'Seconds' }),
		refresh_token: Type.String(),
		refresh_token_secondary: Type.Optional(Type.String({ description: 'Of the second session, if two were asked for' })),
	},
	{ description: 'Tokens' },
);

export const DeviceDenialForm = Type.Object({ user_code: Field });

export const DeviceDenial = Type.Object({ status: Type.Enum(['denied']) }, { description: 'Done' });

export const DevicePageQuery = Type.Object({ user_code: Type.Optional(Field) });

/** The form of the sign-in page, as far as it was filled in. */
export const DeviceSignInForm = Type.Object({
	user_code: Type.Optional(Field),
	username: Type.Optional(Field),
	password: Type.Optional(Field),
});

export const DeviceDecisionForm = Type.Object({
	ticket: Type.Optional(Field),
	decision: Type.Optional(Type.String({ maxLength: FIELD_LENGTH_MAX, documented: { enum: ['approve', 'deny'] } })),
});

export const ProviderList = Type.Array(
	Type.Object({ name: Type.String(), display_name: Type.String(), login_url: Type.String() }),
	{ description: 'The providers' },
);

export const ProviderParams = Type.Object({ provider: Type.String() });

export const ProviderLoginQuery = Type.Object({
	next: Type.Optional(
		Type.String({ maxLength: FIELD_LENGTH_MAX, description: "A page to go back to: of the relay's own or an allowed origin" }),
	),
	device_user_code: Type.Optional(Type.String({ maxLength: 64, description: 'A device to decide about' })),
});

export const HandoverRequest = Type.Object({ code: Field });

const PAGE = { 'text/html': { schema: { type: 'string' } } } as const;

/** A page, in the documentation. */
export const PageAnswer = { description: 'A page', content: PAGE } as const;

/** The documented failures of a route that answers with pages; see {@link errorAnswers}. */
export function errorPages(...codes: readonly ErrorCode[]): Record<number, object> {
	const answers = Object.entries(errorAnswers(...codes)).map(([status, answer]) => [status, { ...answer, content: PAGE }]);
	return Object.fromEntries(answers);
}

/** As {@link errorPages}, where programs get the JSON of every failure. */
export function errorPagesOrJson(...codes: readonly ErrorCode[]): Record<number, object> {
	const answers = Object.entries(errorAnswers(...codes)).map(([status, answer]) => [
		status,
		{ ...answer, content: { ...answer.content, ...PAGE } },
	]);
	return Object.fromEntries(answers);
}
