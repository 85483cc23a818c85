/**
 * What a case of the store suite works with: a fresh store on a fake clock, all that its listener heard, and short ways to
 * write messages and to read them back.
 */

import assert from 'node:assert/strict';
import { compareMessageIds, formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { type Block, idAt, readBlock } from '../../src/log/block.ts';
import type { ReadLimits } from '../../src/log/page.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type {
	AppendEntry,
	AppendOutcome,
	DedupeKey,
	Durability,
	LogListener,
	Page,
	Store,
	TrimStep,
	WatchedPosition,
} from '../../src/ports/store.ts';
import { createFakeClock, type FakeClock } from '../support/clock.ts';

export interface StoreOptions {
	readonly clock: Clock;
	/** Default: the store's own, or enough for every case. */
	readonly topicsMax?: number;
}

/** A store, as the suite opens it. */
export interface StoreUnderTest {
	readonly name: string;
	/** What its health must say. */
	readonly durability: Durability;
	/** Opens a store that is empty. */
	open(options: StoreOptions): Promise<Store>;
	/** Opens what `closed` has left behind. Absent when nothing outlives the store; its cases are then skipped. */
	reopen?(closed: Store, options: StoreOptions): Promise<Store>;
	/** Set when idempotency keys are known per topic only. */
	readonly keysPerTopic?: true;
	/** Set for the memory store, which is not compared with itself. */
	readonly isModel?: true;
}

/** One case of the suite. */
export interface StoreCase {
	readonly title: string;
	/** Set when the case closes the store and opens it again. */
	readonly reopens?: true;
	/** Set when the case relies on one topic's keys being known in another. */
	readonly keysOverTopics?: true;
	/** Set when the case compares the store with the memory store. */
	readonly comparesWithModel?: true;
	readonly topicsMax?: number;
	run(trial: Trial): Promise<void>;
}

/** A call of the listener. */
export type Heard =
	| {
			readonly kind: 'appended';
			readonly topic: string;
			readonly previous: MessageId;
			readonly floor: MessageId;
			readonly block: Block;
	  }
	| { readonly kind: 'trimmed'; readonly topic: string; readonly floor: MessageId }
	| { readonly kind: 'deleted'; readonly topic: string; readonly tip: MessageId }
	| { readonly kind: 'repositioned'; readonly topic: string; readonly position: WatchedPosition };

export interface Trial {
	readonly under: StoreUnderTest;
	readonly clock: FakeClock;
	/** The store under test; another one after {@link reopen}. */
	readonly store: Store;
	/** What the store's listener heard, oldest first; empty again after {@link reopen}. */
	readonly heard: readonly Heard[];
	/** Called by the listener as well, inside the announcement. */
	onHeard: ((heard: Heard) => void) | null;
	/** Closes the store and opens what it left behind. */
	reopen(): Promise<void>;
	close(): Promise<void>;
}

const TOPICS_MAX = 1000;

