/** Lines on their way into batches, where the turn of the loop has had enough before they are looked at. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { OPEN } from '../../../src/auth/principal.ts';
import { OPEN_RIGHTS } from '../../../src/auth/topic-access.ts';
import { Budgets } from '../../../src/limits/budgets.ts';
import { STEP_BYTES } from '../../../src/limits/turns.ts';
import { systemClock as clock } from '../../../src/ops/clock.ts';
import { LineIntake } from '../../../src/transports/http/routes/line-intake.ts';

const MIB = 1024 * 1024;

test('a long line that waits for its turn is taken once, and in its place', async () => {
	const budgets = new Budgets({ clock, bytesMax: 64 * MIB, shareBytesMax: 64 * MIB, timeoutMs: 10_000 });
	const intake = new LineIntake(
		{
			budgets,
			party: { kind: 'address', name: 'test', credential: null },
			lineBytesMax: MIB,
			onChange: () => {},
			onLate: (error) => assert.fail(error),
			isHeldUp: () => false,
		},
		{ clock, payloadDepthMax: 10, key: null, route: '/test', rights: OPEN_RIGHTS, principal: OPEN },
	);
	const payloads = ['"short"', `"${'x'.repeat(3 * STEP_BYTES)}"`, '"last"'];
	const body = payloads.map((payload) => `{"topic":"t","payload":${payload}}\n`).join('');
	// Nothing is looked at in this turn any more.
	while (budgets.turns.admits(STEP_BYTES));
	intake.add(Buffer.from(body));
	intake.end();
	let lines = 0;
	while (!intake.ended) {
		lines += intake.takeBatch()?.size ?? 0;
		if (intake.hasMore) intake.look();
		await turn();
	}
	assert.equal(lines, payloads.length);
	budgets.close();
});
