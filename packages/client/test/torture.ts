/**
 * Torture: a relay that is killed and drained, and a network that breaks, freezes and refuses, under clients that read over every transport. The
 * oracle is the log: what the clients read must be what it holds, each message once and in order, and no gap.
 */

import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { RelayNode } from '../../server/test/faults/node.ts';
import { startProxy, type TcpProxy } from '../../server/test/faults/proxy.ts';
import { connect, type Gap, type Relay, type TransportKind } from '../src/index.ts';
import { hastyClock } from './support/hasty-clock.ts';

export interface TortureOptions {
	readonly seed: number;
	readonly steps: number;
}

export interface TortureResult {
	readonly published: number;
	/** How long the slowest client took to catch up once nothing was in its way any more. */
	readonly caughtUpMs: number;
}

/** The client's timers run this much faster: a silent link is found out in seconds, not in half a minute. */
const HASTE = 8;
const TOPIC = 'torture';
const STEP_MS_MAX = 300;
const CATCH_UP_TIMEOUT_MS = 60_000;

const WAYS: readonly (readonly TransportKind[])[] = [['ws', 'sse', 'poll'], ['ws'], ['sse'], ['poll'], ['poll', 'sse']];

interface World {
	readonly node: RelayNode;
	readonly proxy: TcpProxy;
	readonly random: () => number;
	refusing: boolean;
}

/** Each is one step; the time until the next is short, so that they overlap with the attempts of the clients. */
const STEPS: readonly ((world: World) => Promise<void> | void)[] = [
	({ proxy }) => proxy.reset(),
	({ proxy }) => proxy.deaden(),
	({ proxy, random }) => proxy.delay(Math.floor(random() * 50)),
	({ proxy }) => proxy.delay(0),
	async (world) => {
		if (world.refusing) await world.proxy.accept();
		else await world.proxy.refuse();
		world.refusing = !world.refusing;
	},
	async ({ node }) => {
		await node.end('SIGKILL');
		await node.restart();
	},
	async ({ node }) => {
		await node.end('SIGTERM');
		await node.restart();
	},
	() => undefined,
	() => undefined,
];

/** Runs it. Rejects with what was lost, doubled or out of order, and with the seed. */
export async function torture({ seed, steps }: TortureOptions): Promise<TortureResult> {
	const random = randomOf(seed);
	await using node = await RelayNode.start({ PULSAR_DRAIN_TIMEOUT: '1' });
	const { hostname: host, port } = new URL(node.url);
	await using proxy = await startProxy({ host, port: Number(port) });
	await using clients = new AsyncDisposableStack();
	const world: World = { node, proxy, random, refusing: false };
	const url = `http://${proxy.host}:${proxy.port}`;
	const publisher = clients.use(connect(node.url, { clock: hastyClock(HASTE, random) }));
	await publisher.publish(TOPIC, 0);
	const readers = WAYS.map((transports) => readAll(clients.use(connect(url, { transports, clock: hastyClock(HASTE, random) }))));
	const stop = new AbortController();
	const publishing = publishUntil(publisher, stop.signal);
	for (let step = 0; step < steps; step++) {
		await STEPS[Math.floor(random() * STEPS.length)]?.(world);
		await sleep(random() * STEP_MS_MAX);
	}
	stop.abort();
	const published = await publishing;
	proxy.delay(0);
	if (world.refusing) await proxy.accept();
	const caughtUpMs = await catchUp(readers, published);
	const log: string[] = [];
	for await (const { id } of publisher.history(TOPIC)) log.push(id);
	for (const [i, { ids, gaps, error }] of readers.entries()) {
		const who = `seed ${seed}, over ${WAYS[i]?.join(' and ')}`;
		assert.equal(error(), null, who);
		assert.deepEqual(gaps, [], who);
		assert.deepEqual(ids, log, who);
	}
	return { published, caughtUpMs };
}

/** Publishes one message after the other; resolves with how many once it is stopped. */
async function publishUntil(client: Relay, stopped: AbortSignal): Promise<number> {
	let published = 1;
	while (!stopped.aborted) {
		await client.publish(TOPIC, published);
		published++;
		await sleep(2);
	}
	return published;
}

interface Reader {
	readonly ids: readonly string[];
	readonly gaps: readonly Gap[];
	error(): unknown;
}

function readAll(client: Relay): Reader {
	const ids: string[] = [];
	const gaps: Gap[] = [];
	let error: unknown = null;
	const onGap = (gap: Gap) => {
		gaps.push(gap);
	};
	const run = async () => {
		for await (const { id } of client.read(TOPIC, { from: 'earliest', onGap, batch: 64 })) ids.push(id);
	};
	run().catch((thrown: unknown) => {
		const closed = (thrown as { code?: unknown }).code === 'closed';
		if (!closed) error = thrown;
	});
	return { ids, gaps, error: () => error };
}

async function catchUp(readers: readonly Reader[], published: number): Promise<number> {
	const startedMs = performance.now();
	const isBehind = ({ ids, error }: Reader) => ids.length < published && error() === null;
	while (readers.some(isBehind) && performance.now() - startedMs < CATCH_UP_TIMEOUT_MS) await sleep(5);
	return performance.now() - startedMs;
}

/** Mulberry32: the same numbers for the same seed. */
function randomOf(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let mixed = Math.imul(state ^ (state >>> 15), state | 1);
		mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
		return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
	};
}
