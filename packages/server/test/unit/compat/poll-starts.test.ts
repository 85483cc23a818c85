/** What is remembered of polls without cursors: for whom, for how long, how much, and what it costs. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { PollStarts } from '../../../src/compat/poll-starts.ts';
import { ENTRIES_MAX, LIFETIME_MS, type PollClient, shelfOf, TOPIC_SETS_MAX } from '../../../src/compat/start-shelf.ts';
import { RECORD_VALUE_LENGTH_MAX, type Records } from '../../../src/ports/records.ts';
import { createMemoryRecords } from '../../../src/stores/memory/records.ts';
import { createFakeClock } from '../../support/clock.ts';

const MINUTE_MS = 60_000;

const idOf = (ms: number): MessageId => ({ ms, n: 0 });
const at = (ids: Readonly<Record<string, number>>) => new Map(Object.entries(ids).map(([topic, ms]) => [topic, idOf(ms)]));

function createWorld() {
	const clock = createFakeClock();
	const records = createMemoryRecords({ clock });
	const calls = { reads: 0, writes: 0 };
	const counted: Records = {
		...records,
		get: (kind, id) => {
			calls.reads++;
			return records.get(kind, id);
		},
		list: (kind, query) => records.list(kind, query),
		write: (ops) => {
			calls.writes++;
			return records.write(ops);
		},
		listen: (listener) => records.listen(listener),
	};
	const failures: string[] = [];
	const log = { debug: (fields: object, text: string) => void failures.push(`${text} ${JSON.stringify(fields)}`) };
	const node = (signer = 'shared') => new PollStarts({ records: counted, clock, log, signer });
	return { clock, records, calls, failures, node };
}

const key = (id: string, accountId = 'account'): PollClient => ({ kind: 'key', accountId, id, tokenEndsAtMs: null });

/** Waits until everything that was begun in the background has ended: the records are in memory, so that takes turns of the loop only. */
async function settled(): Promise<void> {
	for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Opens a poll; a first one begins at that millisecond. Gives where it goes on, of each topic. */
async function open(node: PollStarts, client: PollClient, topics: readonly string[], nowMs = 1) {
	const start = await node.open(client, topics);
	if (start.positions === null) await start.begun(new Map(topics.map((topic) => [topic, idOf(nowMs)])));
	const from = start.positions === null ? null : topics.map((topic) => start.positions?.get(topic)?.ms);
	return { ...start, from };
}

/** One poll that ends without messages. */
async function poll(node: PollStarts, client: PollClient, topics: readonly string[], nowMs = 1) {
	const { from, end } = await open(node, client, topics, nowMs);
	end();
	return from;
}

test('a start is remembered for a day from the last poll', async () => {
	const { clock, node } = createWorld();
	const relay = node();
	assert.equal(await poll(relay, key('k'), ['a', 'b'], 5), null);
	for (let hour = 0; hour < 40; hour += 10) {
		clock.advance(10 * 60 * MINUTE_MS);
		assert.deepEqual(await poll(node(), key('k'), ['b', 'a'], 99), [5, 5], 'on another node too');
	}
	clock.advance(LIFETIME_MS);
	assert.equal(await poll(relay, key('k'), ['a', 'b'], 99), null);
});

test('a poll that goes on writes once an hour, and one with cursors reads and writes nothing', async () => {
	const { clock, calls, node } = createWorld();
	const relay = node();
	await poll(relay, key('k'), ['a']);
	const { writes } = calls;
	for (let n = 0; n < 100; n++) await poll(relay, key('k'), ['a']);
	assert.equal(calls.writes, writes);
	clock.advance(61 * MINUTE_MS);
	for (let n = 0; n < 100; n++) await poll(relay, key('k'), ['a']);
	assert.equal(calls.writes, writes + 1);

	relay.cameWith(key('k'), at({ a: 7 }));
	await settled();
	const before = { ...calls };
	for (let n = 0; n < 1000; n++) relay.cameWith(key(`k${n}`), at({ a: 7 }));
	await settled();
	assert.deepEqual(calls, before);
});

test('a cursor shows that an answer has arrived when it comes from it, whatever the node', async () => {
	const { node, failures } = createWorld();
	const [near, far] = [node(), node()];
	const { answering, end } = await open(near, key('k'), ['a', 'b']);
	assert.equal(await answering(at({ a: 10 })), 1);
	end();
	const comeWith = async (cursors: Readonly<Record<string, number>>, client = key('k')) => {
		far.cameWith(client, at(cursors));
		await settled();
		return poll(near, key('k'), ['a', 'b']);
	};
	assert.deepEqual(await comeWith({ a: 9, b: 99 }), [1, 1], 'one from before, or of a topic that the answer had nothing of');
	assert.deepEqual(await comeWith({ a: 10 }), [1, 1], 'for other topics');
	assert.deepEqual(await comeWith({ a: 10, b: 0 }, key('other')), [1, 1], "another client's");
	assert.equal(await comeWith({ a: 10, b: 0 }), null);
	assert.deepEqual(failures, []);
});

test('a cursor of another client with the same key does not end a start that nothing was answered to', async () => {
	const { node } = createWorld();
	const relay = node();
	await poll(relay, key('k'), ['a']);
	relay.cameWith(key('k'), at({ a: 50 }));
	await settled();
	assert.deepEqual(await poll(relay, key('k'), ['a']), [1]);
});

test('two clients with one key each get their answer, also when one comes back late, on one node or two', async () => {
	for (const nodes of [1, 2]) {
		const { clock, node } = createWorld();
		const near = node();
		const far = nodes === 1 ? near : node();
		const one = await open(near, key('k'), ['a']);
		const two = await open(far, key('k'), ['a']);
		await settled();
		clock.advance(2000);
		await settled();
		// The second loses its connection; meanwhile the first is delivered something.
		two.end();
		one.end();
		await one.answering(at({ a: 10 }));
		one.delivered();
		await settled();
		const back = await open(far, key('k'), ['a'], 99);
		assert.deepEqual(back.from, [1]);
		await back.answering(at({ a: 10 }));
		back.end();
		back.delivered();
		await settled();
		assert.equal(await poll(near, key('k'), ['a']), null, 'and then it is over');
	}
});

test('of two clients with one key, one that never comes back is waited for ten minutes', async () => {
	const { clock, node } = createWorld();
	const relay = node();
	const [one, two] = [await open(relay, key('k'), ['a']), await open(relay, key('k'), ['a'])];
	clock.advance(2000);
	await settled();
	two.end();
	await one.answering(at({ a: 10 }));
	one.end();
	one.delivered();
	await settled();
	clock.advance(10 * MINUTE_MS);
	assert.equal(await poll(relay, key('k'), ['a']), null);
});

test('a client that comes again at once is not taken for two', async () => {
	const { clock, node } = createWorld();
	const relay = node();
	const broken = await open(relay, key('k'), ['a']);
	const again = await open(relay, key('k'), ['a']);
	broken.end();
	clock.advance(2000);
	await settled();
	await again.answering(at({ a: 10 }));
	again.end();
	again.delivered();
	await settled();
	assert.equal(await poll(relay, key('k'), ['a']), null);
});

test('an answer is remembered although another client with the same key was delivered one meanwhile', async () => {
	const { node } = createWorld();
	const relay = node();
	const [one, two] = [await open(relay, key('k'), ['a'], 3), await open(relay, key('k'), ['a'], 4)];
	await one.answering(at({ a: 10 }));
	one.delivered();
	await settled();
	await two.answering(at({ a: 10 }));
	for (const { end } of [one, two]) end();
	assert.deepEqual(await poll(relay, key('k'), ['a']), [3]);
});

test('a session that follows one with an old token goes on where that began, the earliest where there are several', async () => {
	const { clock, node } = createWorld();
	const relay = node();
	const session = (id: string, minutesLeft: number): PollClient => ({
		kind: 'session',
		accountId: 'account',
		id,
		tokenEndsAtMs: clock.nowMs() + minutesLeft * MINUTE_MS,
	});
	await poll(relay, session('one', 10), ['a'], 20);
	await poll(relay, session('two', 10), ['a'], 10);
	clock.advance(4 * MINUTE_MS);
	assert.equal(await poll(relay, session('early', 10), ['a'], 30), null, 'the tokens have six minutes left');
	clock.advance(MINUTE_MS);
	assert.equal(await poll(relay, session('three', 10), ['b'], 30), null, 'other topics');
	assert.equal(await poll(relay, key('k'), ['a'], 30), null, 'a key');
	assert.deepEqual(await poll(relay, session('three', 10), ['a'], 40), [10]);
	assert.deepEqual(await poll(relay, session('four', 10), ['a'], 40), [10]);
	assert.equal(await poll(relay, session('five', 10), ['a'], 40), null, 'each has one successor');
	// A session that renews its token is not followed; those of early, four and five are.
	clock.advance(4 * MINUTE_MS);
	await poll(relay, session('three', 10), ['a']);
	clock.advance(2 * MINUTE_MS);
	for (const id of ['six', 'seven']) assert.deepEqual(await poll(relay, session(id, 10), ['a'], 50), [10], id);
	assert.equal(await poll(relay, session('eight', 10), ['a'], 50), null);
});

test('a session that is followed by mistake goes on, whether it waits or comes back', async () => {
	const { clock, node } = createWorld();
	const relay = node();
	const session = (id: string): PollClient => ({
		kind: 'session',
		accountId: 'account',
		id,
		tokenEndsAtMs: clock.nowMs() + MINUTE_MS,
	});
	const waiting = await open(relay, session('waits'), ['a'], 10);
	await poll(relay, session('back'), ['a'], 20);
	for (let n = 0; n < 5; n++) {
		assert.deepEqual(await poll(relay, session(`new${n}`), ['a'], 30), [10]);
		assert.deepEqual(await poll(relay, session('back'), ['a']), [10]);
	}
	waiting.end();
	assert.deepEqual(await poll(relay, session('waits'), ['a']), [10]);
});

test('a session whose token another process has signed may be followed at once', async () => {
	const { clock, node } = createWorld();
	const session = (id: string): PollClient => ({
		kind: 'session',
		accountId: 'account',
		id,
		tokenEndsAtMs: clock.nowMs() + 10 * MINUTE_MS,
	});
	await poll(node('one process'), session('one'), ['a'], 10);
	assert.deepEqual(await poll(node('the next'), session('two'), ['a'], 20), [10]);
});

test('a client has room for so many sets of topics, and the oldest gives way', async () => {
	const { clock, node } = createWorld();
	const relay = node();
	for (let n = 0; n <= TOPIC_SETS_MAX; n++) {
		clock.advance(1);
		await poll(relay, key('k'), [`topic${n}`]);
	}
	assert.deepEqual(await poll(relay, key('k'), ['topic1']), [1]);
	assert.equal(await poll(relay, key('k'), ['topic0']), null);
});

test('on a full shelf the account with most entries gives way, and the record stays small', async () => {
	const { clock, records, node } = createWorld();
	const relay = node();
	const accounts: string[] = [];
	for (let n = 0; accounts.length < 3; n++) if (shelfOf(`account ${n}`) === '7') accounts.push(`account ${n}`);
	const [modest, greedy, late] = accounts as [string, string, string];
	const topics = Array.from({ length: 20 }, (_, n) => `00000000-0000-0000-0000-000000000000/${n}${'x'.repeat(250)}`);
	const long = 'f7a4c1de-2b8e-4a37-9d2c-c0ffee000000-';
	await poll(relay, key('modest', modest), ['a']);
	for (let n = 0; n < ENTRIES_MAX + 50; n++) {
		clock.advance(1);
		await poll(relay, key(`${long}${n}`, greedy), topics, Number.MAX_SAFE_INTEGER);
		const { answering } = await open(relay, key(`${long}${n}`, greedy), topics);
		await answering(new Map(topics.map((topic) => [topic, { ms: Number.MAX_SAFE_INTEGER, n: Number.MAX_SAFE_INTEGER }])));
	}
	assert.equal(await poll(relay, key('late', late), ['a']), null);
	assert.deepEqual(await poll(relay, key('late', late), ['a']), [1]);
	assert.deepEqual(await poll(relay, key('modest', modest), ['a']), [1]);
	const { value } = (await records.get('poll-starts', '7')) ?? assert.fail();
	assert.equal((value['entries'] as unknown[]).length, ENTRIES_MAX);
	assert(JSON.stringify(value).length < RECORD_VALUE_LENGTH_MAX, `${JSON.stringify(value).length} characters`);
});

test('many polls of many nodes that begin at once on one shelf are all remembered', async () => {
	const { node } = createWorld();
	const nodes = [node(), node(), node()];
	const clients = Array.from({ length: 60 }, (_, n) => key(`k${n}`));
	await Promise.all(clients.map((client, n) => poll(nodes[n % 3] as PollStarts, client, ['a'])));
	for (const client of clients) assert.deepEqual(await poll(nodes[0] as PollStarts, client, ['a']), [1]);
});

test('positions are ids of the log, to the number within a millisecond', async () => {
	const { node } = createWorld();
	const first = await node().open(key('k'), ['a']);
	const id = parseMessageId('1750000000123-45') ?? assert.fail();
	await first.begun(new Map([['a', id]]));
	assert.deepEqual((await node().open(key('k'), ['a'])).positions, new Map([['a', id]]));
});
