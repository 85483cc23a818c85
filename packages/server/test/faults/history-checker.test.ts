/** The checker of the fault runs finds each kind of fault when it is planted into a good history, and nothing in a good one. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { History, Publish, StoredMessage, Trace, TraceItem } from './history.ts';
import { type CheckOptions, checkHistory, type FindingKind } from './history-checker.ts';

const TOPIC = 'topic';
const OTHER = 'other';

/** A history that may be changed. */
interface Draft {
	publishes: Publish[];
	logs: Map<string, StoredMessage[]>;
	traces: Trace[];
}

const id = (n: number) => `1000-${n}`;
const payload = (n: number, topic = TOPIC) => `"${topic} ${n}"`;
const stored = (n: number, topic = TOPIC): StoredMessage => ({ id: id(n), payload: payload(n, topic) });
const message = (n: number, topic = TOPIC): TraceItem => ({ kind: 'message', ...stored(n, topic) });
const gap = (reason: string, from: string | null, to: string): TraceItem => ({ kind: 'gap', reason, from, to, atMs: 0 });
const numbers = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const messages = (first: number, last: number) => numbers(first, last).map((n) => message(n));

/** Two lanes, two topics of twenty messages each, and subscribers from the beginning and from the middle. */
function goodHistory(): Draft {
	const publishes = [TOPIC, OTHER].flatMap((topic) =>
		numbers(1, 20).map(
			(n): Publish => ({
				topic,
				key: `${topic} ${n}`,
				lane: `lane ${n % 2}`,
				payload: payload(n, topic),
				outcome: { status: 'acked', id: id(n), atMs: n },
			}),
		),
	);
	const log = (topic: string) => numbers(1, 20).map((n) => stored(n, topic));
	return {
		publishes,
		logs: new Map([TOPIC, OTHER].map((topic) => [topic, log(topic)])),
		traces: [
			{ subscriber: 'all', topic: TOPIC, start: '0-0', items: messages(1, 20) },
			{ subscriber: 'late', topic: TOPIC, start: id(10), items: messages(11, 20) },
			{ subscriber: 'all', topic: OTHER, start: '0-0', items: numbers(1, 20).map((n) => message(n, OTHER)) },
		],
	};
}

/** One in which the store lost messages 11 to 15 and everybody was told. */
function honestHistory(): Draft {
	const draft = goodHistory();
	removeFromLog(draft, 11, 15);
	draft.traces[0] = trace(draft, 0, [...messages(1, 13), gap('ahead', id(13), id(10)), ...messages(16, 20)]);
	draft.traces[1] = trace(draft, 1, [gap('trimmed', id(10), id(15)), ...messages(16, 20)]);
	draft.traces.push({
		subscriber: 'witness',
		topic: TOPIC,
		start: '0-0',
		items: [...messages(1, 15), gap('ahead', id(15), id(10)), ...messages(16, 20)],
	});
	for (const n of numbers(11, 15)) setOutcome(draft, n, { status: 'unknown' });
	return draft;
}

function trace(draft: Draft, index: number, items: readonly TraceItem[]): Trace {
	const before = draft.traces[index];
	assert(before !== undefined);
	return { ...before, items };
}

function removeFromLog(draft: Draft, first: number, last: number): void {
	draft.logs.set(
		TOPIC,
		(draft.logs.get(TOPIC) ?? []).filter((_, i) => i + 1 < first || i + 1 > last),
	);
}

function setOutcome(draft: Draft, n: number, outcome: Publish['outcome']): void {
	draft.publishes = draft.publishes.map((publish) =>
		publish.topic === TOPIC && publish.payload === payload(n) ? { ...publish, outcome } : publish,
	);
}

function setItems(draft: Draft, index: number, change: (items: TraceItem[]) => TraceItem[]): void {
	draft.traces[index] = trace(draft, index, change([...(draft.traces[index]?.items ?? [])]));
}

/** The kinds of what is found, each once. */
function kindsIn(history: History, options: CheckOptions = {}): FindingKind[] {
	return [...new Set(checkHistory(history, options).map(({ kind }) => kind))].sort();
}

test('a good history has no findings', () => {
	assert.deepEqual(checkHistory(goodHistory()), []);
});