/** Opens a store for one case. Close the trial. */
export async function openTrial(
	under: StoreUnderTest,
	{ clock = createFakeClock(), topicsMax = TOPICS_MAX } = {},
): Promise<Trial> {
	const trial = {
		under,
		clock,
		store: await under.open({ clock, topicsMax }),
		heard: [] as Heard[],
		onHeard: null as Trial['onHeard'],
		async reopen() {
			assert.ok(under.reopen !== undefined, 'a case that reopens says so in `reopens`');
			const { store } = trial;
			await store.close();
			trial.heard = [];
			trial.store = await under.reopen(store, { clock, topicsMax });
			trial.store.listen(listener);
		},
		async close() {
			await trial.store.close();
		},
	};
	const hear = (heard: Heard) => {
		trial.heard.push(heard);
		trial.onHeard?.(heard);
	};
	const listener: LogListener = {
		appended: (topic, previous, floor, block) => hear({ kind: 'appended', topic, previous, floor, block }),
		trimmed: (topic, floor) => hear({ kind: 'trimmed', topic, floor }),
		deleted: (topic, tip) => hear({ kind: 'deleted', topic, tip }),
		repositioned: (topic, position) => hear({ kind: 'repositioned', topic, position }),
	};
	trial.store.listen(listener);
	return trial;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** What a case may say of a message beside its payload. */
export interface EntryFields {
	readonly metadata?: string;
	readonly expiresAtMs?: number;
	readonly dedupe?: DedupeKey;
}

/** An entry with the given JSON text as its payload. */
export function entry(payload: string, { metadata, expiresAtMs = 0, dedupe }: EntryFields = {}): AppendEntry {
	return {
		payload: encoder.encode(payload),
		metadata: metadata === undefined ? null : encoder.encode(metadata),
		expiresAtMs,
		dedupe: dedupe ?? null,
	};
}

/** `count` entries with the payloads `first`, `first + 1`, … */
export function entries(count: number, first = 0): AppendEntry[] {
	return Array.from({ length: count }, (_, i) => entry(String(first + i)));
}

/** An entry of an idempotent request. */
export function keyed(payload: string, key: string, item: number, fingerprint: string): AppendEntry {
	return entry(payload, { dedupe: { key, item, fingerprint } });
}

/** A message as it was read back, in texts. */
export interface ReadMessage {
	readonly id: string;
	readonly payload: string;
	/** Empty when there is none. */
	readonly metadata: string;
	readonly expiresAtMs: number;
}

/** The messages of blocks. */
export function messagesOf(blocks: readonly Block[]): ReadMessage[] {
	return blocks.flatMap((block) => {
		const reader = readBlock(block.packed);
		assert.equal(reader.count, block.count, 'a block says how many messages it packs');
		assert.ok(block.count > 0, 'a block is not empty');
		return Array.from({ length: block.count }, (_, i) => ({
			id: formatMessageId(idAt(block, i)),
			payload: decoder.decode(reader.payload(i)),
			metadata: decoder.decode(reader.metadata(i)),
			expiresAtMs: reader.expiresAtMs(i),
		}));
	});
}

/** Limits that no case of the suite reaches. */
export const UNLIMITED: ReadLimits = { messagesMax: 1_000_000, bytesMax: 1024 ** 3 };

/** All messages of a topic that are kept. */
export async function readAll(store: Store, topic: string): Promise<ReadMessage[]> {
	return messagesOf((await store.read(topic, ZERO_ID, UNLIMITED)).blocks);
}

/** The payloads of all messages of a topic that are kept. */
export async function payloadsOf(store: Store, topic: string): Promise<string[]> {
	return (await readAll(store, topic)).map((message) => message.payload);
}

/** Appends one entry and gives its id. */
export async function appendOne(store: Store, topic: string, one: AppendEntry): Promise<MessageId> {
	return idOf((await store.append(topic, [one]))[0]);
}

/** The id of an entry that was appended now. */
export function idOf(outcome: AppendOutcome | undefined): MessageId {
	assert.ok(outcome?.status === 'appended', `appended, not ${outcome?.status}`);
	return outcome.id;
}

/** Ids of entries that were all appended now. */
export function idsOf(outcomes: readonly AppendOutcome[]): MessageId[] {
	return outcomes.map(idOf);
}

/** Asserts that the ids strictly increase. */
export function assertAscending(ids: readonly MessageId[]): void {
	ids.forEach((id, i) => {
		const previous = ids[i - 1];
		assert.ok(
			previous === undefined || compareMessageIds(previous, id) < 0,
			`${JSON.stringify(previous)} before ${JSON.stringify(id)}`,
		);
	});
}

/** The appended announcements of a topic. */
export function appendedTo(heard: readonly Heard[], topic: string): Extract<Heard, { kind: 'appended' }>[] {
	return heard.filter((one) => one.kind === 'appended').filter((one) => one.topic === topic);
}

/** Where a page or a topic says the topic stands. */
export function positionOf({ exists, tip, floor }: Pick<Page, 'exists' | 'tip' | 'floor'>) {
	return { exists, tip: formatMessageId(tip), floor: formatMessageId(floor) };
}

/** Trims until nothing is left to trim; gives the messages removed. Without fields of `step`, retention covers everything. */
export async function trimAll(store: Store, step: Partial<TrimStep> & Pick<TrimStep, 'nowMs'>): Promise<number> {
	let removed = 0;
	for (;;) {
		const result = await store.trim({ defaultMaxAgeS: 1e9, defaultMaxMessages: 1e9, blocksMax: 100, ...step });
		removed += result.removed;
		if (!result.more) return removed;
	}
}
