/** The files of a running store: nobody else may read them, and nothing is acknowledged that was written to a file that is not in its place. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, copyFile, mkdir, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { identityAt } from '../../src/stores/embedded/files.ts';
import { type EmbeddedStore, openEmbeddedStore } from '../../src/stores/embedded/store.ts';
import { SupervisedWorker } from '../../src/stores/embedded/supervised-worker.ts';
import { createFakeClock, type FakeClock } from '../support/clock.ts';
import { makeDataDir, openStore } from './embedded-fixture.ts';
import { appendOne, entry, payloadsOf } from './trial.ts';

interface Opened {
	readonly parent: string;
	readonly dataDir: string;
	readonly clock: FakeClock;
	readonly store: EmbeddedStore;
	readonly warnings: string[];
}

/** A store with one message, on a clock that stands still. */
async function open(t: TestContext): Promise<Opened> {
	const parent = await makeDataDir(t);
	const dataDir = join(parent, 'data');
	const clock = createFakeClock();
	const warnings: string[] = [];
	const store = await openEmbeddedStore({ dataDir, clock, topicsMax: 10, onWarning: (text) => warnings.push(text) });
	t.after(() => store.close());
	await appendOne(store, 'a', entry('1'));
	return { parent, dataDir, clock, store, warnings };
}

/** Lets a second go by, with what the store does in it. */
async function second({ clock, store }: Pick<Opened, 'clock' | 'store'>): Promise<void> {
	clock.advance(1000);
	// Answered after what the store has just asked its writer.
	await store.listTopics(null, 1);
	await new Promise((resolve) => setImmediate(resolve));
}

function mountOver(t: TestContext, dataDir: string, options: readonly string[]): boolean {
	try {
		execFileSync('mount', [...options, dataDir], { stdio: 'pipe' });
	} catch {
		t.skip('mounting needs root');
		return false;
	}
	return true;
}

const away = (name: string) => ({
	status: 'unavailable',
	reason: `${name} was removed, moved or replaced; put the same file back, or restart the relay with the files that are there now`,
});

const LOSSES: readonly { readonly title: string; readonly name: string; lose(opened: Opened): Promise<void> }[] = [
	{ title: 'the database is removed', name: 'relay.db', lose: ({ dataDir }) => rm(join(dataDir, 'relay.db')) },
	{ title: 'its WAL is removed', name: 'relay.db-wal', lose: ({ dataDir }) => rm(join(dataDir, 'relay.db-wal')) },
	{ title: 'its shared memory is removed', name: 'relay.db-shm', lose: ({ dataDir }) => rm(join(dataDir, 'relay.db-shm')) },
	{ title: 'the directory is removed', name: 'relay.db', lose: ({ dataDir }) => rm(dataDir, { recursive: true }) },
	{ title: 'the directory is moved', name: 'relay.db', lose: ({ dataDir, parent }) => rename(dataDir, join(parent, 'moved')) },
	{
		title: 'the directory is moved and made anew',
		name: 'relay.db',
		async lose({ dataDir, parent }) {
			await rename(dataDir, join(parent, 'moved'));
			await mkdir(dataDir);
		},
	},
	{
		title: 'a copy is moved over the database',
		name: 'relay.db',
		async lose({ dataDir, parent }) {
			const copy = join(parent, 'copy.db');
			await copyFile(join(dataDir, 'relay.db'), copy);
			await rename(copy, join(dataDir, 'relay.db'));
		},
	},
];

for (const { title, name, lose } of LOSSES) {
	test(`${title}: not one append is acknowledged from then on, and reads go on`, async (t) => {
		const opened = await open(t);
		const { store } = opened;
		await lose(opened);
		await assert.rejects(store.append('a', [entry('2')]), { code: 'storage_unavailable' });
		assert.deepEqual(store.health(), away(name));
		await assert.rejects(store.createTopic('b', {}), { code: 'storage_unavailable' });
		for (let i = 0; i < 3; i++) await second(opened);
		assert.deepEqual(store.health(), away(name), 'it does not recover by itself');
		await assert.rejects(store.append('a', [entry('3')]), { code: 'storage_unavailable' });
		assert.deepEqual(await payloadsOf(store, 'a'), ['1']);
	});
}

test('a loss is noticed within a second while nothing is written', async (t) => {
	const opened = await open(t);
	assert.equal(opened.store.health().status, 'ok');
	await rm(join(opened.dataDir, 'relay.db'));
	await second(opened);
	assert.deepEqual(opened.store.health(), away('relay.db'));
});

