/** A relay that asks for credentials, people with accounts on it, and what they do. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { Backend } from './backends.ts';
import { type Answer, send } from './http-client.ts';
import { startRelay, type TestRelay } from './relay.ts';

export const ADMIN_PASSWORD = 'planted-admin-password';
export const JWT_SECRET = 'planted-jwt-secret-of-more-than-32-characters';

export interface Person {
	readonly username: string;
	readonly password: string;
	readonly userId: string;
	readonly token: string;
	readonly refreshToken: string;
}

export interface AuthRelay {
	readonly relay: TestRelay;
	readonly url: string;
	readonly admin: Person;
	person(username: string, permissions?: readonly string[]): Promise<Person>;
	login(username: string, password: string): Promise<Answer>;
	/** Signs in, which must succeed. */
	signIn(username: string, password: string): Promise<Person>;
	/** A request with a credential; a body that is no text is sent as JSON. */
	call(method: string, path: string, credential?: string | Person | null, body?: unknown): Promise<Answer>;
	/** Makes an API key of a person. */
	key(owner: Person, actions: readonly string[], topics: readonly string[]): Promise<{ keyId: string; secret: string }>;
	/** Mints a scoped token. */
	scoped(minter: Person | string, actions: readonly string[], topics: readonly string[], lifetimeS?: number): Promise<string>;
	socket(credential: string): Promise<Socket>;
	close(): Promise<void>;
}

/** Starts a relay on the memory store, unless the settings say otherwise. */
export async function startAuthRelay(env: Readonly<Record<string, string>> = {}): Promise<AuthRelay> {
	const settings = {
		PULSAR_AUTH: 'required',
		PULSAR_STORAGE_BACKEND: 'memory',
		PULSAR_JWT_SECRET_KEY: JWT_SECRET,
		PULSAR_BOOTSTRAP_ADMIN_USERNAME: 'root',
		PULSAR_BOOTSTRAP_ADMIN_PASSWORD: ADMIN_PASSWORD,
		...env,
	};
	const relay = await startRelay(settings);
	const { url } = relay;
	const call: AuthRelay['call'] = (method, path, credential = null, body = undefined) => {
		const token = typeof credential === 'object' ? credential?.token : credential;
		return send(`${url}${path}`, {
			method,
			headers: {
				...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
				...(body === undefined ? {} : { 'content-type': 'application/json' }),
			},
			...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
		});
	};
	const login = (username: string, password: string) =>
		send(`${url}/auth/login`, { method: 'POST', body: new URLSearchParams({ username, password, grant_type: 'password' }) });
	const signIn = async (username: string, password: string): Promise<Person> => {
		const answer = await login(username, password);
		assert.equal(answer.status, 200, answer.text);
		const { access_token: token, refresh_token: refreshToken } = answer.json<Record<string, string>>();
		assert(token !== undefined && refreshToken !== undefined);
		const me = await call('GET', '/auth/me', token);
		return { username, password, userId: me.json<{ user_id: string }>().user_id, token, refreshToken };
	};
	const admin = await signIn(settings.PULSAR_BOOTSTRAP_ADMIN_USERNAME, settings.PULSAR_BOOTSTRAP_ADMIN_PASSWORD);
	return {
		relay,
		url,
		admin,
		login,
		signIn,
		call,
		async person(username, permissions = ['read', 'write']) {
			const password = `planted-password-of-${username}`;
			const made = await call('POST', '/auth/register', admin, { username, password, permissions });
			assert.equal(made.status, 201, made.text);
			return signIn(username, password);
		},
		async key(owner, actions, topics) {
			const made = await call('POST', '/auth/keys', owner, { name: 'a key', scopes: [{ actions, topics }] });
			assert.equal(made.status, 201, made.text);
			const { key_id: keyId, api_key: secret } = made.json<{ key_id: string; api_key: string }>();
			return { keyId, secret };
		},
		async scoped(minter, actions, topics, lifetimeS = 300) {
			const made = await call('POST', '/auth/token/scoped', minter, { scopes: [{ actions, topics }], expires_in: lifetimeS });
			assert.equal(made.status, 201, made.text);
			return made.json<{ access_token: string }>().access_token;
		},
		socket: (credential) => Socket.open(url, credential),
		close: () => relay.close(),
	};
}

/** Relays over one store, as many as may share it; accounts made on one are known on each. */
export interface AuthNodes {
	readonly first: AuthRelay;
	/** The first once more, where the store is one relay's alone. */
	readonly last: AuthRelay;
	close(): Promise<void>;
}

/** Starts as many relays on a store as may share it. */
export async function startAuthNodes(backend: Backend, settings: Readonly<Record<string, string>> = {}): Promise<AuthNodes> {
	const { env, stop } = await backend.start();
	const nodes: AuthRelay[] = [];
	const close = async () => {
		for (const node of nodes) await node.close();
		await stop();
	};
	try {
		while (nodes.length < backend.nodes) nodes.push(await startAuthRelay({ ...env, ...settings }));
	} catch (error) {
		await close();
		throw error;
	}
	const [first, last] = [nodes[0], nodes.at(-1)];
	assert(first !== undefined && last !== undefined);
	return { first, last, close };
}

interface Frame {
	readonly type: string;
	readonly [name: string]: unknown;
}

/** A WebSocket client that offers its token as browsers do, keeps every frame, and hands them out in order. */
export class Socket {
	readonly ws: WebSocket;
	/** Resolves with the close code. */
	readonly closed: Promise<number>;
	readonly #frames: Frame[] = [];
	#arrived: () => void = () => {};

	constructor(url: string, credential: string | null) {
		const protocols = credential === null ? [] : ['bearer', `bearer.${credential}`];
		this.ws = new WebSocket(`${url.replace('http', 'ws')}/ws`, protocols);
		this.closed = new Promise((resolve) => {
			this.ws.on('close', resolve);
		});
		this.ws.on('message', (data: Buffer) => {
			this.#frames.push(JSON.parse(data.toString()) as Frame);
			this.#arrived();
		});
	}

	static async open(url: string, credential: string): Promise<Socket> {
		const socket = new Socket(url, credential);
		await once(socket.ws, 'open');
		return socket;
	}

	/** Tries to open one; gives the status that refused it. */
	static async refused(url: string, credential: string | null): Promise<number> {
		const { ws } = new Socket(url, credential);
		ws.on('error', () => {});
		return new Promise((resolve, reject) => {
			ws.on('unexpected-response', (_request, response) => {
				ws.terminate();
				resolve(response.statusCode ?? 0);
			});
			ws.on('open', () => reject(new Error('it opened')));
		});
	}

	send(frame: object): void {
		this.ws.send(JSON.stringify(frame));
	}

	async next(): Promise<Frame> {
		while (this.#frames.length === 0) {
			await new Promise<void>((resolve) => {
				this.#arrived = resolve;
			});
		}
		return this.#frames.shift() as Frame;
	}

	ask(frame: object): Promise<Frame> {
		this.send(frame);
		return this.next();
	}

	async end(): Promise<void> {
		this.ws.terminate();
		await this.closed;
	}
}
