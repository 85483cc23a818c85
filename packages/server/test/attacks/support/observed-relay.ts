/** A relay as a process of its own, with two accounts, whose event loop and memory are observed. */

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { sendJson } from '../../support/http-client.ts';
import type { Observation } from './observe.ts';

const LAUNCHER = fileURLToPath(new URL('../../../bin/pulsar-relay.js', import.meta.url));
const OBSERVER = new URL('./observe.ts', import.meta.url).href;
const ADMIN = { username: 'root', password: 'planted-admin-password' };

export interface ObservedRelay {
	readonly url: string;
	/** Access token of the account that is attacked with. */
	readonly attacker: string;
	/** A scoped token of the attacker's that may read one topic, and nothing else. */
	readonly reader: string;
	/** Access token of another account. */
	readonly victim: string;
	/** What was seen since the last time. */
	observe(): Promise<Observation>;
	stop(): Promise<void>;
}

/** Starts it on the memory store: what is measured is the relay's own work. */
export async function startObservedRelay(env: Readonly<Record<string, string>> = {}): Promise<ObservedRelay> {
	const child = spawn(process.execPath, ['--max-semi-space-size=8', '--import', OBSERVER, LAUNCHER], {
		env: {
			...process.env,
			PULSAR_PORT: '0',
			PULSAR_STORAGE_BACKEND: 'memory',
			PULSAR_LOG_FORMAT: 'json',
			PULSAR_AUTH: 'required',
			PULSAR_JWT_SECRET_KEY: 'planted-jwt-secret-of-more-than-32-characters',
			PULSAR_BOOTSTRAP_ADMIN_USERNAME: ADMIN.username,
			PULSAR_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
			...env,
		},
		stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
	});
	const exited = once(child, 'exit');
	const url = await listening(child, exited);
	const admin = await login(url, ADMIN.username, ADMIN.password);
	const [attacker, victim] = [await register(url, admin, 'mallory'), await register(url, admin, 'victor')];
	return {
		url,
		attacker,
		reader: await mintReader(url, attacker),
		victim,
		async observe() {
			const told = once(child, 'message') as Promise<[Observation]>;
			child.send('tell');
			return (await told)[0];
		},
		async stop() {
			child.kill('SIGKILL');
			await exited;
		},
	};
}

function listening(child: ChildProcess, exited: Promise<unknown>): Promise<string> {
	assert(child.stdout !== null);
	const lines = createInterface({ input: child.stdout });
	return new Promise((resolve, reject) => {
		lines.on('line', (line) => {
			const { http } = JSON.parse(line) as { http?: string };
			if (http !== undefined) resolve(http);
		});
		exited.then(() => reject(new Error('the relay ended before it listened')), reject);
	});
}

async function login(url: string, username: string, password: string): Promise<string> {
	const response = await fetch(`${url}/auth/login`, { method: 'POST', body: new URLSearchParams({ username, password }) });
	const { access_token: token } = (await response.json()) as { access_token?: string };
	return token ?? assert.fail(`${username} cannot sign in`);
}

async function register(url: string, admin: string, username: string): Promise<string> {
	const password = `planted-password-of-${username}`;
	const account = { username, password, permissions: ['read', 'write'] };
	const answer = await sendJson('POST', `${url}/auth/register`, JSON.stringify(account), { authorization: `Bearer ${admin}` });
	assert.equal(answer.status, 201, answer.text);
	return login(url, username, password);
}

async function mintReader(url: string, token: string): Promise<string> {
	const scopes = [{ actions: ['subscribe'], topics: ['jobs'] }];
	const headers = { authorization: `Bearer ${token}` };
	const answer = await sendJson('POST', `${url}/auth/token/scoped`, JSON.stringify({ scopes, expires_in: 600 }), headers);
	assert.equal(answer.status, 201, answer.text);
	return answer.json<{ access_token: string }>().access_token;
}
