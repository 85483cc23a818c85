/** Bad networks: what stands between a client and its relay, and what is no relay at all. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request as forward, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, type TestContext, test } from 'node:test';
import { startRelay, type TestRelay } from '../../server/test/support/relay.ts';
import { connect, type RelayStatus } from '../src/index.ts';
import { hastyClock } from './support/hasty-clock.ts';

let relay: TestRelay;
before(async () => {
	relay = await startRelay();
});
after(() => relay.close());

async function serve(t: TestContext, answer: RequestListener): Promise<{ readonly server: Server; readonly url: string }> {
	const server = createServer(answer).listen(0, '127.0.0.1');
	await once(server, 'listening');
	t.after(() => {
		server.closeAllConnections();
		server.close();
	});
	return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** Passes requests on to the relay; what is not passed on is answered by the test. */
const passOn: RequestListener = (incoming, outgoing) => {
	const { method, url, headers } = incoming;
	const upstream = forward(`${relay.url}${url}`, { method, headers }, (answer) => {
		outgoing.writeHead(answer.statusCode ?? 500, answer.headers);
		answer.pipe(outgoing);
	});
	upstream.on('error', () => outgoing.destroy());
	outgoing.on('close', () => upstream.destroy());
	incoming.pipe(upstream);
};

test('where upgrades do not get through, messages come over SSE', async (t) => {
	const proxy = await serve(t, passOn);
	proxy.server.on('upgrade', (_request, socket) => socket.destroy());
	await relay.publishMany('blocked', ['1', '2']);
	await using client = connect(proxy.url, { clock: hastyClock(50) });
	const seen: unknown[] = [];
	for await (const message of client.read('blocked', { from: 'earliest' })) {
		seen.push(message.json());
		if (seen.length === 2) break;
	}
	assert.deepEqual(seen, [1, 2]);
});

test('where event streams are held back as well, messages come by long-polling', async (t) => {
	const proxy = await serve(t, (incoming, outgoing) => {
		if (incoming.url?.startsWith('/api/v1/events') !== true) passOn(incoming, outgoing);
	});
	proxy.server.on('upgrade', (_request, socket) => socket.destroy());
	await relay.publishMany('held', ['1']);
	const statuses: RelayStatus[] = [];
	await using client = connect(proxy.url, { clock: hastyClock(50) });
	client.status.subscribe((status) => statuses.push(status));
	for await (const message of client.read('held', { from: 'earliest' })) {
		assert.equal(message.json(), 1);
		break;
	}
	assert(statuses.some((status) => status.state === 'live' && status.transport === 'poll'));
});

test('a page instead of a relay ends the read, and says what answers', async (t) => {
	const portal = await serve(t, (_request, response) =>
		response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>Welcome</h1>'),
	);
	portal.server.on('upgrade', (_request, socket) => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'));
	await using client = connect(portal.url, { clock: hastyClock(50) });
	await assert.rejects(client.read('a').next(), { code: 'not_a_relay', message: /answers 200 with text\/html/ });
	await assert.rejects(client.publish('a', 1), { code: 'not_a_relay' });
	await assert.rejects(client.history('a').next(), { code: 'not_a_relay' });
});

test('a relay that is not there yet is waited for', async (t) => {
	const late = await serve(t, passOn);
	const { port } = late.server.address() as AddressInfo;
	late.server.close();
	await once(late.server, 'close');
	await using client = connect(late.url, { clock: hastyClock(50) });
	const next = client.read('late', { from: 'earliest' }).next();
	const published = client.publish('late', 7);
	await new Promise<void>((resolve) => {
		client.status.subscribe((status) => status.state === 'offline' && resolve());
	});
	late.server.on('upgrade', (_request, socket) => socket.destroy());
	late.server.listen(port, '127.0.0.1');
	await published;
	assert.equal((await next).value?.json(), 7);
});

test('wrong arguments are refused at once, and say what is right', async () => {
	assert.throws(() => connect('ftp://example.org'), { code: 'invalid_argument' });
	assert.throws(() => connect('http://user:secret@example.org'), { code: 'invalid_argument', message: /`token`/ });
	assert.throws(() => connect(relay.url, { transports: [] }), { code: 'invalid_argument' });
	await using client = connect(relay.url);
	assert.throws(() => client.read([]), { code: 'invalid_argument' });
	assert.throws(() => client.read('a', { batch: 0 }), { code: 'invalid_argument' });
	await assert.rejects(client.read('a', { from: 'yesterday' }).next(), { code: 'invalid_argument', message: /"earliest"/ });
	await assert.rejects(client.publish('a', undefined), { code: 'invalid_argument' });
	await assert.rejects(client.publish('no such name', 1), { code: 'invalid_topic' });
});

test('what waits when the client is closed ends with an error that says so', async () => {
	const client = connect(relay.url);
	const next = client.read('quiet').next();
	await new Promise<void>((resolve) => {
		client.status.subscribe((status) => status.state === 'live' && resolve());
	});
	await client.close();
	await assert.rejects(next, { code: 'closed' });
	await assert.rejects(client.publish('a', 1), { code: 'closed' });
});
