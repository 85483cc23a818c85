/** `/openapi.json` of a relay with accounts: what generated clients and their writers rely on. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ROUTE_ACCESS } from '../../src/transports/http/access.ts';
import { type AuthRelay, startAuthRelay } from '../support/auth-relay.ts';
import { send } from '../support/http-client.ts';

interface Schema {
	readonly type?: string;
	readonly required?: readonly string[];
	readonly properties?: Readonly<Record<string, Schema>>;
}

interface Answer {
	readonly description: string;
	readonly headers?: Readonly<Record<string, object>>;
	readonly content?: Readonly<Record<string, { readonly schema: Schema }>>;
}

interface Operation {
	readonly operationId: string;
	readonly description?: string;
	readonly security: readonly Readonly<Record<string, readonly string[]>>[];
	readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema }>> };
	readonly responses: Readonly<Record<string, Answer>>;
}

describe('the document of a relay with accounts', () => {
	let world: AuthRelay;
	const operations = new Map<string, Operation>();
	const operation = (route: string) => operations.get(route) ?? assert.fail(route);
	const types = (answer: Answer | undefined) => Object.keys(answer?.content ?? {}).sort();

	before(async () => {
		world = await startAuthRelay({ PULSAR_OIDC__BASE_URL: 'https://relay.example.org' });
		type Paths = Readonly<Record<string, Readonly<Record<string, Operation>>>>;
		const { paths } = (await send(`${world.url}/openapi.json`)).json<{ paths: Paths }>();
		for (const [path, methods] of Object.entries(paths)) {
			for (const [method, found] of Object.entries(methods)) operations.set(`${method.toUpperCase()} ${path}`, found);
		}
	});
	after(() => world.close());

	test('has every route, each with an id of its own', () => {
		const routes = Object.keys(ROUTE_ACCESS)
			.filter((route) => !/^HEAD |\/docs|openapi\.json/.test(route))
			.map((route) => route.replace(/:(\w+)/g, '{$1}'));
		assert.deepEqual([...operations.keys()].sort(), routes.sort());
		const ids = [...operations.values()].map(({ operationId }) => operationId);
		assert(
			ids.every((id) => /^[a-z][A-Za-z]+$/.test(id)),
			ids.join(),
		);
		assert.equal(new Set(ids).size, ids.length);
	});

	test('says who may call what, as the table of routes does', () => {
		for (const [route, { who, limit }] of Object.entries(ROUTE_ACCESS)) {
			const found = operations.get(route.replace(/:(\w+)/g, '{$1}'));
			if (found === undefined) continue;
			const schemes = found.security.flatMap((scheme) => Object.keys(scheme));
			const expected = { open: [], account: ['OAuth2PasswordBearer'], any: ['OAuth2PasswordBearer', 'Bearer'] }[who];
			assert.deepEqual(
				schemes.filter((name) => name !== 'QueryToken'),
				expected,
				route,
			);
			if (who !== 'open')
				for (const status of ['401', '403']) assert(found.responses[status] !== undefined, `${route} ${status}`);
			const counted = limit !== 'none';
			assert.equal(found.responses['429'] !== undefined, counted, route);
			assert.equal(
				found.responses['200']?.headers?.['x-ratelimit-limit'] !== undefined,
				counted && found.responses['200'] !== undefined,
				route,
			);
		}
		assert.deepEqual(operation('GET /api/v1/events').security.at(-1), { QueryToken: [] });
	});

	test('names the size of every body', () => {
		const sized = (route: string) => /at most (\d+) bytes/.exec(operation(route).description ?? '')?.[1];
		for (const [route, { requestBody }] of operations) if (requestBody !== undefined) assert(Number(sized(route)) > 0, route);
		assert.equal(sized('POST /api/v1/messages'), String(32 * 1024 * 1024));
		assert.equal(sized('POST /auth/login'), String(64 * 1024));
	});

	test('asks for nothing in a body that has a default', () => {
		const required = (route: string) => operation(route).requestBody?.content['application/json']?.schema.required;
		assert.deepEqual(required('POST /auth/token/scoped'), ['scopes']);
		assert.deepEqual(required('POST /auth/keys/{key_id}/rotate'), []);
	});

	test('names the types of answers and bodies', () => {
		const { responses, requestBody } = operation('POST /auth/device');
		assert.deepEqual(Object.keys(requestBody?.content ?? {}), ['application/x-www-form-urlencoded', 'multipart/form-data']);
		assert.deepEqual(types(responses['200']), ['text/html']);
		assert.deepEqual(types(responses['404']), ['text/html']);
		assert.deepEqual(types(responses['413']), ['application/json']);
		assert.deepEqual(types(operation('GET /auth/device').responses['404']), ['text/html']);
		assert.deepEqual(types(operation('GET /auth/oidc/{provider}/callback').responses['400']), ['application/json', 'text/html']);
		assert.deepEqual(types(operation('GET /api/v1/events').responses['200']), ['text/event-stream']);
		assert.deepEqual(types(operation('GET /').responses['200']), ['application/json', 'text/html']);
	});

	test('has the headers of a refusal', () => {
		const { responses } = operation('POST /api/v1/messages');
		for (const [status, { headers = {} }] of Object.entries(responses)) assert('x-request-id' in headers, status);
		for (const status of ['429', '503']) assert('retry-after' in (responses[status]?.headers ?? {}), status);
		assert('www-authenticate' in (responses['401']?.headers ?? {}));
	});
});
