/** Fan-out over two nodes that share a store, against the same sockets on one. */

import type { BenchOptions } from '../measure.ts';
import { deliverPaced, PAYLOAD_BYTES, type Shape } from '../paced.ts';
import { startNode, startRelay } from '../servers/servers.ts';
import { summarise } from '../statistics.ts';
import { type Comparison, LATENCY_COLUMNS, latencyValues, type Outcome, type Section } from '../table.ts';

const SHAPES: readonly Shape[] = [
	{ sockets: 200, perSecond: 500 },
	{ sockets: 1000, perSecond: 100 },
];
/** Rows of one node and of two; the CPU time is that of all nodes together. */
export async function twoNodes(options: BenchOptions): Promise<Section> {
	const comparisons: Comparison[] = [];
	for (const shape of SHAPES) {
		for (const nodes of [1, 2]) {
			comparisons.push({
				label: `${shape.sockets} sockets x ${shape.perSecond}/s on ${nodes}`,
				relay: await deliver(options, shape, nodes),
				naive: null,
			});
		}
	}
	return {
		title: `Fan-out over nodes: 1 topic, ${PAYLOAD_BYTES}-byte payloads, single publishes to one of them`,
		columns: [
			{ title: 'delivered/s', better: null, digits: 0 },
			{ title: 'nodes CPU us per delivered', better: 'less', digits: 3 },
			{ title: 'Valkey CPU us per message', better: 'less', digits: 1 },
			...LATENCY_COLUMNS,
		],
		comparisons,
		notes: ['latency: from the publisher writing the request to a subscriber of any node reading the frame'],
	};
}

async function deliver(options: BenchOptions, shape: Shape, count: number): Promise<Outcome> {
	await using first = await startRelay(options);
	await using second = count === 1 ? null : await startNode(options);
	const { measured, problems } = await deliverPaced(
		second === null ? [first] : [first, second],
		options.valkey,
		shape,
		options.seconds,
	);
	const { deliveredPerSecond, cpuUsPerSecond, valkeyCpuUsPerSecond, ackedPerSecond, deliveryLatenciesMs } = measured;
	const latencies = latencyValues(summarise(deliveryLatenciesMs));
	return {
		values: [deliveredPerSecond, cpuUsPerSecond / deliveredPerSecond, valkeyCpuUsPerSecond / ackedPerSecond, ...latencies],
		problems,
	};
}
