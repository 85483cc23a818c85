/**
 * Who may do what: every route with every kind of caller, made from the table of routes, and every way to use a topic with every
 * relation to it. A route that is not in the table does not start; a row without a route fails here.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ROUTE_ACCESS, rowOf } from '../../src/transports/http/access.ts';
import { type AuthNodes, type AuthRelay, type Person, Socket, startAuthNodes } from '../support/auth-relay.ts';
import { type Backend, backends } from '../support/backends.ts';
import { send } from '../support/http-client.ts';
import { startHttp } from '../support/start-http.ts';

let world: AuthRelay;
let people: Record<'admin' | 'writer' | 'reader' | 'nothing' | 'owner', Person>;
/** What each kind of caller shows. */
let credentials: ReadonlyMap<string, string | null>;

/** The permissions and the kind of each caller, to say what a row means for it. */
const CALLERS: Readonly<
	Record<string, { readonly kind: 'none' | 'account' | 'limited'; readonly permissions: readonly string[] }>
> = {
	nobody: { kind: 'none', permissions: [] },
	'a stranger': { kind: 'none', permissions: [] },
	'an administrator': { kind: 'account', permissions: ['admin', 'read', 'write'] },
	'a writer': { kind: 'account', permissions: ['write'] },
	'a reader': { kind: 'account', permissions: ['read'] },
	'an account without permissions': { kind: 'account', permissions: [] },
	'a key': { kind: 'limited', permissions: ['read', 'write'] },
	'a scoped token': { kind: 'limited', permissions: ['read', 'write'] },
};

/** What the status of a row must be for a caller; null = anything that is no refusal of who it is. */
function expectedStatus(route: string, caller: string): 401 | 403 | null {
	const { who, permission } = ROUTE_ACCESS[route] ?? assert.fail(route);
	const { kind, permissions } = CALLERS[caller] ?? assert.fail(caller);
	if (who === 'open') return null;
	if (kind === 'none') return 401;
	if (who === 'account' && kind === 'limited') return 403;
	return permission !== undefined && !permissions.includes(permission) ? 403 : null;
}

/** A request to a route that changes nothing: names in it are nobody's, and bodies are not valid. */
function requestOf(route: string): readonly [method: string, path: string, body: unknown] {
	const [method = '', pattern = ''] = route.split(' ');
	const path = pattern.replace('*', '/').replace(/:\w+/g, 'unknown');
	const query = path === '/api/v1/poll' || path === '/api/v1/events' ? '?topics=' : '';
	return [method, `${path}${query}`, method === 'GET' || method === 'HEAD' || method === 'DELETE' ? undefined : '[]'];
}

/** Routes that end what they are called with, or need another body; they are called by themselves below. */
const APART = new Set(['POST /auth/logout']);

test('a route without a row does not get as far as serving', async () => {
	assert.throws(() => rowOf('GET', '/new'), /has no row/);
	await assert.rejects(
		startHttp({ addRoutes: (server) => void server.get('/new', async () => 'anything') }),
		/GET \/new has no row/,
	);
});

/** Ways to use a topic, each answering whether it was allowed. */
const USES: Readonly<
	Record<string, { readonly needs: 'read' | 'write'; readonly use: (token: string, topic: string) => Promise<boolean> }>
> = {
	'POST /api/v1/messages': {
		needs: 'write',
		use: (token, topic) => allowed(world.call('POST', '/api/v1/messages', token, { topic, payload: 1 })),
	},
	'POST /api/v1/messages/bulk': {
		needs: 'write',
		use: (token, topic) => allowed(world.call('POST', '/api/v1/messages/bulk', token, { messages: [{ topic, payload: 1 }] })),
	},
	'POST /api/v1/messages/stream': {
		needs: 'write',
		use: async (token, topic) => {
			const answer = await send(`${world.url}/api/v1/messages/stream`, {
				method: 'POST',
				headers: { authorization: `Bearer ${token}`, 'content-type': 'application/x-ndjson' },
				body: `${JSON.stringify({ topic, payload: 1 })}\n`,
			});
			const [line = ''] = answer.text.split('\n');
			const { status, error } = JSON.parse(line) as { status?: string; error?: string };
			if (status !== 'accepted') assert.equal(error, 'forbidden', answer.text);
			return status === 'accepted';
		},
	},
	'publish over WebSocket': {
		needs: 'write',
		use: (token, topic) => overSocket(token, { type: 'publish', topic, payload: 1 }, 'published'),
	},
	'subscribe over WebSocket': {
		needs: 'read',
		use: (token, topic) => overSocket(token, { type: 'subscribe', topics: [topic] }, 'subscribed'),
	},
	'GET /api/v1/poll': {
		needs: 'read',
		use: (token, topic) => allowed(world.call('GET', `/api/v1/poll?topics=${topic}&timeout=0`, token)),
	},
	'POST /messages/poll': {
		needs: 'read',
		use: (token, topic) =>
			allowed(world.call('POST', '/messages/poll', token, { topics: [topic], since: { [topic]: '' }, timeout: 1 })),
	},
	'GET /api/v1/events': {
		needs: 'read',
		use: async (token, topic) => {
			const stop = new AbortController();
			const response = await fetch(`${world.url}/api/v1/events?topics=${topic}`, {
				headers: { authorization: `Bearer ${token}` },
				signal: stop.signal,
			});
			stop.abort();
			assert([200, 403].includes(response.status), `${response.status}`);
			return response.status === 200;
		},
	},
	'GET /api/v1/topics/{topic}/messages': {
		needs: 'read',
		use: (token, topic) => allowed(world.call('GET', `/api/v1/topics/${encodeURIComponent(topic)}/messages`, token), [403, 404]),
	},
};

