/** HEAD: wherever GET is, with its checks and its status, and without waiting for anything. */

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ROUTE_ACCESS } from '../../src/transports/http/access.ts';
import { startAuthRelay } from '../support/auth-relay.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';

let relay: TestRelay;
before(async () => {
	relay = await startRelay({ PULSAR_STORAGE_BACKEND: 'memory' });
	await relay.publish('a', '1');
});
after(() => relay.close());

const QUERIES: Readonly<Record<string, string>> = {
	'/api/v1/poll': '?topics=a&since=earliest',
	'/api/v1/events': '?topics=a',
};

/** Status, type and length of an answer whose body, if any, is not waited for. */
async function headOf(method: string, path: string) {
	const abort = new AbortController();
	const { status, headers } = await fetch(`${relay.url}${path}`, { method, signal: abort.signal });
	abort.abort();
	return { status, type: headers.get('content-type'), allow: headers.get('allow') };
}

for (const route of Object.keys(ROUTE_ACCESS).filter((route) => route.startsWith('GET '))) {
	const pattern = route.slice('GET '.length);
	test(`HEAD ${pattern} is answered like the GET`, async () => {
		const path = `${pattern.replace('*', '/').replace(':topic_name', 'a').replace(/:\w+/g, 'unknown')}${QUERIES[pattern] ?? ''}`;
		assert.deepEqual(await headOf('HEAD', path), await headOf('GET', path));
	});
}

test('a HEAD of a poll or of an event stream does not wait, and is refused like the GET', async () => {
	for (const path of ['/api/v1/poll', '/api/v1/events']) {
		const answer = await fetch(`${relay.url}${path}?topics=nothing-comes&timeout=50`, { method: 'HEAD' });
		assert.equal(answer.status, 200);
		assert.equal(await answer.text(), '');
		assert.equal((await headOf('HEAD', `${path}?topics=.dot`)).status, 422);
		assert.equal((await headOf('HEAD', path)).status, 422);
	}
	const { json } = await relay.request('GET', '/messages/poll/stats');
	assert.equal((json as { active_waiters: number }).active_waiters, 0);
});

test('a HEAD asks for the credentials that the GET asks for', async (t) => {
	const world = await startAuthRelay();
	t.after(() => world.close());
	const guarded = Object.entries(ROUTE_ACCESS).filter(([route, { who }]) => route.startsWith('GET ') && who !== 'open');
	assert(guarded.length > 5);
	for (const [route] of guarded) {
		const path = route.slice('GET '.length).replace(/:\w+/g, 'unknown');
		const { status } = await fetch(`${world.url}${path}${QUERIES[path] ?? ''}`, { method: 'HEAD' });
		assert.equal(status, 401, route);
	}
	const allowed = await fetch(`${world.url}/api/v1/topics`, {
		method: 'HEAD',
		headers: { authorization: `Bearer ${world.admin.token}` },
	});
	assert.equal(allowed.status, 200);
});
