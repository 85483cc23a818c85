/** Relays that are killed, and that are restarted in turn. */

import { startValkey, untilAnswer } from '../../support/valkey.ts';
import { type LoadSize, runLoad } from '../load.ts';
import { RelayNode } from '../node.ts';
import { anyGaps, findingsBut, publishesCut, type Scenario, type ScenarioResult, unless } from '../scenario.ts';

/** Restarts of one relay, in a run. */
const KILLS = 3;
const STOPS = 3;

export const killEmbedded: Scenario = {
	name: 'kill -9 of the only relay, embedded store',
	async run(size) {
		await using node = await RelayNode.start({});
		return await killed(size, [node], node);
	},
};

export const stopEmbedded: Scenario = {
	name: 'SIGTERM of the only relay, embedded store',
	async run(size) {
		await using node = await RelayNode.start({});
		const codes: (number | null)[] = [];
		const report = await runLoad({
			size,
			urls: [node.url],
			async fault({ publishers }) {
				for (let stop = 0; stop < STOPS; stop++) {
					codes.push(await node.end('SIGTERM'));
					await node.restart();
					await publishers.untilTried(({ status }) => status === 201);
				}
			},
		});
		return { report, problems: [...findingsBut(report), ...anyGaps(report), ...publishesCut(report), ...endedBadly(codes)] };
	},
};

export const killOneOfTwo: Scenario = {
	name: 'kill -9 of one of two relays',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
		await using first = await RelayNode.start(valkey.relayEnv);
		await using second = await RelayNode.start(valkey.relayEnv);
		return await killed(size, [first, second], second);
	},
};

async function killed(size: LoadSize, nodes: readonly RelayNode[], victim: RelayNode): Promise<ScenarioResult> {
	const report = await runLoad({
		size,
		urls: nodes.map(({ url }) => url),
		async fault({ publishers }) {
			for (let kill = 0; kill < KILLS; kill++) {
				await victim.end('SIGKILL');
				await victim.restart();
				await publishers.untilTried(({ url, status }) => url === victim.url && status === 201);
			}
		},
	});
	return { report, problems: [...findingsBut(report), ...anyGaps(report)] };
}

const WORKERS = 3;

export const killWorkers: Scenario = {
	name: 'kill -9 of the workers of one relay, one after the other',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
		await using node = await RelayNode.start({ ...valkey.relayEnv, PULSAR_WORKERS: String(WORKERS) });
		const before = await node.workers();
		const report = await runLoad({
			size,
			urls: [node.url],
			async fault() {
				for (const worker of before) {
					const others = new Set(await node.workers());
					process.kill(worker, 'SIGKILL');
					await untilServing(node, (pids) => pids.length === WORKERS && pids.some((pid) => !others.has(pid)));
				}
			},
		});
		const code = await node.end('SIGTERM');
		return {
			report,
			problems: [
				...findingsBut(report),
				...anyGaps(report),
				...unless(before.length === WORKERS, `${before.length} workers served`),
				...unless(code === 0, `the relay ended with ${code}`),
			],
		};
	},
};

/** Waits until its workers are such, and as many answer. */
async function untilServing(node: RelayNode, isSo: (pids: readonly number[]) => boolean): Promise<void> {
	await untilAnswer(async () => {
		// Over a connection to the worker that was killed there is none.
		const metrics = await fetch(`${node.url}/metrics`).then(
			(response) => response.text(),
			() => '',
		);
		return isSo(await node.workers()) && metrics.includes(`\nrelay_workers ${WORKERS}\n`);
	}, 'every worker serves');
}

export const rollingRestart: Scenario = {
	name: 'rolling restart of three relays',
	async run(size) {
		await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
		await using first = await RelayNode.start(valkey.relayEnv);
		await using second = await RelayNode.start(valkey.relayEnv);
		await using third = await RelayNode.start(valkey.relayEnv);
		const nodes = [first, second, third];
		const codes: (number | null)[] = [];
		const report = await runLoad({
			size,
			urls: nodes.map(({ url }) => url),
			async fault({ publishers }) {
				for (const node of nodes) {
					codes.push(await node.end('SIGTERM'));
					await node.restart();
					await publishers.untilTried(({ url, status }) => url === node.url && status === 201);
				}
			},
		});
		return {
			report,
			problems: [...findingsBut(report), ...anyGaps(report), ...publishesCut(report), ...endedBadly(codes)],
		};
	},
};

function endedBadly(codes: readonly (number | null)[]): string[] {
	return unless(
		codes.every((code) => code === 0),
		`the relays ended with ${codes}`,
	);
}
