/** Fan-out at a given pace: what a delivered message costs, and how long it takes, when the server is not at its limit. */

import type { BenchOptions } from '../measure.ts';
import { deliverPaced, PAYLOAD_BYTES, type Shape } from '../paced.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNaive, startRelay } from '../servers/servers.ts';
import { summarise } from '../statistics.ts';
import { type Comparison, LATENCY_COLUMNS, latencyValues, type Outcome, type Section } from '../table.ts';

const SHAPES: readonly Shape[] = [
	{ sockets: 200, perSecond: 500 },
	{ sockets: 20, perSecond: 5000 },
	{ sockets: 1000, perSecond: 100 },
];
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

async function deliver(started: ChildServer, shape: Shape, seconds: number): Promise<Outcome> {
	await using server = started;
	const { measured, problems } = await deliverPaced([server], null, shape, seconds);
	const { deliveredPerSecond, cpuUsPerSecond, deliveryLatenciesMs } = measured;
	return {
		values: [deliveredPerSecond, cpuUsPerSecond / deliveredPerSecond, ...latencyValues(summarise(deliveryLatenciesMs))],
		problems,
	};
}
