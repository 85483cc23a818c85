/** A client that openapi-typescript makes of the document of a relay: it compiles, and is of use. */

import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { ROOT } from '../deploy/files.ts';
import { ADMIN_PASSWORD, startAuthRelay } from '../support/auth-relay.ts';
import { send } from '../support/http-client.ts';

const run = promisify(execFile);
const TSC = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', '.'] as const;
const TSCONFIG = {
	compilerOptions: {
		lib: ['ES2024', 'DOM', 'DOM.Iterable'],
		target: 'ES2024',
		module: 'NodeNext',
		types: [],
		noEmit: true,
		strict: true,
		noUncheckedIndexedAccess: true,
		allowImportingTsExtensions: true,
	},
	files: ['use.ts'],
};

/** Why the generator cannot be installed, or false. On CI that is a failure. */
function npmUnavailable(): string | false {
	if (process.env['CI'] !== undefined) return false;
	try {
		execFileSync('npm', ['ping'], { stdio: 'ignore', timeout: 20_000 });
		return false;
	} catch {
		return 'the registry of npm cannot be reached from here';
	}
}

test('a generated client compiles, and publishes and reads', { skip: npmUnavailable(), timeout: 120_000 }, async (t) => {
	const world = await startAuthRelay();
	t.after(() => world.close());
	const directory = await mkdtemp(join(tmpdir(), 'pulsar-relay-client-'));
	t.after(() => rm(directory, { recursive: true }));
	await cp(fileURLToPath(new URL('client', import.meta.url)), directory, { recursive: true });
	// Apart from the project's packages: the generator needs another version of TypeScript.
	await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: directory });
	await writeFile(join(directory, 'openapi.json'), (await send(`${world.url}/openapi.json`)).text);
	await run(join(directory, 'node_modules/.bin/openapi-typescript'), ['openapi.json', '-o', 'relay.d.ts'], { cwd: directory });
	await writeFile(join(directory, 'tsconfig.json'), JSON.stringify(TSCONFIG));
	await run(process.execPath, TSC, { cwd: directory }).catch(({ stdout }: { stdout: string }) => assert.fail(stdout));

	const { useGeneratedClient } = (await import(pathToFileURL(join(directory, 'use.ts')).href)) as {
		useGeneratedClient(url: string, username: string, password: string): Promise<{ id: string }>;
	};
	const { id, ...came } = await useGeneratedClient(world.url, 'root', ADMIN_PASSWORD);
	assert.match(id, /^\d+-\d+$/);
	assert.deepEqual(came, { polled: [{ id, payload: { n: 1 } }], kept: 1, lifetimeS: 300, missing: 'not_found' });
});
