/**
 * Tries the release as a stranger would: packs the packages, has them looked at by publint and arethetypeswrong, installs the tarballs into an empty
 * directory as a user without rights, starts `pulsar-relay` from there, and publishes and reads with the client, in TypeScript and in JavaScript.
 */

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { packAll } from './pack.ts';

/** `nobody` on Debian. */
const NOBODY = 65534;
const ROOT = fileURLToPath(new URL('..', import.meta.url));
const COMPILE = [
	'--noEmit',
	'--strict',
	'--module',
	'nodenext',
	'--target',
	'es2024',
	'--types',
	'node',
	'--typeRoots',
	`${ROOT}node_modules/@types`,
];
const START_TIMEOUT_MS = 20_000;

const PROGRAM = `import { connect } from '@pulsar-relay/client';

const relay = connect(process.argv[2] ?? '');
const { id } = await relay.publish('release', { n: 1 });
for await (const message of relay.read('release', { from: 'earliest' })) {
	if (message.id === id) break;
}
await relay.close();
console.log('published and read', id);
`;

async function main(): Promise<void> {
	const tarballs = step('pack', packAll);
	for (const tarball of tarballs) {
		step(`publint ${basename(tarball)}`, () => run('publint', ['--strict', tarball]));
		if (!tarball.includes('client')) continue;
		step('arethetypeswrong', () => run('attw', ['--profile', 'esm-only', tarball]));
	}
	const directory = mkdtempSync(join(tmpdir(), 'pulsar-relay-release-'));
	try {
		await tryIn(directory, tarballs);
	} finally {
		rmSync(directory, { recursive: true, force: true });
	}
	console.log('the release works');
}

async function tryIn(directory: string, tarballs: readonly string[]): Promise<void> {
	chmodSync(directory, 0o777);
	const packages = tarballs.map((tarball) => {
		cpSync(tarball, join(directory, basename(tarball)));
		return `./${basename(tarball)}`;
	});
	mkdirSync(join(directory, 'home'), { mode: 0o777 });
	chmodSync(join(directory, 'home'), 0o777);
	writeFileSync(join(directory, 'package.json'), '{"private":true,"type":"module"}\n', { mode: 0o666 });
	chmodSync(join(directory, 'package.json'), 0o666);
	writeFileSync(join(directory, 'program.ts'), PROGRAM);
	writeFileSync(join(directory, 'program.js'), PROGRAM);
	const inside = { cwd: directory, env: environment(directory), ...withoutRights() };
	step('install the tarballs', () => run('npm', ['install', '--no-audit', '--no-fund', ...packages], inside));
	step('pulsar-relay --version', () => run(join(directory, 'node_modules/.bin/pulsar-relay'), ['--version'], inside));
	const options = { ...inside, stdio: ['ignore', 'pipe', 'inherit'] as ['ignore', 'pipe', 'inherit'] };
	const flags = ['--port', '0', '--data-dir', join(directory, 'home/data'), '--log-format', 'json'];
	const relay = spawn(join(directory, 'node_modules/.bin/pulsar-relay'), flags, options);
	const ended = once(relay, 'exit');
	try {
		const url = await addressOf(relay.stdout);
		step('compile program.ts', () => run('tsc', [...COMPILE, 'program.ts'], { cwd: directory }));
		for (const program of ['program.ts', 'program.js']) {
			step(program, () => run(process.execPath, [program, url], inside));
		}
	} finally {
		relay.kill('SIGTERM');
		await ended;
	}
}

function step<T>(name: string, act: () => T): T {
	console.log(`== ${name}`);
	return act();
}

function run(command: string, args: readonly string[], options: object = {}): void {
	execFileSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'], ...options });
}

/** As root the trial is run as nobody: files of the package that only their owner may read would show. */
function withoutRights(): object {
	return process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};
}

function environment(directory: string): NodeJS.ProcessEnv {
	const own = Object.entries(process.env).filter(([name]) => !/^(?:PULSAR|npm)_/i.test(name));
	return { ...Object.fromEntries(own), HOME: join(directory, 'home'), npm_config_cache: join(directory, 'home/cache') };
}

async function addressOf(output: NodeJS.ReadableStream): Promise<string> {
	const { promise, resolve, reject } = Promise.withResolvers<string>();
	const timer = setTimeout(
		() => reject(new Error(`the relay did not listen within ${START_TIMEOUT_MS / 1000} s`)),
		START_TIMEOUT_MS,
	);
	createInterface({ input: output }).on('line', (line) => {
		const { http } = JSON.parse(line) as { http?: string };
		if (http !== undefined) resolve(http);
	});
	try {
		return await promise;
	} finally {
		clearTimeout(timer);
	}
}

await main();
