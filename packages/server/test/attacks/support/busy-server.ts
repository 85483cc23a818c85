/** A server that does nothing but be busy, in turns of a few milliseconds: what it takes to answer is what the machine takes. */

import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const TURN_MS = 5;

function beBusy(): void {
	const { user } = process.threadCpuUsage();
	while (process.threadCpuUsage().user - user < TURN_MS * 1000);
	setImmediate(beBusy);
}

const server = createServer((_request, response) => response.end('{}'));
server.listen(0, '127.0.0.1', () => {
	process.send?.(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
	beBusy();
});
