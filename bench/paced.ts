/** A load at a given pace: what one or several nodes deliver of it, and what of it went wrong. */

import { Client } from './clients/client.ts';
import { awaitDelivery, type Measurement, measure } from './measure.ts';
import type { ChildServer } from './servers/child-server.ts';
import type { ValkeyServer } from './servers/valkey.ts';

export interface Shape {
	/** Over all nodes, the same number on each. */
	readonly sockets: number;
	/** Messages published, all to the first node. */
	readonly perSecond: number;
	/** Bearer token of publisher and subscribers; default none. */
	readonly token?: string;
}

export interface PacedDelivery {
	readonly measured: Measurement;
	readonly problems: readonly string[];
}

export const PAYLOAD_BYTES = 128;
const PUBLISHER_CONNECTIONS = 8;
const SAMPLE_EVERY = 10;
/** How long the last messages may take once the publisher has stopped. */
const DRAIN_TIMEOUT_MS = 5000;

/** Publishes single messages to one topic and follows them to the last socket. */
export async function deliverPaced(
	nodes: readonly [ChildServer, ...ChildServer[]],
	valkey: ValkeyServer | null,
	{ sockets, perSecond, ...credentials }: Shape,
	seconds: number,
): Promise<PacedDelivery> {
	const [server, ...others] = nodes;
	await using publisher = new Client();
	await using clients = new AsyncDisposableStack();
	const subscribers: Client[] = [];
	const each = sockets / nodes.length;
	for (const { url } of nodes) {
		const subscriber = clients.use(new Client());
		subscribers.push(subscriber);
		await subscriber.subscribe({
			url,
			sockets: each,
			topics: ['bench'],
			offset: 'last',
			sampleEvery: SAMPLE_EVERY,
			...credentials,
		});
	}
	await publisher.publish({
		url: server.url,
		topic: 'bench',
		load: { kind: 'paced', perSecond },
		connections: PUBLISHER_CONNECTIONS,
		payloadBytes: PAYLOAD_BYTES,
		messagesMax: null,
		...credentials,
	});
	const measured = await measure({ server, others, valkey, publisher, subscribers, seconds });
	const { acked } = await publisher.stop();
	const { leftOut } = measured;
	const problems = leftOut === 0 ? [] : [`${leftOut} messages were not published, the server was too far behind`];
	for (const subscriber of subscribers) {
		problems.push(...(await awaitDelivery(subscriber, each, acked, DRAIN_TIMEOUT_MS)).problems);
	}
	return { measured, problems };
}
