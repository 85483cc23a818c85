/** What one XADD per command costs the server, to hold the relay's publishes against: the same payloads, the same client library. */

import { GlideClient } from '@valkey/valkey-glide';
import type { BenchOptions } from '../measure.ts';
import type { ValkeyServer } from '../servers/valkey.ts';
import type { Outcome, Section } from '../table.ts';
import { nowMs } from '../timing.ts';

const IN_FLIGHT = 64;
const PAYLOAD = `{"text":"${'x'.repeat(289)}"}`;

export async function singleCommands({ seconds, valkey }: BenchOptions): Promise<Section> {
	if (valkey === null) throw new Error('needs a Valkey server');
	return {
		title: `One XADD per command: ${IN_FLIGHT} in flight, ${PAYLOAD.length}-byte payloads, no relay`,
		columns: [
			{ title: 'messages/s', better: 'more', digits: 0 },
			{ title: 'Valkey CPU us each', better: 'less', digits: 1 },
		],
		comparisons: [{ label: 'XADD', relay: await append(valkey, seconds), naive: null }],
		notes: ['compare with the column "Valkey CPU us each" of `single` and `batch` in the same run'],
	};
}

async function append(valkey: ValkeyServer, seconds: number): Promise<Outcome> {
	await valkey.cli('FLUSHALL');
	const client = await GlideClient.createClient({ addresses: [{ host: '127.0.0.1', port: valkey.port }] });
	try {
		const beforeUs = await valkey.cpuUs();
		const startedMs = nowMs();
		const untilMs = startedMs + seconds * 1000;
		let appended = 0;
		const lane = async () => {
			for (; nowMs() < untilMs; appended++) await client.xadd('topic:bench:stream', [['payload', PAYLOAD]]);
		};
		await Promise.all(Array.from({ length: IN_FLIGHT }, lane));
		const elapsedS = (nowMs() - startedMs) / 1000;
		return { values: [appended / elapsedS, ((await valkey.cpuUs()) - beforeUs) / appended], problems: [] };
	} finally {
		client.close();
	}
}
