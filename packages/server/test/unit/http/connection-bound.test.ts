/** Connections of one address leave room for those of others. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../../src/ops/clock.ts';
import { createLogger } from '../../../src/ops/logger.ts';
import { peerCounts } from '../../../src/transports/http/client-address.ts';
import { boundConnections } from '../../../src/transports/http/connection-bound.ts';

async function start(t: TestContext, connectionsMax: number, peerOf: (address: string) => string | null) {
	let dropped = 0;
	const lines: string[] = [];
	const server = createServer((socket) => socket.on('error', () => {}).resume());
	const to = new PassThrough();
	to.on('data', (chunk: Buffer) => lines.push(chunk.toString()));
	boundConnections(server, {
		connectionsMax,
		openFilesMax: null,
		peerOf,
		clock: systemClock,
		logger: createLogger({ level: 'info', format: 'json', to }),
		metrics: { connectionDropped: () => dropped++ },
	});
	const open: Socket[] = [];
	t.after(() => {
		for (const socket of open) socket.destroy();
		server.close();
	});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	const { port } = server.address() as AddressInfo;
	/** Connects so often; gives how many stay open. */
	const connectFrom = async (localAddress: string, times: number) => {
		let stayed = 0;
		for (let i = 0; i < times; i++) {
			const socket = connect({ host: '127.0.0.1', port, localAddress });
			socket.on('error', () => {});
			const [accepted] = await Promise.race([
				once(server, 'connection') as Promise<[Socket]>,
				once(server, 'drop').then(() => [null] as const),
			]);
			if (accepted !== null && !accepted.destroyed) {
				open.push(socket);
				stayed++;
			}
		}
		return stayed;
	};
	return { connectFrom, open, lines, dropped: () => dropped, server };
}

test('an address has no more than it leaves to others, and each newcomer gets some', async (t) => {
	const { connectFrom, open, lines, dropped, server } = await start(t, 20, (address) => address);
	assert.equal(await connectFrom('127.0.0.2', 15), 10);
	assert.equal(await connectFrom('127.0.0.3', 15), 5);
	assert.equal(await connectFrom('127.0.0.4', 2), 2);
	assert(dropped() > 10, String(dropped()));
	assert.match(lines.join(''), /"peer":"127\.0\.0\.2".*connections are cut off/);
	const [first] = open;
	first?.destroy();
	await new Promise<void>((resolve) => {
		const look = () => server.getConnections((_error, count) => (count < 17 ? resolve() : setImmediate(look)));
		look();
	});
	assert.equal(await connectFrom('127.0.0.5', 1), 1);
});

test('peers that many clients come by are bounded together with the others only', async (t) => {
	const { connectFrom } = await start(t, 20, () => null);
	assert.equal(await connectFrom('127.0.0.2', 25), 20);
});

test('a peer counts by its address, of IPv6 by its network; proxies and this machine do not', () => {
	const peerOf = peerCounts(['10.0.0.0/8']);
	for (const [address, peer] of [
		['203.0.113.9', '203.0.113.9'],
		['::ffff:203.0.113.9', '203.0.113.9'],
		['2001:db8:1:2:3::4', '2001:db8:1:2::/64'],
		['10.1.2.3', null],
		['127.0.0.1', null],
		['::1', null],
		['', null],
	] as const) {
		assert.equal(peerOf(address), peer, address);
	}
});
