/**
 * Property-based tests of the HTTP routes by schemathesis, against the document that the relay serves: what the document allows is
 * accepted, what it does not is refused, and every answer is one that it lists. Exclusions are in schemathesis.toml.
 */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { send } from '../support/http-client.ts';
import { startRelayProcess } from '../support/process.ts';
import { installPythonPackage } from '../support/python-package.ts';

const python = installPythonPackage({ name: 'schemathesis', version: '4.32.5' });
const skip = python.status === 'missing' ? python.reason : false;
const HERE = new URL('.', import.meta.url).pathname;
/** Test cases of each route and phase; more of them, and others, are tried by setting these. */
const EXAMPLES = process.env['API_TEST_EXAMPLES'] ?? '15';
const SEED = process.env['API_TEST_SEED'] ?? '1';
const timeout = Math.round(170_000 * Math.max(1, Number(EXAMPLES) / 15));

const ADMIN = { username: 'tester', password: 'the-password-of-the-tester' };
const ACCOUNTS = {
	PULSAR_AUTH: 'required',
	PULSAR_JWT_SECRET_KEY: 'a secret of the tests, longer than 32 characters',
	PULSAR_BOOTSTRAP_ADMIN_USERNAME: ADMIN.username,
	PULSAR_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
	PULSAR_OIDC__BASE_URL: 'http://127.0.0.1',
	PULSAR_RATE_LIMIT: '1000000',
	PULSAR_RATE_LIMIT_ADDRESS: '1000000',
	PULSAR_RATE_LIMIT_DEVICE: '1000000',
};

/** Runs it; rejects with all that it printed when a check has failed. */
async function schemathesis(t: TestContext, url: string, args: readonly string[], env: Record<string, string>): Promise<void> {
	assert(python.status === 'here');
	// It keeps files where it runs, and finds its hooks there.
	const directory = await mkdtemp(join(tmpdir(), 'pulsar-relay-api-'));
	t.after(() => rm(directory, { recursive: true }));
	for (const name of ['schemathesis.toml', 'hooks.py']) await cp(join(HERE, name), join(directory, name));
	const all = ['--no-color', 'run', `${url}/openapi.json`, '-n', EXAMPLES, '--seed', SEED, ...args];
	const printed = await new Promise<string>((resolve, reject) => {
		execFile(
			python.interpreter,
			['-m', 'schemathesis.cli', ...all],
			{ cwd: directory, env: { ...process.env, NO_PROXY: '127.0.0.1', ...env }, maxBuffer: 64 * 1024 * 1024, timeout },
			(error, stdout, stderr) => (error === null ? resolve(stdout) : reject(new Error(`${error.message}\n${stdout}\n${stderr}`))),
		);
	});
	t.diagnostic(printed.split('\n').find((line) => line.includes('passed in')) ?? printed.slice(-200).trim());
}

test('of a relay that asks nobody for credentials', { skip, timeout }, async (t) => {
	const relay = await startRelayProcess('', { PULSAR_STORAGE_BACKEND: 'memory' });
	t.after(() => relay.end('SIGKILL'));
	await schemathesis(t, relay.url, [], {});
	assert.equal((await send(`${relay.url}/health`)).status, 200);
});

test('of a relay with accounts, by an administrator', { skip, timeout }, async (t) => {
	const relay = await startRelayProcess('', { PULSAR_STORAGE_BACKEND: 'memory', ...ACCOUNTS });
	t.after(() => relay.end('SIGKILL'));
	const signedIn = await send(`${relay.url}/auth/login`, { method: 'POST', body: new URLSearchParams(ADMIN) });
	const authorization = `Bearer ${signedIn.json<{ access_token: string }>().access_token}`;
	const headers = { authorization };
	const { user_id: userId } = (await send(`${relay.url}/auth/me`, { headers })).json<{ user_id: string }>();
	const sessions = (await send(`${relay.url}/auth/sessions`, { headers })).json<{ jti: string }[]>();
	const ownIds = [userId, ...sessions.map(({ jti }) => jti)];
	await schemathesis(t, relay.url, ['--header', `Authorization: ${authorization}`], { OF_THE_TESTER: ownIds.join(' ') });
	assert.equal((await send(`${relay.url}/auth/me`, { headers })).status, 200, 'the token is still good');
});
