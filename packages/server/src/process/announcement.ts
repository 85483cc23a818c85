/** What the relay says once it serves: where it is, and how to try it. */

import { resolve } from 'node:path';
import packageJson from '../../package.json' with { type: 'json' };
import type { Config } from '../config/schema.ts';
import type { Served } from '../workers/messages.ts';
import type { ProcessLog } from './lifetime.ts';

/** Prints it, or logs it away from a terminal. */
export function announce(
	{ url, metricsUrl, durability }: Served,
	config: Config,
	{ logger, output, onTerminal }: ProcessLog,
): void {
	const places = {
		http: url,
		ws: `${url.replace(/^http/, 'ws')}/ws`,
		docs: `${url}/docs`,
		metrics: metricsUrl,
		data: placeOfData(config),
		durability,
		mode: config.auth,
		// npm is another process, whose end by SIGKILL would not be that of the relay.
		pid: process.pid,
		...(config.workers === 1 ? {} : { workers: config.workers }),
	};
	const body = '{"topic":"hello","payload":{"text":"Hello, world"}}';
	const needsToken = config.auth === 'required';
	const authorization = needsToken ? ' -H "Authorization: Bearer $TOKEN"' : '';
	const curl = `curl -X POST ${url}/api/v1/messages${authorization} -H 'Content-Type: application/json' -d '${body}'`;
	if (!onTerminal) {
		logger.info({ version: packageJson.version, ...places, try: curl }, 'listening');
		return;
	}
	const lines = Object.entries(places).map(([name, place]) => `  ${name.padEnd(10)}  ${place}`);
	output.write(
		`\nPulsar Relay ${packageJson.version}\n\n${lines.join('\n')}\n\n${needsToken ? 'Try it, with a token or a key (docs/accounts.md says how to get one)' : 'Try it'}:\n  ${curl}\n\n`,
	);
}

function placeOfData(config: Config): string {
	switch (config.storageBackend) {
		case 'embedded':
			return resolve(config.dataDir);
		case 'memory':
			return 'in memory only';
		case 'valkey':
			return `Valkey at ${config.valkeyAddresses.length > 0 ? config.valkeyAddresses.join(', ') : `${config.valkeyHost}:${config.valkeyPort}`}`;
	}
}
