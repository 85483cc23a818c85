/** A worker that says who it is, holds a request until it drains, and gets stuck when it is told to. */

import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createMetrics } from '../../../src/ops/metrics.ts';
import { end, firstStopSignal, openLog } from '../../../src/process/lifetime.ts';
import { joinPrimary } from '../../../src/workers/link.ts';
import type { WorkerSetup } from './setup.ts';

const primary = await joinPrimary<WorkerSetup>();
if (primary === null) process.exit(0);
const { number, setup } = primary;
const log = openLog({ logFormat: 'json', logLevel: 'info' }, { worker: number });
const { logger } = log;
const stopSignal = firstStopSignal(logger);

if (setup.diesAtStart === number) process.exit(3);
if (setup.cannotStart?.includes(number) || (setup.cannotStartBeside !== undefined && existsSync(setup.cannotStartBeside))) {
	await primary.cannotStart('the store is locked');
	process.exit(1);
}

const metrics = createMetrics({
	store: { stats: () => ({ topics: 3, messages: 40, bytes: 500 }), health: () => ({ status: 'ok', durability: 'process' }) },
	textOfAll: () => primary.scrape(),
});
const held: ServerResponse[] = [];

const server = createServer((request, response) => {
	response.setHeader('connection', 'close');
	switch (request.url) {
		case '/who':
			response.end(JSON.stringify({ number, pid: process.pid }));
			break;
		case '/hold':
			held.push(response);
			response.writeHead(200, { 'x-pid': process.pid }).flushHeaders();
			break;
		case '/stick':
			response.writeHead(200, { 'x-pid': process.pid }).flushHeaders();
			// Once that is sent: blocks the thread without using the processor.
			setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
			break;
		case '/count':
			metrics.received(1, 10);
			metrics.connectionOpened('sse');
			response.end(JSON.stringify({ number, pid: process.pid }));
			break;
		case '/metrics':
			void metrics.text().then((text) => response.end(text));
			break;
		default:
			response.writeHead(404).end();
	}
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address() as AddressInfo;
primary.serving(
	{ url: `http://127.0.0.1:${port}`, metricsUrl: `http://127.0.0.1:${port}/metrics`, durability: 'process' },
	{
		report: () => metrics.report(),
		reload: () => logger.info('reloaded'),
	},
);

const why = await Promise.race([stopSignal, primary.stopped]);
const drain = async () => {
	if (setup.neverDrains) await new Promise(() => {});
	for (const response of held) response.end('drained');
	server.close();
	await once(server, 'close');
	return true;
};
await end({ timeoutS: 30, drain, why: { why } }, log);