async function allowed(answer: ReturnType<AuthRelay['call']>, refusals = [403]): Promise<boolean> {
	const { status, text } = await answer;
	if (status >= 400) assert(refusals.includes(status), `${status} ${text}`);
	return status < 400;
}

async function overSocket(token: string, frame: object, yes: string): Promise<boolean> {
	const socket = await world.socket(token);
	const answer = await socket.ask(frame);
	if (answer.type !== yes) assert.deepEqual([answer.type, answer['code']], ['error', 'forbidden'], JSON.stringify(answer));
	await socket.end();
	return answer.type === yes;
}

/** Relations of a caller to a topic, each with what it gives. */
const RELATIONS: Readonly<Record<string, { readonly topic: string; readonly gives: readonly ('read' | 'write')[] }>> = {
	'its own': { topic: 'mine', gives: ['read', 'write'] },
	'its own, by its name': { topic: 'visitor/mine', gives: ['read', 'write'] },
	'granted to read': { topic: 'owner/readable', gives: ['read'] },
	'granted to write': { topic: 'owner/writable', gives: ['write'] },
	'granted for both': { topic: 'owner/shared', gives: ['read', 'write'] },
	public: { topic: 'owner/public', gives: ['read'] },
	foreign: { topic: 'owner/private', gives: [] },
	'foreign and not there': { topic: 'owner/unknown', gives: [] },
	'of nobody': { topic: 'nobody/unknown', gives: [] },
};

/** Makes everybody who calls. */
async function populate(): Promise<void> {
	const { admin } = world;
	const [writer, reader, nothing, owner] = [
		await world.person('writer', ['write']),
		await world.person('reader', ['read']),
		await world.person('nothing', []),
		await world.person('owner'),
	];
	people = { admin, writer, reader, nothing, owner };
	const both = ['publish', 'subscribe'];
	credentials = new Map<string, string | null>([
		['nobody', null],
		['a stranger', `${admin.token.slice(0, -4)}AAAA`],
		['an administrator', admin.token],
		['a writer', writer.token],
		['a reader', reader.token],
		['an account without permissions', nothing.token],
		['a key', (await world.key(owner, both, ['*'])).secret],
		['a scoped token', await world.scoped(owner, both, ['*'])],
	]);
}

