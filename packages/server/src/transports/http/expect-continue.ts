/**
 * `Expect: 100-continue`: the client waits with its body until it is asked for it. It is asked once somebody reads the body, so that a
 * request which its head decides is refused without one.
 */

import type { IncomingMessage, Server, ServerResponse } from 'node:http';

export function askForBodiesWhenRead(server: Server): void {
	server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
		const { shouldKeepAlive } = response;
		// Whether a body follows an answer that came without asking for it is the client's choice: the connection cannot go on.
		response.shouldKeepAlive = false;
		request.once('resume', () => {
			// Also read, and dropped, once there is an answer.
			if (response.headersSent || response.writableEnded) return;
			response.shouldKeepAlive = shouldKeepAlive;
			response.writeContinue();
		});
		server.emit('request', request, response);
	});
}
