/** Rights that end while a client streams what it publishes: the stream ends, or its lines are refused. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { type AuthRelay, type Person, startAuthRelay } from '../support/auth-relay.ts';
import type { Answer } from '../support/http-client.ts';

interface Line {
	readonly status?: string;
	readonly error?: string;
	readonly summary?: { readonly accepted: number; readonly complete: boolean };
}

interface Stream {
	publish(lines?: number): Promise<Line>;
	next(): Promise<Line>;
}

async function openStream(t: TestContext, url: string, credential: string): Promise<Stream> {
	const headers = { authorization: `Bearer ${credential}`, 'content-type': 'application/x-ndjson' };
	const sent: ClientRequest = request(`${url}/api/v1/messages/stream`, { method: 'POST', headers, agent: false });
	// The relay ends the connection of a stream that it cuts.
	sent.on('error', () => {});
	t.after(() => sent.destroy());
	sent.flushHeaders();
	const [response] = (await once(sent, 'response')) as [IncomingMessage];
	const lines = createInterface({ input: response })[Symbol.asyncIterator]();
	const next = async () => JSON.parse((await lines.next()).value as string) as Line;
	return {
		next,
		publish: (lines = 1) => {
			sent.write('{"topic":"a","payload":{}}\n'.repeat(lines));
			return next();
		},
	};
}

/** What a stream is made by, and how that ends. */
const ENDS: readonly (readonly [
	title: string,
	credential: (world: AuthRelay, person: Person, secret: string) => string | Promise<string>,
	end: (world: AuthRelay, person: Person, keyId: string) => Promise<Answer>,
])[] = [
	['with its key', (_world, _person, secret) => secret, (world, person, id) => world.call('DELETE', `/auth/keys/${id}`, person)],
	[
		'with the secret of its key, when that is rotated',
		(_world, _person, secret) => secret,
		(world, person, id) => world.call('POST', `/auth/keys/${id}/rotate`, person, { overlap: 0 }),
	],
	[
		'with the key that minted its token, when that is rotated',
		(world, _person, secret) => world.scoped(secret, ['publish'], ['a']),
		(world, person, id) => world.call('POST', `/auth/keys/${id}/rotate`, person, { overlap: 0 }),
	],
	[
		'with the password of its account',
		(_world, person) => person.token,
		(world, person) => world.call('PATCH', `/auth/users/${person.userId}`, world.admin, { password: 'another password' }),
	],
	[
		'with the session of its token',
		(_world, person) => person.token,
		(world, person) => world.call('POST', '/auth/token/revoke', null, { refresh_token: person.refreshToken }),
	],
];

for (const [title, credentialOf, end] of ENDS) {
	test(`a stream ends ${title}`, { timeout: 10_000 }, async (t) => {
		const world = await startAuthRelay();
		t.after(() => world.close());
		const person = await world.person('person');
		const { keyId, secret } = await world.key(person, ['publish'], ['*']);
		const stream = await openStream(t, world.url, await credentialOf(world, person, secret));
		assert.equal((await stream.publish()).status, 'accepted');
		assert.match(String((await end(world, person, keyId)).status), /^20[04]$/);
		const { summary } = await stream.next();
		assert.deepEqual([summary?.accepted, summary?.complete], [1, false]);
	});
}

test('lines of a stream are refused once its account may not write any more', { timeout: 10_000 }, async (t) => {
	const world = await startAuthRelay();
	t.after(() => world.close());
	const person = await world.person('person');
	const stream = await openStream(t, world.url, person.token);
	assert.equal((await stream.publish()).status, 'accepted');
	const changed = await world.call('PATCH', `/auth/users/${person.userId}`, world.admin, { permissions: ['read'] });
	assert.equal(changed.status, 200);
	// The line that is under way may still have been let in.
	let line = await stream.publish();
	if (line.status === 'accepted') line = await stream.publish();
	assert.equal(line.error, 'forbidden');
});

test('lines that wait for the rate limit are not published once the key has ended', { timeout: 10_000 }, async (t) => {
	const world = await startAuthRelay({ PULSAR_RATE_LIMIT: '60' });
	t.after(() => world.close());
	const person = await world.person('person');
	const { keyId, secret } = await world.key(person, ['publish'], ['*']);
	assert.equal((await (await openStream(t, world.url, secret)).publish(55)).status, 'accepted');
	// One a second: they would wait for some seconds.
	const waiting = (await openStream(t, world.url, secret)).publish(8);
	assert.equal((await world.call('DELETE', `/auth/keys/${keyId}`, person)).status, 204);
	const { summary } = await waiting;
	assert.deepEqual([summary?.accepted, summary?.complete], [0, false]);
	const { message_count: kept } = (await world.call('GET', '/api/v1/topics/a', person)).json<{ message_count: number }>();
	assert.equal(kept, 55);
});
