/** The stores that a relay can run on, for tests of what must be the same on each. */

import { startValkey, valkeyUnavailable } from './valkey.ts';

export interface Backend {
	readonly name: string;
	/** Why it cannot be had on this machine, or null. */
	readonly unavailable: string | null;
	/** How many relays may share it. */
	readonly nodes: number;
	/** Makes it ready; `env` are the settings of a relay on it. */
	start(): Promise<{ readonly env: Readonly<Record<string, string>>; stop(): Promise<void> }>;
}

const embedded: Backend = {
	name: 'embedded',
	unavailable: null,
	nodes: 1,
	start: () => Promise.resolve({ env: { PULSAR_STORAGE_BACKEND: 'embedded' }, stop: () => Promise.resolve() }),
};

const valkey: Backend = {
	name: 'valkey',
	unavailable: valkeyUnavailable(),
	nodes: 2,
	async start() {
		const server = await startValkey({ settings: { appendonly: 'yes' } });
		return { env: server.relayEnv, stop: () => server.stop() };
	},
};

export const backends: readonly Backend[] = [embedded, valkey];
