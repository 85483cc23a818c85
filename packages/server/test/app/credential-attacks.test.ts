/** Forged tokens and guessed keys on every wire: what is wrong with one is told to nobody, and none is a defect. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type AuthRelay, type Person, startAuthRelay } from '../support/auth-relay.ts';
import { exchange, type RawAnswer } from '../support/raw-http.ts';
import { ATTACKS, type Claims } from '../unit/auth/jwt-attacks.ts';
import { base64url, forge, SECRET } from '../unit/auth/world.ts';

let world: AuthRelay;
let person: Person;
let claims: Claims;
before(async () => {
	world = await startAuthRelay({ PULSAR_JWT_SECRET_KEY: SECRET });
	person = await world.person('person');
	claims = JSON.parse(Buffer.from(person.token.split('.')[1] ?? '', 'base64url').toString()) as Claims;
});
after(() => world.close());

/** Nobody else could have sent these: what the relay sees of them is a broken request. */
const BROKEN_ON_THE_WIRE: ReadonlyMap<string, readonly number[]> = new Map([
	['a megabyte', [431]],
	['a NUL', [400]],
]);
/** In a list of subprotocols these are a token, which is good, and something else. */
const LISTS = ['a token and a comma'];

const BODY = '{"topic":"a","payload":1}';
const HANDSHAKE =
	'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';

/** A request with a credential as it is, however little a client library would like to send it. */
function ask(head: string, body = ''): Promise<RawAnswer | null> {
	const length = body === '' ? '' : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
	const port = Number(new URL(world.url).port);
	return exchange(port, Buffer.from(`${head}Host: localhost\r\n${length}\r\n${body}`));
}

const WIRES: readonly (readonly [name: string, ask: (token: string) => Promise<RawAnswer | null>])[] = [
	['a request', (token) => ask(`GET /auth/me HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n`)],
	['a publish', (token) => ask(`POST /api/v1/messages HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n`, BODY)],
	['a poll', (token) => ask(`GET /api/v1/poll?topics=a&timeout=0 HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n`)],
	['an event stream', (token) => ask(`GET /api/v1/events?topics=a HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n`)],
	[
		'an event stream, in its query',
		(token) => ask(`GET /api/v1/events?topics=a&access_token=${encodeURIComponent(token)} HTTP/1.1\r\n`),
	],
	['a WebSocket', (token) => ask(`GET /ws HTTP/1.1\r\n${HANDSHAKE}Sec-WebSocket-Protocol: bearer, bearer.${token}\r\n`)],
	['a WebSocket, in a header', (token) => ask(`GET /ws HTTP/1.1\r\n${HANDSHAKE}Authorization: Bearer ${token}\r\n`)],
];

test('the attacks fail for what they change: a good token gets in on every wire, but in a query', async () => {
	const expected = [200, 201, 200, 200, 401, 101, 101];
	for (const [i, [wire, present]] of WIRES.entries()) assert.equal((await present(person.token))?.status, expected[i], wire);
	assert(ATTACKS.length >= 45);
});

describe('a forged token', () => {
	for (const [title, attack] of ATTACKS) {
		test(title, async () => {
			const token = attack(claims);
			for (const [wire, present] of WIRES) {
				if (wire === 'a WebSocket' && LISTS.includes(title)) continue;
				const inQuery = wire.includes('query');
				const expected = (inQuery && title === 'a NUL' ? [400] : BROKEN_ON_THE_WIRE.get(title)) ?? [401];
				const answer = await present(token);
				assert(answer !== null && expected.includes(answer.status), `${wire}: ${answer?.status} ${answer?.body}`);
				if (answer.status !== 401) continue;
				assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
				const { error, detail } = JSON.parse(answer.body) as Record<string, string>;
				// Whatever has no token in it at all is told apart; nothing else is.
				if (error === 'not_authenticated') assert.equal(detail, 'Not authenticated');
				else assert.deepEqual([error, detail], ['invalid_credentials', 'Invalid or expired token'], wire);
			}
		});
	}

	test('on its way in a refresh frame leaves the connection what it was', async () => {
		const socket = await world.socket(person.token);
		for (const [title, attack] of ATTACKS) {
			const token = attack(claims);
			if (title === 'a megabyte') {
				// Frames other than a publish are smaller, whatever they say.
				const other = await world.socket(person.token);
				assert.equal((await other.ask({ type: 'refresh', token }))['code'], 'payload_too_large');
				assert.equal(await other.closed, 1009);
				continue;
			}
			const { type, code } = await socket.ask({ type: 'refresh', token });
			assert.deepEqual([type, code], ['error', 'invalid_credentials'], title);
		}
		assert.equal((await socket.ask({ type: 'publish', topic: 'a', payload: 1 })).type, 'published');
		await socket.end();
	});
});

describe('a token that was good', () => {
	test('but was revoked is refused on every wire, and what is open ends', async () => {
		const { access_token: token } = (await world.login('person', person.password)).json<{ access_token: string }>();
		const socket = await world.socket(token);
		assert.equal((await world.call('POST', '/auth/logout', token)).status, 204);
		assert.equal(await socket.closed, 4401);
		for (const [wire, present] of WIRES) {
			const answer = await present(token);
			assert.equal(answer?.status, 401, wire);
			assert.match(answer.body, /Token has been revoked/);
		}
	});

	test('of an account that does not exist says so, and lets nobody in', async () => {
		const token = forge({ alg: 'HS256', typ: 'JWT' }, { ...claims, sub: '00000000-0000-4000-8000-000000000000', jti: 'x' });
		for (const [wire, present] of WIRES) assert.equal((await present(token))?.status, 401, wire);
	});

	test('does not count in a query, where it would be written down on its way', async () => {
		const answer = await ask(`GET /api/v1/events?topics=a&access_token=${person.token} HTTP/1.1\r\n`);
		assert.equal(answer?.status, 401);
	});
});

