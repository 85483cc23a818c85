/** The proxy of the fault runs fails as it says, between a plain TCP client and a plain TCP server. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { startProxy, type TcpProxy } from './proxy.ts';

/** Answers everything with itself, and counts what it was asked. */
interface Echo {
	readonly server: Server;
	readonly asked: string[];
	readonly sockets: Socket[];
	readonly port: number;
}

async function startEcho(prefix = ''): Promise<Echo> {
	const asked: string[] = [];
	const sockets: Socket[] = [];
	const server = createServer((socket) => {
		sockets.push(socket);
		socket.on('error', () => {});
		socket.on('data', (chunk: Buffer) => {
			asked.push(chunk.toString());
			socket.write(prefix + chunk.toString());
		});
	}).listen(0, '127.0.0.1');
	await once(server, 'listening');
	return { server, asked, sockets, port: (server.address() as AddressInfo).port };
}

let echo: Echo;
let other: Echo;
before(async () => {
	echo = await startEcho();
	other = await startEcho('other ');
});
after(() => {
	for (const { server, sockets } of [echo, other]) {
		server.close();
		for (const socket of sockets) socket.destroy();
	}
});

const proxyTo = ({ port }: Echo) => startProxy({ host: '127.0.0.1', port });

async function open({ port }: TcpProxy): Promise<Socket> {
	const socket = connect(port, '127.0.0.1');
	socket.on('error', () => {});
	await once(socket, 'connect');
	return socket;
}

/** Resolves when the socket closes, with whether that was by an error. */
function isBroken(socket: Socket): Promise<boolean> {
	return new Promise((resolve) => socket.once('close', resolve));
}

async function ask(socket: Socket, text: string): Promise<string> {
	socket.write(text);
	const [chunk] = (await once(socket, 'data')) as [Buffer];
	return chunk.toString();
}

test('bytes go through, after the delay asked for', async () => {
	await using proxy = await proxyTo(echo);
	const socket = await open(proxy);
	assert.equal(await ask(socket, 'one'), 'one');
	proxy.delay(50);
	const asked = performance.now();
	assert.equal(await ask(socket, 'two'), 'two');
	assert(performance.now() - asked >= 99, 'there and back');
	socket.destroy();
});

test('bytes do not overtake each other when the delay changes', async () => {
	await using proxy = await proxyTo(echo);
	const socket = await open(proxy);
	const sent = Array.from({ length: 200 }, (_, i) => `${i} `);
	const received: string[] = [];
	socket.on('data', (chunk: Buffer) => received.push(chunk.toString()));
	for (const [i, text] of sent.entries()) {
		proxy.delay(i % 20 < 10 ? 5 : 0);
		socket.write(text);
		await turn();
	}
	while (received.join('').length < sent.join('').length) await once(socket, 'data');
	assert.equal(received.join(''), sent.join(''));
	socket.destroy();
});

test('refusing leaves open connections alone, and accepting takes new ones to where it was moved', async () => {
	await using proxy = await proxyTo(echo);
	const socket = await open(proxy);
	assert.equal(await ask(socket, 'one'), 'one');
	await proxy.refuse();
	await assert.rejects(once(connect(proxy.port, '127.0.0.1'), 'connect'), { code: 'ECONNREFUSED' });
	assert.equal(await ask(socket, 'two'), 'two');
	proxy.moveTo({ host: '127.0.0.1', port: other.port });
	await proxy.accept();
	const moved = await open(proxy);
	assert.equal(await ask(moved, 'three'), 'other three');
	assert.equal(await ask(socket, 'four'), 'four');
	assert.equal(proxy.connections, 2);
	socket.destroy();
	moved.destroy();
});

test('a reset ends open connections on both sides', async () => {
	await using proxy = await proxyTo(echo);
	const socket = await open(proxy);
	await ask(socket, 'one');
	const broken = isBroken(socket);
	proxy.reset();
	assert.equal(await broken, true);
	assert.equal(proxy.connections, 0);
});

test('a dead connection stands and says nothing, while a new one works', async () => {
	await using proxy = await proxyTo(echo);
	const dead = await open(proxy);
	await ask(dead, 'one');
	proxy.deaden();
	const heard: string[] = [];
	dead.on('data', (chunk: Buffer) => heard.push(chunk.toString()));
	dead.on('close', () => heard.push('closed'));
	const asked = echo.asked.length;
	dead.write('two');
	const socket = await open(proxy);
	assert.equal(await ask(socket, 'three'), 'three');
	assert.deepEqual(echo.asked.slice(asked), ['three'], 'the server was not asked either');
	const server = echo.sockets.at(-2);
	assert(server !== undefined);
	// The server's side does not come through either, and one side's end is not told to the other.
	server.end('from the server');
	assert.equal(await ask(socket, 'four'), 'four');
	assert.deepEqual(heard, []);
	dead.destroy();
	socket.destroy();
});

test('a request whose reply is dropped has reached the server', async () => {
	await using proxy = await proxyTo(echo);
	const socket = await open(proxy);
	await ask(socket, 'one');
	proxy.dropReplies();
	const heard: string[] = [];
	socket.on('data', (chunk: Buffer) => heard.push(chunk.toString()));
	const broken = isBroken(socket);
	socket.write('two');
	assert.equal(await broken, true);
	assert.deepEqual(heard, []);
	assert.equal(echo.asked.at(-1), 'two');
	const again = await open(proxy);
	assert.equal(await ask(again, 'three'), 'three');
	again.destroy();
});

test('dropping the next answer breaks the connection it was for, once, whichever that is', async () => {
	await using proxy = await proxyTo(echo);
	const [waiting, asking] = [await open(proxy), await open(proxy)];
	const dropped = proxy.dropNextReply();
	asking.write('lost');
	assert(await isBroken(asking));
	await dropped;
	assert.equal(echo.asked.at(-1), 'lost');
	assert.equal(await ask(waiting, 'kept'), 'kept');
	waiting.destroy();
});
