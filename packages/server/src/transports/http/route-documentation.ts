/**
 * What `/openapi.json` says of a route beyond the schemas that the route validates with: who may call it, how large its body may be, and
 * the answers and headers that every route of its kind has.
 */

import type { ErrorCode } from '@pulsar-relay/protocol/errors';
import type { FastifySchema, RouteOptions } from 'fastify';
import { type RouteAccess, rowOf } from './access.ts';
import { errorAnswers, NDJSON_TYPE } from './schemas.ts';

/** What the documentation of a relay depends on. */
export interface Documented {
	/** Whether the relay asks for credentials. */
	readonly accounts: boolean;
	/** The body limit of routes without one of their own, in bytes. */
	readonly bodyBytesMax: number;
	/** The limit of a line where a body is one message per line, in bytes. */
	readonly lineBytesMax: number;
}

/** A route as the documentation library hands it over. */
export interface DocumentedRoute {
	readonly url: string;
	readonly schema: FastifySchema | undefined;
	readonly route: Pick<RouteOptions, 'method' | 'bodyLimit' | 'config'>;
}

type Answers = Readonly<Record<string, Answer>>;
interface Answer {
	readonly description?: string;
	readonly content?: object;
}

const EVERY_ROUTE: readonly ErrorCode[] = ['bad_request', 'untrusted_host', 'internal_error'];
const WITH_CREDENTIALS: readonly ErrorCode[] = ['not_authenticated', 'invalid_credentials', 'forbidden', 'storage_unavailable'];
const WITH_BODY: readonly ErrorCode[] = [
	'request_timeout',
	'payload_too_large',
	'unsupported_media_type',
	'invalid_json',
	'invalid_request',
	'overloaded',
];

/** Ways to show a credential; the first is the name that clients of the earlier server know. */
export const SECURITY_SCHEMES = {
	OAuth2PasswordBearer: { type: 'oauth2' as const, flows: { password: { tokenUrl: '/auth/login', scopes: {} } } },
	Bearer: { type: 'http' as const, scheme: 'bearer', description: 'An API key or a scoped token' },
	QueryToken: { type: 'apiKey' as const, in: 'query', name: 'access_token', description: 'A scoped token, for `EventSource`' },
};

/** The schema of a route as it is documented. */
export function documentRoute({ url, schema = {}, route }: DocumentedRoute, relay: Documented): FastifySchema {
	const [method = 'GET'] = [route.method].flat();
	const row = rowOf(method, url, route.config?.access);
	const own = (schema.response ?? {}) as Answers;
	const answers = Object.keys(own).some((status) => /^[123]/.test(status)) ? own : { 200: { description: 'Success' }, ...own };
	const counted = relay.accounts && row.limit !== 'none';
	const documented: FastifySchema = {
		...(documentedRequest(schema) as FastifySchema),
		...(relay.accounts ? { security: securityOf(row) } : {}),
		response: withHeaders(withFailures(answers, errorAnswers(...sharedCodes(schema, row, relay))), counted),
	};
	return schema.body === undefined ? documented : withSize(documented, route.bodyLimit ?? relay.bodyBytesMax, relay);
}

function withSize(schema: FastifySchema, bodyBytesMax: number, { lineBytesMax }: Documented): FastifySchema {
	const isLines = schema.consumes?.includes(NDJSON_TYPE) === true;
	const limit = isLines ? `A line has at most ${lineBytesMax} bytes.` : `The body has at most ${bodyBytesMax} bytes.`;
	return { ...schema, description: schema.description === undefined ? limit : `${schema.description}\n\n${limit}` };
}

function securityOf({ who, inQuery }: RouteAccess): NonNullable<FastifySchema['security']> {
	if (who === 'open') return [];
	const account = { OAuth2PasswordBearer: [] };
	if (who === 'account') return [account];
	return [account, { Bearer: [] }, ...(inQuery === true ? [{ QueryToken: [] }] : [])];
}

function sharedCodes({ body, querystring }: FastifySchema, { who, limit }: RouteAccess, { accounts }: Documented): ErrorCode[] {
	return [
		...EVERY_ROUTE,
		...(accounts && who !== 'open' ? WITH_CREDENTIALS : []),
		...(accounts && limit !== 'none' ? (['rate_limited'] as const) : []),
		...(body === undefined ? [] : WITH_BODY),
		...(querystring === undefined ? [] : (['invalid_request'] as const)),
	];
}

/** Adds failures to those of a route: of a status that the route has, what its own description lacks. */
function withFailures(own: Answers, shared: Answers): Answers {
	const answers: Record<string, Answer> = { ...own };
	for (const [status, failure] of Object.entries(shared)) {
		const known = answers[status];
		answers[status] = known === undefined ? failure : mergeFailures(known, failure);
	}
	return { ...answers, default: { description: 'A failure', content: failureContent() } };
}

function mergeFailures(own: Answer, shared: Answer): Answer {
	const [said, toSay] = [own.description ?? '', shared.description ?? ''];
	const missing = toSay.split('\n\n').filter((line) => !said.includes(line));
	return {
		...own,
		description: [said, ...missing].join('\n\n'),
		content: { ...own.content, ...shared.content },
	};
}

function failureContent(): object {
	return { 'application/json': { schema: { $ref: 'Error#' } } };
}

const REQUEST_ID = { type: 'string', description: 'Names the request in the log of the relay; a client may choose it' };
const RATE_LIMIT = {
	'x-ratelimit-limit': { type: 'integer', description: 'Requests and messages per minute' },
	'x-ratelimit-remaining': { type: 'integer', description: 'How many of them are left' },
	'x-ratelimit-reset': { type: 'integer', description: 'Seconds until all of them are back' },
};
const OF_STATUS: Readonly<Record<string, object>> = {
	'401': { 'www-authenticate': { type: 'string', description: '`Bearer`' } },
	'429': { 'retry-after': { type: 'integer', description: 'Seconds after which to try again' } },
	'503': { 'retry-after': { type: 'integer', description: 'Seconds after which to try again' } },
};

function withHeaders(answers: Answers, counted: boolean): Answers {
	const with_ = (status: string) => ({ 'x-request-id': REQUEST_ID, ...(counted ? RATE_LIMIT : {}), ...OF_STATUS[status] });
	return Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, { ...answer, headers: with_(status) }]));
}

/** Parts of a schema whose documentation says more than validation does: see `documented` in validation.ts. */
function documentedRequest(part: unknown): unknown {
	if (Array.isArray(part)) return part.map(documentedRequest);
	if (typeof part !== 'object' || part === null) return part;
	const { documented = {}, ...rest } = part as ObjectSchema;
	const { required } = rest;
	const members = Object.entries(rest).map(([key, value]) => [key, key === 'response' ? value : documentedRequest(value)]);
	return {
		...Object.fromEntries(members),
		// What has a default may be left out.
		...(required === undefined ? {} : { required: required.filter((name) => !hasDefault(rest, name)) }),
		...documented,
	};
}

interface ObjectSchema {
	readonly documented?: object;
	readonly required?: readonly string[];
	readonly properties?: Readonly<Record<string, object>>;
}

function hasDefault({ properties }: ObjectSchema, name: string): boolean {
	const property = properties?.[name];
	return property !== undefined && 'default' in property;
}
