/** SIGHUP: the primary passes it on, and no process ends of it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startPrimary } from './start-primary.ts';

test('SIGHUP has every worker read its certificates again, and all go on', { timeout: 60_000 }, async (t) => {
	const primary = startPrimary(t);
	const before = await primary.everybody(3);
	primary.child.kill('SIGHUP');
	const lines = [await primary.logged('reloaded', 1), await primary.logged('reloaded', 2), await primary.logged('reloaded', 3)];
	assert.deepEqual(new Set(lines.map(({ worker }) => worker)), new Set([1, 2, 3]));
	assert.deepEqual(await primary.everybody(3), before);
});

test('SIGHUP without certificates is logged by the primary alone, and nobody ends of it', { timeout: 60_000 }, async (t) => {
	const primary = startPrimary(t, { nothingToReload: 'nothing to read again' });
	const before = await primary.everybody(3);
	primary.child.kill('SIGHUP');
	const line = await primary.logged('nothing to read again');
	assert.equal(line['worker'], undefined);
	assert.deepEqual(await primary.everybody(3), before);
});
