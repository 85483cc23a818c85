/** A relay as a process that need not get as far as listening: what it logs, what it complains of, how it ends. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const LAUNCHER = fileURLToPath(new URL('../../bin/pulsar-relay.js', import.meta.url));

export interface LaunchedRelay {
	readonly child: ChildProcess;
	/** Resolves with the first line of the log that has this message; rejects when the process ends without it. */
	logged(message: string): Promise<Readonly<Record<string, unknown>>>;
	/** Everything it has logged so far. */
	log(): string;
	readonly ended: Promise<{ readonly code: number | null; readonly stderr: string }>;
}

/** Launches it on a free port. It is killed when the test ends before it did. */
export function launchRelay(t: TestContext, env: Readonly<Record<string, string>>): LaunchedRelay {
	const own = Object.entries(process.env).filter(([name]) => !name.toUpperCase().startsWith('PULSAR_'));
	const child = spawn(process.execPath, [LAUNCHER], {
		env: { ...Object.fromEntries(own), PULSAR_PORT: '0', PULSAR_LOG_FORMAT: 'json', ...env },
		stdio: ['ignore', 'pipe', 'pipe'],
	});
	const lines: Readonly<Record<string, unknown>>[] = [];
	const reader = createInterface({ input: child.stdout });
	reader.on('line', (line) => lines.push(JSON.parse(line)));
	const stderr = text(child.stderr);
	const closed = once(child, 'close') as Promise<[number | null]>;
	const ended = closed.then(async ([code]) => ({ code, stderr: await stderr }));
	t.after(async () => {
		child.kill('SIGKILL');
		await ended;
	});
	const logged: LaunchedRelay['logged'] = (message) =>
		new Promise((resolve, reject) => {
			const look = () => {
				const found = lines.find(({ msg }) => msg === message);
				if (found !== undefined) resolve(found);
			};
			reader.on('line', look);
			look();
			ended.then((how) => reject(new Error(`ended before "${message}": ${JSON.stringify({ how, lines })}`)), reject);
		});
	return { child, logged, log: () => lines.map((line) => JSON.stringify(line)).join('\n'), ended };
}
