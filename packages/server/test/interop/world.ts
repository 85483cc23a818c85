/** A relay with accounts as a process behind a proxy, so that it can be killed and started anew and its clients notice nothing else. */

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startProxy, type TcpProxy } from '../faults/proxy.ts';
import type { Backend } from '../support/backends.ts';
import { type Answer, send, sendJson } from '../support/http-client.ts';
import { type RelayProcess, startRelayProcess } from '../support/process.ts';

const ADMIN = { username: 'root', password: 'password-of-the-administrator' } as const;

/** Who signs in. */
export interface Credentials {
	readonly username: string;
	readonly password: string;
}

export interface World {
	/** Where the clients find the relay, through the proxy; stays the same when it is started anew. */
	readonly url: string;
	readonly proxy: TcpProxy;
	/** For files of the clients; nobody else may read it. */
	readonly dir: string;
	readonly admin: Credentials;
	/** Makes an account. */
	person(username: string, permissions?: readonly string[]): Promise<Credentials>;
	/** An access token of an account, by plain HTTP. */
	token(person: Credentials): Promise<string>;
	/** A request by plain HTTP, past the proxy. */
	call(method: string, path: string, token: string | null, body?: unknown): Promise<Answer>;
	/** Kills the relay with -9. */
	kill(): Promise<void>;
	/** Starts it again over the same store. */
	start(): Promise<void>;
	close(): Promise<void>;
}

export async function startWorld(backend: Backend, settings: Readonly<Record<string, string>> = {}): Promise<World> {
	const dir = await mkdtemp(join(tmpdir(), 'pulsar-interop-'));
	const store = await backend.start();
	const proxy = await startProxy({ host: '127.0.0.1', port: 0 });
	const url = `http://127.0.0.1:${proxy.port}`;
	const launch = () =>
		startRelayProcess(join(dir, 'data'), {
			...store.env,
			PULSAR_AUTH: 'required',
			PULSAR_JWT_SECRET_KEY: 'a-secret-of-the-interop-tests-of-32-or-more',
			PULSAR_BOOTSTRAP_ADMIN_USERNAME: ADMIN.username,
			PULSAR_BOOTSTRAP_ADMIN_PASSWORD: ADMIN.password,
			PULSAR_OIDC__BASE_URL: url,
			PULSAR_DEVICE_CODE_POLL_INTERVAL: '1',
			...settings,
		});
	let relay: RelayProcess;
	try {
		relay = await launch();
	} catch (error) {
		await proxy.close();
		await store.stop();
		throw error;
	}
	const follow = () => proxy.moveTo({ host: '127.0.0.1', port: Number(new URL(relay.url).port) });
	follow();
	const call: World['call'] = (method, path, token, body) => {
		const headers = token === null ? {} : { authorization: `Bearer ${token}` };
		if (body === undefined) return send(`${relay.url}${path}`, { method, headers });
		return sendJson(method, `${relay.url}${path}`, body, headers);
	};
	const token = async (person: Credentials) => {
		const answer = await send(`${relay.url}/auth/login`, { method: 'POST', body: new URLSearchParams({ ...person }) });
		assert.equal(answer.status, 200, answer.text);
		return answer.json<{ access_token: string }>().access_token;
	};
	return {
		url,
		proxy,
		dir,
		admin: ADMIN,
		async person(username, permissions = ['read', 'write']) {
			const password = `password-of-${username}`;
			const made = await call('POST', '/auth/register', await token(ADMIN), { username, password, permissions });
			assert.equal(made.status, 201, made.text);
			return { username, password };
		},
		token,
		call,
		async kill() {
			await relay.end('SIGKILL');
		},
		async start() {
			relay = await launch();
			follow();
		},
		async close() {
			await relay.end('SIGKILL');
			await proxy.close();
			await store.stop();
			await rm(dir, { recursive: true, force: true });
		},
	};
}
