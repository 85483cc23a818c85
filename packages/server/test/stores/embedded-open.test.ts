/** Opening the embedded store: durable settings, the lock on the data directory, and files that are not to be touched. */

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { copyFile, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { systemClock } from '../../src/ops/clock.ts';
import { openReaderDatabase, openWriterDatabase } from '../../src/stores/embedded/schema.ts';
import { openEmbeddedStore } from '../../src/stores/embedded/store.ts';
import { makeDataDir, openStore, startPublisher } from './embedded-fixture.ts';
import { appendOne, entry, payloadsOf } from './trial.ts';

const options = { clock: systemClock, topicsMax: 10 };

/** Opens, expecting a refusal of one line. */
async function refusal(dataDir: string): Promise<string> {
	const opened = await openEmbeddedStore({ dataDir, ...options }).then(
		(store) => store.close().then(() => null),
		(error: unknown) => error,
	);
	assert.ok(opened instanceof Error, 'refused');
	assert.ok('code' in opened && opened.code === 'storage_unavailable');
	assert.ok(!opened.message.includes('\n'), 'one line');
	return opened.message;
}

test('the writer runs in WAL mode, syncs every commit, and refuses a database that cannot', async (t) => {
	const dataDir = await makeDataDir(t);
	const db = openWriterDatabase(join(dataDir, 'relay.db'));
	assert.equal(db.prepare('PRAGMA journal_mode').get()?.['journal_mode'], 'wal');
	assert.equal(db.prepare('PRAGMA synchronous').get()?.['synchronous'], 2);
	db.close();
	// A database in memory has no WAL: the switch is not an error, only reading it back tells.
	assert.throws(() => openWriterDatabase(':memory:'), {
		code: 'storage_unavailable',
		message: 'it cannot be made durable: journal_mode is memory instead of wal',
	});
});

test('the reader cannot write', async (t) => {
	const dataDir = await makeDataDir(t);
	const file = join(dataDir, 'relay.db');
	const writer = openWriterDatabase(file);
	t.after(() => writer.close());
	const reader = openReaderDatabase(file);
	t.after(() => reader.close());
	assert.throws(() => reader.exec('DELETE FROM block'), { errcode: 8 });
});

test('the data directory is made when there is none, for its owner only', async (t) => {
	const dataDir = join(await makeDataDir(t), 'deep', 'data');
	const store = await openStore(t, dataDir);
	assert.deepEqual(store.health(), { status: 'ok', durability: 'disk' });
	assert.equal((await stat(dataDir)).mode & 0o777, 0o700);
	assert.equal((await stat(join(dataDir, '..'))).mode & 0o777, 0o700);
});

function inUseBy(dataDir: string, pid: number | undefined): string {
	return `data directory ${dataDir} is in use by another relay (pid ${pid}); stop it, or choose another with PULSAR_DATA_DIR`;
}

test('a second store on the same directory is refused, in this process and in another, until the first is closed', async (t) => {
	const dataDir = await makeDataDir(t);
	const store = await openStore(t, dataDir);
	const inUse = inUseBy(dataDir, process.pid);
	assert.equal(await refusal(dataDir), inUse);
	assert.equal(await refusal(dataDir), inUse, 'a refused attempt does not free the lock');
	const script = `
		const { openEmbeddedStore } = await import(${JSON.stringify(import.meta.resolve('../../src/stores/embedded/store.ts'))});
		const { systemClock } = await import(${JSON.stringify(import.meta.resolve('../../src/ops/clock.ts'))});
		await openEmbeddedStore({ dataDir: ${JSON.stringify(dataDir)}, clock: systemClock, topicsMax: 10 }).then(
			() => console.log('opened'),
			(error) => console.log(error.message),
		);
		process.exit();`;
	assert.equal(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim(), inUse);
	await appendOne(store, 'a', entry('1'));
	await store.close();
	const next = await openStore(t, dataDir);
	assert.deepEqual(await payloadsOf(next, 'a'), ['1']);
});

test('the lock is free as soon as its holder was killed', async (t) => {
	const dataDir = await makeDataDir(t);
	const publisher = await startPublisher(t, dataDir);
	assert.equal(await refusal(dataDir), inUseBy(dataDir, publisher.pid));
	await publisher.kill();
	const store = await openStore(t, dataDir);
	assert.equal(store.health().status, 'ok');
});

test('a file in place of the directory is refused', async (t) => {
	const dataDir = join(await makeDataDir(t), 'data');
	await writeFile(dataDir, '');
	assert.equal(await refusal(dataDir), `cannot use data directory ${dataDir}: not a directory`);
	assert.equal(await refusal(join(dataDir, 'deeper')), `cannot use data directory ${join(dataDir, 'deeper')}: not a directory`);
});

test('a directory that cannot be made is refused with the part of its path that is to blame', async (t) => {
	const parent = await makeDataDir(t);
	const link = join(parent, 'link');
	await symlink('/nowhere/at/all', link);
	const loop = join(parent, 'loop');
	await symlink(loop, loop);
	const cases: readonly (readonly [dataDir: string, reason: string])[] = [
		[link, `${link} is a link to /nowhere/at/all, which does not exist`],
		[join(link, 'data'), `${link} is a link to /nowhere/at/all, which does not exist`],
		[loop, 'too many symbolic links encountered'],
		[join(parent, 'x'.repeat(300)), 'name too long'],
		['/proc/pulsar/data', 'cannot make /proc/pulsar: no such file or directory'],
	];
	for (const [dataDir, reason] of cases) {
		assert.equal(await refusal(dataDir), `cannot use data directory ${dataDir}: ${reason}`);
	}
	const file = join(parent, 'relay.db');
	await mkdir(file);
	assert.equal(await refusal(parent), `cannot open ${file}: it is a directory`);
});

test('a directory below a read-only file system is refused, with its missing parent', async (t) => {
	const disk = await makeDataDir(t);
	try {
		execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=64k', 'tmpfs', disk], { stdio: 'pipe' });
	} catch {
		t.skip('mounting needs root');
		return;
	}
	try {
		const dataDir = join(disk, 'deep', 'data');
		const reason = `cannot make ${join(disk, 'deep')}: the file system is read-only`;
		assert.equal(await refusal(dataDir), `cannot use data directory ${dataDir}: ${reason}`);
	} finally {
		execFileSync('umount', [disk]);
	}
});

test('a directory that cannot be written is refused', async (t) => {
	const dataDir = join(await makeDataDir(t), 'data');
	await mkdir(dataDir, { mode: 0o500 });
	if (process.getuid?.() !== 0) {
		assert.equal(await refusal(dataDir), `cannot use data directory ${dataDir}: permission denied`);
		return;
	}
	// Permissions do not bind root; a read-only file system does.
	try {
		execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=64k', 'tmpfs', dataDir], { stdio: 'pipe' });
	} catch {
		t.skip('run as root, which permissions do not bind, and mounting is not allowed here');
		return;
	}
	try {
		assert.equal(await refusal(dataDir), `cannot use data directory ${dataDir}: the file system is read-only`);
	} finally {
		execFileSync('umount', [dataDir]);
	}
});

test('a file that is not a database is refused and left as it is', async (t) => {
	const dataDir = await makeDataDir(t);
	const file = join(dataDir, 'relay.db');
	const garbage = Buffer.alloc(20_000, 'garbage ');
	await writeFile(file, garbage);
	assert.equal(await refusal(dataDir), `cannot open ${file}: it is not a database, or damaged`);
	assert.deepEqual(await readFile(file), garbage);
	// A refused start leaves no lock behind.
	await writeFile(file, '');
	assert.equal((await openStore(t, dataDir)).health().status, 'ok');
});

test('a database whose tables are damaged is refused', async (t) => {
	const dataDir = await makeDataDir(t);
	const file = join(dataDir, 'relay.db');
	const store = await openStore(t, dataDir);
	await appendOne(store, 'a', entry('1'));
	await store.close();
	const bytes = await readFile(file);
	// Past the file header: the page that lists the tables.
	bytes.fill(0xff, 100, 8192);
	await writeFile(file, bytes);
	assert.equal(await refusal(dataDir), `cannot open ${file}: the database is damaged`);
});

test('the database of a newer relay is refused and left as it is', async (t) => {
	const dataDir = await makeDataDir(t);
	const file = join(dataDir, 'relay.db');
	const db = openWriterDatabase(file);
	db.exec('PRAGMA user_version = 2');
	db.close();
	const message = 'it was written by a newer relay (schema version 2, this relay knows 1)';
	assert.equal(await refusal(dataDir), `cannot open ${file}: ${message}`);
	const after = new DatabaseSync(file);
	t.after(() => after.close());
	assert.equal(after.prepare('PRAGMA user_version').get()?.['user_version'], 2);
});

test('the database of another program is refused and left as it is', async (t) => {
	const dataDir = await makeDataDir(t);
	const file = join(dataDir, 'relay.db');
	const other = new DatabaseSync(file);
	other.exec('CREATE TABLE theirs (x)');
	other.close();
	await copyFile(file, `${file}.before`);
	assert.equal(await refusal(dataDir), `cannot open ${file}: it is the database of another program`);
	assert.deepEqual(await readFile(file), await readFile(`${file}.before`));
});

test('a relay that was killed before it had made its tables is taken up where it was', async (t) => {
	const dataDir = await makeDataDir(t);
	const db = new DatabaseSync(join(dataDir, 'relay.db'));
	db.exec('PRAGMA journal_mode = WAL');
	db.close();
	const store = await openStore(t, dataDir);
	await appendOne(store, 'a', entry('1'));
	assert.deepEqual(await payloadsOf(store, 'a'), ['1']);
});
