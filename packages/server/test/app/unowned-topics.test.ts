/** Data that was written without accounts, under a relay that has them; and accounts without an administrator. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ADMIN_PASSWORD, type AuthRelay, JWT_SECRET, type Person, Socket, startAuthRelay } from '../support/auth-relay.ts';
import { type Answer, assertFailure } from '../support/http-client.ts';
import { launchRelay } from '../support/launch.ts';
import { startRelay } from '../support/relay.ts';

const UNOWNED = '00000000-0000-0000-0000-000000000000';
const NO_ADMIN =
	'there is no administrator, so nobody can make accounts: set PULSAR_BOOTSTRAP_ADMIN_USERNAME and PULSAR_BOOTSTRAP_ADMIN_PASSWORD, and start again';
const NO_OWNER = `topics that were made without accounts have no owner: they are kept, and administrators reach them as ${UNOWNED}/<topic> (docs/accounts.md)`;
const ACCOUNTS = { PULSAR_AUTH: 'required', PULSAR_JWT_SECRET_KEY: JWT_SECRET };
const ADMIN = { PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'root', PULSAR_BOOTSTRAP_ADMIN_PASSWORD: ADMIN_PASSWORD };

/** A data directory in which two messages and three topics are, from a relay without accounts. */
async function dataWithoutAccounts(): Promise<string> {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-unowned-'));
	const relay = await startRelay({ PULSAR_DATA_DIR: dataDir });
	await relay.publish('hello', '"first"');
	await relay.publish('hello', '"second"');
	await relay.publish('jobs', '1');
	await relay.publish('zzz', '1');
	await relay.close();
	return dataDir;
}

describe('topics that were made without accounts', () => {
	let dataDir: string;
	let world: AuthRelay;
	let alice: Person;
	const names = (answer: Answer) => answer.json<{ topic_name: string }[]>().map(({ topic_name }) => topic_name);
	const payloads = (answer: Answer) => {
		assert.equal(answer.status, 200, answer.text);
		return answer.json<{ messages: { payload: unknown }[] }>().messages.map(({ payload }) => payload);
	};
	const hello = `/api/v1/topics/${UNOWNED}%2Fhello`;

	before(async () => {
		dataDir = await dataWithoutAccounts();
		world = await startAuthRelay({ PULSAR_STORAGE_BACKEND: 'embedded', PULSAR_DATA_DIR: dataDir });
		alice = await world.person('alice');
		assert.equal((await world.call('POST', '/api/v1/messages', alice, { topic: 'hello', payload: 'mine' })).status, 201);
	});
	after(async () => {
		await world.close();
		await rm(dataDir, { recursive: true });
	});

	test('are counted for administrators', async () => {
		const stats = await world.call('GET', '/api/v1/topics/stats', world.admin);
		assert.deepEqual(stats.json(), { total_topics: 4, unowned_topics: 3 });
	});

	test('are listed for administrators, in pages, and for nobody else', async () => {
		const list = (query: string, who = world.admin) => world.call('GET', `/api/v1/topics?owner_id=${UNOWNED}${query}`, who);
		assert.deepEqual(names(await list('')), ['hello', 'jobs', 'zzz']);
		assert.deepEqual(names(await list('&after=hello&limit=1')), ['jobs']);
		assertFailure(await list('', alice), 403, 'forbidden');
		assert.deepEqual(names(await world.call('GET', `/api/v1/topics?owner_id=${alice.userId}`, alice)), ['hello']);
		assert.deepEqual(names(await world.call('GET', '/api/v1/topics', world.admin)), []);
		assertFailure(await world.call('GET', '/api/v1/topics?owner_id=alice', world.admin), 422, 'invalid_request');
	});

	test('are read by administrators, over every transport', async () => {
		const { call, admin } = world;
		assert.equal((await call('GET', hello, admin)).json()['owner_id'], UNOWNED);
		assert.deepEqual(payloads(await call('GET', `${hello}/messages?order=asc`, admin)), ['first', 'second']);
		const poll = await call('GET', `/api/v1/poll?topics=${UNOWNED}/hello&since=earliest&timeout=0`, admin);
		assert.deepEqual(payloads(poll), ['first', 'second']);
		const socket = await Socket.open(world.url, admin.token);
		await socket.ask({ type: 'subscribe', topics: [`${UNOWNED}/hello`], offset: 'earliest' });
		const message = await socket.next();
		assert.deepEqual([message['topic'], message['payload']], [`${UNOWNED}/hello`, 'first']);
		await socket.end();
	});

	test('are nobody else’s to read, and nobody’s to publish to', async () => {
		const { call, admin } = world;
		for (const path of [hello, `${hello}/messages`]) assertFailure(await call('GET', path, alice), 404, 'not_found');
		for (const who of [alice, admin]) {
			const answer = await call('POST', '/api/v1/messages', who, { topic: `${UNOWNED}/hello`, payload: 1 });
			assertFailure(answer, 403, 'forbidden');
		}
		const key = await world.key(admin, ['subscribe'], ['*']);
		assertFailure(await call('GET', `${hello}/messages`, key.secret), 403, 'forbidden');
	});

	test('can be granted, which is held to like any grant', async () => {
		const { call, admin } = world;
		const grant = (permission: string) => call('POST', `${hello}/permissions`, admin, { username: 'alice', permission });
		assert.equal((await grant('read')).status, 201);
		assert.deepEqual(payloads(await call('GET', `${hello}/messages?order=asc`, alice)), ['first', 'second']);
		const { secret } = await world.key(alice, ['subscribe'], [`${UNOWNED}/hello`]);
		assert.deepEqual(payloads(await call('GET', `${hello}/messages?limit=1`, secret)), ['second']);
		const narrow = await world.key(alice, ['subscribe'], ['*']);
		assertFailure(await call('GET', `${hello}/messages`, narrow.secret), 403, 'forbidden');
		const publish = () => call('POST', '/api/v1/messages', alice, { topic: `${UNOWNED}/hello`, payload: 'third' });
		assertFailure(await publish(), 403, 'forbidden');
		assert.equal((await grant('write')).status, 201);
		assert.equal((await publish()).status, 201);
		assert.deepEqual(payloads(await call('GET', `${hello}/messages?limit=1`, admin)), ['third']);
	});

	test('can be deleted by administrators', async () => {
		const path = `/api/v1/topics/${UNOWNED}%2Fzzz`;
		assertFailure(await world.call('DELETE', path, alice), 404, 'not_found');
		assert.equal((await world.call('DELETE', path, world.admin)).status, 204);
		assert.equal((await world.call('GET', '/api/v1/topics/stats', world.admin)).json()['unowned_topics'], 2);
	});
});

