/**
 * The table "What ends what" of SECURITY.md, walked: for each row somebody holds all that one may hold, with connections open by it on
 * one node; then it happens, on another; and each column is as the table says, at once for requests and within seconds for connections.
 */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
	type AuthNodes,
	type AuthRelay,
	type Person,
	type Socket,
	startAuthNodes,
	startAuthRelay,
} from '../support/auth-relay.ts';
import { type Backend, backends } from '../support/backends.ts';
import { type Answer, send } from '../support/http-client.ts';

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
/** Within which everything has ended, requests and connections, also where it ends at a time of its own a second later. */
const WITHIN_MS = 5000;
const OPERATOR = 'operator';

type Cell = 'ends' | 'stays' | 'refused';

/** What somebody holds. */
interface Held {
	readonly person: Person;
	refreshToken: string;
	readonly scoped: string;
	readonly ticket: string;
	readonly deviceCode: string;
	readonly keyId: string;
	readonly secret: string;
	readonly scopedByKey: string;
}

/** Where things happen. */
let near: AuthRelay;
/** Where what is held is used. */
let far: AuthRelay;
let nodes: AuthNodes;
let env: Readonly<Record<string, string>>;
let count = 0;

/** The columns: whether what is held is good. */
const COLUMNS: Readonly<Record<string, (held: Held) => Promise<boolean>>> = {
	'refresh token': async ({ refreshToken }) => {
		return (await far.call('POST', '/auth/token/refresh', null, { refresh_token: refreshToken })).status === 200;
	},
	'access token': ({ person }) => publishes(person.token),
	'scoped token by it': ({ scoped }) => publishes(scoped),
	'device ticket': async ({ ticket }) => (await form('/auth/device/decision', { ticket, decision: 'approve' })).status === 200,
	'device approval': async ({ deviceCode }) => {
		return (await form('/auth/device/token', { grant_type: DEVICE_GRANT, device_code: deviceCode })).status === 200;
	},
	'API key': ({ secret }) => publishes(secret),
	'scoped token by the key': ({ scopedByKey }) => publishes(scopedByKey),
};

/** What is good once only: it is tried when all else is as it should be. */
const ONCE = ['refresh token', 'device ticket', 'device approval'];

/** The columns that connections are opened with. */
const CONNECTS: Readonly<Record<string, (held: Held) => string>> = {
	'access token': ({ person }) => person.token,
	'scoped token by it': ({ scoped }) => scoped,
	'API key': ({ secret }) => secret,
	'scoped token by the key': ({ scopedByKey }) => scopedByKey,
};

const users = ({ person }: Held) => `/auth/users/${person.userId}`;
const keys = ({ keyId }: Held) => `/auth/keys/${keyId}`;

/** The rows: what happens. */
const ROWS: Readonly<Record<string, (held: Held) => Promise<unknown>>> = {
	'`PATCH /auth/users/{id}` with `password`': (held) => near.call('PATCH', users(held), near.admin, { password: 'another one' }),
	'another `PULSAR_BOOTSTRAP_ADMIN_PASSWORD` at the start': () => startAsOperator('another password'),
	'the account is disabled': (held) => near.call('PATCH', users(held), near.admin, { is_active: false }),
	'the account is deleted': (held) => near.call('DELETE', users(held), near.admin),
	'`POST /auth/logout`': ({ person }) => near.call('POST', '/auth/logout', person),
	'`DELETE /auth/sessions/{jti}`': ({ person }) => {
		return near.call('DELETE', `/auth/sessions/${person.refreshToken.split('.')[0]}`, person);
	},
	'`POST /auth/token/revoke`': ({ person }) => {
		return near.call('POST', '/auth/token/revoke', null, { refresh_token: person.refreshToken });
	},
	'a used refresh token comes again': async (held) => {
		for (let i = 0; i < 2; i++) held.refreshToken = await refreshed(held.refreshToken);
		assert.equal((await near.call('POST', '/auth/token/refresh', null, { refresh_token: held.person.refreshToken })).status, 401);
	},
	'the key is rotated with `overlap: 0`': (held) => near.call('POST', `${keys(held)}/rotate`, held.person, { overlap: 0 }),
	'the overlap of a rotated key ends': (held) => near.call('POST', `${keys(held)}/rotate`, held.person, { overlap: 1 }),
	'the key is deleted': (held) => near.call('DELETE', keys(held), held.person),
	'the key expires': (held) => near.call('PATCH', keys(held), held.person, { expires_in: 1 }),
};

