/**
 * One cursor for every transport (I1, I4): readers that come and go at random, and change transport each time, while publishers
 * go on, between them see every message exactly once and in order.
 */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { backends } from '../support/backends.ts';
import { idsOf, transports } from '../support/readers.ts';
import { startRelay, type TestRelay } from '../support/relay.ts';

const TOPICS = ['switching-a', 'switching-b'] as const;
/** Attach, read some, detach: this many times in all, over four readers at once. */
const STEPS = 2000;
const READERS = 4;

interface Step {
	readonly transport: number;
	/** Messages to wait for before detaching; 0 detaches at once. */
	readonly messages: number;
}

const step: fc.Arbitrary<Step> = fc.record({
	transport: fc.integer({ min: 0, max: transports.length - 1 }),
	messages: fc.integer({ min: 0, max: 12 }),
});

for (const backend of backends) {
	const title = `on the ${backend.name} store with ${backend.nodes === 1 ? 'one node' : `${backend.nodes} nodes`}, random attaching, detaching and switching of transports during publishing never gaps nor repeats`;
	test(title, { skip: backend.unavailable ?? false }, async () => {
		const store = await backend.start();
		// A hot tier of a few dozen messages, so that a reader that comes back finds its place in memory one time and in the store the next.
		const env = { ...store.env, PULSAR_HOT_TIER_MAX_BYTES: '65536' };
		const nodes = await Promise.all(Array.from({ length: backend.nodes }, () => startRelay(env)));
		try {
			await switchAtRandom(nodes);
		} finally {
			for (const node of nodes) await node.close();
			await store.stop();
		}
	});
}

/** The node of a round, in turns. */
function nodeOf(nodes: readonly TestRelay[], round: number): TestRelay {
	return nodes[round % nodes.length] as TestRelay;
}

async function switchAtRandom(nodes: readonly TestRelay[]): Promise<void> {
	const published = new Map<string, string[]>(TOPICS.map((topic) => [topic, []]));
	const seed = Date.now() % 2 ** 31;
	const plans = fc.sample(fc.array(step, { minLength: STEPS / READERS, maxLength: STEPS / READERS }), { numRuns: READERS, seed });
	const start = await nodeOf(nodes, 0).publish(TOPICS[0], '"start"');
	let reading = true;
	const publishing = (async () => {
		for (let i = 0; reading; i++) {
			const topic = TOPICS[i % TOPICS.length] as string;
			const ids = published.get(topic) as string[];
			// In order per topic, but each topic's through all nodes.
			const relay = nodeOf(nodes, i >> 1);
			if (i % 7 === 0) ids.push(...(await relay.publishMany(topic, ['1', '2', '3', '4', '5'])));
			else ids.push(await relay.publish(topic, String(i)));
		}
	})();
	const traces = await Promise.all(plans.map((plan) => follow(nodes, plan, { [TOPICS[0]]: start, [TOPICS[1]]: '0-0' })));
	reading = false;
	await publishing;
	for (const trace of traces) {
		for (const topic of TOPICS) {
			const ids = trace.get(topic) as string[];
			assert.deepEqual(ids, published.get(topic)?.slice(0, ids.length), `seed ${seed}`);
		}
	}
}

/** Runs a plan from the given cursors, each step on the next node; resolves with the ids read per topic. */
async function follow(
	nodes: readonly TestRelay[],
	plan: readonly Step[],
	cursors: Record<string, string>,
): Promise<Map<string, string[]>> {
	const trace = new Map<string, string[]>(TOPICS.map((topic) => [topic, []]));
	const position = { ...cursors };
	for (const [round, { transport, messages }] of plan.entries()) {
		const reader = await (transports[transport] as (typeof transports)[number]).open(nodeOf(nodes, round).url, TOPICS, position);
		if (messages > 0) await reader.until((received) => received.length >= messages);
		await reader.close();
		for (const topic of TOPICS) {
			const ids = idsOf(reader.received, topic);
			trace.get(topic)?.push(...ids);
			position[topic] = ids.at(-1) ?? (position[topic] as string);
		}
		assert(reader.received.every((item) => item.kind === 'message'));
	}
	return trace;
}