test('the start says how many topics have no owner, and that there is no administrator', async (t) => {
	const dataDir = await dataWithoutAccounts();
	t.after(() => rm(dataDir, { recursive: true }));
	const relay = launchRelay(t, { ...ACCOUNTS, PULSAR_DATA_DIR: dataDir });
	await relay.logged(NO_ADMIN);
	assert.equal((await relay.logged(NO_OWNER))['unowned_topics'], 3);
	relay.child.kill('SIGTERM');
	assert.equal((await relay.ended).code, 0);
});

test('a relay without accounts says that it does not reach the topics of accounts, where there are some', async (t) => {
	const dataDir = await dataWithoutAccounts();
	t.after(() => rm(dataDir, { recursive: true }));
	const start = async () => {
		const relay = launchRelay(t, { PULSAR_DATA_DIR: dataDir });
		await relay.logged('listening');
		return relay;
	};
	const before = await start();
	before.child.kill('SIGTERM');
	assert.equal((await before.ended).code, 0);
	assert.doesNotMatch(before.log(), /topics of accounts/);
	const world = await startAuthRelay({ PULSAR_STORAGE_BACKEND: 'embedded', PULSAR_DATA_DIR: dataDir });
	assert.equal((await world.call('POST', '/api/v1/messages', world.admin, { topic: 'mine', payload: 1 })).status, 201);
	await world.close();
	const relay = await start();
	await relay.logged(
		'topics of accounts are kept, but nobody reaches them while PULSAR_AUTH is open: start with PULSAR_AUTH=required',
	);
});

test('with an administrator and no such topics the start says nothing of it', async (t) => {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-relay-unowned-'));
	t.after(() => rm(dataDir, { recursive: true }));
	const relay = launchRelay(t, { ...ACCOUNTS, ...ADMIN, PULSAR_DATA_DIR: dataDir });
	await relay.logged('listening');
	relay.child.kill('SIGTERM');
	assert.equal((await relay.ended).code, 0);
	assert.doesNotMatch(relay.log(), /administrator|no owner/);
});
