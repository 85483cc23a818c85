/** Every fault, in a short run with little load. `npm run test:faults` has the long ones. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { valkeyUnavailable } from '../support/valkey.ts';
import { SMOKE } from './load.ts';
import { embeddedScenarios, sharedScenarios } from './scenarios/all.ts';

const TIMEOUT_MS = 90_000;

for (const { name, run } of embeddedScenarios) {
	test(name, { timeout: TIMEOUT_MS }, async () => assert.deepEqual((await run(SMOKE)).problems, []));
}

for (const { name, run, fullOnly } of sharedScenarios) {
	if (fullOnly) continue;
	test(name, { timeout: TIMEOUT_MS, skip: valkeyUnavailable() ?? false }, async () => {
		assert.deepEqual((await run(SMOKE)).problems, []);
	});
}
