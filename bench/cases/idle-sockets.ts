/** Idle WebSockets: the memory that each costs the server. */

import { Client } from '../clients/client.ts';
import type { BenchOptions } from '../measure.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNaive, startRelay } from '../servers/servers.ts';
import type { Outcome, Section } from '../table.ts';

const SOCKETS = 10_000;
/** File descriptors are limited per process, to 20,000 or so; the server has one per socket too. */
const CLIENTS = 2;

export async function idleSockets(options: BenchOptions): Promise<Section> {
	return {
		title: `${SOCKETS} idle WebSockets: server memory for each, after a collection`,
		columns: [
			{ title: 'RSS bytes each', better: 'less', digits: 0 },
			{ title: 'heap', better: 'less', digits: 0 },
			{ title: 'off-heap', better: null, digits: 0 },
			{ title: 'CPU us to connect', better: 'less', digits: 0 },
		],
		comparisons: [
			{
				label: 'one topic for all',
				relay: await hold(await startRelay(options), ['bench']),
				naive: await hold(await startNaive({ stores: false }), ['bench']),
			},
			{ label: 'a topic for each', relay: await hold(await startRelay(options), topics()), naive: null },
		],
		notes: ['naive: `ws` with its sockets in a Set and nothing else, the least that `ws` takes'],
	};
}

function topics(): string[] {
	return Array.from({ length: SOCKETS }, (_, index) => `bench.${index}`);
}

async function hold(started: ChildServer, topics: readonly string[]): Promise<Outcome> {
	await using server = started;
	// A first connection, so that what the server loads and makes once is not counted.
	await using visitor = new Client();
	await visitor.subscribe({
		url: server.url,
		sockets: 1,
		topics: ['bench'],
		offset: 'last',
		sampleEvery: null,
	});
	const before = await server.usage(true);
	await using clients = new AsyncDisposableStack();
	for (let index = 0; index < CLIENTS; index++) {
		const client = clients.use(new Client());
		await client.subscribe({
			url: server.url,
			sockets: SOCKETS / CLIENTS,
			topics: topics.length === 1 ? topics : topics.slice((index * SOCKETS) / CLIENTS, ((index + 1) * SOCKETS) / CLIENTS),
			offset: 'last',
			sampleEvery: null,
		});
	}
	const after = await server.usage(true);
	const values = [
		(after.rssBytes - before.rssBytes) / SOCKETS,
		(after.heapBytes - before.heapBytes) / SOCKETS,
		(after.offHeapBytes - before.offHeapBytes) / SOCKETS,
		(after.cpuUs - before.cpuUs) / SOCKETS,
	];
	return { values, problems: [] };
}
