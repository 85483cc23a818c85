/** Every scenario, in the order of the table. */

import type { Scenario } from '../scenario.ts';
import { failoverScenarios } from './failover.ts';
import { networkScenarios } from './network.ts';
import { killEmbedded, killOneOfTwo, killWorkers, rollingRestart, stopEmbedded } from './relay.ts';
import { valkeyScenarios } from './valkey.ts';

/** Those that need no Valkey. */
export const embeddedScenarios: readonly Scenario[] = [killEmbedded, stopEmbedded];

export const sharedScenarios: readonly Scenario[] = [
	killOneOfTwo,
	killWorkers,
	rollingRestart,
	...valkeyScenarios,
	...networkScenarios,
	...failoverScenarios,
];
