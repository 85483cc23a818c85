/** The hub: what becomes of announcements. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { LogListener } from '../../../src/ports/store.ts';
import { answeringReads, createFixture, deferred, type FixtureOptions, overlay, texts } from './support/fixture.ts';
import { settled } from './support/turns.ts';

const EVERYTHING = Number.POSITIVE_INFINITY;

/** Lets the test decide what the hub hears. `hear` is given each announcement of a block and what passes it on. */
function listening(hear: (pass: () => void) => void): NonNullable<FixtureOptions['wrap']> {
	return (store) =>
		overlay(store, {
			listen: (listener: LogListener) =>
				store.listen({
					appended: (...block) => hear(() => listener.appended(...block)),
					trimmed: (...floor) => listener.trimmed(...floor),
					deleted: (...end) => listener.deleted(...end),
					repositioned: (...position) => listener.repositioned(...position),
				}),
		});
}

test('a lost announcement is noticed with the next one, and everybody reads what was lost from the store', async () => {
	let deaf = false;
	const { follow, append, rest, observer } = createFixture({
		wrap: listening((pass) => {
			if (!deaf) pass();
		}),
	});
	const [first] = await append('t', '1');
	assert.ok(first !== undefined);
	const readers = [await follow('t', 'last'), await follow('t', first), await follow('t', 'last', { transport: 'sse' })];
	const ids = await append('t', '2');
	deaf = true;
	ids.push(...(await append('t', '3')), ...(await append('t', '4')));
	deaf = false;
	await rest();
	for (const { sink } of readers) assert.deepEqual(sink.ids(), texts(ids.slice(0, 1)));
	ids.push(...(await append('t', '5')));
	await rest();
	for (const { sink } of readers) assert.deepEqual(sink.ids(), texts(ids));
	assert.deepEqual(observer.counts.gaps, []);
	assert.equal(observer.counts.reads, 1, 'those who missed the same read it once');
	assert.equal(observer.counts.behind, 0);
});

test('a cursor beyond what was announced is checked with the store, which brings up what was lost for everybody', async () => {
	let deaf = false;
	const { follow, append, rest, observer } = createFixture({
		wrap: listening((pass) => {
			if (!deaf) pass();
		}),
	});
	const live = await follow('t', 'last');
	deaf = true;
	const [lost] = await append('t', '1');
	assert.ok(lost !== undefined);
	deaf = false;
	const ahead = await follow('t', lost);
	await rest();
	assert.deepEqual(live.sink.ids(), texts([lost]));
	assert.deepEqual(ahead.sink.told, []);
	assert.deepEqual(observer.counts.gaps, []);
});

test('an announcement of what the position of the topic has counted in already changes nothing', async () => {
	const late: (() => void)[] = [];
	let holding = false;
	const { follow, append, rest } = createFixture({
		wrap: listening((pass) => {
			if (holding) late.push(pass);
			else pass();
		}),
	});
	const live = await follow('t', 'last');
	holding = true;
	const ids = await append('t', '1', '2');
	holding = false;
	const resumed = await follow('t', ids.at(-1) as MessageId);
	await rest();
	for (const pass of late) pass();
	ids.push(...(await append('t', '3')));
	await rest();
	assert.deepEqual(live.sink.ids(), texts(ids));
	assert.deepEqual(resumed.sink.ids(), texts(ids.slice(2)));
});

test('a turn with many appends is one slice, the same for everybody, and one write to each socket', async () => {
	const { follow, append, rest } = createFixture();
	const readers = [await follow('t', 'last'), await follow('t', 'last', { transport: 'sse' }), await follow('t', 'last')];
	const appends = Array.from({ length: 100 }, (_, i) => append('t', String(i), String(i)));
	const ids = (await Promise.all(appends)).flat();
	await rest();
	for (const { sink } of readers) {
		assert.deepEqual(sink.ids(), texts(ids));
		assert.equal(sink.writes, 1);
		assert.equal(sink.slices.length, 1);
		assert.equal(sink.slices[0], readers[0]?.sink.slices[0]);
	}
});

test('a session with several topics gets one write per turn', async () => {
	const { attach, append, rest } = createFixture();
	const { sink, session } = attach();
	await session.subscribe(new Map(['a', 'b', 'c'].map((topic) => [topic, 'last'])), () => {});
	await Promise.all(['a', 'b', 'c', 'a'].map((topic) => append(topic, '1')));
	await rest();
	assert.equal(sink.writes, 1);
	assert.equal(sink.ids().length, 4);
});