test('a history in which the store lost messages and everybody was told has no findings', () => {
	assert.deepEqual(checkHistory(honestHistory(), { removed: true }), []);
});

test('who was led past a loss before anybody knew of it may be told late, once', () => {
	const draft = honestHistory();
	const late = gap('ahead', id(17), id(17));
	setItems(draft, 0, () => [...messages(1, 10), ...messages(16, 17), late, ...messages(18, 20)]);
	assert.deepEqual(checkHistory(draft, { removed: true }), []);
	setItems(draft, 0, () => [...messages(1, 10), ...messages(16, 17), late, late, ...messages(18, 20)]);
	assert.deepEqual(kindsIn(draft, { removed: true }), ['false-gap']);
	setItems(draft, 0, () => [...messages(1, 10), ...messages(16, 20)]);
	assert.deepEqual(kindsIn(draft, { removed: true }), ['silent-loss']);
});

test('a publish of unknown outcome may be stored, or not', () => {
	const draft = goodHistory();
	setOutcome(draft, 5, { status: 'unknown' });
	assert.deepEqual(checkHistory(draft), []);
	removeFromLog(draft, 5, 5);
	setItems(draft, 0, (items) => items.filter((_, i) => i !== 4));
	assert.deepEqual(checkHistory(draft), []);
});

/** Each plants one fault. */
const PLANTED: readonly {
	readonly fault: string;
	readonly plant: (draft: Draft) => void;
	readonly finds: readonly FindingKind[];
}[] = [
	{
		fault: 'an acknowledged message was never stored',
		plant: (draft) =>
			draft.publishes.push({
				topic: TOPIC,
				key: 'never',
				lane: 'lane 2',
				payload: '"never"',
				outcome: { status: 'acked', id: id(21), atMs: 21 },
			}),
		finds: ['lost'],
	},
	{
		fault: 'a message in the log that nobody published',
		plant: (draft) => {
			draft.publishes = draft.publishes.filter((publish) => publish.payload !== payload(20));
			draft.traces = draft.traces.filter((one) => one.topic !== TOPIC);
		},
		finds: ['phantom'],
	},
	{
		fault: 'a refused message was stored',
		plant: (draft) => setOutcome(draft, 7, { status: 'refused' }),
		finds: ['phantom'],
	},
	{
		fault: 'a subscriber was given what is not in the log',
		plant: (draft) => {
			setOutcome(draft, 20, { status: 'unknown' });
			removeFromLog(draft, 20, 20);
			setItems(draft, 1, (items) => items.slice(0, -1));
		},
		finds: ['phantom'],
	},
	{
		fault: 'a retried message was stored twice',
		plant: (draft) => {
			draft.logs.get(TOPIC)?.push({ id: id(21), payload: payload(20) });
			for (const index of [0, 1])
				setItems(draft, index, (items) => [...items, { kind: 'message', id: id(21), payload: payload(20) }]);
			setOutcome(draft, 20, { status: 'unknown' });
		},
		finds: ['duplicate'],
	},
	{
		fault: 'two messages of the log are in the wrong order',
		plant: (draft) => {
			const log = draft.logs.get(TOPIC) ?? [];
			draft.logs.set(TOPIC, [...log.slice(0, 18), ...log.slice(18).reverse()]);
		},
		finds: ['order'],
	},
	{
		fault: 'a publisher sent one message after the other, and they were stored the other way round',
		plant: (draft) => draft.publishes.push(...draft.publishes.splice(3, 1)),
		finds: ['order'],
	},
	{
		fault: 'a subscriber was given two messages the wrong way round',
		plant: (draft) => setItems(draft, 0, (items) => [...items.slice(0, 18), message(20), message(19)]),
		finds: ['hole', 'order'],
	},
	{
		fault: 'a subscriber was given a message twice',
		plant: (draft) => setItems(draft, 0, (items) => [...items.slice(0, 5), message(5), ...items.slice(5)]),
		finds: ['order'],
	},
	{
		fault: 'a subscriber was given another content under an id',
		plant: (draft) =>
			setItems(draft, 0, (items) => [
				...items.slice(0, 4),
				{ kind: 'message', id: id(5), payload: payload(6) },
				...items.slice(5),
			]),
		finds: ['disagreement'],
	},
	{
		fault: 'a message was acknowledged under one id and stored under another',
		plant: (draft) => {
			const log = draft.logs.get(TOPIC) ?? [];
			draft.logs.set(TOPIC, [...log.slice(0, 19), { id: id(30), payload: payload(20) }]);
			for (const index of [0, 1]) {
				setItems(draft, index, (items) => [...items.slice(0, -1), { kind: 'message', id: id(30), payload: payload(20) }]);
			}
		},
		finds: ['disagreement'],
	},
	{
		fault: 'a subscriber was not given a message',
		plant: (draft) => setItems(draft, 0, (items) => items.filter((_, i) => i !== 10)),
		finds: ['hole'],
	},
	{
		fault: 'a subscriber that resumed was not given the first message after its cursor',
		plant: (draft) => setItems(draft, 1, (items) => items.slice(1)),
		finds: ['hole'],
	},
	{
		fault: 'a gap where nothing is missing',
		plant: (draft) => setItems(draft, 0, (items) => [...items.slice(0, 10), gap('trimmed', id(10), id(10)), ...items.slice(10)]),
		finds: ['false-gap'],
	},
	{
		fault: 'a subscriber does not get to the end',
		plant: (draft) => setItems(draft, 0, (items) => items.slice(0, -3)),
		finds: ['stuck'],
	},
	{
		fault: 'a subscriber gets nothing at all',
		plant: (draft) => setItems(draft, 2, () => []),
		finds: ['stuck'],
	},
];

