/** What knowing who publishes costs: the load of `single` with a token, and without accounts. */

import type { BenchOptions } from '../measure.ts';
import { signIn, startRelayWithAccounts } from '../servers/accounts.ts';
import { startRelay } from '../servers/servers.ts';
import { summarise } from '../statistics.ts';
import { type Comparison, LATENCY_COLUMNS, latencyValues, type Outcome, type Section } from '../table.ts';
import { CONNECTIONS, PAYLOAD_BYTES, publishSingles } from './single-publishes.ts';

/** One after the other in turn, as the machine's speed drifts. */
const ROUNDS = 3;

export async function authenticatedPublishes(options: BenchOptions): Promise<Section> {
	const comparisons: Comparison[] = [];
	for (let round = 1; round <= ROUNDS; round++) {
		comparisons.push({ label: `open ${round}`, relay: await publish(options, false), naive: null });
		comparisons.push({ label: `access token ${round}`, relay: await publish(options, true), naive: null });
	}
	return {
		title: `Authenticated single publishes: ${CONNECTIONS} connections, one request in flight each, ${PAYLOAD_BYTES}-byte payloads`,
		columns: [
			{ title: 'publishes/s', better: 'more', digits: 0 },
			{ title: 'server CPU us each', better: 'less', digits: 1 },
			...LATENCY_COLUMNS,
		],
		comparisons,
		notes: [],
	};
}

async function publish(options: BenchOptions, authenticated: boolean): Promise<Outcome> {
	await using server = await (authenticated ? startRelayWithAccounts(options) : startRelay(options));
	const { ackedPerSecond, cpuUsPerSecond, publishLatenciesMs } = await publishSingles(
		server,
		options.seconds,
		options.valkey,
		authenticated ? { token: await signIn(server) } : {},
	);
	return {
		values: [ackedPerSecond, cpuUsPerSecond / ackedPerSecond, ...latencyValues(summarise([publishLatenciesMs]))],
		problems: [],
	};
}
