/**
 * A process for the tests to kill: opens an embedded store and appends until it dies, writing a line `<topic> <id> <payload>` for
 * each acknowledged message. Arguments: data directory, a tag for its payloads, calls under way at a time, messages per call.
 */

import { formatMessageId } from '@pulsar-relay/protocol/message-id';
import { systemClock } from '../../src/ops/clock.ts';
import { openEmbeddedStore } from '../../src/stores/embedded/store.ts';
import { entry, idsOf } from './trial.ts';

const [dataDir = '', tag = '', callers = '1', perCall = '1'] = process.argv.slice(2);
const store = await openEmbeddedStore({ dataDir, clock: systemClock, topicsMax: 10 });
process.stdout.write('open\n');

async function publish(caller: number): Promise<void> {
	const topic = `t${caller % 3}`;
	for (let i = 0; ; i++) {
		const payloads = Array.from({ length: Number(perCall) }, (_, item) => `"${tag}-${caller}-${i}-${item}"`);
		const ids = idsOf(
			await store.append(
				topic,
				payloads.map((payload) => entry(payload)),
			),
		);
		// What does not get out before the process dies was not seen by anybody, and so was not acknowledged.
		process.stdout.write(ids.map((id, item) => `${topic} ${formatMessageId(id)} ${payloads[item]}\n`).join(''));
	}
}

await Promise.all(Array.from({ length: Number(callers) }, (_, caller) => publish(caller)));