test('an idle hub offers at the end of the turn; a busy one rests as long as it worked, four milliseconds at most', async () => {
	let workMs = 0;
	const { clock, follow, append } = createFixture({
		tickMs() {
			const ms = workMs;
			workMs = 0;
			return ms;
		},
	});
	let takesMs = 0;
	const { sink } = await follow('t', 'last', {
		hear: () => {
			workMs = takesMs;
		},
	});
	const published = async (tookMs: number) => {
		takesMs = tookMs;
		await append('t', '1');
		clock.turn(EVERYTHING);
		return sink.ids().length;
	};
	assert.equal(await published(3), 1, 'idle: at once');
	assert.equal(await published(100), 1, 'busy: not yet');
	clock.advance(2);
	assert.equal(sink.ids().length, 1);
	clock.advance(1);
	assert.equal(sink.ids().length, 2);
	assert.equal(await published(0), 2);
	clock.advance(3);
	assert.equal(sink.ids().length, 2);
	clock.advance(1);
	assert.equal(sink.ids().length, 3, 'however long the work took');
	assert.equal(await published(0), 4, 'idle again');
});

test('a page may hold more than was offered, which then comes with the turn, and once', async () => {
	const read = deferred<void>();
	const { clock, follow, append, rest } = createFixture({
		hotTier: { bytesMax: 0 },
		wrap: answeringReads(async (ask) => {
			await read.promise;
			return ask();
		}),
	});
	await follow('t', 'last');
	const ids = await append('t', '1');
	clock.turn(EVERYTHING);
	const resumed = await follow('t', 'earliest');
	ids.push(...(await append('t', '2')));
	read.resolve();
	await settled();
	assert.deepEqual(resumed.sink.ids(), texts(ids.slice(0, 1)));
	await rest();
	assert.deepEqual(resumed.sink.ids(), texts(ids));
});

test('what was announced before anybody followed is in memory and is not read again', async () => {
	const { follow, append, observer } = createFixture();
	const ids = [...(await append('t', '1')), ...(await append('t', '2'))];
	const { sink } = await follow('t', 'earliest');
	assert.deepEqual(sink.ids(), texts(ids));
	assert.equal(observer.counts.reads, 0);
});

test('a crowd that resumes from one place reads the store once', async () => {
	const { follow, append, rest, observer } = createFixture({ hotTier: { bytesMax: 0 } });
	const ids = await append('t', '1', '2', '3');
	const crowd = await Promise.all(Array.from({ length: 50 }, () => follow('t', 'earliest')));
	await rest();
	for (const { sink } of crowd) {
		assert.deepEqual(sink.ids(), texts(ids));
		assert.equal(sink.slices[0], crowd[0]?.sink.slices[0], 'and is sent the same bytes (I7)');
	}
	assert.equal(observer.counts.reads, 1);
});

test('messages that are trimmed before they are offered come to whoever was there, and to nobody twice', async () => {
	const { clock, follow, append, trimTo, rest } = createFixture();
	const live = await follow('t', 'last');
	const ids = await append('t', '1', '2', '3', '4');
	assert.deepEqual(live.sink.ids(), [], 'the turn is not over');
	await trimTo(1);
	const newcomer = await follow('t', 'earliest');
	clock.turn(EVERYTHING);
	await rest();
	assert.deepEqual(live.sink.ids(), texts(ids));
	assert.deepEqual(newcomer.sink.ids(), texts(ids.slice(3)));
});

test('a reader that the floor moves up is not given what the turn still has to offer', async () => {
	const { clock, follow, append, trimTo } = createFixture();
	const [first] = await append('t', '1');
	const live = await follow('t', 'last');
	const slow = await follow('t', first as MessageId, { bufferBytesMax: 10 });
	slow.sink.stall();
	slow.sink.note('full');
	slow.sink.flush();
	const ids = await append('t', '2');
	clock.turn(EVERYTHING);
	ids.push(...(await append('t', '3', '4')));
	await trimTo(1);
	slow.sink.resume();
	clock.turn(EVERYTHING);
	assert.deepEqual(live.sink.ids(), texts(ids));
	assert.deepEqual(slow.sink.told.slice(1), [
		{ kind: 'gap', gap: { topic: 't', reason: 'trimmed', from: first, to: ids[1] } },
		...live.sink.told.slice(2),
	]);
});

