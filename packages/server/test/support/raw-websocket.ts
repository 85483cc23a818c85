/** WebSockets on bare sockets, for what no library would send. */

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

function handshake(port: string): string[] {
	return [
		'GET /ws HTTP/1.1',
		`Host: 127.0.0.1:${port}`,
		'Connection: Upgrade',
		'Upgrade: websocket',
		'Sec-WebSocket-Version: 13',
		`Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}`,
	];
}

function dial(url: string): { readonly socket: Socket; readonly port: string } {
	const { port } = new URL(url);
	const socket = connect({ port: Number(port), host: '127.0.0.1' });
	// The relay closes on what these sockets send; a reset while they still send is no failure of the test.
	socket.on('error', () => socket.destroy());
	return { socket, port };
}

/** Connects and asks for a WebSocket; all that the relay sends, the answer to the handshake first, is the caller's to read. */
export function dialWebSocket(url: string, headers: readonly string[] = []): Socket {
	const { socket, port } = dial(url);
	socket.write(`${[...handshake(port), ...headers].join('\r\n')}\r\n\r\n`);
	return socket;
}

const ZEROS = Buffer.alloc(4);

/** A client frame with the given first byte; by default masked with zeros, which leave the payload as it is. */
export function clientFrame(first: number, plain: Buffer, declaredLength = plain.byteLength, mask: Buffer = ZEROS): Buffer {
	const payload = Buffer.from(plain);
	if (mask !== ZEROS) for (let i = 0; i < payload.length; i++) payload[i] = (payload[i] as number) ^ (mask[i & 3] as number);
	if (declaredLength < 126) return Buffer.concat([Buffer.from([first, 0x80 | declaredLength]), mask, payload]);
	if (declaredLength < 65_536) {
		return Buffer.concat([Buffer.from([first, 0x80 | 126, declaredLength >> 8, declaredLength & 0xff]), mask, payload]);
	}
	const header = Buffer.alloc(10);
	header[0] = first;
	header[1] = 0x80 | 127;
	header.writeBigUInt64BE(BigInt(declaredLength), 2);
	return Buffer.concat([header, mask, payload]);
}

export interface RawPeer {
	readonly socket: Socket;
	/** Resolves with the code of the close frame that the relay sends. */
	closeCode(): Promise<number>;
}

/** Opens a WebSocket and leaves the frames to the caller. */
export async function openRaw(url: string): Promise<RawPeer> {
	const socket = dialWebSocket(url);
	let received = Buffer.alloc(0);
	socket.on('data', (chunk: Buffer) => {
		received = Buffer.concat([received, chunk]);
	});
	while (!received.includes('\r\n\r\n')) await once(socket, 'data');
	received = received.subarray(received.indexOf('\r\n\r\n') + 4);
	return {
		socket,
		async closeCode() {
			while (true) {
				const code = findCloseCode(received);
				if (code !== undefined) {
					socket.destroy();
					return code;
				}
				if (socket.readableEnded || socket.destroyed)
					throw new Error(`closed without a close frame after ${received.toString('latin1')}`);
				await Promise.race([once(socket, 'data'), once(socket, 'close')]);
			}
		},
	};
}

/** Sends a changed handshake; resolves with the answer to it. */
export async function upgradeRequest(
	url: string,
	change: (lines: string[]) => string[],
): Promise<{ status: number; body: string }> {
	const { socket, port } = dial(url);
	const chunks: Buffer[] = [];
	socket.on('data', (chunk: Buffer) => chunks.push(chunk));
	socket.write(`${change(handshake(port)).join('\r\n')}\r\n\r\n`);
	await once(socket, 'close');
	const answer = Buffer.concat(chunks).toString();
	return { status: Number(answer.split(' ', 2)[1]), body: answer.slice(answer.indexOf('\r\n\r\n') + 4) };
}

/** Walks the frames received so far; server frames are not masked. */
function findCloseCode(bytes: Buffer): number | undefined {
	let at = 0;
	while (at + 2 <= bytes.byteLength) {
		const opcode = (bytes[at] as number) & 0x0f;
		const short = bytes[at + 1] as number;
		const header = short < 126 ? 2 : short === 126 ? 4 : 10;
		if (at + header > bytes.byteLength) return undefined;
		const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
		if (opcode === 0x8 && at + header + 2 <= bytes.byteLength) return bytes.readUInt16BE(at + header);
		at += header + length;
	}
	return undefined;
}