test('a database that is put back is taken up again', async (t) => {
	const opened = await open(t);
	const { store, dataDir, parent } = opened;
	await rename(dataDir, join(parent, 'moved'));
	await assert.rejects(store.append('a', [entry('2')]), { code: 'storage_unavailable' });
	await rename(join(parent, 'moved'), dataDir);
	await second(opened);
	assert.equal(store.health().status, 'ok');
	await appendOne(store, 'a', entry('3'));
	assert.deepEqual(await payloadsOf(store, 'a'), ['1', '3']);
	await store.close();
	assert.deepEqual(await payloadsOf(await openStore(t, dataDir), 'a'), ['1', '3']);
});

test('a link that leads to the moved directory is as good as the directory', async (t) => {
	const { store, dataDir, parent } = await open(t);
	await rename(dataDir, join(parent, 'moved'));
	await symlink(join(parent, 'moved'), dataDir);
	await appendOne(store, 'a', entry('2'));
	assert.equal(store.health().status, 'ok');
});

test('a file system that is mounted over the directory hides the store until it is unmounted', async (t) => {
	const opened = await open(t);
	const { store, dataDir } = opened;
	if (!mountOver(t, dataDir, ['-t', 'tmpfs', 'tmpfs'])) return;
	try {
		await assert.rejects(store.append('a', [entry('2')]), { code: 'storage_unavailable' });
		await second(opened);
		assert.deepEqual(store.health(), away('relay.db'));
		assert.deepEqual(await readdir(dataDir), [], 'nothing is made in a directory that is not the relay’s');
	} finally {
		execFileSync('umount', [dataDir]);
	}
	await second(opened);
	await appendOne(store, 'a', entry('3'));
	assert.deepEqual(await payloadsOf(store, 'a'), ['1', '3']);
});

test('a directory that is mounted once more, read-only, keeps what is written to its open files', async (t) => {
	const parent = await makeDataDir(t);
	if (!mountOver(t, parent, ['-t', 'tmpfs', 'tmpfs'])) return;
	const clock = createFakeClock();
	const store = await openEmbeddedStore({ dataDir: join(parent, 'data'), clock, topicsMax: 10 });
	try {
		await appendOne(store, 'a', entry('1'));
		// A file system with files open for writing is not remounted; one that is mounted once more can be.
		execFileSync('mount', ['--bind', parent, parent]);
		execFileSync('mount', ['-o', 'remount,bind,ro', parent]);
		await appendOne(store, 'a', entry('2'));
		assert.deepEqual(await payloadsOf(store, 'a'), ['1', '2'], 'through what is mounted, too');
		execFileSync('umount', [parent]);
	} finally {
		await store.close();
		execFileSync('umount', [parent]);
	}
});

for (const [thread, name] of [
	['writer', 'relay.db'],
	['reader', 'relay.db'],
	['records-worker', 'auth.db'],
] as const) {
	test(`a ${thread} that is started again does not begin a new file in the place of one that has gone`, async (t) => {
		const { store, dataDir, parent, clock } = await open(t);
		await (await store.openRecords()).close();
		await store.close();
		const file = join(dataDir, name);
		const setup = { file, identity: identityAt(file), topicsMax: 10 };
		await rename(dataDir, join(parent, 'moved'));
		await mkdir(dataDir);
		const listener = { ready() {}, reply() {}, died() {} };
		const module = new URL(`../../src/stores/embedded/${thread}.ts`, import.meta.url);
		const failure = await new SupervisedWorker({ module, setup, clock, listener }).start();
		assert.equal(failure?.reason, away(name).reason);
		assert.deepEqual(await readdir(dataDir), [], 'nothing was made');
	});
}

test('what was acknowledged before the WAL was removed is in the database', async (t) => {
	const { store, dataDir, clock, parent } = await open(t);
	for (let i = 2; i <= 50; i++) await appendOne(store, 'a', entry(String(i)));
	await rm(join(dataDir, 'relay.db-wal'));
	await assert.rejects(store.append('a', [entry('51')]), { code: 'storage_unavailable' });
	await second({ store, clock });
	// As after kill -9: what the process still has open is out of reach.
	const copy = join(parent, 'copy');
	await mkdir(copy);
	await copyFile(join(dataDir, 'relay.db'), join(copy, 'relay.db'));
	const after = await openStore(t, copy);
	assert.deepEqual(
		await payloadsOf(after, 'a'),
		Array.from({ length: 50 }, (_, i) => String(i + 1)),
	);
});

