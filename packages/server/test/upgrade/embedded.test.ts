/** A data directory of version 0.3.0 under this version: everything is there, also after it was used and killed. */

import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { type TestContext, test } from 'node:test';
import { launchRelay } from '../support/launch.ts';
import { checkWritten, fixturePath, readWritten, settingsFor } from './written.ts';

const FILES = ['relay.db', 'auth.db'];

async function copyFixture(t: TestContext): Promise<string> {
	const dataDir = await mkdtemp(join(tmpdir(), 'pulsar-upgrade-'));
	t.after(() => rm(dataDir, { recursive: true, force: true }));
	for (const file of FILES) await copyFile(fixturePath('embedded', file), join(dataDir, file));
	return dataDir;
}

test('what 0.3.0 wrote is there: messages, cursors, keys, accounts, grants, sessions', { timeout: 60_000 }, async (t) => {
	const dataDir = await copyFixture(t);
	const written = readWritten('embedded');
	const env = { PULSAR_DATA_DIR: dataDir, ...settingsFor(written) };
	const first = launchRelay(t, env);
	await checkWritten(String((await first.logged('listening'))['http']), written);
	first.child.kill('SIGKILL');
	await first.ended;
	const second = launchRelay(t, env);
	// Refresh tokens are good for one use.
	await checkWritten(String((await second.logged('listening'))['http']), { ...written, sessions: [] });
	second.child.kill('SIGTERM');
	assert.equal((await second.ended).code, 0);
});

for (const file of FILES) {
	test(`a ${file} of a newer version is refused in one line`, { timeout: 60_000 }, async (t) => {
		const dataDir = await copyFixture(t);
		const db = new DatabaseSync(join(dataDir, file));
		db.exec('PRAGMA user_version = 99');
		db.close();
		const relay = launchRelay(t, { PULSAR_DATA_DIR: dataDir, ...settingsFor(readWritten('embedded')) });
		const { code, stderr } = await relay.ended;
		assert.equal(code, 1);
		assert.match(
			stderr,
			/^pulsar-relay: cannot start: cannot open .*: it was written by a newer relay \(schema version 99, this relay knows \d+\)\n$/,
		);
		assert.ok(stderr.includes(join(dataDir, file)));
	});
}
