/**
 * The store under test against the memory store, the model: any sequence of calls is answered and announced alike. Not compared
 * are topic UUIDs (only where they change), packed bytes and where blocks begin and end, which are each store's own; calls
 * that depend on those (a bound on bytes, a step of a few blocks) have their own cases.
 */

import assert from 'node:assert/strict';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds, formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import fc from 'fast-check';
import { idAt } from '../../../src/log/block.ts';
import type { AppendEntry, Topic } from '../../../src/ports/store.ts';
import { createMemoryStore } from '../../../src/stores/memory/store.ts';
import { createFakeClock, type FakeClock } from '../../support/clock.ts';
import {
	type Heard,
	messagesOf,
	openTrial,
	positionOf,
	readAll,
	type StoreCase,
	type StoreUnderTest,
	type Trial,
	trimAll,
	UNLIMITED,
} from '../trial.ts';
import { anyStep, type Step, TOPICS, TOPICS_MAX } from './steps.ts';

/** A store with what is needed to compare it: short names for its topic ids, and how far its announcements were looked at. */
interface Side {
	readonly trial: Trial;
	readonly incarnations: Map<string, number>;
	looked: number;
}

/** A step's effect in plain values that are the same on every store. */
async function perform(side: Side, step: Step, ids: readonly MessageId[]): Promise<unknown> {
	const { store, clock } = side.trial;
	switch (step.kind) {
		case 'append':
			// At once, on one topic: the order of the calls is then part of the contract.
			return Promise.all(step.calls.map((entries) => outcomeOf(store.append(step.topic, entries))));
		case 'read':
		case 'readBefore': {
			const limits = { messagesMax: step.messagesMax, bytesMax: UNLIMITED.bytesMax };
			const id = pickId(ids, step.at);
			const page = await (step.kind === 'read'
				? store.read(step.topic, id, limits)
				: store.readBefore(step.topic, step.at === 0 ? null : id, limits));
			return { ...positionOf(page), messages: messagesOf(page.blocks) };
		}
		case 'create':
			return outcomeOf(
				store.createTopic(step.topic, step.change).then(({ status, topic }) => ({ status, topic: plainTopic(side, topic) })),
			);
		case 'update':
			return plainTopic(side, await store.updateTopic(step.topic, step.change));
		case 'get':
			return plainTopic(side, await store.getTopic(step.topic));
		case 'delete':
			return store.deleteTopic(step.topic);
		case 'watch':
			return positionOf(await store.watch(step.topic));
		case 'list':
			return (await store.listTopics(step.after, step.limit)).map((topic) => plainTopic(side, topic));
		case 'trim':
			return trimAll(store, {
				nowMs: clock.nowMs(),
				defaultMaxAgeS: step.maxAgeS,
				defaultMaxMessages: step.maxMessages,
				blocksMax: 3,
			});
		case 'forget':
			return store.forgetKeys(step.all ? Number.MAX_SAFE_INTEGER : 0, Number.MAX_SAFE_INTEGER);
		case 'reopen':
			if (side.trial.under.reopen !== undefined) {
				await side.trial.reopen();
				side.looked = 0;
				await Promise.all(TOPICS.map((topic) => side.trial.store.watch(topic)));
			}
			return null;
		case 'clock':
			return null;
	}
}

/** The result of a call, or the code it was refused with. */
async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
	try {
		return await call;
	} catch (thrown) {
		return { refused: RelayError.from(thrown).code };
	}
}

/** One of the ids, or one directly below or above it. */
function pickId(ids: readonly MessageId[], at: number): MessageId {
	const id = ids[Math.floor(at / 3) % Math.max(1, ids.length)] ?? ZERO_ID;
	return { ms: id.ms, n: Math.max(0, id.n + (at % 3) - 1) };
}

function plainTopic({ incarnations }: Side, topic: Topic | undefined): unknown {
	if (topic === undefined) return null;
	const { topicId, bytes, tip, floor, ...rest } = topic;
	if (!incarnations.has(topicId)) incarnations.set(topicId, incarnations.size);
	return { ...rest, ...positionOf(topic), incarnation: incarnations.get(topicId), empty: bytes === 0 };
}

/** What was announced since the last call, message by message and topic by topic; of several floors in a row the last. */
function announced(side: Side): unknown {
	const { heard } = side.trial;
	const fresh = heard.slice(side.looked);
	side.looked = heard.length;
	return TOPICS.map((name) => fresh.filter(({ topic }) => topic === name).reduce<object[]>(foldHeard, []));
}

function foldHeard(events: object[], one: Heard): object[] {
	if (one.kind === 'deleted') return [...events, { deleted: formatMessageId(one.tip) }];
	if (one.kind === 'repositioned') return [...events, { repositioned: positionOf(one.position), intact: one.position.intact }];
	if (one.kind === 'trimmed') {
		const last = events.at(-1);
		return [...(last !== undefined && 'trimmed' in last ? events.slice(0, -1) : events), { trimmed: formatMessageId(one.floor) }];
	}
	let previous = formatMessageId(one.previous);
	const floor = formatMessageId(one.floor);
	return [
		...events,
		...messagesOf([one.block]).map((message) => {
			const event = { ...message, previous, floor };
			previous = message.id;
			return event;
		}),
	];
}

