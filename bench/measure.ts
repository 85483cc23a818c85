/** Measuring a server under load: two marks, and what happened between them. */

import type { Client } from './clients/client.ts';
import type { ChildServer } from './servers/child-server.ts';
import type { ValkeyServer } from './servers/valkey.ts';
import { sleep } from './timing.ts';

/** What the command line says. */
export interface BenchOptions {
	/** Length of each measurement. */
	readonly seconds: number;
	/** Where the relay's CPU profiles go; null = do not profile. */
	readonly profileDirectory: string | null;
	/** The server that the relay stores on; null = the embedded store. */
	readonly valkey: ValkeyServer | null;
}

/** The load of one measurement: who publishes, who subscribes. */
export interface Load {
	readonly server: ChildServer;
	/** Other nodes, whose CPU time counts as well. */
	readonly others?: readonly ChildServer[];
	readonly valkey?: ValkeyServer | null;
	readonly publisher: Client | null;
	readonly subscribers: readonly Client[];
	readonly seconds: number;
}

/** What happened during one measurement. */
export interface Measurement {
	readonly ackedPerSecond: number;
	/** Over all sockets. */
	readonly deliveredPerSecond: number;
	readonly publishLatenciesMs: Float64Array;
	readonly deliveryLatenciesMs: readonly Float64Array[];
	/** CPU time of the server, all threads, per second. */
	readonly cpuUsPerSecond: number;
	/** CPU time of Valkey, per second; NaN without it. */
	readonly valkeyCpuUsPerSecond: number;
	/** Messages that the publisher left out because the server did not answer. */
	readonly leftOut: number;
}

/** How far the subscribers got. */
export interface Delivery {
	/** Every socket has everything. */
	readonly complete: boolean;
	/** Over all sockets. */
	readonly messages: number;
	/** Since the subscribe frames were sent. */
	readonly elapsedMs: number;
	/** That delivery stands still before its end, or that there was too much of it; otherwise none. */
	readonly problems: readonly string[];
}

/** How long nothing arrives before a subscriber that has not got everything counts as forgotten. */
const STANDSTILL_MS = 1000;

/** Waits until each of a client's sockets has `each` messages, at most `timeoutMs`. */
export async function awaitDelivery(client: Client, sockets: number, each: number, timeoutMs: number): Promise<Delivery> {
	const received = await client.received(each, timeoutMs);
	const { messages } = received.complete ? received : await client.received(each, STANDSTILL_MS);
	const problems = [];
	const count = `${messages} of ${each * sockets} messages`;
	if (!received.complete && messages === received.messages) problems.push(`delivery stands still at ${count}`);
	if (messages > each * sockets) problems.push(`delivered ${count}`);
	return { ...received, problems };
}

/** Lets code become fast and buffers find their size before the first mark. */
const WARM_UP_MS = 1000;

/** Measures for the given time, after a warm-up. */
export async function measure(load: Load): Promise<Measurement> {
	await sleep(WARM_UP_MS);
	const before = await mark(load);
	await sleep(load.seconds * 1000);
	const after = await mark(load);
	const cpuUs = after.cpuUs - before.cpuUs;
	return {
		ackedPerSecond: perSecond(before.publisher, after.publisher, ({ acked }) => acked),
		deliveredPerSecond: after.subscribers.reduce(
			(sum, each, index) => sum + perSecond(before.subscribers[index], each, ({ messages }) => messages),
			0,
		),
		publishLatenciesMs: after.publisher?.latenciesMs ?? new Float64Array(),
		deliveryLatenciesMs: after.subscribers.map(({ latenciesMs }) => latenciesMs),
		// By the server's own clock: a busy server answers late, and has used more by then.
		cpuUsPerSecond: (cpuUs / (after.usage.atMs - before.usage.atMs)) * 1000,
		valkeyCpuUsPerSecond: ((after.valkeyCpuUs - before.valkeyCpuUs) / (after.usage.atMs - before.usage.atMs)) * 1000,
		leftOut: (after.publisher?.leftOut ?? 0) - (before.publisher?.leftOut ?? 0),
	};
}

async function mark({ server, others = [], valkey, publisher, subscribers }: Load) {
	const [usage, otherUsages, valkeyCpuUs, published, received] = await Promise.all([
		server.usage(),
		Promise.all(others.map((other) => other.usage())),
		valkey?.cpuUs() ?? Number.NaN,
		publisher?.publishMark(),
		Promise.all(subscribers.map((client) => client.subscribeMark())),
	]);
	const cpuUs = otherUsages.reduce((sum, other) => sum + other.cpuUs, usage.cpuUs);
	return { usage, cpuUs, valkeyCpuUs, publisher: published, subscribers: received };
}

function perSecond<M extends { readonly atMs: number }>(
	before: M | undefined,
	after: M | undefined,
	count: (mark: M) => number,
): number {
	if (before === undefined || after === undefined) return Number.NaN;
	return ((count(after) - count(before)) / (after.atMs - before.atMs)) * 1000;
}
