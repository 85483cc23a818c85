/** Durable publishes in bulk requests and in streamed bodies. */

import { Client } from '../clients/client.ts';
import type { Load } from '../clients/publisher.ts';
import { type BenchOptions, measure } from '../measure.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNaive, startRelay } from '../servers/servers.ts';
import type { ValkeyServer } from '../servers/valkey.ts';
import type { Outcome, Section } from '../table.ts';

const CONNECTIONS = 4;
const BULK_MESSAGES = 100;
const PAYLOAD_BYTES = 300;

const LOADS: readonly { readonly label: string; readonly load: Load }[] = [
	{ label: `bulk, ${BULK_MESSAGES} each`, load: { kind: 'in turn', batch: BULK_MESSAGES } },
	{ label: 'stream', load: { kind: 'stream', aheadMax: null } },
];

export async function batchPublishes(options: BenchOptions): Promise<Section> {
	const comparisons = [];
	for (const { label, load } of LOADS) {
		comparisons.push({
			label,
			relay: await publish(await startRelay(options), load, options.seconds, options.valkey),
			naive: await publish(await startNaive({ stores: true }), load, options.seconds, null),
		});
	}
	return {
		title: `Durable publishes in batches: ${CONNECTIONS} connections, ${PAYLOAD_BYTES}-byte payloads`,
		columns: [
			{ title: 'messages/s', better: 'more', digits: 0 },
			{ title: 'server CPU us each', better: 'less', digits: 2 },
			{ title: 'Valkey CPU us each', better: null, digits: 2 },
		],
		comparisons,
		notes: ['naive: one transaction per message'],
	};
}

async function publish(started: ChildServer, load: Load, seconds: number, valkey: ValkeyServer | null): Promise<Outcome> {
	await using server = started;
	await using publisher = new Client();
	await publisher.publish({
		url: server.url,
		topic: 'bench',
		load,
		connections: CONNECTIONS,
		payloadBytes: PAYLOAD_BYTES,
		messagesMax: null,
	});
	const { ackedPerSecond, cpuUsPerSecond, valkeyCpuUsPerSecond } = await measure({
		server,
		valkey,
		publisher,
		subscribers: [],
		seconds,
	});
	return { values: [ackedPerSecond, cpuUsPerSecond / ackedPerSecond, valkeyCpuUsPerSecond / ackedPerSecond], problems: [] };
}
