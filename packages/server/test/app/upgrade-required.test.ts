/** `GET /ws` without an upgrade: what is missing, and whether an upgrade would be refused. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import { startAuthRelay } from '../support/auth-relay.ts';
import { send } from '../support/http-client.ts';
import { exchange } from '../support/raw-http.ts';
import { startRelay } from '../support/relay.ts';

interface Body {
	readonly error: string;
	readonly message: string;
	readonly refusal: { readonly error: string; readonly status: number; readonly message: string } | null;
}

test('GET /ws says which headers are missing, to pages of allowed origins, too', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_ALLOWED_ORIGINS: '["https://app.example.org"]' });
	t.after(() => relay.close());
	const answer = await send(`${relay.url}/ws`, { headers: { origin: 'https://app.example.org' } });
	assert.equal(answer.status, 426);
	assert.equal(answer.headers.get('upgrade'), 'websocket');
	assert.match(answer.headers.get('connection') ?? '', /upgrade/i);
	assert.equal(answer.headers.get('access-control-allow-origin'), 'https://app.example.org');
	const body = answer.json<Body>();
	assert.equal(body.error, 'upgrade_required');
	assert.match(body.message, /missing `Upgrade: websocket` and `Connection: Upgrade`/);
	assert.equal(body.refusal, null);
	const port = Number(new URL(relay.url).port);
	const raw = async (head: string) => {
		const one = await exchange(port, head);
		return { status: one?.status, message: (JSON.parse(one?.body ?? '') as Body).message };
	};
	const dropped = await raw('GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\r\n');
	assert.equal(dropped.status, 426);
	assert.match(dropped.message, /missing `Connection: Upgrade`;/);
	const old = await raw('GET /ws HTTP/1.0\r\nHost: localhost\r\n\r\n');
	assert.equal(old.status, 426);
	assert.match(old.message, /HTTP\/1\.0/);
	const post = await fetch(`${relay.url}/ws`, { method: 'POST' });
	assert.deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD']);
});

test('GET /ws says why an upgrade would be refused now', async (t) => {
	const relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory', PULSAR_MAX_CONNECTIONS: '1' });
	t.after(() => relay.close());
	const refusal = async (headers: Record<string, string> = {}) =>
		(await send(`${relay.url}/ws`, { headers })).json<Body>().refusal;
	assert.equal((await refusal({ origin: 'https://evil.example.com' }))?.error, 'foreign_origin');
	const socket = new WebSocket(`${relay.url.replace('http', 'ws')}/ws`);
	await new Promise((resolve) => socket.on('open', resolve));
	const full = await send(`${relay.url}/ws`);
	assert.equal(full.status, 426);
	assert.equal(full.json<Body>().refusal?.error, 'too_many_connections');
	assert.equal(full.json<Body>().refusal?.status, 503);
	assert(full.headers.has('retry-after'));
	socket.terminate();
});

test('GET /ws says what is wrong with the credentials that an upgrade would come with', async (t) => {
	const world = await startAuthRelay();
	t.after(() => world.close());
	const refusal = async (headers: Record<string, string> = {}) =>
		(await send(`${world.url}/ws`, { headers })).json<Body>().refusal?.error;
	assert.equal(await refusal(), 'not_authenticated');
	assert.equal(await refusal({ authorization: 'Bearer nonsense' }), 'invalid_credentials');
	assert.equal(await refusal({ authorization: `Bearer ${world.admin.token}` }), undefined);
});
