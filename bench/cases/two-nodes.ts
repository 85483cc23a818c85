/** Fan-out over two nodes that share a store, against the same sockets on one. */

import { Client } from '../clients/client.ts';
import { awaitDelivery, type BenchOptions, measure } from '../measure.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNode, startRelay } from '../servers/servers.ts';
import type { ValkeyServer } from '../servers/valkey.ts';
import { summarise } from '../statistics.ts';
import { type Comparison, LATENCY_COLUMNS, latencyValues, type Outcome, type Section } from '../table.ts';

interface Shape {
	readonly sockets: number;
	readonly perSecond: number;
}

const SHAPES: readonly Shape[] = [
	{ sockets: 200, perSecond: 500 },
	{ sockets: 1000, perSecond: 100 },
];
const PAYLOAD_BYTES = 128;
const PUBLISHER_CONNECTIONS = 8;
const SAMPLE_EVERY = 10;
/** How long the last messages may take once the publisher has stopped. */
const DRAIN_TIMEOUT_MS = 5000;

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
	const nodes = second === null ? [first] : [first, second];
	return deliverOver(nodes, options.valkey, shape, options.seconds);
}

async function deliverOver(
	nodes: readonly ChildServer[],
	valkey: ValkeyServer | null,
	{ sockets, perSecond }: Shape,
	seconds: number,
): Promise<Outcome> {
	const [server, ...others] = nodes as readonly [ChildServer, ...ChildServer[]];
	await using publisher = new Client();
	await using clients = new AsyncDisposableStack();
	const subscribers: Client[] = [];
	const each = sockets / nodes.length;
	for (const { url } of nodes) {
		const subscriber = clients.use(new Client());
		subscribers.push(subscriber);
		await subscriber.subscribe({ url, sockets: each, topics: ['bench'], offset: 'last', sampleEvery: SAMPLE_EVERY });
	}
	await publisher.publish({
		url: server.url,
		topic: 'bench',
		load: { kind: 'paced', perSecond },
		connections: PUBLISHER_CONNECTIONS,
		payloadBytes: PAYLOAD_BYTES,
		messagesMax: null,
	});
	const measured = await measure({ server, others, valkey, publisher, subscribers, seconds });
	const { acked } = await publisher.stop();
	const problems = [];
	for (const subscriber of subscribers)
		problems.push(...(await awaitDelivery(subscriber, each, acked, DRAIN_TIMEOUT_MS)).problems);
	const { deliveredPerSecond, cpuUsPerSecond, valkeyCpuUsPerSecond, ackedPerSecond, deliveryLatenciesMs } = measured;
	const latencies = latencyValues(summarise(deliveryLatenciesMs));
	return {
		values: [deliveredPerSecond, cpuUsPerSecond / deliveredPerSecond, valkeyCpuUsPerSecond / ackedPerSecond, ...latencies],
		problems,
	};
}
