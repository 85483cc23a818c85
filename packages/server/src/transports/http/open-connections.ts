/**
 * The HTTP connections that are open, and the requests of each that have no answer yet. WebSockets are not among them.
 *
 * Requests that a client sends before the ones before them are answered (RFC 9112, 9.3.2) are bounded, and so is what is held for a client
 * that does not read: Node stops reading from such a connection, and would not notice its end, so that polls would go on waiting for a
 * client that left (I8).
 *
 * At the end, a client that is sending just as its connection closes would get a reset instead of an answer. So each connection is closed by
 * an answer that says so, and one without requests only once it has been quiet for a while.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Server, type Socket, Server as TcpServer } from 'node:net';
import { Server as TlsServer } from 'node:tls';
import type { Clock } from '../../ports/clock.ts';
import { TrackedSockets } from './tracked-sockets.ts';

/** Requests of one connection that may be under way. */
const UNANSWERED_MAX = 100;
/** A connection without bytes for this long is taken for idle: what a busy client needs between two requests, with a wide margin. */
const QUIET_MS = 1000;
const LOOK_INTERVAL_MS = 100;
/** New connections that never cease do not hold up the drain for longer. */
const ACCEPT_MS_MAX = 200;

interface Connection {
	unanswered: number;
	/** The answer after which the connection may close, since no request came after its own; null when there is none to come. */
	newest: ServerResponse | null;
	bytesRead: number;
	quietSinceMs: number;
	/** Our side was closed, and the peer has as long again to close its own. */
	ended: boolean;
}

export class OpenConnections {
	readonly #server: Server;
	readonly #clock: Clock;
	readonly #isDraining: () => boolean;
	readonly #open = new TrackedSockets<Connection>();
	/** One function for all: it is on the way of every request. */
	readonly #onAnswered: (this: ServerResponse) => void;

	constructor(server: Server, clock: Clock, isDraining: () => boolean) {
		this.#server = server;
		this.#clock = clock;
		this.#isDraining = isDraining;
		const open = this.#open;
		this.#onAnswered = function () {
			const connection = open.get(this.req.socket);
			if (connection === undefined) return;
			connection.unanswered--;
			if (connection.newest === this) connection.newest = null;
		};
		server.on(server instanceof TlsServer ? 'secureConnection' : 'connection', (socket: Socket) => this.#opened(socket));
		server.on('upgrade', ({ socket }: IncomingMessage) => this.#open.delete(socket));
		// Before the listener that may answer at once.
		server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => this.#asked(socket, response));
	}

	/**
	 * Stops listening, and closes each connection as soon as nobody is cut off by it. Resolves when all are gone, WebSockets too; how long
	 * that may take is the caller's to say.
	 */
	async close(): Promise<void> {
		const closed = new Promise<void>((resolve) => this.#server.once('close', resolve));
		const startedMs = this.#clock.monotonicMs();
		for (const connection of this.#open.look().values()) {
			connection.quietSinceMs = startedMs;
			if (connection.newest !== null) endAfter(connection.newest);
		}
		await this.#acceptAll();
		// Not that of HTTP servers, which cuts idle connections.
		TcpServer.prototype.close.call(this.#server);
		this.#look();
		await closed;
	}

	/** Accepts the connections that wait for it, one in a turn of the loop: those would be reset together with the listening socket. */
	async #acceptAll(): Promise<void> {
		let accepted = true;
		const onConnection = () => {
			accepted = true;
		};
		this.#server.on('connection', onConnection);
		const dueMs = this.#clock.monotonicMs() + ACCEPT_MS_MAX;
		while (accepted && this.#clock.monotonicMs() < dueMs) {
			accepted = false;
			await new Promise<void>((resolve) => this.#clock.soon(() => this.#clock.soon(resolve)));
		}
		this.#server.off('connection', onConnection);
	}

	#opened(socket: Socket): void {
		const quietSinceMs = this.#clock.monotonicMs();
		this.#open.add(socket, { unanswered: 0, newest: null, bytesRead: 0, quietSinceMs, ended: false });
	}

	#asked(socket: Socket, response: ServerResponse): void {
		const connection = this.#open.get(socket);
		if (connection === undefined) return;
		connection.unanswered++;
		const before = connection.newest;
		connection.newest = response;
		response.on('close', this.#onAnswered);
		// Node has paused a connection whose answers wait behind an earlier one, or whose client does not take them.
		if (connection.unanswered > UNANSWERED_MAX || (connection.unanswered > 1 && socket.isPaused())) socket.destroy();
		if (!this.#isDraining()) return;
		endAfter(response);
		// A pipelined request: what was to be the last answer no longer is.
		if (before !== null && !before.headersSent) before.shouldKeepAlive = true;
	}

	/** Closes what has been quiet for long enough, and looks again. */
	#look(): void {
		const open = this.#open.look();
		if (open.size === 0) return;
		const nowMs = this.#clock.monotonicMs();
		for (const [socket, connection] of open) {
			if (connection.unanswered > 0 || socket.bytesRead !== connection.bytesRead) {
				connection.quietSinceMs = nowMs;
				connection.bytesRead = socket.bytesRead;
			} else if (nowMs - connection.quietSinceMs < QUIET_MS) {
				// A request may be on its way.
			} else if (connection.ended) {
				socket.destroy();
			} else {
				// Not destroyed: the peer is to read an end, not a reset.
				socket.end();
				connection.ended = true;
				connection.quietSinceMs = nowMs;
			}
		}
		this.#clock.after(LOOK_INTERVAL_MS, () => this.#look());
	}
}

/** Makes an answer the last one of its connection, and say so, unless its head is out already. */
function endAfter(response: ServerResponse): void {
	if (!response.headersSent) response.shouldKeepAlive = false;
}
