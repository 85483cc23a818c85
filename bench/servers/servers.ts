/** The two servers that are compared. */

import { join } from 'node:path';
import { ChildServer } from './child-server.ts';
import type { ValkeyServer } from './valkey.ts';

export interface RelayOptions {
	/** Flags beside the address and the data directory. */
	readonly flags?: readonly string[];
	/** Where to write CPU profiles; null = do not profile. */
	readonly profileDirectory: string | null;
	/** The server it stores on; null = the embedded store, in a new directory. */
	readonly valkey: ValkeyServer | null;
	/** The checkout whose relay is started, as a directory URL; default this one. */
	readonly checkout?: URL;
}

const THIS_CHECKOUT = new URL('../../', import.meta.url);

/** Starts a relay as `npm start` does, on a free port, with an empty store. */
export async function startRelay(options: RelayOptions): Promise<ChildServer> {
	await options.valkey?.cli('FLUSHALL');
	return startNode(options);
}

/** As {@link startRelay}, on what the store holds. */
export function startNode({
	flags = [],
	profileDirectory,
	valkey,
	checkout = THIS_CHECKOUT,
}: RelayOptions): Promise<ChildServer> {
	return ChildServer.start({
		name: 'the relay',
		script: new URL('packages/server/bin/pulsar-relay.js', checkout),
		args: (directory) => [
			'--host',
			'127.0.0.1',
			'--port',
			'0',
			'--data-dir',
			join(directory, 'data'),
			...(valkey?.relayFlags ?? []),
			...flags,
		],
		profileDirectory,
	});
}

export interface NaiveOptions {
	/** Whether it stores what it is given, one transaction per message; otherwise it only passes on. */
	readonly stores: boolean;
	/** Messages of topic `bench` in the store from the start; default none. */
	readonly preloaded?: number;
	readonly payloadBytes?: number;
}

/** Starts the naive server. */
export function startNaive({ stores, preloaded = 0, payloadBytes = 0 }: NaiveOptions): Promise<ChildServer> {
	return ChildServer.start({
		name: 'the naive server',
		script: new URL('../naive/server.ts', import.meta.url),
		args: (directory) => [stores ? join(directory, 'messages.db') : '', String(preloaded), String(payloadBytes)],
		profileDirectory: null,
	});
}
