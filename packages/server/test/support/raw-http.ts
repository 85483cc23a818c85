/** Plain TCP to a server under test, for what no HTTP client would send: bytes out, answers in. */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
	readonly status: number;
	readonly headers: ReadonlyMap<string, string>;
	readonly body: string;
}

/** One connection. */
export class RawConnection {
	readonly socket: Socket;
	#received = Buffer.alloc(0);
	#changed: () => void = () => {};
	#closed = false;

	constructor(port: number) {
		this.socket = connect(port, '127.0.0.1');
		this.socket.on('data', (chunk: Buffer) => {
			this.#received = Buffer.concat([this.#received, chunk]);
			this.#changed();
		});
		// A reset is one of the ways in which a server may close.
		this.socket.on('error', () => this.#changed());
		this.socket.on('close', () => {
			this.#closed = true;
			this.#changed();
		});
	}

	send(bytes: string | Uint8Array): void {
		this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
	}

	/** The next answer, whole; null when the connection closes without one. */
	async answer(): Promise<RawAnswer | null> {
		for (;;) {
			const answer = this.#take();
			if (answer !== null) return answer;
			if (this.#closed) return null;
			await new Promise<void>((resolve) => {
				this.#changed = resolve;
			});
		}
	}

	/** Resolves when the other side has closed. */
	async closed(): Promise<void> {
		if (!this.#closed) await once(this.socket, 'close');
	}

	end(): void {
		this.socket.destroy();
	}

	#take(): RawAnswer | null {
		const headEnd = this.#received.indexOf('\r\n\r\n');
		if (headEnd < 0) return null;
		const [statusLine = '', ...lines] = this.#received.toString('latin1', 0, headEnd).split('\r\n');
		const headers = new Map(
			lines.map((line) => {
				const colon = line.indexOf(':');
				return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
			}),
		);
		const bodyEnd = headEnd + 4 + Number(headers.get('content-length') ?? 0);
		if (this.#received.byteLength < bodyEnd) return null;
		const body = this.#received.toString('utf8', headEnd + 4, bodyEnd);
		this.#received = this.#received.subarray(bodyEnd);
		const status = Number(statusLine.split(' ')[1]);
		// 100 Continue is not the answer.
		return status === 100 ? this.#take() : { status, headers, body };
	}
}

/** Sends bytes on a connection of its own and resolves with the first answer. */
export async function exchange(port: number, bytes: string | Uint8Array): Promise<RawAnswer | null> {
	const connection = new RawConnection(port);
	connection.send(bytes);
	const answer = await connection.answer();
	connection.end();
	return answer;
}

/** A POST as bytes, with the headers it needs and those given. */
export function postBytes(path: string, body: string | Uint8Array, headers: readonly string[] = []): Buffer {
	const bytes = typeof body === 'string' ? Buffer.from(body) : body;
	const lines = [
		`POST ${path} HTTP/1.1`,
		'Host: localhost',
		'Content-Type: application/json',
		`Content-Length: ${bytes.byteLength}`,
		...headers,
	];
	return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), bytes]);
}
