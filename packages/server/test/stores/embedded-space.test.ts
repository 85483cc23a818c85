/** Space that deleted messages took is given back to the file system, also by files of earlier versions. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { type EmbeddedStore, openEmbeddedStore } from '../../src/stores/embedded/store.ts';
import { createFakeClock, type FakeClock } from '../support/clock.ts';
import { launchRelay } from '../support/launch.ts';
import { makeDataDir, openStore } from './embedded-fixture.ts';
import { appendOne, entry, payloadsOf, trimAll } from './trial.ts';

const MIB = 1024 * 1024;
const WAIT_MS_MAX = 30_000;
const FILES = ['relay.db', 'relay.db-shm', 'relay.db-wal', 'relay.lock', 'relay.pid'];

/** Appends so many MiB to a topic, in messages of 64 KiB. */
async function fill(store: EmbeddedStore, topic: string, mib: number): Promise<void> {
	const some = Array.from({ length: 16 }, () => entry(`"${'x'.repeat(MIB / 16 - 2)}"`));
	for (let i = 0; i < mib; i++) await store.append(topic, some);
}

/** Gives the file the form that it had up to version 0.3. */
function asBefore(dataDir: string): void {
	const db = new DatabaseSync(join(dataDir, 'relay.db'));
	db.exec('PRAGMA auto_vacuum = NONE; VACUUM');
	db.close();
}

/** Lets the store look after its file until that is as it should be. */
async function until(clock: FakeClock, condition: () => boolean, what: string): Promise<void> {
	const untilMs = performance.now() + WAIT_MS_MAX;
	for (let tries = 0; !condition(); tries++) {
		assert.ok(performance.now() < untilMs, what);
		if (tries % 100 === 0) clock.advance(1000);
		await new Promise((resolve) => setImmediate(resolve));
	}
}

async function deleteTopic(store: EmbeddedStore, clock: FakeClock, topic: string): Promise<void> {
	await store.deleteTopic(topic);
	await trimAll(store, { nowMs: clock.nowMs() });
}

function openNoticing(t: TestContext, dataDir: string, clock: FakeClock) {
	const notices: string[] = [];
	const warnings: string[] = [];
	const opened = openEmbeddedStore({
		dataDir,
		clock,
		topicsMax: 10,
		onNotice: (text) => notices.push(text),
		onWarning: (text) => warnings.push(text),
	});
	t.after(async () => (await opened).close());
	return { opened, notices, warnings };
}

test('the space of a deleted topic is given back, and publishing goes on meanwhile', { timeout: 60_000 }, async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	const store = await openStore(t, dataDir, { clock });
	await fill(store, 'gone', 32);
	await fill(store, 'kept', 2);
	await until(clock, () => store.space?.().fileBytes !== 0, 'a first look');
	const before = store.space?.().fileBytes ?? 0;
	assert.ok(before > 32 * MIB, String(before));
	await deleteTopic(store, clock, 'gone');
	const appended: string[] = [];
	const publishing = (async () => {
		for (let i = 0; i < 200; i++) {
			await appendOne(store, 'kept', entry(String(i)));
			appended.push(String(i));
		}
	})();
	// What was checkpointed last stays in the WAL, up to 16 MiB, and about 4 MiB are kept free.
	const db = new DatabaseSync(join(dataDir, 'relay.db'), { readOnly: true });
	t.after(() => db.close());
	const pages = () => Number(db.prepare('PRAGMA page_count').get()?.['page_count']);
	await until(clock, () => pages() * 8192 < 10 * MIB, `${pages()} pages`);
	await publishing;
	await until(clock, () => (store.space?.().fileBytes ?? 0) < before - 20 * MIB, 'the file itself is shorter');
	assert.deepEqual((await payloadsOf(store, 'kept')).slice(32), appended);
});

test('a file of an earlier version is written anew once, which is said before and after', { timeout: 60_000 }, async (t) => {
	const dataDir = await makeDataDir(t);
	const clock = createFakeClock();
	const first = await openStore(t, dataDir, { clock });
	await fill(first, 'gone', 24);
	await fill(first, 'kept', 2);
	await first.close();
	asBefore(dataDir);
	const { opened, notices, warnings } = openNoticing(t, dataDir, clock);
	const store = await opened;
	await until(clock, () => notices.length === 2, 'written anew');
	assert.deepEqual(notices, [
		'writing the file anew, once, so that it can give space back; publishing waits meanwhile',
		'the file was written anew',
	]);
	assert.deepEqual((await readdir(dataDir)).sort(), FILES);
	await deleteTopic(store, clock, 'gone');
	await until(clock, () => (store.space?.().fileBytes ?? 0) < 12 * MIB, JSON.stringify(store.space?.()));
	assert.equal((await payloadsOf(store, 'kept')).length, 32);
	await store.close();
	const again = openNoticing(t, dataDir, clock);
	const reopened = await again.opened;
	await until(clock, () => reopened.space?.().fileBytes !== 0, 'a look');
	assert.deepEqual([again.notices, again.warnings, warnings], [[], [], []]);
});

test('without room on the disk the file stays as it is, and the log says how much is needed', { timeout: 60_000 }, async (t) => {
	const disk = await makeDataDir(t);
	try {
		execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', disk], { stdio: 'pipe' });
	} catch {
		t.skip('mounting a small file system needs root');
		return;
	}
	try {
		const dataDir = join(disk, 'data');
		const clock = createFakeClock();
		const first = await openStore(t, dataDir, { clock });
		await appendOne(first, 'a', entry('1'));
		await first.close();
		asBefore(dataDir);
		const { opened, notices, warnings } = openNoticing(t, dataDir, clock);
		const store = await opened;
		await until(clock, () => warnings.length > 0, 'said');
		assert.match(
			warnings[0] ?? '',
			/gives no space back until it is written anew: that needs \d+ MiB of free disk, and there are \d+$/,
		);
		await appendOne(store, 'a', entry('2'));
		assert.equal(store.health().status, 'ok');
		assert.deepEqual([warnings.length, notices], [1, []]);
		await store.close();
	} finally {
		execFileSync('umount', [disk]);
	}
});

test('a relay that is killed while it writes the file anew finds it as it was, and does it again', {
	timeout: 60_000,
}, async (t) => {
	const dataDir = await makeDataDir(t);
	const store = await openStore(t, dataDir);
	await fill(store, 'kept', 32);
	await store.close();
	asBefore(dataDir);
	const env = { PULSAR_DATA_DIR: dataDir };
	const killed = launchRelay(t, env);
	await killed.logged('writing the file anew, once, so that it can give space back; publishing waits meanwhile');
	killed.child.kill('SIGKILL');
	await killed.ended;
	const next = launchRelay(t, env);
	const { http } = await next.logged('listening');
	const stored = async () => (await (await fetch(`${http}/api/v1/topics/kept`)).json()) as { message_count: number };
	assert.equal((await stored()).message_count, 512);
	await next.logged('the file was written anew');
	assert.equal((await stored()).message_count, 512);
	assert.match(await (await fetch(`${http}/metrics`)).text(), /^relay_storage_file_bytes [1-9]\d{7}/m);
	next.child.kill('SIGKILL');
	await next.ended;
	const after = await openStore(t, dataDir);
	assert.equal((await payloadsOf(after, 'kept')).length, 512);
	await after.close();
	assert.deepEqual(
		(await readdir(dataDir)).filter((name) => !FILES.includes(name)),
		[],
	);
});