describe('two credentials', () => {
	test('are one too many on every wire, also when both are good', async () => {
		const { token } = person;
		const twice = `Authorization: Bearer ${token}\r\nAuthorization: Bearer ${token}\r\n`;
		const scoped = await world.scoped(person, ['subscribe'], ['*']);
		for (const head of [
			`GET /auth/me HTTP/1.1\r\n${twice}`,
			`GET /api/v1/events?topics=a HTTP/1.1\r\n${twice}`,
			`GET /ws HTTP/1.1\r\n${HANDSHAKE}${twice}`,
			`GET /ws HTTP/1.1\r\n${HANDSHAKE}Sec-WebSocket-Protocol: bearer, bearer.${token}\r\nAuthorization: Bearer ${token}\r\n`,
			`GET /ws HTTP/1.1\r\n${HANDSHAKE}Sec-WebSocket-Protocol: bearer, bearer.${token}, bearer.${token}\r\n`,
			`GET /api/v1/events?topics=a&access_token=${scoped} HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n`,
			`GET /api/v1/events?topics=a&access_token=${scoped}&access_token=${scoped} HTTP/1.1\r\n`,
		]) {
			const answer = await ask(head);
			assert.equal(answer?.status, 400, head);
			assert.match(answer.body, /more than one/);
		}
	});
});

describe('an API key that is guessed', () => {
	test('is answered the same, whether it is malformed, unknown, or the secret of another', async () => {
		const { keyId, secret } = await world.key(person, ['publish'], ['*']);
		const [, , good = ''] = secret.split('_');
		const flipped = `${good.slice(0, -1)}${good.endsWith('A') ? 'B' : 'A'}`;
		const unknown = 'f'.repeat(keyId.length);
		const guesses = [
			'prk_',
			'prk__',
			`prk_${keyId}`,
			`prk_${keyId}_`,
			`prk_${keyId}_${flipped}`,
			`prk_${keyId}_${good}x`,
			`prk_${keyId}_${good.slice(1)}`,
			`prk_${keyId.toUpperCase()}_${good}`,
			`PRK_${keyId}_${good}`,
			`prk_${unknown}_${good}`,
			`prk_../${keyId}_${good}`,
			`prk_${keyId}_${good}.${good}.${good}`,
			`prk_${'a'.repeat(20_000)}_${good}`,
			`prk_${base64url('__proto__')}_${good}`,
			'prk___proto___constructor',
		];
		const answers = new Set<string>();
		for (const guess of guesses) {
			for (const [wire, present] of WIRES) {
				const answer = await present(guess);
				assert.equal(answer?.status, 401, `${wire}: ${guess.slice(0, 80)} ${answer?.body}`);
				const { request_id: _, ...body } = JSON.parse(answer.body) as Record<string, string>;
				answers.add(JSON.stringify(wire.includes('query') ? { ...body, message: '' } : body));
			}
		}
		const messages = [...answers].map((body) => (JSON.parse(body) as Record<string, string>)['detail']);
		assert.deepEqual(new Set(messages), new Set(['Invalid or expired token']));
		assert.equal((await world.call('POST', '/api/v1/messages', secret, BODY)).status, 201, 'the key itself is good');
	});
});

describe('a header', () => {
	test('that carries another header or line is refused, or is nothing but text', async () => {
		const token = person.token;
		for (const [name, value, statuses] of [
			['X-Request-Id', 'a\r\nX-Injected: yes', [200]],
			['X-Request-Id', 'a%0d%0aX-Injected:%20yes', [200]],
			['X-Request-Id', 'a\rX-Injected: yes', [400]],
			['X-Request-Id', 'a\nX-Injected: yes', [200, 400]],
			['X-Request-Id', 'a\0b', [400]],
			['Origin', 'https://evil.example.com%0d%0aX-Injected: yes', [200]],
			['Last-Event-ID', 'a%0d%0aX-Injected: yes', [200]],
			['X-Forwarded-For', "127.0.0.1, ' OR 1=1 --", [200]],
		] as const) {
			const answer = await ask(`GET /auth/me HTTP/1.1\r\nAuthorization: Bearer ${token}\r\n${name}: ${value}\r\n`);
			assert(answer !== null && (statuses as readonly number[]).includes(answer.status), `${value}: ${answer?.status}`);
			assert.equal(answer.headers.get('x-injected'), undefined, value);
			assert.match(answer.headers.get('x-request-id') ?? '', /^[A-Za-z0-9_.-]{1,128}$/);
		}
	});

	test('of a topic, a path or a query comes back in no header of the answer', async () => {
		const injected = encodeURIComponent('a\r\nX-Injected: yes');
		for (const path of [`/api/v1/topics/${injected}`, `/${injected}`, `/api/v1/poll?topics=${injected}`, `/docs/${injected}`]) {
			const answer = await ask(`GET ${path} HTTP/1.1\r\nAuthorization: Bearer ${person.token}\r\n`);
			assert(answer !== null && answer.status >= 400 && answer.status < 500, `${path}: ${answer?.status}`);
			assert.equal(answer.headers.get('x-injected'), undefined);
		}
	});
});
