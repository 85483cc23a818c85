/** Who may read the metrics: with accounts, in open mode, and where they have an address of their own. */

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { startAuthRelay } from '../support/auth-relay.ts';
import { assertFailure, send } from '../support/http-client.ts';
import { startRelay } from '../support/relay.ts';

const TOKEN = 'planted-metrics-token';
const MEMORY = { PULSAR_STORAGE_BACKEND: 'memory' };

const scrape = (url: string, token: string | null = null, method = 'GET') =>
	send(url, { method, headers: token === null ? {} : { authorization: `Bearer ${token}` } });

async function startAccounts(t: TestContext, env: Readonly<Record<string, string>> = {}) {
	const world = await startAuthRelay(env);
	t.after(() => world.close());
	return world;
}

async function startOpen(t: TestContext, env: Readonly<Record<string, string>> = {}) {
	const relay = await startRelay({ ...MEMORY, ...env });
	t.after(() => relay.close());
	return relay;
}

test('with accounts they are for administrators only, and whoever has the token for them', async (t) => {
	const world = await startAccounts(t, { PULSAR_METRICS_TOKEN: TOKEN });
	const url = `${world.url}/metrics`;
	const person = await world.person('person');
	const { secret } = await world.key(world.admin, ['subscribe'], ['*']);
	const refused = await scrape(url);
	assertFailure(refused, 401, 'not_authenticated');
	assert.equal(refused.headers.get('www-authenticate'), 'Bearer');
	for (const wrong of ['nonsense', `${TOKEN}x`, TOKEN.slice(1), TOKEN.toUpperCase()]) {
		assertFailure(await scrape(url, wrong), 401, 'invalid_credentials');
	}
	for (const limited of [person.token, secret, await world.scoped(world.admin, ['subscribe'], ['*'])]) {
		assert.equal((await scrape(url, limited)).status, 403);
	}
	for (const good of [TOKEN, world.admin.token]) {
		assert.match((await scrape(url, good)).text, /^relay_topics \d+$/m);
		assert.equal((await scrape(url, good, 'HEAD')).status, 200);
	}
	assert.equal((await scrape(url, null, 'HEAD')).status, 401);
	for (const probe of ['/health', '/ready']) assert.equal((await send(`${world.url}${probe}`)).status, 200);
	assert.equal((await world.call('GET', '/auth/me', TOKEN)).status, 401, 'the token is for nothing else');
	assert(!world.relay.log().includes(TOKEN));
});

test('with accounts and no token they are for administrators only', async (t) => {
	const world = await startAccounts(t);
	assert.equal((await scrape(`${world.url}/metrics`)).status, 401);
	assert.equal((await scrape(`${world.url}/metrics`, world.admin.token)).status, 200);
});

test('that somebody comes by a proxy, or says so, opens nothing', async (t) => {
	const world = await startAccounts(t, { PULSAR_TRUSTED_PROXIES: '["127.0.0.1"]' });
	for (const forwarded of ['127.0.0.1', '203.0.113.9', '::1']) {
		assert.equal((await send(`${world.url}/metrics`, { headers: { 'x-forwarded-for': forwarded } })).status, 401);
	}
});

test('wrong tokens are limited by address, and the right one is not refused for them', async (t) => {
	const world = await startAccounts(t, { PULSAR_METRICS_TOKEN: TOKEN, PULSAR_RATE_LIMIT_ADDRESS: '5' });
	const statuses = [];
	for (let i = 0; i < 10; i++) statuses.push((await scrape(`${world.url}/metrics`, `wrong-${i}`)).status);
	assert.equal(statuses[0], 401);
	assert.equal(statuses.at(-1), 429);
	assert.equal((await scrape(`${world.url}/metrics`, TOKEN)).status, 200);
});

test('in open mode everybody may read them, unless there is a token', async (t) => {
	const open = await startOpen(t);
	assert.equal((await scrape(`${open.url}/metrics`)).status, 200);
	assert.equal((await scrape(`${open.url}/metrics`, 'whatever')).status, 200);
	const withToken = await startOpen(t, { PULSAR_METRICS_TOKEN: TOKEN });
	assert.equal((await scrape(`${withToken.url}/metrics`)).status, 401);
	assert.equal((await scrape(`${withToken.url}/metrics`, 'wrong')).status, 401);
	assert.equal((await scrape(`${withToken.url}/metrics`, TOKEN)).status, 200);
	await withToken.publish('a', '1');
});

test('at an address of their own they are there, with the probes and nothing else', async (t) => {
	const world = await startAccounts(t, { PULSAR_METRICS_ADDRESS: '127.0.0.1:0' });
	const { metricsUrl } = world.relay;
	const base = metricsUrl.replace(/\/metrics$/, '');
	assert.notEqual(base, world.url);
	assert.match((await scrape(metricsUrl)).text, /^relay_topics \d+$/m);
	assert.equal((await scrape(metricsUrl, null, 'HEAD')).status, 200);
	for (const probe of ['/health', '/ready']) {
		for (const url of [base, world.url]) assert.equal((await send(`${url}${probe}`)).status, 200);
	}
	for (const path of ['/', '/api/v1/topics', '/auth/me', '/openapi.json', '/docs']) {
		assertFailure(await scrape(`${base}${path}`, world.admin.token), 404, 'not_found');
	}
	assert.equal((await send(metricsUrl, { method: 'POST', body: 'x' })).status, 404);
	for (const token of [null, world.admin.token]) assert.equal((await scrape(`${world.url}/metrics`, token)).status, 404);
});

test('at an address of their own they ask for the token if there is one', async (t) => {
	const { metricsUrl } = await startOpen(t, { PULSAR_METRICS_ADDRESS: '127.0.0.1:0', PULSAR_METRICS_TOKEN: TOKEN });
	assertFailure(await scrape(metricsUrl), 401, 'not_authenticated');
	assertFailure(await scrape(metricsUrl, 'wrong'), 401, 'invalid_credentials');
	assert.equal((await scrape(metricsUrl, TOKEN)).status, 200);
	assert.equal((await send(metricsUrl.replace('/metrics', '/health'))).status, 200);
});

test('no page of a foreign name that points to this machine reads them', async (t) => {
	const { metricsUrl } = await startOpen(t, { PULSAR_METRICS_ADDRESS: '127.0.0.1:0' });
	const socket = connect(Number(new URL(metricsUrl).port), '127.0.0.1');
	socket.write('GET /metrics HTTP/1.1\r\nHost: rebound.example.org\r\nConnection: close\r\n\r\n');
	assert.match(await text(socket), /^HTTP\/1\.1 400 /);
});

test('an address that is taken is one clear line', async (t) => {
	const { url } = await startOpen(t);
	const taken = new URL(url).host;
	await assert.rejects(startRelay({ ...MEMORY, PULSAR_METRICS_ADDRESS: taken }), {
		message: `PULSAR_METRICS_ADDRESS: cannot listen on ${taken} (EADDRINUSE); choose another`,
	});
});
