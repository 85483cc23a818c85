/** No secret is ever written down: not in a log, not in a metric, not in an answer but the one that gives it out. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ADMIN_PASSWORD, type AuthRelay, JWT_SECRET, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { send } from '../support/http-client.ts';
import { launchRelay } from '../support/launch.ts';
import { exchange } from '../support/raw-http.ts';
import { startRelay } from '../support/relay.ts';
import { startValkey, valkeyUnavailable } from '../support/valkey.ts';

let world: AuthRelay;
before(async () => {
	world = await startAuthRelay();
});
after(() => world.close());

test('planted secrets are in no log at its most talkative, no metric, and no other answer', async () => {
	const secrets = new Map([
		['the signing secret', JWT_SECRET],
		['the password of the administrator', ADMIN_PASSWORD],
		['a wrong password', 'planted-wrong-password'],
		['a new password', 'planted-new-password'],
		['a forged token', 'planted.forged.token'],
		['a forged key', `prk_0123456789abcdef_${'planted'.repeat(7).slice(0, 43)}`],
		['a forged refresh token', '66bb7031-2d7c-4e3b-a215-c7eecda35ae7.planted-refresh-secret'],
	]);
	const answers: string[] = [];
	const call: AuthRelay['call'] = async (...given) => {
		const answer = await world.call(...given);
		answers.push(answer.text);
		return answer;
	};
	const person = await world.person('person');
	secrets.set('a password', person.password);
	secrets.set('an access token', person.token);
	secrets.set('a refresh token', person.refreshToken.split('.')[1] ?? '');
	const { keyId, secret } = await world.key(person, ['publish', 'subscribe'], ['*']);
	secrets.set('a key', secret.slice(21));
	const scoped = await world.scoped(person, ['subscribe'], ['a']);
	secrets.set('a scoped token', scoped);

	answers.push((await world.login('person', secrets.get('a wrong password') ?? '')).text);
	for (const credential of [person.token, secret, scoped, 'planted.forged.token', secrets.get('a forged key') ?? '']) {
		await call('GET', '/auth/me', credential);
		await call('GET', '/api/v1/poll?topics=a&timeout=0', credential);
		await call('POST', '/api/v1/messages', credential, { topic: '', payload: 1 });
		await call('GET', `/api/v1/topics/${credential}`, person);
		await call('GET', `/nowhere/${credential}?access_token=${credential}`, credential);
		await call('DELETE', `/auth/sessions/unknown?access_token=${credential}`, credential);
		await Socket.refused(world.url, `${credential}x`);
	}
	await call('POST', '/auth/token/refresh', null, { refresh_token: secrets.get('a forged refresh token') });
	await call('POST', '/auth/token/refresh', null, { refresh_token: [person.refreshToken] });
	await call('POST', '/auth/token/revoke', null, { refresh_token: secrets.get('a forged refresh token') });
	await call('PATCH', `/auth/users/${person.userId}`, world.admin, { password: 'planted-new-password', email: 7 });
	await call('PATCH', `/auth/users/${person.userId}`, world.admin, { password: 'planted-new-password' });
	await call('POST', '/auth/register', world.admin, { username: 'person', password: 'planted-new-password' });
	await call('POST', '/auth/register', world.admin, `{"username":"x","password":"planted-new-password"`);
	await call('POST', `/auth/keys/${keyId}/rotate`, person, { overlap: -1 });
	// The new password has ended the token.
	const { access_token: token } = (await world.login('person', 'planted-new-password')).json<{ access_token: string }>();
	secrets.set('an access token by the new password', token);
	await call('POST', `/auth/keys/${keyId}/rotate`, token, { overlap: -1 });
	await call('GET', '/auth/keys', token);
	await call('GET', '/auth/users', world.admin);
	const socket = await world.socket(token);
	await socket.ask({ type: 'refresh', token: secrets.get('a forged key') });
	await socket.ask({ type: 'subscribe', topics: [token] });
	await socket.end();
	await call('DELETE', `/auth/keys/${keyId}`, token);
	await call('POST', '/auth/logout', token);

	const log = world.relay.log();
	assert(log.includes('a request was refused') && log.includes('"route":"/auth/me"'), 'the log is at its most talkative');
	const metrics = await call('GET', '/metrics', world.admin);
	assert.equal(metrics.status, 200);
	const written = new Map([
		['the log', log],
		['the metrics', metrics.text],
		// What a path names is told back, as any name that is not there.
		['the answers', answers.filter((text) => !text.includes("Topic '")).join('\n')],
	]);
	for (const [where, text] of written) {
		for (const [what, value] of secrets) assert(!text.includes(value), `${what} is in ${where}`);
	}
});

test('what a client sends cannot add a line to the log', async () => {
	const injected = 'x"}\n{"level":"critical","msg":"planted line"}';
	await world.login(injected, injected);
	await world.call('GET', `/api/v1/topics/${encodeURIComponent(injected)}`, world.admin);
	await world.call('POST', '/auth/token/refresh', null, { refresh_token: injected });
	await world.call('POST', '/auth/register', world.admin, { username: injected.slice(0, 50), password: injected });
	const port = Number(new URL(world.url).port);
	const inHeader = injected.replace('\n', '\r\n ');
	for (const header of ['Host', 'Origin', 'X-Forwarded-For', 'X-Request-Id', 'User-Agent', 'Authorization', 'Idempotency-Key']) {
		const host = header === 'Host' ? '' : 'Host: localhost\r\n';
		for (const value of [injected, inHeader, encodeURIComponent(injected)]) {
			await exchange(port, `GET /auth/me HTTP/1.1\r\n${host}${header}: ${value}\r\n\r\n`);
			await exchange(port, `GET /ws HTTP/1.1\r\n${host}Connection: Upgrade\r\nUpgrade: websocket\r\n${header}: ${value}\r\n\r\n`);
		}
	}
	for (const line of world.relay.log().trimEnd().split('\n')) assert.notEqual(JSON.parse(line).level, 'critical', line);
});

test('the password of Valkey is nowhere: not while it is right, not when the server goes, not when it is wrong', {
	skip: valkeyUnavailable() ?? false,
}, async (t) => {
	const password = 'planted-valkey-password';
	const valkey = await startValkey({ password });
	t.after(() => valkey.stop());
	const relay = await startRelay(valkey.relayEnv);
	t.after(() => relay.close());
	await relay.publish('a', '1');
	const answers = [await relay.request('GET', '/ready')];
	await valkey.kill();
	answers.push(await relay.request('POST', '/api/v1/messages', { topic: 'a', payload: 2 }));
	assert.equal(answers.at(-1)?.status, 503);
	answers.push(await relay.request('GET', '/ready'));
	const metrics = (await send(`${relay.url}/metrics`)).text;
	for (const text of [relay.log(), metrics, JSON.stringify(answers)]) assert(!text.includes('planted'), text);

	await valkey.restart();
	const wrong = { ...valkey.relayEnv, PULSAR_VALKEY_PASSWORD: 'planted-wrong-password', PULSAR_LOG_LEVEL: 'debug' };
	const launched = launchRelay(t, wrong);
	const { code, stderr } = await launched.ended;
	assert.equal(code, 1);
	assert.match(stderr, /wrong user name or password/);
	for (const text of [stderr, launched.log()]) assert(!text.includes('planted'), text);
});

test('secrets are not in what is said of wrong settings', async (t) => {
	for (const env of [
		{ PULSAR_JWT_SECRET_KEY: 'planted-short', PULSAR_BOOTSTRAP_ADMIN_PASSWORD: 'planted', PULSAR_HOST: '0.0.0.0' },
		{ PULSAR_VALKEY_PASSWORD: 'planted-one', PULSAR_VALKEY_PASSWORD_FILE: '/nowhere' },
		{ PULSAR_PORT: 'x', PULSAR_JWT_SECRET_KEY: 'planted-secret-that-is-long-enough-for-it' },
	]) {
		const { code, stderr } = await launchRelay(t, env).ended;
		assert.equal(code, 78);
		assert(!stderr.includes('planted'), stderr);
	}
});
