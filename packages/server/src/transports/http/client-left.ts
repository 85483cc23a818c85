/**
 * When the client of a request that waits has left. One that has closed its sending side may still read, and a short request is answered
 * (PROTOCOL.md, "Connections"); but it cannot be told from one that is gone, so nothing waits for it.
 */

import type { IncomingMessage, ServerResponse } from 'node:http';

/** Calls `left` when the client has closed its side of the connection, or all of it, also when it had before. Returns what ends the watch. */
export function onClientLeft({ socket }: IncomingMessage, response: ServerResponse, left: () => void): () => void {
	if (response.destroyed || socket.readableEnded) {
		left();
		return () => {};
	}
	socket.on('end', left);
	response.on('close', left);
	return () => {
		socket.off('end', left);
		response.off('close', left);
	};
}
