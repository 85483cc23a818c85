/** The embedded records keep the contract, also across closing and opening; and nobody else may read their file. */

import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import type { Records } from '../../src/ports/records.ts';
import { openEmbeddedRecords } from '../../src/stores/embedded/records.ts';
import { createFakeClock, type FakeClock } from '../support/clock.ts';
import { recordsSuite } from './records-suite.ts';

const dataDirs = new Map<Records, string>();

after(() => Promise.all([...new Set(dataDirs.values())].map((dataDir) => rm(dataDir, { recursive: true }))));

async function openAt(dataDir: string, clock: FakeClock): Promise<Records> {
	const records = await openEmbeddedRecords({ dataDir, clock });
	dataDirs.set(records, dataDir);
	return records;
}

const newDir = () => mkdtemp(join(tmpdir(), 'pulsar-records-'));

recordsSuite({
	name: 'embedded records',
	open: async (clock) => openAt(await newDir(), clock),
	reopen: (closed, clock) => openAt(dataDirs.get(closed) ?? assert.fail('opened here'), clock),
});

test('the file and its WAL are for their owner only', async () => {
	const dataDir = await newDir();
	const records = await openAt(dataDir, createFakeClock());
	await records.write([{ op: 'put', kind: 'thing', id: 'a', value: {}, expected: 'any' }]);
	for (const name of ['auth.db', 'auth.db-wal']) assert.equal((await stat(join(dataDir, name))).mode & 0o777, 0o600, name);
	await records.close();
});

test('the database of another program is refused, in one line', async () => {
	const dataDir = await newDir();
	const db = new DatabaseSync(join(dataDir, 'auth.db'));
	db.exec('CREATE TABLE other (x)');
	db.close();
	await assert.rejects(openEmbeddedRecords({ dataDir, clock: createFakeClock() }), {
		code: 'storage_unavailable',
		message: `cannot open ${join(dataDir, 'auth.db')}: it is the database of another program`,
	});
	await rm(dataDir, { recursive: true });
});

test('what was written together shares its transaction, and each is answered for itself', async () => {
	const records = await openAt(await newDir(), createFakeClock());
	const outcomes = await Promise.all(
		Array.from({ length: 1000 }, (_, i) =>
			records.write([{ op: 'put', kind: 'thing', id: `${i % 500}`, value: { i }, expected: 'absent' }]),
		),
	);
	assert.deepEqual(
		outcomes.map(({ status }) => status),
		Array.from({ length: 1000 }, (_, i) => (i < 500 ? 'ok' : 'conflict')),
	);
	await records.close();
});
