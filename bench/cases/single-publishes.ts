/** Durable single publishes: one message per request, acknowledged when it is on disk. */

import { Client } from '../clients/client.ts';
import { type BenchOptions, type Measurement, measure } from '../measure.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNaive, startRelay } from '../servers/servers.ts';
import type { ValkeyServer } from '../servers/valkey.ts';
import { summarise } from '../statistics.ts';
import { LATENCY_COLUMNS, latencyValues, type Outcome, type Section } from '../table.ts';

export const CONNECTIONS = 64;
export const PAYLOAD_BYTES = 300;

export async function singlePublishes(options: BenchOptions): Promise<Section> {
	return {
		title: `Durable single publishes: ${CONNECTIONS} connections, one request in flight each, ${PAYLOAD_BYTES}-byte payloads`,
		columns: [
			{ title: 'publishes/s', better: 'more', digits: 0 },
			{ title: 'server CPU us each', better: 'less', digits: 1 },
			{ title: 'Valkey CPU us each', better: null, digits: 1 },
			...LATENCY_COLUMNS,
		],
		comparisons: [
			{
				label: 'single',
				relay: await publish(await startRelay(options), options.seconds, options.valkey),
				naive: await publish(await startNaive({ stores: true }), options.seconds, null),
			},
		],
		notes: ['naive: node:http and node:sqlite (WAL, synchronous=FULL), one transaction per message'],
	};
}

async function publish(started: ChildServer, seconds: number, valkey: ValkeyServer | null): Promise<Outcome> {
	await using server = started;
	const { ackedPerSecond, cpuUsPerSecond, valkeyCpuUsPerSecond, publishLatenciesMs } = await publishSingles(
		server,
		seconds,
		valkey,
	);
	const values = [
		ackedPerSecond,
		cpuUsPerSecond / ackedPerSecond,
		valkeyCpuUsPerSecond / ackedPerSecond,
		...latencyValues(summarise([publishLatenciesMs])),
	];
	return { values, problems: [] };
}

/** The load of this benchmark on a server, measured; with a bearer token where one is given. */
export async function publishSingles(
	server: ChildServer,
	seconds: number,
	valkey: ValkeyServer | null,
	credentials: { readonly token?: string } = {},
): Promise<Measurement> {
	await using publisher = new Client();
	await publisher.publish({
		url: server.url,
		topic: 'bench',
		load: { kind: 'in turn', batch: 1 },
		connections: CONNECTIONS,
		payloadBytes: PAYLOAD_BYTES,
		messagesMax: null,
		...credentials,
	});
	return await measure({ server, valkey, publisher, subscribers: [], seconds });
}
