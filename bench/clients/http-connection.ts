/** One keep-alive HTTP connection on a bare socket. Requests are ready-made bytes and may be pipelined. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { ResponseReader } from './http-response.ts';

export interface HttpResponse {
	readonly status: number;
	readonly body: Buffer;
}

interface Waiting {
	readonly resolve: (response: HttpResponse) => void;
	readonly reject: (error: Error) => void;
}

/** Connects to the host and port of a URL. */
export async function connectTo(url: string): Promise<Socket> {
	const { hostname, port } = new URL(url);
	const socket = connect({ host: hostname, port: Number(port), noDelay: true });
	await once(socket, 'connect');
	return socket;
}

export class HttpConnection {
	readonly socket: Socket;
	/** Requests without an answer yet, oldest first. */
	#waiting: Waiting[] = [];
	#status = 0;
	#body: Buffer[] = [];

	private constructor(socket: Socket) {
		this.socket = socket;
		const reader = new ResponseReader({
			head: (status) => {
				this.#status = status;
			},
			body: (part) => {
				this.#body.push(part);
			},
			end: () => {
				const [only] = this.#body;
				const body = this.#body.length === 1 && only !== undefined ? only : Buffer.concat(this.#body);
				this.#body = [];
				this.#waiting.shift()?.resolve({ status: this.#status, body });
			},
		});
		socket.on('data', (data: Buffer) => reader.take(data));
		socket.on('error', (error) => this.#fail(error));
		socket.on('close', () => this.#fail(new Error('the server closed the connection')));
	}

	static async open(url: string): Promise<HttpConnection> {
		return new HttpConnection(await connectTo(url));
	}

	/** Sends a request; resolves with its response, rejects when the connection ends first. */
	request(bytes: Buffer): Promise<HttpResponse> {
		return new Promise((resolve, reject) => {
			this.#waiting.push({ resolve, reject });
			this.socket.write(bytes);
		});
	}

	#fail(error: Error): void {
		const waiting = this.#waiting;
		this.#waiting = [];
		for (const { reject } of waiting) reject(error);
	}
}
