/** What an operator does to the keys by hand: subscribers get the messages or a gap, and the relay goes on. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { parseMessageId } from '@pulsar-relay/protocol/message-id';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { appendOne, entries, entry, idsOf, payloadsOf, trimAll } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { idsInLog, openNode, toldTo, until } from './valkey-node.ts';

function suite(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());
	const open = (t: Parameters<typeof openNode>[0]) => openNode(t, serverAt(valkey.host, valkey.port));
	const stream = (topic: string) => `topic:${topic}:stream`;

	test('XLEN counts what was published', async (t) => {
		const { store } = await open(t);
		for (let i = 0; i < 7; i++) await store.append('test', entries(3, 3 * i));
		assert.equal(await valkey.cli('XLEN', 'topic:test:stream'), '21');
	});

	test('XADD with our fields is a message for those who listen and for those who read', async (t) => {
		const { store, subscribe } = await open(t);
		await store.append('hand', [entry('1')]);
		const sink = await subscribe('hand');
		await valkey.cli('XADD', stream('hand'), '*', 'payload', '{"by":"hand"}', 'metadata', '{"a":"b"}');
		await until(() => sink.told.length === 1, 'told of the entry');
		await store.append('hand', [entry('2')]);
		await until(() => sink.told.length === 2, 'told of the message after it');
		assert.deepEqual(toldTo(sink), ['{"by":"hand"}', '2']);
		assert.deepEqual(await payloadsOf(store, 'hand'), ['1', '{"by":"hand"}', '2']);
		assert.deepEqual(await idsInLog(store, 'hand'), [...(await idsInLog(store, 'hand'))].sort());
	});

	test('XADD to a topic that no relay has made is delivered, and the topic goes on from there', async (t) => {
		const { store, subscribe } = await open(t);
		const sink = await subscribe('new');
		await valkey.cli('XADD', stream('new'), '*', 'payload', '1');
		await until(() => sink.told.length === 1, 'told');
		await appendOne(store, 'new', entry('2'));
		await until(() => sink.told.length === 2, 'told again');
		assert.deepEqual(toldTo(sink), ['1', '2']);
	});

	test('XADD with MAXLEN, which leaves the length as it was, is noticed', async (t) => {
		const { store, subscribe } = await open(t);
		const ids = idsOf(await store.append('capped', entries(3)));
		const sink = await subscribe('capped');
		await valkey.cli('XADD', stream('capped'), 'MAXLEN', '3', '*', 'payload', '3');
		await until(() => sink.told.length === 1, 'told');
		assert.deepEqual(toldTo(sink), ['3']);
		await store.append('capped', [entry('4')]);
		await until(() => sink.told.length === 2, 'told of the next');
		const late = await subscribe('capped', { ms: (ids[0]?.ms ?? 0) - 1, n: 0 });
		await until(() => late.told.length >= 5, 'told what is left');
		assert.deepEqual(toldTo(late), ['gap trimmed', '1', '2', '3', '4'], 'what MAXLEN removed is a gap');
	});

	test('an entry added far ahead and removed again does not stop the topic', async (t) => {
		const { store, subscribe } = await open(t);
		await store.append('ahead', entries(2));
		const sink = await subscribe('ahead');
		await valkey.cli('XADD', stream('ahead'), '99999999999999-5', 'payload', '1');
		await valkey.cli('XDEL', stream('ahead'), '99999999999999-5');
		const id = await appendOne(store, 'ahead', entry('2'));
		assert.deepEqual(id, { ms: 99_999_999_999_999, n: 6 });
		await until(() => toldTo(sink).at(-1) === '2', 'told');
		assert.equal(toldTo(sink).filter((told) => told === '2').length, 1);
	});

	test('entries that cannot be delivered are passed over, told of once, and are a gap where nothing else came', async (t) => {
		const { store, subscribe, warnings } = await open(t);
		await store.append('odd', [entry('1')]);
		const sink = await subscribe('odd');
		await valkey.cli('XADD', stream('odd'), '*', 'temperature', '21');
		await until(() => sink.told.length === 1, 'told of a gap');
		assert.deepEqual(toldTo(sink), ['gap trimmed']);
		await valkey.cli('XADD', stream('odd'), '*', 'payload', '{"broken":');
		await valkey.cli('XADD', stream('odd'), '*', 'payload', '2', 'metadata', 'no');
		await store.append('odd', [entry('3')]);
		await until(() => toldTo(sink).at(-1) === '3', 'told of the message after them');
		assert.deepEqual(await payloadsOf(store, 'odd'), ['1', '3']);
		const strange = warnings.filter((text) => text.startsWith('entries that no relay wrote'));
		assert.match(strange[0] ?? '', /"topic":"odd".*no field payload/);
		const told = strange.length;
		for (let i = 0; i < 5; i++) assert.deepEqual(await payloadsOf(store, 'odd'), ['1', '3']);
		assert.equal(
			warnings.filter((text) => text.startsWith('entries that no relay wrote')).length,
			told,
			'once, not by each reader',
		);
	});

	test('XTRIM: whoever is below what was removed gets a gap and the rest, whoever is above gets all', async (t) => {
		const { store, subscribe, heard } = await open(t);
		const ids = idsOf(await store.append('trimmed', entries(10)));
		const live = await subscribe('trimmed');
		assert.equal(await valkey.cli('XTRIM', stream('trimmed'), 'MAXLEN', '3'), '7');
		await until(() => heard.some(({ kind }) => kind === 'trimmed'), 'noticed');
		const below = await subscribe('trimmed', ids[1]);
		const above = await subscribe('trimmed', ids[7]);
		await until(() => below.told.length === 4 && above.told.length === 2, 'told the rest');
		assert.deepEqual(toldTo(below), ['gap trimmed', '7', '8', '9']);
		assert.deepEqual(toldTo(above), ['8', '9']);
		await store.append('trimmed', [entry('10')]);
		await until(() => live.told.length === 1, 'told');
		assert.deepEqual(toldTo(live), ['10'], 'a live subscriber has lost nothing');
		assert.equal(await valkey.cli('XLEN', stream('trimmed')), '4');
	});

	test('DEL of a stream: those behind get a gap, those at the end go on, and ids are not used again', async (t) => {
		const { store, subscribe, heard } = await open(t);
		const ids = idsOf(await store.append('gone', entries(5)));
		const live = await subscribe('gone');
		await valkey.cli('DEL', stream('gone'));
		await until(() => heard.some(({ kind }) => kind === 'trimmed'), 'noticed');
		const behind = await subscribe('gone', ids[1]);
		await until(() => behind.told.length === 1, 'told of the gap');
		assert.deepEqual(toldTo(behind), ['gap trimmed']);
		const next = await appendOne(store, 'gone', entry('5'));
		await until(() => live.told.length === 1 && behind.told.length === 2, 'told of the next');
		assert.deepEqual(toldTo(live), ['5']);
		assert.ok(next.ms > (ids[4]?.ms ?? 0) || next.n > (ids[4]?.n ?? 0));
		assert.deepEqual(await payloadsOf(store, 'gone'), ['5']);
	});

	test('RENAME of a stream is a deletion of the one and a log of the other', async (t) => {
		const { store, subscribe } = await open(t);
		const ids = idsOf(await store.append('from', entries(5)));
		const other = await subscribe('to');
		await valkey.cli('RENAME', stream('from'), stream('to'));
		const behind = await subscribe('from', ids[0]);
		await until(() => behind.told.length === 1 && other.told.length === 5, 'told');
		assert.deepEqual(toldTo(behind), ['gap trimmed']);
		assert.deepEqual(toldTo(other), ['0', '1', '2', '3', '4']);
		await store.append('from', [entry('5')]);
		await store.append('to', [entry('6')]);
		await until(() => behind.told.length === 2 && other.told.length === 6, 'told of what came after');
	});

	test('FLUSHALL: every subscriber is told by one gap within 2 s, also while others publish, and gets what comes after', async (t) => {
		const node = await open(t);
		const other = await open(t);
		const sinks: Awaited<ReturnType<typeof node.subscribe>>[] = [];
		for (const topic of ['f1', 'f2', 'f3']) {
			const ids = idsOf(await node.store.append(topic, entries(3)));
			sinks.push(await node.subscribe(topic), await other.subscribe(topic, ids[1]));
		}
		await until(() => sinks.every((sink, i) => sink.told.length === i % 2), 'at the end');
		await valkey.cli('FLUSHALL');
		const startedMs = performance.now();
		// Announcements that do not fit make each node look several times at once.
		await Promise.all(['f1', 'f2'].flatMap((topic) => entries(5, 3).map((one) => other.store.append(topic, [one]))));
		await until(() => sinks.every((sink) => toldTo(sink).some((told) => told === 'gap ahead')), 'told of the loss');
		assert.ok(performance.now() - startedMs < 2000, 'within 2 s');
		await node.store.append('f3', entries(5, 3));
		await until(() => sinks.every((sink) => toldTo(sink).at(-1) === '7'), 'told of what came after');
		for (const [i, sink] of sinks.entries()) {
			assert.deepEqual(toldTo(sink).slice(i % 2), ['gap ahead', '3', '4', '5', '6', '7'], 'one gap, and each message once');
		}
	});

	test('FLUSHALL: whoever comes back with a cursor of the log before is told, though the node has the new log whole', async (t) => {
		const { store, subscribe } = await open(t);
		const ids = idsOf(await store.append('back', entries(3)));
		await valkey.cli('FLUSHALL');
		await appendOne(store, 'back', entry('"new"'));
		const sink = await subscribe('back', ids[0]);
		await until(() => sink.told.length >= 2, 'told');
		assert.deepEqual(toldTo(sink), ['gap ahead', '"new"']);
		// Who has seen nothing has missed nothing that is there.
		const fresh = await subscribe('back', { ms: 0, n: 0 });
		await until(() => fresh.told.length >= 1, 'told');
		assert.deepEqual(toldTo(fresh), ['"new"']);
	});

	test('a stream key of another type stops its own topic with a clear error, and no other', async (t) => {
		const { store, subscribe, warnings } = await open(t);
		await store.append('wrong', entries(3));
		await store.append('zright', entries(3));
		const sink = await subscribe('wrong');
		const right = await subscribe('zright');
		await valkey.cli('SET', stream('wrong'), 'no stream');
		const isClear = (error: unknown) => {
			assert.ok(error instanceof RelayError && error.code === 'storage_unavailable');
			assert.match(error.message, /another type of value/);
			return true;
		};
		await assert.rejects(store.append('wrong', [entry('3')]), isClear);
		await assert.rejects(store.read('wrong', { ms: 0, n: 0 }, { messagesMax: 1, bytesMax: 1 }), isClear);
		await assert.rejects(store.getTopic('wrong'), isClear);
		await until(() => warnings.some((text) => /a topic cannot be read.*"wrong".*another type/.test(text)), 'told in the log');
		assert.deepEqual(
			(await store.listTopics('wrong', 2)).map(({ name }) => name),
			['zright'],
		);
		assert.ok(
			(await store.listTopics(null, 100)).some(({ name }) => name === 'zright'),
			'the list goes on',
		);
		// A message put in by hand is found by looking, and the look must not stop at the topic before it.
		await valkey.cli('XADD', stream('zright'), '*', 'payload', '3');
		await until(() => right.told.length === 1, 'others are still looked at');
		assert.equal((await trimAll(store, { nowMs: Date.now() + 10, defaultMaxMessages: 1 })) >= 3, true, 'others are trimmed');
		assert.equal(await valkey.cli('XLEN', stream('zright')), '1');
		await valkey.cli('DEL', stream('wrong'));
		await store.append('wrong', [entry('4')]);
		await until(() => sink.told.length === 1, 'told again');
		assert.deepEqual(toldTo(sink), ['4']);
		assert.equal(store.health().status, 'ok');
		assert.equal(warnings.filter((text) => text.includes('cannot be read')).length, 1, 'told once, not with every look');
	});

	test('an entry beyond all ids of a relay stops its own topic, and no other', async (t) => {
		const { store, subscribe, warnings } = await open(t);
		await store.append('beyond', entries(1));
		await subscribe('beyond');
		const right = await subscribe('zbeside');
		await valkey.cli('XADD', stream('beyond'), '18446744073709551615-3', 'payload', '1');
		await assert.rejects(store.append('beyond', [entry('3')]), /no message ids left|cannot be reached/);
		await until(() => warnings.some((text) => /a topic cannot be read.*"beyond"/.test(text)), 'told in the log');
		await valkey.cli('XADD', stream('zbeside'), '*', 'payload', '1');
		await until(() => right.told.length === 1, 'others are still looked at');
		// After an outage the store looks at everything before it is healthy again.
		valkey.pause();
		await until(() => store.health().status !== 'ok', 'noticed');
		valkey.resume();
		await until(() => store.health().status === 'ok', 'healthy again');
	});

	test('garbage on a channel is no message', async (t) => {
		const { store, subscribe } = await open(t);
		const [id] = idsOf(await store.append('noise', [entry('1')]));
		assert.ok(id !== undefined);
		const sink = await subscribe('noise');
		const tip = `${id.ms}-${id.n}`;
		const next = `${id.ms + 1}-0`;
		for (const text of [
			'',
			'nonsense',
			`a ${tip}`,
			`a ${tip} 0-0 ${next} ${next} \ngarbage that is no block`,
			't x\n',
			'd 9-9\n',
		]) {
			await valkey.cli('PUBLISH', '{topic:noise:stream}:live', text);
		}
		const real = await appendOne(store, 'noise', entry('2'));
		await until(() => toldTo(sink).at(-1) === '2', 'told');
		assert.deepEqual(
			toldTo(sink).filter((told) => !told.startsWith('gap')),
			['2'],
		);
		assert.ok(parseMessageId(sink.ids()[0] ?? '')?.ms === real.ms);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('an operator at the server', suite);
else test('an operator at the server', { skip: unavailable }, () => {});
