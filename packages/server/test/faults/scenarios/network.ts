/** A network between relays and Valkey that fails, through a proxy: one of two relays has it in its way. */

import { startValkey } from '../../support/valkey.ts';
import { type LoadSize, type RunningLoad, runLoad } from '../load.ts';
import { RelayNode } from '../node.ts';
import { startProxy, type TcpProxy } from '../proxy.ts';
import { answersLate, anyGaps, findingsBut, type Scenario, unless, untilRefused } from '../scenario.ts';

interface BadNetwork {
	readonly proxy: TcpProxy;
	/** The relay behind it. */
	readonly url: string;
	readonly load: RunningLoad;
}

function badNetwork(name: string, fault: (network: BadNetwork) => Promise<void>): Scenario {
	return {
		name,
		async run(size: LoadSize) {
			await using valkey = await startValkey({ settings: { appendonly: 'yes' } });
			await using proxy = await startProxy(valkey);
			await using near = await RelayNode.start(valkey.relayEnv);
			await using far = await RelayNode.start({ ...valkey.relayEnv, PULSAR_VALKEY_PORT: String(proxy.port) });
			const { url } = far;
			const report = await runLoad({ size, urls: [near.url, url], fault: (load) => fault({ proxy, url, load }) });
			return {
				report,
				problems: [
					...findingsBut(report),
					...anyGaps(report),
					...answersLate(report),
					...unless(!report.broken.some((transport) => transport !== 'long-poll'), `broken connections: ${report.broken}`),
				],
			};
		},
	};
}

const ackedBy = ({ load, url }: BadNetwork) =>
	load.publishers.untilTried((attempt) => attempt.url === url && attempt.status === 201);

const DROPS = 10;
const DELAY_MS = 40;

export const networkScenarios: readonly Scenario[] = [
	badNetwork('half-open connections to Valkey', async (network) => {
		network.proxy.deaden();
		await untilRefused(network.load, [network.url]);
	}),
	badNetwork(`replies of Valkey dropped, ${DROPS} times`, async (network) => {
		for (let drop = 0; drop < DROPS; drop++) {
			network.proxy.dropReplies();
			await untilRefused(network.load, [network.url]);
			await ackedBy(network);
		}
	}),
	badNetwork(`connections to Valkey reset and refused, then slow by ${DELAY_MS} ms`, async (network) => {
		await network.proxy.refuse();
		network.proxy.reset();
		await untilRefused(network.load, [network.url], 10);
		network.proxy.delay(DELAY_MS);
		await network.proxy.accept();
		await ackedBy(network);
	}),
];
