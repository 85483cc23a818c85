/** A hub over a memory store, and readers at it, on a clock that stands still. */

import { formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Page, Store } from '../../../../src/ports/store.ts';
import type { HotTierLimits } from '../../../../src/relay/hot-tier.ts';
import { Hub } from '../../../../src/relay/hub.ts';
import type { PollAnswer, PollRequest } from '../../../../src/relay/poll.ts';
import { poll } from '../../../../src/relay/poll.ts';
import { Session } from '../../../../src/relay/session.ts';
import type { Start } from '../../../../src/relay/start.ts';
import { createMemoryStore } from '../../../../src/stores/memory/store.ts';
import { message } from './blocks.ts';
import { type Counts, createCountingObserver } from './counting-observer.ts';
import { RecordingSink, type RecordingSinkOptions } from './recording-sink.ts';
import { createTurnClock, settled, type TurnClock } from './turns.ts';

export interface Reader {
	readonly sink: RecordingSink;
	readonly session: Session;
}

export interface Fixture {
	readonly clock: TurnClock;
	readonly observer: Counts;
	/** The store as the hub has it. */
	readonly store: Store;
	readonly hub: Hub;
	/** The polls under way. */
	readonly underWay: Set<() => void>;
	/** Appends messages to a topic at once; gives their ids. */
	append(topic: string, ...payloads: readonly string[]): Promise<MessageId[]>;
	/** Appends one message that expires. */
	appendExpiring(topic: string, payload: string, ttlMs: number): Promise<void>;
	/** Trims every topic to its newest messages. */
	trimTo(messages: number): Promise<void>;
	attach(options?: RecordingSinkOptions & { readonly subscriptionsMax?: number }): Reader;
	/** Attaches a reader and has it follow one topic. */
	follow(topic: string, start: Start, options?: RecordingSinkOptions): Promise<Reader>;
	poll(starts: Readonly<Record<string, Start>>, request?: Partial<PollRequest>): Promise<PollAnswer>;
	/** Turns the loop until nothing waits for anything but time. */
	rest(): Promise<void>;
}

export interface FixtureOptions {
	readonly hotTier?: Partial<HotTierLimits>;
	/** Puts something between the hub and the store. */
	readonly wrap?: (store: Store) => Store;
	readonly tickMs?: () => number;
}

/** Opens a fixture. It holds nothing that has to be closed. */
export function createFixture({ hotTier, wrap, tickMs }: FixtureOptions = {}): Fixture {
	const clock = createTurnClock(tickMs);
	const observer = createCountingObserver();
	const memory = createMemoryStore({ topicsMax: 1000, clock });
	const store = wrap === undefined ? memory : wrap(memory);
	const limits = { retentionMs: 600_000, bytesMax: 1e9, messagesPerTopicMax: 1e9, ...hotTier };
	const hub = new Hub({ store, clock, observer, hotTier: limits });
	store.listen(hub);
	const underWay = new Set<() => void>();

	async function append(topic: string, expiresAtMs: number, payloads: readonly string[]): Promise<MessageId[]> {
		const entries = payloads.map((payload) => ({ ...message(payload, expiresAtMs), dedupe: null }));
		const outcomes = await store.append(topic, entries);
		return outcomes.flatMap((outcome) => (outcome.status === 'conflict' ? [] : [outcome.id]));
	}

	const fixture: Fixture = {
		clock,
		observer,
		store,
		hub,
		underWay,
		append: (topic, ...payloads) => append(topic, 0, payloads),
		async appendExpiring(topic, payload, ttlMs) {
			await append(topic, clock.nowMs() + ttlMs, [payload]);
		},
		async trimTo(defaultMaxMessages) {
			await store.trim({ nowMs: clock.nowMs(), defaultMaxAgeS: 1e9, defaultMaxMessages, blocksMax: 1e9 });
		},
		attach({ subscriptionsMax = 100, ...options } = {}) {
			const sink = new RecordingSink(options);
			return { sink, session: new Session({ hub, clock, observer, subscriptionsMax, onClose: () => {} }, sink) };
		},
		async follow(topic, start, options) {
			const reader = fixture.attach(options);
			await reader.session.subscribe(new Map([[topic, start]]), () => {});
			return reader;
		},
		poll(starts, request) {
			const limits = { waitMs: 30_000, messagesMax: 1000, messagesPerTopicMax: 1000, bytesMax: 1e6 };
			const { signal } = new AbortController();
			return poll({ hub, clock, observer, underWay }, { starts: new Map(Object.entries(starts)), ...limits, signal, ...request });
		},
		async rest() {
			do {
				clock.turn(Number.POSITIVE_INFINITY);
				await settled();
			} while (clock.waiting > 0);
		},
	};
	return fixture;
}

/** Puts replacements for some methods over a store. */
export function overlay(store: Store, replacements: Partial<Store>): Store {
	return new Proxy(store, {
		get: (target, property) => {
			const replacement = replacements[property as keyof Store];
			if (replacement !== undefined) return replacement;
			const method: unknown = Reflect.get(target, property);
			return typeof method === 'function' ? method.bind(target) : method;
		},
	});
}

/** A promise that the test settles. */
export function deferred<T>(): { readonly promise: Promise<T>; resolve(value: T): void; reject(error: Error): void } {
	return Promise.withResolvers<T>();
}

/** Ids in their wire form. */
export function texts(ids: readonly MessageId[]): string[] {
	return ids.map(formatMessageId);
}

/** A wrapper that lets the test answer reads, and answer them late. */
export function answeringReads(answer: (ask: () => Promise<Page>) => Promise<Page>): (store: Store) => Store {
	return (store) => overlay(store, { read: (...request) => answer(() => store.read(...request)) });
}