function form(path: string, fields: Record<string, string>): Promise<Answer> {
	return send(`${far.url}${path}`, { method: 'POST', body: new URLSearchParams(fields) });
}

async function publishes(credential: string): Promise<boolean> {
	const { status, text } = await far.call('POST', '/api/v1/messages', credential, { topic: 'a', payload: 1 });
	assert([201, 401, 403].includes(status), text);
	return status === 201;
}

async function refreshed(refreshToken: string): Promise<string> {
	const answer = await near.call('POST', '/auth/token/refresh', null, { refresh_token: refreshToken });
	assert.equal(answer.status, 200, answer.text);
	return answer.json<{ refresh_token: string }>().refresh_token;
}

/** Starts one more node whose bootstrap account is the operator, and stops it. */
async function startAsOperator(password: string): Promise<void> {
	const node = await startAuthRelay({
		...env,
		PULSAR_BOOTSTRAP_ADMIN_USERNAME: OPERATOR,
		PULSAR_BOOTSTRAP_ADMIN_PASSWORD: password,
	});
	await node.close();
}

async function newPerson(row: string): Promise<Person> {
	if (!row.includes('BOOTSTRAP')) return near.person(`person${++count}`);
	await startAsOperator('first password');
	return near.signIn(OPERATOR, 'first password');
}

/** Begins a device's sign-in, and lets the person sign in on its page. */
async function deviceTicket({ username, password }: Person): Promise<{ readonly deviceCode: string; readonly ticket: string }> {
	const codes = (await form('/auth/device/code', {})).json<{ device_code: string; user_code: string }>();
	const page = await form('/auth/device', { user_code: codes.user_code, username, password });
	const [, ticket] = /name="ticket" value="([\w-]+)"/.exec(page.text) ?? [];
	return { deviceCode: codes.device_code, ticket: ticket ?? assert.fail(page.text) };
}

async function holdAll(row: string): Promise<Held> {
	const person = await newPerson(row);
	const actions = ['publish', 'subscribe'];
	const { keyId, secret } = await near.key(person, actions, ['*']);
	const { ticket } = await deviceTicket(person);
	const approved = await deviceTicket(person);
	assert.equal((await form('/auth/device/decision', { ticket: approved.ticket, decision: 'approve' })).status, 200);
	return {
		person,
		refreshToken: person.refreshToken,
		scoped: await near.scoped(person, actions, ['a', 'b']),
		ticket,
		deviceCode: approved.deviceCode,
		keyId,
		secret,
		scopedByKey: await near.scoped(secret, actions, ['a', 'b']),
	};
}

/** A connection of each kind by one credential. */
async function connect(credential: string): Promise<{ ended: Promise<unknown>; socket: Socket; abort: AbortController }> {
	const socket = await far.socket(credential);
	assert.equal((await socket.ask({ type: 'subscribe', topics: ['b'] })).type, 'subscribed');
	const abort = new AbortController();
	const headers = { authorization: `Bearer ${credential}` };
	const request = (path: string) => fetch(`${far.url}${path}`, { headers, signal: abort.signal });
	const events = await request('/api/v1/events?topics=b');
	assert.equal(events.status, 200);
	const poll = request('/api/v1/poll?topics=b&timeout=60').then((answer) => answer.text());
	const ended = Promise.all([socket.closed, events.text(), poll]);
	ended.catch(() => {
		// The test has ended and aborted them.
	});
	return { ended, socket, abort };
}

