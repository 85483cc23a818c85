/** Clients of a proxy that speaks TLS under the name `localhost`. */

import { once } from 'node:events';
import type { ClientRequest, IncomingMessage } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import { text } from 'node:stream/consumers';
import { WebSocket } from 'ws';

/** What a client must know of a proxy. */
export interface Front {
	readonly port: number;
	readonly ca: string;
}

export interface FrontAnswer {
	readonly status: number;
	readonly headers: IncomingMessage['headers'];
	readonly body: string;
}

export type AskOptions = Omit<RequestOptions, 'port' | 'host'> & { readonly body?: string | Buffer };

/** Begins a request, whose body is the caller's to send. */
export function begin({ port, ca }: Front, path: string, options: RequestOptions = {}): ClientRequest {
	const all = { host: '127.0.0.1', servername: 'localhost', port, ca, path, agent: false, ...options };
	return request({ ...all, headers: { host: `localhost:${port}`, ...(options.headers as Record<string, string>) } });
}

/** A request and its whole answer. */
export async function askOnce(front: Front, path: string, { body, ...options }: AskOptions = {}): Promise<FrontAnswer> {
	const asked = begin(front, path, options);
	asked.end(body);
	const [response] = (await once(asked, 'response')) as [IncomingMessage];
	// An answer to a body that is too large comes before its end, which then has nowhere to go.
	asked.on('error', (error) => response.destroy(error));
	return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
}

/** Publishes, by default as JSON to one topic. */
export function publish(front: Front, topic: string, payload: unknown, options: AskOptions = {}): Promise<FrontAnswer> {
	const body = JSON.stringify({ topic, payload });
	const length = String(Buffer.byteLength(body));
	const headers = { ...(options.headers as object), 'content-type': 'application/json', 'content-length': length };
	return askOnce(front, '/api/v1/messages', { ...options, method: 'POST', headers, body });
}

/** Keeps its connections, as servers that publish do. */
export function keepAliveAgent(connections: number): Agent {
	return new Agent({ keepAlive: true, maxSockets: connections });
}

/** A WebSocket that is subscribed to a topic. */
export async function subscribe({ port, ca }: Front, topic: string): Promise<WebSocket> {
	const socket = new WebSocket(`wss://localhost:${port}/ws`, { ca, origin: `https://localhost:${port}` });
	await once(socket, 'open');
	const subscribed = once(socket, 'message');
	socket.send(JSON.stringify({ type: 'subscribe', topics: [topic] }));
	await subscribed;
	return socket;
}

/** What comes on a stream, piece by piece. */
export class Incoming {
	readonly #stream: AsyncIterator<Buffer>;
	#held = '';

	constructor(stream: IncomingMessage) {
		this.#stream = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
	}

	/** Resolves with everything up to and including `end` as soon as it has come; rejects when the stream ends before. */
	async until(end: string): Promise<string> {
		while (!this.#held.includes(end)) {
			const { done, value } = await this.#stream.next();
			if (done === true) throw new Error(`the stream has ended without ${JSON.stringify(end)}: ${this.#held}`);
			this.#held += value.toString();
		}
		const at = this.#held.indexOf(end) + end.length;
		const found = this.#held.slice(0, at);
		this.#held = this.#held.slice(at);
		return found;
	}
}
