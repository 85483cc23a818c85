/**
 * What the server has acknowledged and then no longer has, after a failover for example: everybody is told, once and where the hole is,
 * also who was away, and also by a node that did not know (I4). Here the keys of a topic are put back to what they were.
 */

import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import type { RecordingSink } from '../unit/relay/support/recording-sink.ts';
import { appendOne, entries, entry, idsOf } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { type Node, openNode, until } from './valkey-node.ts';

interface Told {
	/** Payloads, and gaps as `gap <reason>`, in order. */
	readonly told: readonly string[];
	readonly gaps: readonly { readonly from: MessageId | null; readonly to: MessageId }[];
}

function heardBy({ told }: RecordingSink): Told {
	return {
		told: told.map((one) => {
			if (one.kind === 'message') return String((JSON.parse(one.json) as { payload: unknown }).payload);
			return one.kind === 'gap' ? `gap ${one.gap.reason}` : one.kind;
		}),
		gaps: told.flatMap((one) => (one.kind === 'gap' ? [{ from: one.gap.from, to: one.gap.to }] : [])),
	};
}

function suite(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());
	const open = (t: TestContext) => openNode(t, serverAt(valkey.host, valkey.port));
	const keysOf = (topic: string) => [`topic:${topic}:stream`, `{topic:${topic}:stream}:meta`];
	const stateOf = (topic: string) => valkey.cli('HGET', `{topic:${topic}:stream}:meta`, 'state');
	const save = async (topic: string) => {
		for (const key of keysOf(topic)) assert.equal(await valkey.cli('COPY', key, `{topic:${topic}:stream}:saved:${key}`), '1');
	};
	/** The topic has what it had when it was saved. */
	const lose = async (topic: string) => {
		for (const key of keysOf(topic)) await valkey.cli('RENAME', `{topic:${topic}:stream}:saved:${key}`, key);
	};
	/** Three messages that stay, 0 to 2, and two that are lost, 3 and 4. */
	const loseTwo = async ({ store }: Node, topic: string, between: () => Promise<void> = async () => {}) => {
		const kept = idsOf(await store.append(topic, entries(3)));
		await save(topic);
		const lost = idsOf(await store.append(topic, entries(2, 3)));
		await between();
		await lose(topic);
		const [, , last] = kept;
		const [, newest] = lost;
		assert.ok(last !== undefined && newest !== undefined);
		return { kept, last, end: { ms: newest.ms, n: newest.n + 1 } };
	};

	test('who was there is told at once, who was away where the hole is, by any node and for as long as it is in the log', async (t) => {
		const [one, two] = await Promise.all([open(t), open(t)]);
		const there = await one.subscribe('t');
		const { kept, last, end } = await loseTwo(one, 't', () => until(() => there.told.length === 5, 'told of all'));
		await until(() => there.told.length === 6, 'told of the loss');
		const next = await appendOne(one.store, 't', entry('5'));
		assert.ok(compareMessageIds(next, end) > 0);
		await until(() => there.told.length === 7, 'told of what came then');
		assert.deepEqual(heardBy(there).told, ['0', '1', '2', '3', '4', 'gap ahead', '5']);
		assert.deepEqual(heardBy(there).gaps[0]?.to, end);
		for (const node of [one, two, await open(t)]) {
			const away = await node.subscribe('t', kept[0] as MessageId);
			await until(() => away.told.length >= 4, 'told of the rest');
			assert.deepEqual(heardBy(away), { told: ['1', '2', 'gap ahead', '5'], gaps: [{ from: last, to: end }] });
		}
	});

	test('who was told of it by one node is not given what was lost by another, and not told again', async (t) => {
		const [one, two] = await Promise.all([open(t), open(t)]);
		const [there, elsewhere] = [await one.subscribe('two'), await two.subscribe('two')];
		const { end } = await loseTwo(one, 'two', () => until(() => elsewhere.told.length === 5, 'both told'));
		await until(() => there.told.length === 6, 'told of the loss');
		const moved = await two.subscribe('two', heardBy(there).gaps[0]?.to as MessageId);
		await appendOne(two.store, 'two', entry('5'));
		await until(() => [there, elsewhere, moved].every((sink) => heardBy(sink).told.at(-1) === '5'), 'told of the next');
		assert.deepEqual(heardBy(moved).told, ['5']);
		assert.deepEqual(heardBy(elsewhere).told, ['0', '1', '2', '3', '4', 'gap ahead', '5']);
		assert.deepEqual(heardBy(elsewhere).gaps[0]?.to, end);
	});

	test('a cursor of what was lost is told, and read on after the hole', async (t) => {
		const one = await open(t);
		const there = await one.subscribe('within');
		const { end } = await loseTwo(one, 'within');
		await until(() => heardBy(there).gaps.length === 1, 'told of the loss');
		await appendOne(one.store, 'within', entry('5'));
		const lost = { ms: end.ms, n: end.n - 1 };
		const late = await one.subscribe('within', lost);
		await until(() => late.told.length === 2, 'told');
		assert.deepEqual(heardBy(late), { told: ['gap ahead', '5'], gaps: [{ from: lost, to: end }] });
	});

	test('a topic that nobody listens to is looked at after an outage by whoever appended to it', async (t) => {
		const one = await open(t);
		const { kept, last, end } = await loseTwo(one, 'unheard');
		await valkey.cli('CLIENT', 'KILL', 'TYPE', 'normal');
		await until(async () => (await stateOf('unheard')).includes(':'), 'the loss is written down');
		await until(() => one.store.health().status === 'ok', 'ready');
		await appendOne(one.store, 'unheard', entry('5'));
		const away = await one.subscribe('unheard', kept[1] as MessageId);
		await until(() => away.told.length === 3, 'told of the rest');
		assert.deepEqual(heardBy(away), { told: ['2', 'gap ahead', '5'], gaps: [{ from: last, to: end }] });
	});

	test('what cannot be written down while the server refuses writes is written down later', async (t) => {
		const one = await open(t);
		const there = await one.subscribe('full');
		const { kept } = await loseTwo(one, 'full', async () => {
			await valkey.cli('CONFIG', 'SET', 'maxmemory', '1');
		});
		await until(() => heardBy(there).gaps.length === 1, 'told all the same');
		assert.ok(!(await stateOf('full')).includes(':'));
		await valkey.cli('CONFIG', 'SET', 'maxmemory', '0');
		await until(async () => (await stateOf('full')).includes(':'), 'the loss is written down');
		const away = await one.subscribe('full', kept[0] as MessageId);
		await until(() => away.told.length === 3, 'told');
		assert.deepEqual(heardBy(away).told, ['1', '2', 'gap ahead']);
	});

	test('a cursor that somebody made up is no loss, and neither is what a client says it has seen', async (t) => {
		const one = await open(t);
		const ids = idsOf(await one.store.append('made up', entries(3)));
		const before = await stateOf('made up');
		const [first] = ids as [MessageId];
		for (const cursor of [
			{ ms: first.ms - 1, n: 7 },
			{ ms: 99_999_999_999_999, n: 0 },
		]) {
			const node = await open(t);
			const sink = await node.subscribe('made up', cursor);
			await until(() => heardBy(sink).gaps.length === 1, 'told');
		}
		assert.equal(await stateOf('made up'), before);
	});

	test('of a topic that is lost as a whole also those are told who had nothing of it yet, and once it is forgotten nothing is left', async (t) => {
		const one = await open(t);
		const there = await one.subscribe('whole');
		const [newest] = idsOf(await one.store.append('whole', [entry('0')])) as [MessageId];
		await until(() => there.told.length === 1, 'told');
		await valkey.cli('DEL', ...keysOf('whole'));
		await valkey.cli('ZREM', '{relay}:topics', 'whole');
		await until(() => there.told.length === 2, 'told of the loss');
		const end = { ms: newest.ms, n: newest.n + 1 };
		assert.equal(await one.store.getTopic('whole'), undefined);
		await until(async () => (await valkey.cli('ZSCORE', '{relay}:endings', 'whole')) !== '', 'remembered as an end');
		await appendOne(one.store, 'whole', entry('1'));
		assert.equal(await valkey.cli('ZSCORE', '{relay}:endings', 'whole'), '');
		const nowhere = { ms: 0, n: 0 };
		const away = await (await open(t)).subscribe('whole', nowhere);
		await until(() => away.told.length === 2, 'told');
		assert.deepEqual(heardBy(away), { told: ['gap ahead', '1'], gaps: [{ from: nowhere, to: end }] });
		await until(() => there.told.length === 3, 'told of what came then');
		assert.deepEqual(heardBy(there).told, ['0', 'gap ahead', '1']);
	});

	test('what lies between a backup and its restoration, while relays run, is told of to who was away', async (t) => {
		const one = await open(t);
		const there = await one.subscribe('restored');
		const kept = idsOf(await one.store.append('restored', entries(3)));
		await save('restored');
		await one.store.append('restored', entries(3, 3));
		await valkey.cli('DEL', ...keysOf('restored'));
		await until(() => heardBy(there).gaps.length === 1, 'told of the loss');
		await lose('restored');
		await until(() => heardBy(there).gaps.length === 2, 'told of the loss again: the log is another one');
		await appendOne(one.store, 'restored', entry('6'));
		const away = await one.subscribe('restored', kept[1] as MessageId);
		await until(() => away.told.length === 3, 'told');
		assert.deepEqual(heardBy(away).told, ['2', 'gap ahead', '6']);
	});

	test('a loss is forgotten with the messages around it', async (t) => {
		const one = await open(t);
		const there = await one.subscribe('trimmed');
		await loseTwo(one, 'trimmed');
		await until(() => heardBy(there).gaps.length === 1, 'told of the loss');
		await one.store.append('trimmed', entries(5, 5));
		assert.ok((await stateOf('trimmed')).includes(':'));
		const step = { nowMs: Date.now(), defaultMaxAgeS: 1e9, defaultMaxMessages: 2, blocksMax: 1e6 };
		while ((await one.store.trim(step)).more);
		assert.ok(!(await stateOf('trimmed')).includes(':'));
		const away = await one.subscribe('trimmed', { ms: 1, n: 0 });
		await until(() => away.told.length === 3, 'told');
		assert.deepEqual(heardBy(away).told, ['gap trimmed', '8', '9']);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('what a server has lost', suite);
else test('what a server has lost', { skip: unavailable }, () => {});