async function finalState({ trial: { store } }: Side): Promise<unknown> {
	const { topics, messages, bytes } = store.stats();
	const logs = await Promise.all(TOPICS.map((topic) => readAll(store, topic)));
	return { topics, messages, empty: bytes === 0, logs };
}

async function openSide(under: StoreUnderTest, clock: FakeClock): Promise<Side> {
	const trial = await openTrial(under, { clock, topicsMax: TOPICS_MAX });
	await Promise.all(TOPICS.map((topic) => trial.store.watch(topic)));
	return { trial, incarnations: new Map(), looked: 0 };
}

const model: StoreUnderTest = {
	name: 'model',
	durability: 'memory',
	open: ({ clock, topicsMax = TOPICS_MAX }) => Promise.resolve(createMemoryStore({ clock, topicsMax })),
};

/** The step with keys that no two topics share. */
function withKeysOfTopic(step: Step): Step {
	if (step.kind !== 'append') return step;
	const own = (entry: AppendEntry): AppendEntry =>
		entry.dedupe === null ? entry : { ...entry, dedupe: { ...entry.dedupe, key: `${step.topic} ${entry.dedupe.key}` } };
	return { ...step, calls: step.calls.map((entries) => entries.map(own)) };
}

/** Takes both stores through the steps and compares them after each. */
async function compare(under: StoreUnderTest, anySteps: readonly Step[]): Promise<void> {
	const steps = under.keysPerTopic ? anySteps.map(withKeysOfTopic) : anySteps;
	const clock = createFakeClock();
	const expected = await openSide(model, clock);
	const actual = await openSide(under, clock);
	const ids: MessageId[] = [];
	try {
		for (const step of steps) {
			if (step.kind === 'clock') clock.setNowMs(clock.nowMs() + step.stepMs);
			const result = await perform(expected, step, ids);
			assert.deepEqual(await perform(actual, step, ids), result, step.kind);
			for (const one of expected.trial.heard.slice(expected.looked)) {
				if (one.kind === 'appended') ids.push({ ms: one.block.ms, n: one.block.n });
			}
			assert.deepEqual(announced(actual), announced(expected), `announced by ${step.kind}`);
		}
		assert.deepEqual(await finalState(actual), await finalState(expected));
	} finally {
		await actual.trial.close();
		await expected.trial.close();
	}
}

export const modelCases: readonly StoreCase[] = [
	{
		title: 'model: any sequence of calls is answered and announced as by the memory store',
		comparesWithModel: true,
		async run({ under }) {
			await fc.assert(
				fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 60, size: 'max' }), (steps) => compare(under, steps)),
				{ numRuns: 30 },
			);
		},
	},
	{
		title: 'model: in any sequence of calls ids only rise, and what is kept is what was announced above the floor',
		async run({ under }) {
			await fc.assert(
				fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 40, size: 'max' }), async (steps) => {
					const clock = createFakeClock();
					const side = await openSide(under, clock);
					try {
						const logs = new Map(TOPICS.map((topic) => [topic, { tip: ZERO_ID, ids: [] as MessageId[] }]));
						for (const step of steps) {
							if (step.kind === 'clock') clock.setNowMs(clock.nowMs() + step.stepMs);
							await perform(side, step, []);
							for (const one of side.trial.heard.slice(side.looked)) replay(logs, one);
							side.looked = side.trial.heard.length;
						}
						for (const [topic, { ids }] of logs) {
							assert.deepEqual(
								(await readAll(side.trial.store, topic)).map(({ id }) => id),
								ids.map(formatMessageId),
								topic,
							);
						}
					} finally {
						await side.trial.close();
					}
				}),
				{ numRuns: 15 },
			);
		},
	},
];

/** Does to the list of a topic's ids what a listener hears. */
function replay(logs: Map<string, { tip: MessageId; ids: MessageId[] }>, one: Heard): void {
	const log = logs.get(one.topic);
	assert.ok(log !== undefined);
	if (one.kind === 'appended') {
		assert.deepEqual(one.previous, log.tip);
		for (let i = 0; i < one.block.count; i++) {
			const id = idAt(one.block, i);
			assert.ok(compareMessageIds(id, log.tip) > 0, `${formatMessageId(id)} above ${formatMessageId(log.tip)}`);
			log.tip = id;
			log.ids.push(id);
		}
	} else {
		assert.ok(one.kind !== 'repositioned', 'nothing was missed or lost');
		const floor = one.kind === 'trimmed' ? one.floor : one.tip;
		log.ids = log.ids.filter((id) => compareMessageIds(id, floor) > 0);
	}
}