test('what the log no longer has leaves the hot tier', async () => {
	const { hub, append, trimTo, store } = createFixture();
	for (const payload of ['1', '2', '3']) await append('t', payload);
	const bytes = hub.hotBytes;
	await trimTo(1);
	assert.ok(hub.hotBytes > 0 && hub.hotBytes < bytes / 2);
	await store.deleteTopic('t');
	assert.equal(hub.hotBytes, 0);
});

test('a page that tells of a floor beyond what was announced is a gap up to there, and the rest comes once', async () => {
	const held: (() => void)[] = [];
	let holding = false;
	const { follow, append, trimTo, rest } = createFixture({
		hotTier: { bytesMax: 0 },
		wrap: (store) =>
			overlay(store, {
				listen: (listener: LogListener) => {
					const later = (run: () => void) => (holding ? void held.push(run) : run());
					store.listen({
						appended: (...block) => later(() => listener.appended(...block)),
						trimmed: (...floor) => later(() => listener.trimmed(...floor)),
						deleted: (...end) => later(() => listener.deleted(...end)),
						repositioned: (...position) => later(() => listener.repositioned(...position)),
					});
				},
			}),
	});
	const [first, second] = await append('t', '1', '2');
	const live = await follow('t', 'last');
	holding = true;
	const unheard = await append('t', '3', '4');
	await trimTo(1);
	const { sink } = await follow('t', first as MessageId);
	await rest();
	assert.deepEqual(sink.told, [{ kind: 'gap', gap: { topic: 't', reason: 'trimmed', from: first, to: second } }]);
	holding = false;
	for (const run of held) run();
	await rest();
	assert.deepEqual(sink.ids(), texts(unheard));
	assert.equal(sink.told.length, 3);
	assert.deepEqual(live.sink.ids(), texts(unheard));
});

test('a deletion comes after the messages that were announced before it', async () => {
	const { follow, append, store, rest } = createFixture();
	const { sink, session } = await follow('t', 'last');
	const ids = await append('t', '1');
	await store.deleteTopic('t');
	await rest();
	assert.deepEqual(sink.ids(), texts(ids));
	assert.deepEqual(sink.told.at(-1), { kind: 'deleted', topic: 't' });
	assert.deepEqual([...session.topics], []);
	await append('t', '2');
	await rest();
	assert.equal(sink.told.length, 2, 'the next incarnation is not followed');
});

test('a reader that stopped reading costs the others nothing, and is behind until it reads again', async () => {
	const { follow, append, rest, observer } = createFixture();
	const crowd = await Promise.all(Array.from({ length: 20 }, () => follow('t', 'last')));
	const slow = await follow('t', 'last', { bufferBytesMax: 1000 });
	slow.sink.stall();
	const ids: MessageId[] = [];
	for (let i = 0; i < 50; i++) {
		ids.push(...(await append('t', `"${'x'.repeat(500)}"`)));
		await rest();
	}
	for (const { sink } of crowd) {
		assert.deepEqual(sink.ids(), texts(ids));
		assert.equal(sink.writes, 50);
	}
	assert.equal(slow.sink.writes, 2);
	assert.equal(observer.counts.behind, 1);
	assert.equal(observer.counts.reads, 0, 'it costs the store nothing either');
	slow.sink.resume();
	await rest();
	assert.deepEqual(slow.sink.ids(), texts(ids));
	assert.equal(observer.counts.behind, 0);
	assert.deepEqual(observer.counts.delivered, { websocket: 21 * 50, sse: 0, longpoll: 0 });
});

test('a socket that fills up in the middle of a turn goes on from just there', async () => {
	const { follow, append, rest, observer } = createFixture();
	const bufferBytesMax = 600_000;
	const slow = await follow('t', 'last', { bufferBytesMax });
	const fast = await follow('t', 'last', { bufferBytesMax: 1e9, transport: 'sse' });
	slow.sink.stall();
	const ids = await append('t', ...Array.from({ length: 200 }, () => `"${'x'.repeat(10_000)}"`));
	await rest();
	assert.deepEqual(fast.sink.ids(), texts(ids));
	const had = slow.sink.ids().length;
	assert.ok(had > 0 && had < 100);
	assert.equal(observer.counts.behind, 1);
	assert.ok(slow.sink.bytesPeak < bufferBytesMax + 256 * 1024, 'not more than the limit and one slice (I5)');
	slow.sink.resume();
	await rest();
	assert.deepEqual(slow.sink.ids(), texts(ids));
});