function suite(backend: Backend): void {
	let nodes: AuthNodes;
	before(async () => {
		nodes = await startAuthNodes(backend, { PULSAR_OIDC__BASE_URL: 'https://relay.example.org' });
		world = nodes.last;
		await populate();
	});
	after(() => nodes.close());

	describe('every route, for every caller', () => {
		for (const route of Object.keys(ROUTE_ACCESS)) {
			if (APART.has(route)) continue;
			for (const caller of Object.keys(CALLERS)) {
				test(`${route} for ${caller}`, async () => {
					const [method, path, body] = requestOf(route);
					const { status, text } = await world.call(method, path, credentials.get(caller), body);
					const expected = expectedStatus(route, caller);
					if (expected !== null) assert.equal(status, expected, text);
					else {
						assert(status !== 405 && status < 500, `${status} ${text}`);
						assert(!text.includes('"detail":"Not Found"'), 'the route exists');
						// The login refuses what is no password in its own way, and a scope of all topics is none of those asked for.
						if (!route.startsWith('POST /auth/')) assert.notEqual(status, 401, text);
						assert.notEqual(status, 403, text);
					}
				});
			}
		}

		test('a logout ends the token that it is made with, a scoped one alone; of an access token, what it has minted, too; a key is none', async () => {
			const { call } = world;
			const { token } = await world.person('leaver');
			const [scoped, another] = [await world.scoped(token, ['publish'], ['*']), await world.scoped(token, ['publish'], ['*'])];
			for (const credential of [scoped, token]) {
				assert.equal((await call('POST', '/auth/logout', credential)).status, 204);
				assert.equal((await call('POST', '/auth/logout', credential)).json()['detail'], 'Token has been revoked');
			}
			assert.equal((await call('POST', '/auth/logout', another)).json()['detail'], 'Token has been revoked');
			assert.equal((await call('POST', '/auth/logout', credentials.get('a key'))).status, 403);
			assert.equal((await call('POST', '/auth/logout', null)).status, 401);
		});
	});

	describe('every way to use a topic, for every relation to it', () => {
		let visitor: Person;
		let visitors: ReadonlyMap<string, string>;

		before(async () => {
			const { call } = world;
			visitor = await world.person('visitor');
			assert.equal((await call('POST', '/api/v1/messages', visitor, { topic: 'mine', payload: 0 })).status, 201);
			for (const topic_name of ['readable', 'writable', 'shared', 'public', 'private']) {
				const made = await call('POST', '/api/v1/topics', people.owner, { topic_name, is_public: topic_name === 'public' });
				assert.equal(made.status, 201, made.text);
			}
			for (const [topic, permission] of [
				['readable', 'read'],
				['writable', 'write'],
				['shared', 'read'],
				['shared', 'write'],
			] as const) {
				const granted = await call('POST', `/api/v1/topics/${topic}/permissions`, people.owner, {
					username: 'visitor',
					permission,
				});
				assert.equal(granted.status, 201, granted.text);
			}
			const everything = ['*', 'owner/*', 'visitor/mine'];
			visitors = new Map([
				['the account', visitor.token],
				['a key of it', (await world.key(visitor, ['publish', 'subscribe'], everything)).secret],
				['a scoped token of it', await world.scoped(visitor, ['publish', 'subscribe'], everything)],
			]);
		});

		for (const [way, { needs, use }] of Object.entries(USES)) {
			for (const [relation, { topic, gives }] of Object.entries(RELATIONS)) {
				for (const caller of ['the account', 'a key of it', 'a scoped token of it']) {
					test(`${way}, ${relation}, as ${caller}`, async () => {
						assert.equal(await use(visitors.get(caller) ?? '', topic), gives.includes(needs), topic);
					});
				}
			}
		}

		test('a key and a scoped token are held to their scopes in every way', async () => {
			const narrow = {
				read: [
					(await world.key(visitor, ['subscribe'], ['news.*'])).secret,
					await world.scoped(visitor, ['subscribe'], ['news.*']),
				],
				write: [(await world.key(visitor, ['publish'], ['news.*'])).secret, await world.scoped(visitor, ['publish'], ['news.*'])],
			};
			for (const topic of ['news.eu', 'mine', 'news'])
				await world.call('POST', '/api/v1/messages', visitor, { topic, payload: 0 });
			for (const [way, { needs, use }] of Object.entries(USES)) {
				for (const right of ['read', 'write'] as const) {
					for (const credential of narrow[right]) {
						assert.equal(await use(credential, 'news.eu'), needs === right, `${way} with ${right}`);
						if (!way.startsWith('GET /api/v1/topics')) {
							for (const topic of ['mine', 'news']) assert.equal(await use(credential, topic), false, `${way} of ${topic}`);
						}
					}
				}
			}
		});

		test('nobody but its owner changes, deletes or grants a topic', async () => {
			for (const topic of ['owner%2Fshared', 'owner%2Fpublic', 'owner%2Fprivate', 'nobody%2Funknown']) {
				for (const [method, path, body] of [
					['PUT', '', { description: 'x' }],
					['DELETE', '', undefined],
					['GET', '/permissions', undefined],
					['POST', '/permissions', { username: 'visitor', permission: 'write' }],
					['DELETE', '/permissions/visitor', undefined],
				] as const) {
					const answer = await world.call(method, `/api/v1/topics/${topic}${path}`, visitor, body);
					assert.equal(answer.status, 404, `${method} ${topic}${path}: ${answer.text}`);
				}
			}
		});
	});

	describe('a WebSocket handshake', () => {
		for (const [title, caller, status] of [
			['without credentials is refused', 'nobody', 401],
			['with a bad token is refused', 'a stranger', 401],
			['of an account that may not read is refused', 'a writer', 403],
		] as const) {
			test(title, async () => assert.equal(await Socket.refused(world.url, credentials.get(caller) ?? null), status));
		}

		test('selects `bearer` and repeats nothing of the token', async () => {
			const socket = await world.socket(people.reader.token);
			assert.equal(socket.ws.protocol, 'bearer');
			await socket.end();
		});
	});
}

for (const backend of backends) {
	describe(`on the ${backend.name} store`, { skip: backend.unavailable ?? false }, () => suite(backend));
}
