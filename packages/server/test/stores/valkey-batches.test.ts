/** Calls that share a batch of commands: what is wrong with one topic, or with the number of calls, is nothing to the others. */

import assert from 'node:assert/strict';
import { after, before, describe, type TestContext, test } from 'node:test';
import { startValkey, type Valkey, valkeyUnavailable } from '../support/valkey.ts';
import { appendOne, entries, entry, trimAll } from './trial.ts';
import { serverAt } from './valkey-fixture.ts';
import { openNode, toldTo, until } from './valkey-node.ts';

function suite(): void {
	let valkey: Valkey;
	before(async () => {
		valkey = await startValkey();
	});
	after(() => valkey.stop());
	const open = (t: TestContext) => openNode(t, serverAt(valkey.host, valkey.port));

	test('a topic that cannot be read keeps nobody from watching those that are watched with it', async (t) => {
		const [one, two] = await Promise.all([open(t), open(t)]);
		await valkey.cli('SET', 'topic:bad:stream', 'no stream');
		const told = await Promise.allSettled(['good', 'bad', 'fine'].map((topic) => one.subscribe(topic)));
		assert.deepEqual(
			told.map(({ status }) => status),
			['fulfilled', 'rejected', 'fulfilled'],
		);
		await appendOne(two.store, 'good', entry('0'));
		const again = await one.subscribe('good');
		await appendOne(two.store, 'good', entry('1'));
		await until(() => again.told.length === 1, 'told');
		const [good] = told;
		assert.ok(good?.status === 'fulfilled');
		await until(() => good.value.told.length === 2, 'told');
		assert.deepEqual(toldTo(good.value), ['0', '1']);
		// Once it can be read it is watched like any other.
		await valkey.cli('DEL', 'topic:bad:stream');
		const bad = await one.subscribe('bad');
		await appendOne(two.store, 'bad', entry('0'));
		await until(() => bad.told.length === 1, 'told');
	});

	test('what is large is read and trimmed one by one, so that the server never has much of it in hand', async (t) => {
		const [one, two] = await Promise.all([open(t), open(t)]);
		const payload = Buffer.from(`"${'x'.repeat(2 * 1024 * 1024)}"`);
		for (let i = 0; i < 32; i++) await one.store.append('large', [{ ...entry('0'), payload }]);
		const memory = async (field: string) =>
			Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(await valkey.cli('INFO', 'memory'))?.[1]);
		const used = await memory('used_memory');
		const step = { nowMs: Date.now(), defaultMaxAgeS: 1e9, defaultMaxMessages: 1e9, blocksMax: 1e6 };
		assert.equal((await one.store.trim(step)).removed, 0);
		const { blocks } = await one.store.read('large', { ms: 0, n: 0 }, { messagesMax: 4096, bytesMax: 256 * 1024 });
		assert.equal(blocks.length, 1);
		assert.equal(await trimAll(two.store, { nowMs: Date.now(), defaultMaxMessages: 2 }), 30);
		const mostInHand = (await memory('used_memory_peak')) - used;
		assert.ok(mostInHand < 24 * 1024 * 1024, `${mostInHand} bytes of 64 MiB`);
	});

	test('a crowd of readers, each at its own place in the log, is served, and nobody is refused for it', async (t) => {
		const { store } = await open(t);
		await store.append('crowd', entries(3));
		const refused: string[] = [];
		const look = setInterval(() => {
			const health = store.health();
			if (health.status !== 'ok') refused.push(health.reason);
		}, 1);
		t.after(() => clearInterval(look));
		const limits = { messagesMax: 1, bytesMax: 1000 };
		await Promise.all(Array.from({ length: 15_000 }, (_, n) => store.read('crowd', { ms: 0, n }, limits)));
		assert.deepEqual(refused, []);
	});
}

const unavailable = valkeyUnavailable();
if (unavailable === null) describe('calls that share a batch', suite);
else test('calls that share a batch', { skip: unavailable }, () => {});