test('a lock that is removed is taken again, and a second store is still refused', async (t) => {
	const opened = await open(t);
	const { store, dataDir, warnings } = opened;
	await rm(join(dataDir, 'relay.lock'));
	await second(opened);
	assert.deepEqual(warnings, ['relay.lock was removed or replaced; the data directory is locked again']);
	assert.equal(store.health().status, 'ok');
	await assert.rejects(openStore(t, dataDir), /is in use by another relay/);
	await appendOne(store, 'a', entry('2'));
});

test('a store whose lock another relay has taken meanwhile refuses to write until that one has ended', async (t) => {
	const opened = await open(t);
	const { store, dataDir, clock } = opened;
	await rm(join(dataDir, 'relay.lock'));
	const other = await openEmbeddedStore({ dataDir, clock: createFakeClock(), topicsMax: 10 });
	t.after(() => other.close());
	await second(opened);
	const health = store.health();
	assert.equal(health.status, 'unavailable');
	assert.match(health.status === 'unavailable' ? health.reason : '', /is in use by another relay/);
	await assert.rejects(store.append('a', [entry('2')]), { code: 'storage_unavailable' });
	await appendOne(other, 'a', entry('3'));
	await other.close();
	clock.advance(1000);
	assert.deepEqual(await payloadsOf(other, 'a').catch(() => payloadsOf(store, 'a')), ['1', '3']);
});

test('two stores on one directory, the second through a bind mount: the second is refused', async (t) => {
	const { dataDir, parent } = await open(t);
	const bound = join(parent, 'bound');
	await mkdir(bound);
	if (!mountOver(t, bound, ['--bind', dataDir])) return;
	try {
		await assert.rejects(openStore(t, bound), { message: new RegExp(`^data directory ${bound} is in use by another relay`) });
	} finally {
		// Lazily: SQLite closes a file only when the process holds no lock on it any more.
		execFileSync('umount', ['--lazy', bound]);
	}
});

const modeOf = async (path: string) => ((await stat(path)).mode & 0o777).toString(8);

test('every file is for its owner only, whatever the mode of the directory and the umask', async (t) => {
	for (const umask of [0o000, 0o022, 0o277]) {
		const parent = await makeDataDir(t);
		const dataDir = join(parent, 'data');
		await mkdir(dataDir);
		await chmod(dataDir, 0o755);
		const before = process.umask(umask);
		let store: Awaited<ReturnType<typeof openStore>>;
		try {
			store = await openStore(t, dataDir);
			const records = await store.openRecords();
			t.after(() => records.close());
			await records.write([{ op: 'put', kind: 'account', id: '1', value: {}, expected: 'any' }]);
			await appendOne(store, 'a', entry('1'));
		} finally {
			process.umask(before);
		}
		const names = await readdir(dataDir);
		assert.deepEqual(
			await Promise.all(names.sort().map(async (name) => [name, await modeOf(join(dataDir, name))])),
			['auth.db', 'auth.db-shm', 'auth.db-wal', 'relay.db', 'relay.db-shm', 'relay.db-wal', 'relay.lock', 'relay.pid'].map(
				(name) => [name, '600'],
			),
			`umask ${umask.toString(8)}`,
		);
	}
});

test('files that others could read are kept from them from the next start on, and that is said once', async (t) => {
	const dataDir = await makeDataDir(t);
	const first = await openStore(t, dataDir);
	await appendOne(first, 'a', entry('1'));
	await first.close();
	// A WAL that a killed relay has left behind.
	await writeFile(join(dataDir, 'relay.db-wal'), '');
	for (const name of ['relay.db', 'relay.db-wal', 'relay.lock', 'relay.pid']) await chmod(join(dataDir, name), 0o644);
	const warnings: unknown[] = [];
	const open = () =>
		openEmbeddedStore({
			dataDir,
			clock: createFakeClock(),
			topicsMax: 10,
			onWarning: (text, fields) => warnings.push([text, fields]),
		});
	const second = await open();
	for (const name of await readdir(dataDir)) assert.equal(await modeOf(join(dataDir, name)), '600', name);
	assert.deepEqual(await payloadsOf(second, 'a'), ['1']);
	await second.close();
	await (await open()).close();
	assert.deepEqual(warnings, [
		['other users had rights on files of the store; their mode is 0600 now', { files: ['relay.db', 'relay.db-wal'] }],
	]);
});
