/** The embedded store on a disk that fills up and is cleared again: no false acknowledgement, reads go on, it recovers by itself. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openEmbeddedStore } from '../../src/stores/embedded/store.ts';
import { createFakeClock } from '../support/clock.ts';
import { makeDataDir } from './embedded-fixture.ts';
import { entry, payloadsOf } from './trial.ts';

const MEBIBYTE = 1024 * 1024;

/** Mounts a small file system; undefined, and the test skipped, where that is not allowed. */
async function mountDisk(t: TestContext, bytes: number): Promise<string | undefined> {
	const disk = await makeDataDir(t);
	try {
		execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', disk], { stdio: 'pipe' });
		return disk;
	} catch {
		t.skip('mounting a small file system needs root');
		return undefined;
	}
}

test('a full disk refuses appends with 503, serves reads, and is left behind without a restart', async (t) => {
	const disk = await mountDisk(t, 24 * MEBIBYTE);
	if (disk === undefined) return;
	const clock = createFakeClock();
	const dataDir = join(disk, 'data');
	const filler = join(disk, 'filler');
	let store = await openEmbeddedStore({ dataDir, clock, topicsMax: 10 });
	try {
		const announced: string[] = [];
		store.listen({
			appended: (topic, _previous, _floor, block) => announced.push(...Array(block.count).fill(topic)),
			trimmed() {},
			deleted() {},
			repositioned() {},
		});
		const acked: string[] = [];
		const large = (i: number) => `"${i}-${'x'.repeat(100_000)}"`;
		const publish = async (i: number) => {
			await store.append('a', [entry(large(i))]);
			acked.push(large(i));
		};
		await publish(0);
		await writeFile(filler, Buffer.alloc(16 * MEBIBYTE));

		let next = 1;
		const refused = await (async () => {
			for (; next < 500; next++) {
				const failure = await publish(next).then(
					() => null,
					(error: unknown) => error,
				);
				if (failure !== null) return failure;
			}
			return null;
		})();
		assert.ok(refused instanceof Error && 'code' in refused);
		assert.equal(refused.code, 'storage_unavailable');
		assert.equal(refused.message, 'the store is unavailable: disk is full');
		assert.deepEqual(store.health(), { status: 'unavailable', reason: 'disk is full' });

		// Reads and looks go on; what failed has left no trace, on disk or in memory.
		const before = store.stats();
		assert.deepEqual(await payloadsOf(store, 'a'), acked);
		await assert.rejects(store.createTopic('b', { description: 'x'.repeat(3 * MEBIBYTE) }), { code: 'storage_unavailable' });
		await assert.rejects(store.append('b', [entry('1')]), { code: 'storage_unavailable' });
		assert.equal(await store.getTopic('b'), undefined);
		assert.deepEqual(
			(await store.listTopics(null, 10)).map(({ name, messages }) => [name, messages]),
			[['a', acked.length]],
		);
		assert.equal((await store.watch('a')).exists, true);
		assert.deepEqual(store.stats(), before);
		assert.equal(announced.length, acked.length, 'nothing is announced that was not stored (I3)');

		// A probe may still fit where the append did not, but it takes the room it finds: soon probes find the disk full.
		const probe = async () => {
			clock.advance(1000);
			await store.getTopic('a');
			return store.health().status;
		};
		for (let i = 0; (await probe()) === 'ok'; i++) {
			assert.ok(i < 10, 'probes take notice of the full disk');
			await assert.rejects(publish(next), { code: 'storage_unavailable' });
		}
		assert.equal(await probe(), 'unavailable');

		await rm(filler);
		assert.equal(store.health().status, 'unavailable', 'nothing has shown yet that the disk works again');
		assert.equal(await probe(), 'ok');
		await publish(1000);
		assert.deepEqual(await payloadsOf(store, 'a'), acked);

		await store.close();
		store = await openEmbeddedStore({ dataDir, clock, topicsMax: 10 });
		assert.deepEqual(await payloadsOf(store, 'a'), acked, 'nothing lost, nothing twice, nothing that was refused');
	} finally {
		await store.close();
		execFileSync('umount', [disk]);
	}
});

test('every call of a batch that the disk refuses is refused, and calls in a later batch are judged anew', async (t) => {
	const disk = await mountDisk(t, 8 * MEBIBYTE);
	if (disk === undefined) return;
	const clock = createFakeClock();
	const store = await openEmbeddedStore({ dataDir: join(disk, 'data'), clock, topicsMax: 10 });
	try {
		const huge = entry(`"${'x'.repeat(9 * MEBIBYTE)}"`);
		const keyed = entry('1', { dedupe: { key: 'k', item: 0, fingerprint: 'f' } });
		const outcomes = await Promise.allSettled([
			store.append('a', [keyed]),
			store.append('b', [huge]),
			store.append('c', [entry('3')]),
		]);
		assert.deepEqual(
			outcomes.map(({ status }) => status),
			['rejected', 'rejected', 'rejected'],
		);
		assert.deepEqual(store.stats(), { topics: 0, messages: 0, bytes: 0 });
		clock.advance(1000);
		assert.deepEqual(await store.listTopics(null, 10), []);
		assert.equal(store.health().status, 'ok', 'there is room for smaller messages');
		const [again] = await store.append('a', [keyed]);
		assert.equal(again?.status, 'appended', 'the refused call left no idempotency record');
		assert.deepEqual(await payloadsOf(store, 'a'), ['1']);
	} finally {
		await store.close();
		execFileSync('umount', [disk]);
	}
});
