/** The embedded store's threads: many calls share a commit, and a thread that dies is started again. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { SupervisedWorker } from '../../src/stores/embedded/supervised-worker.ts';
import { createFakeClock } from '../support/clock.ts';
import { makeDataDir, openStore } from './embedded-fixture.ts';
import { entries, entry, idsOf, keyed, payloadsOf } from './trial.ts';

test('calls made together share a commit, of one topic or of many', async (t) => {
	const store = await openStore(t, await makeDataDir(t));
	await Promise.all(Array.from({ length: 500 }, (_, i) => store.append(`t${i % 7}`, entries(1 + (i % 3)))));
	assert.ok(store.commits <= 3, `${store.commits} commits for 500 calls`);
	const before = store.commits;
	for (let i = 0; i < 5; i++) await store.append('t0', entries(1));
	assert.equal(store.commits - before, 5, 'a call alone does not wait for others');
});

test('calls that arrive while the disk is busy share the next commit', async (t) => {
	const store = await openStore(t, await makeDataDir(t));
	let calls = 0;
	await Promise.all(
		Array.from({ length: 64 }, async () => {
			for (let i = 0; i < 20; i++) {
				await store.append('a', entries(1));
				calls++;
			}
		}),
	);
	assert.equal((await store.getTopic('a'))?.messages, calls);
	assert.ok(store.commits < calls / 8, `${store.commits} commits for ${calls} calls`);
});

test('a batch is bounded in bytes', async (t) => {
	const store = await openStore(t, await makeDataDir(t));
	const mebibyte = `"${'x'.repeat(1024 * 1024)}"`;
	await Promise.all(Array.from({ length: 40 }, () => store.append('a', [entry(mebibyte)])));
	assert.ok(store.commits >= 3, `${store.commits} commits for 40 MiB`);
});

test('in one batch, only the calls without room for their topic are refused', async (t) => {
	const store = await openStore(t, await makeDataDir(t), { topicsMax: 1 });
	await store.append('a', [keyed('0', 'k', 0, 'f')]);
	const before = store.commits;
	const outcomes = await Promise.allSettled([
		store.append('a', [entry('1')]),
		store.append('b', [entry('2')]),
		store.append('b', [keyed('0', 'k', 0, 'f')]),
		store.append('b', [keyed('3', 'new', 0, 'f')]),
		store.append('a', [keyed('4', 'newer', 0, 'f')]),
	]);
	assert.equal(store.commits - before, 1);
	assert.deepEqual(
		outcomes.map((outcome) => (outcome.status === 'fulfilled' ? outcome.value[0]?.status : outcome.reason.code)),
		['appended', 'topic_limit', 'duplicate', 'topic_limit', 'appended'],
	);
	assert.deepEqual(await payloadsOf(store, 'a'), ['0', '1', '4']);
	assert.equal(await store.getTopic('b'), undefined);
});

test('a deletion between appends of one turn takes what came before it and leaves what came after', async (t) => {
	const store = await openStore(t, await makeDataDir(t));
	const heard: string[] = [];
	store.listen({
		appended: (_topic, _previous, _floor, block) => heard.push(`appended ${block.count}`),
		trimmed: () => heard.push('trimmed'),
		deleted: () => heard.push('deleted'),
		repositioned: () => heard.push('repositioned'),
	});
	const [first, second, deleted, third] = await Promise.all([
		store.append('a', [entry('1')]),
		store.append('a', [entry('2')]),
		store.deleteTopic('a'),
		store.append('a', [entry('3')]),
	]);
	assert.equal(store.commits, 1);
	assert.equal(deleted, true);
	assert.deepEqual(heard, ['appended 2', 'deleted', 'appended 1']);
	const [a, b, c] = idsOf([...first, ...second, ...third]);
	assert.deepEqual(
		[b, c],
		[
			{ ms: a?.ms, n: (a?.n ?? 0) + 1 },
			{ ms: a?.ms, n: (a?.n ?? 0) + 2 },
		],
	);
	assert.deepEqual(await payloadsOf(store, 'a'), ['3']);
});

test('when another program has written to the database, the writer starts afresh from what is there', {
	timeout: 20_000,
}, async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	const store = await openStore(t, dataDir, { clock });
	await store.append('a', [entry('1')]);
	const shell = new DatabaseSync(join(dataDir, 'relay.db'));
	shell.exec("UPDATE topic SET description = 'by hand', tip_ms = tip_ms + 5000, tip_n = 100 WHERE name = 'a'");
	shell.close();
	await assert.rejects(store.append('a', [entry('2')]), { code: 'storage_unavailable' });
	assert.equal(store.health().status, 'unavailable');
	await assert.rejects(store.append('a', [entry('3')]), { code: 'storage_unavailable' });
	await assert.rejects(store.getTopic('a'), { code: 'storage_unavailable' });
	assert.deepEqual(await payloadsOf(store, 'a'), ['1'], 'reads go on');
	clock.advance(1000);
	// The new writer makes itself known by health alone.
	while (store.health().status !== 'ok' && !t.signal.aborted) await new Promise((resolve) => setImmediate(resolve));
	const [id] = idsOf(await store.append('a', [entry('4')]));
	assert.equal(id?.n, 101, 'ids go on from what the database says');
	assert.equal((await store.getTopic('a'))?.description, 'by hand');
	assert.deepEqual(await payloadsOf(store, 'a'), ['1', '4']);
});

function superviseEcho(t: TestContext) {
	const clock = createFakeClock();
	const heard: string[] = [];
	const events = new EventTarget();
	const hear = (line: string) => {
		heard.push(line);
		events.dispatchEvent(new Event('heard'));
	};
	const worker = new SupervisedWorker<string, string, string>({
		module: new URL('./embedded-worker.ts', import.meta.url),
		setup: { file: '', topicsMax: 0 },
		clock,
		listener: {
			ready: (ready) => hear(`ready: ${ready}`),
			reply: (reply) => hear(`reply: ${reply}`),
			died: ({ message }) => hear(`died: ${message.split('\n')[0]}`),
		},
	});
	t.after(() => worker.close());
	return { clock, heard, worker, next: () => once(events, 'heard') };
}

for (const [death, message] of [
	['die', 'Error: told to die'],
	['exit', 'the worker exited'],
] as const) {
	test(`a thread that dies by ${death} is reported, and started again after a second`, { timeout: 20_000 }, async (t) => {
		const { clock, heard, worker, next } = superviseEcho(t);
		assert.equal(await worker.start(), null);
		worker.post('hello', []);
		await next();
		worker.post(death, []);
		await next();
		assert.equal(worker.serves, false);
		assert.equal(clock.timers, 1);
		clock.advance(1000);
		await next();
		assert.equal(worker.serves, true);
		worker.post('again', []);
		await next();
		assert.deepEqual(heard, [
			'ready: at your service',
			'reply: hello',
			`died: ${message}`,
			'ready: at your service',
			'reply: again',
		]);
	});
}

test('a thread that is closed is not started again, also when it was dead', async (t) => {
	const alive = superviseEcho(t);
	assert.equal(await alive.worker.start(), null);
	await alive.worker.close();
	assert.equal(alive.clock.timers, 0);
	assert.deepEqual(alive.heard, ['ready: at your service']);

	const dead = superviseEcho(t);
	assert.equal(await dead.worker.start(), null);
	dead.worker.post('die', []);
	await dead.next();
	await dead.worker.close();
	assert.equal(dead.clock.timers, 0);
});
