/** A server that speaks just enough of the protocol to say which version it is: for versions that cannot be had as programs. */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

export interface RespStub {
	readonly port: number;
	close(): void;
}

/** @param answer the reply to a command, given by its words in upper case, as it goes over the wire */
export async function startRespStub(answer: (words: readonly string[]) => string): Promise<RespStub> {
	const sockets = new Set<Socket>();
	const server = createServer((socket) => {
		sockets.add(socket);
		let waiting = '';
		socket.on('data', (chunk: Buffer) => {
			waiting += chunk.toString('latin1');
			for (let taken = takeCommand(waiting); taken !== null; taken = takeCommand(waiting)) {
				waiting = taken.rest;
				socket.write(answer(taken.words.map((word) => word.toUpperCase())));
			}
		});
		socket.on('error', () => {});
	});
	server.listen(0, '127.0.0.1');
	await once(server, 'listening');
	return {
		port: (server.address() as AddressInfo).port,
		close() {
			server.close();
			for (const socket of sockets) socket.destroy();
		},
	};
}

/** A bulk string, as replies have them. */
export function bulk(text: string): string {
	return `$${text.length}\r\n${text}\r\n`;
}

/** The first command, once it is whole. */
function takeCommand(text: string): { readonly words: readonly string[]; readonly rest: string } | null {
	const head = /^\*(\d+)\r\n/.exec(text);
	if (head === null) return null;
	const words: string[] = [];
	let at = head[0].length;
	while (words.length < Number(head[1])) {
		const length = /^\$(\d+)\r\n/.exec(text.slice(at));
		if (length === null) return null;
		const start = at + length[0].length;
		const end = start + Number(length[1]);
		if (text.length < end + 2) return null;
		words.push(text.slice(start, end));
		at = end + 2;
	}
	return { words, rest: text.slice(at) };
}
