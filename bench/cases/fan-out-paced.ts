/** Fan-out at a given pace: what a delivered message costs, and how long it takes, when the server is not at its limit. */

import { Client } from '../clients/client.ts';
import { awaitDelivery, type BenchOptions, measure } from '../measure.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNaive, startRelay } from '../servers/servers.ts';
import { summarise } from '../statistics.ts';
import { type Comparison, LATENCY_COLUMNS, latencyValues, type Outcome, type Section } from '../table.ts';

interface Shape {
	readonly sockets: number;
	readonly perSecond: number;
}

const SHAPES: readonly Shape[] = [
	{ sockets: 200, perSecond: 500 },
	{ sockets: 20, perSecond: 5000 },
	{ sockets: 1000, perSecond: 100 },
];
const PAYLOAD_BYTES = 128;
const PUBLISHER_CONNECTIONS = 8;
const SAMPLE_EVERY = 10;
/** How long the last messages may take once the publisher has stopped. */
const DRAIN_TIMEOUT_MS = 5000;

export async function fanOutPaced(options: BenchOptions): Promise<Section> {
	const comparisons: Comparison[] = [];
	for (const shape of SHAPES) {
		comparisons.push({
			label: `${shape.sockets} sockets x ${shape.perSecond}/s`,
			relay: await deliver(await startRelay(options), shape, options.seconds),
			naive: await deliver(await startNaive({ stores: false }), shape, options.seconds),
		});
	}
	return {
		title: `Fan-out paced: 1 topic, ${PAYLOAD_BYTES}-byte payloads, single publishes`,
		columns: [
			{ title: 'delivered/s', better: null, digits: 0 },
			{ title: 'server CPU us per delivered', better: 'less', digits: 3 },
			...LATENCY_COLUMNS,
		],
		comparisons,
		notes: [
			'latency: from the publisher writing the request to a subscriber reading the frame, every message on one socket in ten',
			'naive: one ws.send per message and socket; it stores nothing, the relay acknowledges and delivers what is on disk',
		],
	};
}

async function deliver(started: ChildServer, { sockets, perSecond }: Shape, seconds: number): Promise<Outcome> {
	await using server = started;
	await using publisher = new Client();
	await using subscriber = new Client();
	await subscriber.subscribe({ url: server.url, sockets, topics: ['bench'], offset: 'last', sampleEvery: SAMPLE_EVERY });
	await publisher.publish({
		url: server.url,
		topic: 'bench',
		load: { kind: 'paced', perSecond },
		connections: PUBLISHER_CONNECTIONS,
		payloadBytes: PAYLOAD_BYTES,
		messagesMax: null,
	});
	const measured = await measure({ server, publisher, subscribers: [subscriber], seconds });
	const { deliveredPerSecond, cpuUsPerSecond, deliveryLatenciesMs, leftOut } = measured;
	const { acked } = await publisher.stop();
	const { problems } = await awaitDelivery(subscriber, sockets, acked, DRAIN_TIMEOUT_MS);
	const left = leftOut === 0 ? [] : [`${leftOut} messages were not published, the server was too far behind`];
	return {
		values: [deliveredPerSecond, cpuUsPerSecond / deliveredPerSecond, ...latencyValues(summarise(deliveryLatenciesMs))],
		problems: [...left, ...problems],
	};
}
