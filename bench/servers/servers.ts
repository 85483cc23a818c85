/** The two servers that are compared. */

import { join } from 'node:path';
import { ChildServer } from './child-server.ts';

export interface RelayOptions {
	/** Flags beside the address and the data directory. */
	readonly flags?: readonly string[];
	/** Where to write CPU profiles; null = do not profile. */
	readonly profileDirectory: string | null;
}

/** Starts a relay as `npm start` does, on a free port, with the embedded store in a new directory. */
export function startRelay({ flags = [], profileDirectory }: RelayOptions): Promise<ChildServer> {
	return ChildServer.start({
		name: 'the relay',
		script: new URL('../../packages/server/bin/pulsar-relay.js', import.meta.url),
		args: (directory) => ['--host', '127.0.0.1', '--port', '0', '--data-dir', join(directory, 'data'), ...flags],
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
