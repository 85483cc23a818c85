/**
 * Requests that a client sends before the ones before them are answered (RFC 9112, 9.3.2). They are bounded per connection, and so is
 * what is held for a client that does not read: Node stops reading from such a connection, and would not notice its end, so that
 * polls would go on waiting for a client that left (I8).
 */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Requests of one connection that may be under way. */
const UNANSWERED_MAX = 100;

/** Cuts connections off that have more requests unanswered, or pipeline them and do not read the answers. */
export function boundPipelining(server: Server): void {
	/** Requests that came while one before them was unanswered. */
	const waiting = new WeakMap<Socket, number>();
	server.prependListener('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
		// The first in line has its socket already: nearly every request is.
		if (response.socket !== null) return;
		const count = (waiting.get(socket) ?? 0) + 1;
		waiting.set(socket, count);
		response.on('close', () => waiting.set(socket, (waiting.get(socket) ?? 1) - 1));
		// Node has paused a connection whose answers wait behind an earlier one, or whose client does not take them.
		if (count >= UNANSWERED_MAX || socket.isPaused()) socket.destroy();
	});
}
