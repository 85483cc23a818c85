/** Catch-up: subscribers that start at the oldest message of a long log, which is on disk and not in memory. */

import { Client } from '../clients/client.ts';
import { awaitDelivery, type BenchOptions } from '../measure.ts';
import type { ChildServer } from '../servers/child-server.ts';
import { startNaive, startRelay } from '../servers/servers.ts';
import type { Comparison, Outcome, Section } from '../table.ts';

const MESSAGES = 300_000;
const PAYLOAD_BYTES = 128;
const READERS = [1, 10];
/** Of the relay; without it the newest part of the log would come from memory. */
const HOT_TIER_FLAGS = ['--hot-tier-max-bytes', '1024', '--hot-tier-max-messages-per-topic', '1'];
/** A reader that is not through by then is measured by what it has got. */
const PATIENCE = 2;

export async function catchUp(options: BenchOptions): Promise<Section> {
	await using relay = await startRelay({ ...options, flags: HOT_TIER_FLAGS });
	await fill(relay);
	await using naive = await startNaive({ stores: true, preloaded: MESSAGES, payloadBytes: PAYLOAD_BYTES });
	const comparisons: Comparison[] = [];
	for (const readers of READERS) {
		comparisons.push({
			label: readers === 1 ? '1 reader' : `${readers} readers at once`,
			relay: await read(relay, readers, options.seconds),
			naive: await read(naive, readers, options.seconds),
		});
	}
	return {
		title: `Catch-up: ${MESSAGES} messages of ${PAYLOAD_BYTES} bytes in the store, WebSockets from \`earliest\``,
		columns: [
			{ title: 'messages/s', better: 'more', digits: 0 },
			{ title: 'server CPU us per message', better: 'less', digits: 2 },
			{ title: 's to the end', better: 'less', digits: 2 },
		],
		comparisons,
		notes: ['naive: a row and a ws.send per message; "-": not at the end within the time given'],
	};
}

async function fill(relay: ChildServer): Promise<void> {
	await using publisher = new Client();
	await publisher.publish({
		url: relay.url,
		topic: 'bench',
		load: { kind: 'stream', aheadMax: null },
		connections: 2,
		payloadBytes: PAYLOAD_BYTES,
		messagesMax: MESSAGES,
	});
	await publisher.finish();
}

async function read(server: ChildServer, sockets: number, seconds: number): Promise<Outcome> {
	await using client = new Client();
	const before = await server.usage();
	await client.subscribe({
		url: server.url,
		sockets,
		topics: ['bench'],
		offset: 'earliest',
		sampleEvery: null,
	});
	const { complete, messages, elapsedMs, problems } = await awaitDelivery(client, sockets, MESSAGES, seconds * PATIENCE * 1000);
	const after = await server.usage();
	const cpuUs = after.cpuUs - before.cpuUs;
	return { values: [(messages / elapsedMs) * 1000, cpuUs / messages, complete ? elapsedMs / 1000 : Number.NaN], problems };
}
