/**
 * The promise of the relay (I1, I3, I4, I5, I10), as one property: whatever happens, and in whatever order, every reader is told
 * exactly what follows its cursor, or of the hole in it, and nobody who reads is left behind.
 */

import { test } from 'node:test';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import type { HotTierLimits } from '../../../src/relay/hot-tier.ts';
import type { Start } from '../../../src/relay/start.ts';
import type { Client } from './support/client.ts';
import { settled } from './support/turns.ts';
import { TOPICS, World } from './support/world.ts';

/** Where a reader starts. `at` picks one of the cursors that somebody was given in the topic, wherever that was. */
type Wish =
	| { readonly kind: 'last' | 'earliest' | 'unknown' }
	| { readonly kind: 'remembered'; readonly at: number }
	| { readonly kind: 'ahead'; readonly ms: number };

type Wishes = Readonly<Record<string, Wish>>;

type Step =
	| { readonly kind: 'publish'; readonly topic: string; readonly payloads: readonly string[]; readonly ttlMs: number }
	| {
			readonly kind: 'attach';
			readonly transport: 'websocket' | 'sse';
			readonly bufferBytesMax: number;
			readonly drainsInside: boolean;
			readonly wishes: Wishes;
	  }
	| { readonly kind: 'detach' | 'stall' | 'resume'; readonly who: number }
	| { readonly kind: 'subscribe'; readonly who: number; readonly wishes: Wishes }
	| { readonly kind: 'unsubscribe'; readonly who: number; readonly topic: string }
	| {
			readonly kind: 'poll';
			readonly wishes: Wishes;
			readonly waitMs: number;
			readonly messagesMax: number;
			readonly messagesPerTopicMax: number;
			readonly bytesMax: number;
	  }
	| { readonly kind: 'abort'; readonly which: number }
	| { readonly kind: 'trim'; readonly maxMessages: number; readonly maxAgeS: number }
	| { readonly kind: 'delete'; readonly topic: string }
	| { readonly kind: 'wait'; readonly ms: number }
	| { readonly kind: 'clock'; readonly ms: number }
	| { readonly kind: 'turns'; readonly count: number; readonly tasks: number; readonly arrivals: number }
	| { readonly kind: 'faults'; readonly readsFailPercent: number; readonly watchesFailPercent: number };

const topic = fc.constantFrom(...TOPICS);
const who = fc.nat(20);
const wish: fc.Arbitrary<Wish> = fc.oneof(
	{ weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('last' as const, 'earliest' as const, 'earliest' as const) }) },
	{ weight: 4, arbitrary: fc.record({ kind: fc.constant('remembered' as const), at: fc.nat(1000) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('unknown' as const) }) },
	{ weight: 1, arbitrary: fc.record({ kind: fc.constant('ahead' as const), ms: fc.nat(2) }) },
);
const wishes: fc.Arbitrary<Wishes> = fc.dictionary(topic, wish, { minKeys: 1, maxKeys: TOPICS.length });
const payload = fc.oneof(
	{ weight: 6, arbitrary: fc.constantFrom('1', '{"a":1.0}', '"é\u2028"', '{\n"b":\n2}', 'null') },
	{ weight: 1, arbitrary: fc.constantFrom(130, 4000, 70_000).map((length) => `"${'x'.repeat(length)}"`) },
);

function record<K extends string, T>(kind: K, fields: { [P in keyof T]: fc.Arbitrary<T[P]> }) {
	return fc.record({ kind: fc.constant(kind), ...fields }) as fc.Arbitrary<{ kind: K } & T>;
}

const publish = record('publish', {
	topic,
	payloads: fc.oneof(
		{ weight: 5, arbitrary: fc.array(payload, { minLength: 1, maxLength: 5 }) },
		{ weight: 1, arbitrary: fc.array(payload, { minLength: 20, maxLength: 40, size: 'max' }) },
	),
	ttlMs: fc.constantFrom(0, 0, 0, 5, 300, 5000),
});
const attach = record('attach', {
	transport: fc.constantFrom('websocket' as const, 'sse' as const),
	bufferBytesMax: fc.constantFrom(500, 5000, 300_000),
	drainsInside: fc.boolean(),
	wishes,
});
const poll = record('poll', {
	wishes,
	waitMs: fc.constantFrom(0, 50, 2000),
	messagesMax: fc.constantFrom(1, 3, 1000),
	messagesPerTopicMax: fc.constantFrom(1, 2, 1000),
	bytesMax: fc.constantFrom(1, 1000, 1_000_000),
});
const turns = record('turns', { count: fc.integer({ min: 1, max: 6 }), tasks: fc.nat(3), arrivals: fc.nat(6) });
const faults = record('faults', { readsFailPercent: fc.constantFrom(0, 0, 30), watchesFailPercent: fc.constantFrom(0, 0, 20) });
const trim = record('trim', { maxMessages: fc.nat(30), maxAgeS: fc.constantFrom(0, 1, 3600, 3600) });
const deletion = record('delete', { topic });