for (const { fault, plant, finds } of PLANTED) {
	test(`${finds.join(' and ')}: ${fault}`, () => {
		const draft = goodHistory();
		plant(draft);
		assert.deepEqual(kindsIn(draft), finds);
	});
}

/** The same, where the store lost messages: what it lost is excused, silence about it is not. */
const PLANTED_IN_LOSS: readonly {
	readonly fault: string;
	readonly plant: (draft: Draft) => void;
	readonly finds: readonly FindingKind[];
}[] = [
	{
		fault: 'nobody told a subscriber that had seen more than is left',
		plant: (draft) => setItems(draft, 0, (items) => items.filter(({ kind }) => kind !== 'gap')),
		finds: ['silent-loss'],
	},
	{
		fault: 'nobody told a subscriber that had not seen it yet',
		plant: (draft) => setItems(draft, 1, (items) => items.slice(1)),
		finds: ['silent-loss'],
	},
	{
		fault: 'a gap that goes past messages which are there',
		plant: (draft) => setItems(draft, 1, (items) => [gap('trimmed', id(10), id(17)), ...items.slice(3)]),
		finds: ['hole'],
	},
	{
		fault: 'a gap from where the subscriber never stood',
		plant: (draft) => setItems(draft, 1, (items) => [gap('trimmed', id(12), id(15)), ...items.slice(1)]),
		finds: ['false-gap'],
	},
	{
		fault: 'what was lost had been acknowledged',
		plant: (draft) => setOutcome(draft, 12, { status: 'acked', id: id(12), atMs: 12 }),
		finds: ['lost'],
	},
	{
		fault: 'an id was given anew to another message',
		plant: (draft) => {
			const log = draft.logs.get(TOPIC) ?? [];
			const again = { id: id(12), payload: payload(15) };
			draft.logs.set(TOPIC, [...log.slice(0, 10), again, ...log.slice(10)]);
			setItems(draft, 0, (items) => [...items.slice(0, 14), { kind: 'message', ...again }, ...items.slice(14)]);
			setItems(draft, 1, (items) => [
				gap('trimmed', id(10), id(11)),
				{ kind: 'message', ...again },
				gap('trimmed', id(12), id(15)),
				...items.slice(1),
			]);
		},
		finds: ['disagreement'],
	},
];

for (const { fault, plant, finds } of PLANTED_IN_LOSS) {
	test(`${finds.join(' and ')}, after the store lost messages: ${fault}`, () => {
		const draft = honestHistory();
		plant(draft);
		assert.deepEqual(kindsIn(draft, { removed: true }), finds);
	});
}
