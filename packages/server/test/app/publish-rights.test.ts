/** Rights that end while a client streams what it publishes: the stream ends, or its lines are refused. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { startAuthRelay } from '../support/auth-relay.ts';

interface Line {
	readonly status?: string;
	readonly error?: string;
	readonly summary?: { readonly accepted: number; readonly complete: boolean };
}

interface Stream {
	publish(): Promise<Line>;
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
		publish: () => {
			sent.write('{"topic":"a","payload":{}}\n');
			return next();
		},
	};
}

test('a stream ends with the key by which it publishes', { timeout: 10_000 }, async (t) => {
	const world = await startAuthRelay();
	t.after(() => world.close());
	const person = await world.person('person');
	const { keyId, secret } = await world.key(person, ['publish'], ['*']);
	const stream = await openStream(t, world.url, secret);
	assert.equal((await stream.publish()).status, 'accepted');
	assert.equal((await world.call('DELETE', `/auth/keys/${keyId}`, person)).status, 204);
	const { summary } = await stream.next();
	assert.deepEqual([summary?.accepted, summary?.complete], [1, false]);
});

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