function table(): ReadonlyMap<string, ReadonlyMap<string, Cell>> {
	const text = readFileSync(new URL('../../../../SECURITY.md', import.meta.url), 'utf8').split('## What ends what')[1] ?? '';
	const lines = text.split('\n').filter((line) => line.startsWith('|'));
	const [head = [], , ...rows] = lines.map((line) =>
		line
			.split('|')
			.slice(1, -1)
			.map((cell) => cell.trim()),
	);
	const columns = head.slice(1);
	assert.deepEqual(columns, Object.keys(COLUMNS), 'the columns of the table');
	return new Map(
		rows.map(([row = '', ...cells]) => {
			for (const cell of cells) assert(['ends', 'stays', 'refused'].includes(cell), `${row}: ${cell}`);
			return [row, new Map(columns.map((column, i) => [column, cells[i] as Cell]))];
		}),
	);
}

const TABLE = table();

test('the table has the rows that are walked, and no others', () => {
	assert.deepEqual([...TABLE.keys()], Object.keys(ROWS));
});

async function untilRefused(isGood: () => Promise<boolean>, what: string, deadlineMs: number): Promise<void> {
	while (await isGood()) assert(performance.now() < deadlineMs, `${what} is still good`);
}

async function walk(row: string, cells: ReadonlyMap<string, Cell>): Promise<void> {
	const held = await holdAll(row);
	const isGood = (column: string) => COLUMNS[column]?.(held) ?? assert.fail(column);
	const open = new Map<string, Awaited<ReturnType<typeof connect>>>();
	for (const [column, credentialOf] of Object.entries(CONNECTS)) {
		assert(await isGood(column), `${column} before`);
		open.set(column, await connect(credentialOf(held)));
	}
	await ROWS[row]?.(held);
	const deadlineMs = performance.now() + WITHIN_MS;
	for (const [column, cell] of [...cells].sort(([a], [b]) => Number(ONCE.includes(a)) - Number(ONCE.includes(b)))) {
		if (cell === 'stays') continue;
		if (ONCE.includes(column)) assert(!(await isGood(column)), `${column} is still good`);
		else await untilRefused(() => isGood(column), column, deadlineMs);
		const connection = open.get(column);
		if (connection === undefined) continue;
		const late = Promise.withResolvers<never>();
		const timer = setTimeout(() => late.reject(new Error(`a connection by ${column} is open`)), deadlineMs - performance.now());
		await Promise.race([connection.ended, late.promise]).finally(() => clearTimeout(timer));
		open.delete(column);
	}
	for (const [column, { socket }] of open) {
		assert.equal((await socket.ask({ type: 'ping' })).type, 'pong', `the socket by ${column} goes on`);
	}
	for (const { socket, abort } of open.values()) {
		abort.abort();
		await socket.end();
	}
	if ([...cells.values()].includes('refused')) await near.call('PATCH', users(held), near.admin, { is_active: true });
	for (const [column, cell] of cells) {
		const expected = cell !== 'ends';
		if (expected && !ONCE.includes(column)) while (!(await isGood(column))) assert(performance.now() < deadlineMs, column);
		else assert.equal(await isGood(column), expected, `${column} afterwards`);
	}
}

function suite(backend: Backend): void {
	before(async () => {
		const store = await backend.start();
		env = { ...store.env, PULSAR_OIDC__BASE_URL: 'https://relay.example.org', PULSAR_RATE_LIMIT_DEVICE: '1000' };
		nodes = await startAuthNodes({ ...backend, start: async () => store }, env);
		({ first: near, last: far } = nodes);
	});
	after(() => nodes.close());

	for (const [row, cells] of TABLE) {
		// The data directory of the embedded store is one relay's: that row is in bootstrap-admin.test.ts.
		if (backend.nodes === 1 && row.includes('BOOTSTRAP')) continue;
		test(`${row}`, () => walk(row, cells));
	}
}

for (const backend of backends) {
	describe(`what ends what, on the ${backend.name} store`, { skip: backend.unavailable ?? false }, () => suite(backend));
}
