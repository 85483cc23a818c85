/** A relay as a process of its own, started as a user would start it, to be killed as users' processes are. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const LAUNCHER = new URL('../../bin/pulsar-relay.js', import.meta.url).pathname;

export interface RelayProcess {
	readonly url: string;
	readonly child: ChildProcess;
	/** What it has printed so far. */
	log(): string;
	/** Sends a signal and resolves with the exit code, null when the signal killed it. */
	end(signal: NodeJS.Signals): Promise<number | null>;
}

/** Starts a relay and resolves once it listens. Rejects with what it printed when it does not. */
export async function startRelayProcess(dataDir: string, env: Readonly<Record<string, string>> = {}): Promise<RelayProcess> {
	const child = spawn(process.execPath, [LAUNCHER], {
		env: { ...process.env, PULSAR_PORT: '0', PULSAR_DATA_DIR: dataDir, PULSAR_LOG_FORMAT: 'json', ...env },
		stdio: ['ignore', 'pipe', 'pipe'],
	});
	const printed: string[] = [];
	child.stderr.on('data', (chunk: Buffer) => printed.push(chunk.toString()));
	const exited = once(child, 'exit') as Promise<[number | null]>;
	const url = await new Promise<string>((resolve, reject) => {
		createInterface({ input: child.stdout }).on('line', (line) => {
			printed.push(line);
			const { http } = JSON.parse(line) as { http?: string };
			if (http !== undefined) resolve(http);
		});
		exited.then(([code]) => reject(new Error(`the relay ended with ${code}:\n${printed.join('\n')}`)), reject);
	});
	return {
		url,
		child,
		log: () => printed.join('\n'),
		async end(signal) {
			child.kill(signal);
			const [code] = await exited;
			return code;
		},
	};
}
