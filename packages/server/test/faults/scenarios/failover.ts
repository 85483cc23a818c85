/** Primaries that give way to their replicas, and slots that move. */

import assert from 'node:assert/strict';
import { startReplica, startValkey } from '../../support/valkey.ts';
import { startCluster, type ValkeyCluster } from '../../support/valkey-cluster.ts';
import { type LoadOptions, type LoadReport, type LoadSize, runLoad } from '../load.ts';
import { RelayNode } from '../node.ts';
import { startProxy } from '../proxy.ts';
import { answersLate, anyGaps, findingsBut, gapsLate, type Scenario, unless, untilRefused } from '../scenario.ts';

/**
 * The replica is cut off for so many messages before the primary dies, so that these are lost for certain; or until publishes that
 * have to wait for it are refused.
 */
const LAG_S = 0.5;

/** A primary with a replica that no longer hears of it, killed; the replica promoted. */
async function promote(size: LoadSize, env: Readonly<Record<string, string>>, removed: boolean): Promise<LoadReport> {
	await using primary = await startValkey({ settings: { appendonly: 'yes' } });
	await using link = await startProxy(primary);
	await using replica = await startReplica(
		{ host: link.host, port: link.port, password: null },
		{ settings: { appendonly: 'yes' } },
	);
	await using spare = new AsyncDisposableStack();
	const addresses = [primary, replica].map(({ host, port }) => `${host}:${port}`);
	const both = { ...primary.relayEnv, PULSAR_VALKEY_ADDRESSES: JSON.stringify(addresses), ...env };
	await using first = await RelayNode.start(both);
	await using second = await RelayNode.start(both);
	return await runLoad({
		size,
		removed,
		urls: [first.url, second.url],
		async fault(load) {
			link.deaden();
			const lagging = load.publishers.untilTried(() => true, size.messagesPerS * LAG_S);
			await Promise.race([lagging, untilRefused(load, [first.url])]);
			await primary.kill('SIGKILL');
			await replica.cli('REPLICAOF', 'NO', 'ONE');
			// What waits for a replica has to have one.
			if (env['PULSAR_DURABILITY'] !== undefined) spare.use(await startReplica(replica, { settings: { appendonly: 'yes' } }));
		},
	});
}

const promoted: Scenario = {
	name: 'primary killed, a replica that lags promoted',
	async run(size) {
		const report = await promote(size, {}, true);
		return {
			report,
			problems: [
				...findingsBut(report, 'lost'),
				...gapsLate(report),
				...answersLate(report),
				...unless(
					report.findings.some(({ kind }) => kind === 'lost'),
					'the failover lost nothing: the run shows nothing',
				),
			],
		};
	},
};

const promotedReplicated: Scenario = {
	name: 'the same with PULSAR_DURABILITY=replicated:1',
	async run(size) {
		// What was delivered is in the log at the end, too: it was delivered once the replica had it.
		const report = await promote(size, { PULSAR_DURABILITY: 'replicated:1' }, false);
		return { report, problems: [...findingsBut(report), ...gapsLate(report), ...answersLate(report)] };
	},
};

/** Two relays on a Cluster of three primaries. */
async function onCluster(
	size: LoadSize,
	replicasPerPrimary: number,
	fault: (cluster: ValkeyCluster, topics: readonly string[]) => Promise<void>,
	check: Pick<LoadOptions, 'removed'> = {},
): Promise<LoadReport> {
	await using cluster = await startCluster({ replicasPerPrimary, settings: { appendonly: 'yes' } });
	await using first = await RelayNode.start(cluster.relayEnv);
	await using second = await RelayNode.start(cluster.relayEnv);
	const urls = [first.url, second.url];
	return await runLoad({ size, urls, fault: ({ topics }) => fault(cluster, topics), ...check });
}

const clusterFailover: Scenario = {
	name: 'CLUSTER FAILOVER of each of three primaries',
	async run(size) {
		const report = await onCluster(size, 1, async (cluster) => {
			for (const replica of cluster.replicas) await cluster.failover(replica);
		});
		return { report, problems: [...findingsBut(report), ...anyGaps(report), ...answersLate(report)] };
	},
};

const slotMigration: Scenario = {
	name: 'slots of every topic moved to another primary',
	async run(size) {
		const report = await onCluster(size, 0, async (cluster, topics) => {
			for (const topic of topics) {
				const slot = await cluster.slotOf(`topic:${topic}:stream`);
				const owner = await cluster.ownerOf(slot);
				const other = cluster.primaries[(cluster.primaries.indexOf(owner) + 1) % cluster.primaries.length];
				assert(other !== undefined);
				await cluster.moveSlot(slot, other);
			}
		});
		return { report, problems: [...findingsBut(report), ...anyGaps(report), ...answersLate(report)] };
	},
};

export const failoverScenarios: readonly Scenario[] = [promoted, promotedReplicated, clusterFailover, slotMigration];
