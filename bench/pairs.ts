/**
 * What a change costs: `npm run bench:pairs -- --before DIR [names...] [--pairs N] [--seconds N] [--valkey]`. Runs the relay of another
 * checkout and that of this one in turn, under the same load, and compares the CPU time per message within each pair: the
 * machine's speed of the moment cancels out. How to read it is in README.md.
 */

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { publishSingles } from './cases/single-publishes.ts';
import { deliverPaced } from './paced.ts';
import type { ChildServer } from './servers/child-server.ts';
import { startRelay } from './servers/servers.ts';
import { ValkeyServer } from './servers/valkey.ts';
import { median } from './statistics.ts';

type Case = (server: ChildServer, seconds: number, valkey: ValkeyServer | null) => Promise<number>;

/** Each gives the server's CPU time per message in microseconds, of all its threads. */
const CASES: ReadonlyMap<string, Case> = new Map([
	['publish', cpuPerPublish],
	['delivery', cpuPerDelivery],
]);

const DELIVERY = { sockets: 200, perSecond: 500 } as const;

const USAGE = `npm run bench:pairs -- --before DIR [names...] [--pairs N] [--seconds N] [--valkey]

  names      which to run: ${[...CASES.keys()].join(', ')}; default all
  --before   the checkout to compare with, after its npm ci
  --pairs    runs of each, 3 to 99, default 15
  --seconds  length of each measurement, 0.5 to 60, default 3
  --valkey   store on a Valkey server that is started for it
`;

async function cpuPerPublish(server: ChildServer, seconds: number, valkey: ValkeyServer | null): Promise<number> {
	const { cpuUsPerSecond, ackedPerSecond } = await publishSingles(server, seconds, valkey);
	return cpuUsPerSecond / ackedPerSecond;
}

async function cpuPerDelivery(server: ChildServer, seconds: number, valkey: ValkeyServer | null): Promise<number> {
	const { measured, problems } = await deliverPaced([server], valkey, DELIVERY, seconds);
	if (problems.length > 0) throw new Error(problems.join('; '));
	return measured.cpuUsPerSecond / measured.deliveredPerSecond;
}

async function main(): Promise<void> {
	const { values, positionals } = parseArgs({
		options: {
			before: { type: 'string' },
			pairs: { type: 'string', default: '15' },
			seconds: { type: 'string', default: '3' },
			valkey: { type: 'boolean', default: false },
			help: { type: 'boolean' },
		},
		allowPositionals: true,
	});
	const pairs = Number(values.pairs);
	const seconds = Number(values.seconds);
	const known = positionals.every((name) => CASES.has(name));
	const inRange = Number.isInteger(pairs) && pairs >= 3 && pairs <= 99 && seconds >= 0.5 && seconds <= 60;
	if (values.help === true || values.before === undefined || !known || !inRange) {
		process.stdout.write(USAGE);
		process.exitCode = values.help === true ? 0 : 2;
		return;
	}
	const before = checkoutAt(values.before);
	await using valkey = values.valkey ? await ValkeyServer.start() : null;
	for (const [name, run] of CASES) {
		if (positionals.length > 0 && !positionals.includes(name)) continue;
		process.stdout.write(`## ${name}: server CPU us per message, before and after\n\n`);
		const ratios: number[] = [];
		const measureOn = async (checkout: URL | undefined) => {
			const options = { profileDirectory: null, valkey, ...(checkout === undefined ? {} : { checkout }) };
			await using server = await startRelay(options);
			return await run(server, seconds, valkey);
		};
		for (let pair = 1; pair <= pairs; pair++) {
			// Who begins changes with each pair, so that a machine that becomes slower or faster favours neither.
			const afterFirst = pair % 2 === 0 ? await measureOn(undefined) : null;
			const costBefore = await measureOn(before);
			const costAfter = afterFirst ?? (await measureOn(undefined));
			ratios.push(costAfter / costBefore);
			process.stdout.write(
				`  ${pair}: ${costBefore.toFixed(3)}  ${costAfter.toFixed(3)}  ${(costAfter / costBefore).toFixed(3)}\n`,
			);
		}
		process.stdout.write(`\n  median of ${pairs} ratios: ${median(ratios).toFixed(3)}\n\n`);
	}
}

function checkoutAt(directory: string): URL {
	const url = pathToFileURL(`${resolve(directory)}/`);
	if (existsSync(new URL('packages/server/bin/pulsar-relay.js', url))) return url;
	throw new Error(`--before: ${directory} is not a checkout of the relay`);
}

await main();