function stepsWith(...removals: fc.Arbitrary<Step>[]): fc.Arbitrary<Step[]> {
	const step: fc.Arbitrary<Step> = fc.oneof(
		{ weight: 12, arbitrary: publish },
		{ weight: 4, arbitrary: attach },
		{ weight: 4, arbitrary: record('subscribe', { who, wishes }) },
		{ weight: 2, arbitrary: record('unsubscribe', { who, topic }) },
		{ weight: 2, arbitrary: record('detach', { who }) },
		{ weight: 4, arbitrary: record('stall', { who }) },
		{ weight: 4, arbitrary: record('resume', { who }) },
		{ weight: 4, arbitrary: poll },
		{ weight: 1, arbitrary: record('abort', { which: who }) },
		...removals.map((arbitrary) => ({ weight: 2, arbitrary })),
		{ weight: 4, arbitrary: record('wait', { ms: fc.constantFrom(1, 10, 600, 1000, 3000) }) },
		{ weight: 3, arbitrary: record('clock', { ms: fc.integer({ min: -400, max: 400 }) }) },
		{ weight: 20, arbitrary: turns },
		{ weight: 1, arbitrary: faults },
	);
	return fc.array(step, { minLength: 20, maxLength: 160, size: 'max' });
}

/** From nothing at all to more than is ever published, so that all of it comes from memory, from the store, or from both. */
const hotTier: fc.Arbitrary<HotTierLimits> = fc.record({
	retentionMs: fc.constantFrom(1500, 3_600_000),
	bytesMax: fc.constantFrom(0, 4000, 20_000, 1e9),
	messagesPerTopicMax: fc.constantFrom(1, 7, 25, 1e9),
});

function startsOf(world: World, wishes: Wishes): Map<string, Start> {
	return new Map(Object.entries(wishes).map(([name, wish]) => [name, startOf(world, name, wish)]));
}

function startOf({ remembered, truth }: World, name: string, wish: Wish): Start {
	if (wish.kind === 'remembered') {
		const cursors = remembered.filter((one) => one.topic === name);
		return cursors[wish.at % cursors.length]?.id ?? 'earliest';
	}
	if (wish.kind !== 'ahead') return wish.kind;
	const { ms, n }: MessageId = truth.topic(name).tip;
	return { ms: ms + wish.ms, n: n + 1 };
}

function take(world: World, step: Step, client: Client | undefined): void {
	const { hostile, clock } = world;
	switch (step.kind) {
		case 'publish':
			world.publish(step.topic, step.payloads, step.ttlMs);
			return;
		case 'attach':
			world.subscribe(world.attach(step), startsOf(world, step.wishes));
			return;
		case 'detach':
			if (client !== undefined) world.detach(client);
			return;
		case 'stall':
			client?.sink.stall();
			return;
		case 'resume':
			client?.sink.resume();
			return;
		case 'subscribe':
			if (client !== undefined) world.subscribe(client, startsOf(world, step.wishes));
			return;
		case 'unsubscribe':
			if (client !== undefined) world.unsubscribe(client, step.topic);
			return;
		case 'poll':
			world.poll(startsOf(world, step.wishes), step);
			return;
		case 'abort':
			world.polls[step.which % world.polls.length]?.abort.abort();
			return;
		case 'trim':
			world.trim(step.maxAgeS, step.maxMessages);
			return;
		case 'delete':
			world.delete(step.topic);
			return;
		case 'wait':
			clock.advance(step.ms);
			world.moveClock(0);
			return;
		case 'clock':
			world.moveClock(step.ms);
			return;
		case 'faults':
			hostile.faults.readsFailPercent = step.readsFailPercent;
			hostile.faults.watchesFailPercent = step.watchesFailPercent;
			return;
		case 'turns':
			return;
	}
}

/** Runs the steps, and then lets everything come to rest. */
async function live(world: World, steps: readonly Step[]): Promise<void> {
	try {
		for (const step of steps) {
			const client = 'who' in step ? world.clients[step.who % world.clients.length] : undefined;
			take(world, step, client);
			for (let turn = 0; step.kind === 'turns' && turn < step.count; turn++) {
				world.hostile.deliver(step.arrivals);
				world.clock.turn(step.tasks);
				await settled();
			}
			await settled();
			world.check();
		}
		await world.finish();
	} finally {
		world.close();
	}
}

const seed = fc.integer();

test('readers: each gets the suffix after its cursor, or is told of the hole, whatever happens', async () => {
	await fc.assert(
		fc.asyncProperty(seed, hotTier, stepsWith(trim, deletion), (seed, hotTier, steps) =>
			live(new World({ seed, hotTier }), steps),
		),
		{ numRuns: 300 },
	);
});

test('readers: the same when announcements are lost and come after the store has told of what they announce', async () => {
	await fc.assert(
		fc.asyncProperty(seed, hotTier, stepsWith(trim), (seed, hotTier, steps) => {
			// No deletions: one that is heard of after the position of the topic's next life looks like the end of that.
			const world = new World({ seed, hotTier });
			world.loseAnnouncements(10);
			world.hostile.faults.watchesOvertake = true;
			return live(world, steps);
		}),
		{ numRuns: 200 },
	);
});
