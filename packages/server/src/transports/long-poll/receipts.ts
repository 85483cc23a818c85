/**
 * Whether an answer has reached its client, as far as its connection shows. The client has it when it uses the connection again or closes it
 * in order afterwards. A connection that breaks, or that the relay closes, shows nothing.
 */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../ports/clock.ts';

/**
 * - `received`: the client has the answer.
 * - `taken`: the connection took it, and is a proxy's, or was half closed before. The client may have it.
 * - `unknown`: nothing shows that it arrived.
 */
export type Receipt = 'received' | 'taken' | 'unknown';

/** How long a connection that ends with the answer stays open to see how the client closes it. */
const LINGER_MS = 2000;
/** What proxies add to the requests that they pass on. */
const PROXY_HEADERS = ['via', 'forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-real-ip'];

interface AwaitedReceipt {
	/** A request has come on the connection. */
	onRequest(next: IncomingMessage): void;
	settle(receipt: Receipt): void;
}

/** Watches over connections of one server. */
export class Receipts {
	readonly #clock: Clock;
	/** The last answer on a connection, of which nothing is known yet. */
	readonly #awaited = new Map<Socket, AwaitedReceipt>();

	constructor(server: Server, clock: Clock) {
		this.#clock = clock;
		// First, so that what a request shows is known before it is handled.
		server.prependListener('request', (request: IncomingMessage) => this.#awaited.get(request.socket)?.onRequest(request));
	}

	/** Whether an answer can still reach the client, as far as anything has arrived that says otherwise. */
	async canReach({ socket }: IncomingMessage): Promise<boolean> {
		// One to handle what has arrived in this turn of the loop, and one to ask for what arrived meanwhile.
		await setImmediate();
		await setImmediate();
		return !socket.destroyed;
	}

	/** Calls `settled` once, with what became of the answer that is sent next. */
	watch(request: IncomingMessage, response: ServerResponse, settled: (receipt: Receipt) => void): void {
		const { socket } = request;
		// A client that closed its side before the answer may be gone: how the connection ends says little then.
		const halfClosed = socket.readableEnded;
		const arrived: Receipt = halfClosed || isForwarded(request) ? 'taken' : 'received';
		let sent = false;
		// Requests that were pipelined are answered one after the other.
		this.#awaited.get(socket)?.settle('unknown');
		const awaited: AwaitedReceipt = {
			onRequest: (next) => {
				// Pipelined before the answer: shows nothing.
				if (!sent) return;
				// Another's: the connection belongs to a proxy that uses it for several clients.
				const isSame = next.headers.authorization === request.headers.authorization;
				awaited.settle(isSame && !isForwarded(next) ? arrived : 'taken');
			},
			settle: (receipt) => {
				this.#awaited.delete(socket);
				socket.off('end', onEnd);
				socket.off('close', onClose);
				settled(receipt);
			},
		};
		const onEnd = () => awaited.settle(sent ? arrived : 'unknown');
		const onClose = (hadError: boolean) => awaited.settle(halfClosed && sent && !hadError ? 'taken' : 'unknown');
		this.#awaited.set(socket, awaited);
		socket.on('end', onEnd);
		socket.on('close', onClose);
		response.once('finish', () => {
			sent = true;
		});
		this.#lingerOn(socket);
	}

	/** Where the connection ends with the answer, Node would close it at once, and never see how the client does. */
	#lingerOn(socket: Socket): void {
		socket.destroySoon = () => {
			socket.end();
			const cancel = this.#clock.after(LINGER_MS, () => socket.destroy());
			socket.once('close', cancel);
		};
	}
}

function isForwarded({ headers, httpVersionMinor }: IncomingMessage): boolean {
	return httpVersionMinor === 0 || PROXY_HEADERS.some((name) => headers[name] !== undefined);
}
