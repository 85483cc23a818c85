/** Fan-out as fast as it goes: one topic, many sockets, more messages than can be delivered. */

import { Client } from '../clients/client.ts';
import { awaitDelivery, type BenchOptions, measure } from '../measure.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNaive, startRelay } from '../servers/servers.ts';
import type { Outcome, Section } from '../table.ts';

const SOCKETS = 200;
const PAYLOAD_BYTES = 128;
/** Enough ahead to keep the server busy, little enough for subscribers to stay live rather than to read back. */
const AHEAD_MAX = 2000;
/** How long what is behind may take once the publisher has stopped. */
const DRAIN_TIMEOUT_MS = 10_000;

const LOADS = [
	{ label: `publisher at most ${AHEAD_MAX} ahead`, aheadMax: AHEAD_MAX },
	{ label: 'publisher without restraint', aheadMax: null },
];

export async function fanOutSaturated(options: BenchOptions): Promise<Section> {
	const comparisons = [];
	for (const { label, aheadMax } of LOADS) {
		comparisons.push({
			label,
			relay: await deliver(await startRelay(options), aheadMax, options.seconds, true),
			// Not to the end: it has taken more than it can send in minutes.
			naive: await deliver(await startNaive({ stores: false }), aheadMax, options.seconds, false),
		});
	}
	return {
		title: `Fan-out saturated: 1 topic, ${SOCKETS} sockets, ${PAYLOAD_BYTES}-byte payloads, one streaming publisher`,
		columns: [
			{ title: 'delivered/s', better: 'more', digits: 0 },
			{ title: 'server CPU us per delivered', better: 'less', digits: 3 },
			{ title: 'published/s', better: null, digits: 0 },
		],
		comparisons,
		notes: ['naive: one ws.send per message and socket; it stores nothing, the relay stores everything'],
	};
}

async function deliver(started: ChildServer, aheadMax: number | null, seconds: number, toTheEnd: boolean): Promise<Outcome> {
	await using server = started;
	await using client = new Client();
	await client.subscribe({ url: server.url, sockets: SOCKETS, topics: ['bench'], offset: 'last', sampleEvery: null });
	await client.publish({
		url: server.url,
		topic: 'bench',
		load: { kind: 'stream', aheadMax },
		connections: 1,
		payloadBytes: PAYLOAD_BYTES,
		messagesMax: null,
	});
	const measured = await measure({ server, publisher: client, subscribers: [client], seconds });
	const { deliveredPerSecond, ackedPerSecond, cpuUsPerSecond } = measured;
	const values = [deliveredPerSecond, cpuUsPerSecond / deliveredPerSecond, ackedPerSecond];
	if (!toTheEnd) return { values, problems: [] };
	const { acked } = await client.stop();
	const { problems } = await awaitDelivery(client, SOCKETS, acked, DRAIN_TIMEOUT_MS);
	return { values, problems };
}
