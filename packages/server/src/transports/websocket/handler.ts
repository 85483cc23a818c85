/**
 * The WebSocket transport: the handshake on `GET /ws` and the life of the connections. `ws` does the handshake, the parsing of
 * what the peer sends and the control frames; message frames are written by the sink.
 */

import { randomBytes } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { ERRORS, RelayError } from '@pulsar-relay/protocol/errors';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Relay } from '../../relay/relay.ts';
import { edgeProblem } from '../http/edge.ts';
import { Heartbeat } from '../http/heartbeat.ts';
import type { WebSocketDeps } from './command.ts';
import { CLOSE_TIMEOUT_MS, WebSocketConnection } from './connection.ts';

/** A message in more fragments than this is refused with 1008: no client needs them, and each costs bookkeeping. */
const FRAGMENTS_MAX = 1024;

/** Serves WebSockets on the server. Returns what closes every connection that is still open, at once. */
export function serveWebSockets(server: Server, deps: WebSocketDeps): () => void {
	const heartbeat = new Heartbeat(deps.clock, deps.pingIntervalS);
	// Not inline: the types of `ws` do not know `closeTimeout` yet.
	const options = {
		noServer: true,
		clientTracking: true,
		perMessageDeflate: false,
		maxPayload: deps.messageBytesMax,
		maxFragments: FRAGMENTS_MAX,
		closeTimeout: CLOSE_TIMEOUT_MS,
		// The connection answers pings itself: `ws` would cut a flood off without a close code.
		autoPong: false,
		// Existing clients offer `bearer` and `bearer.<token>`; only the first may be echoed, the second is a secret.
		handleProtocols: (protocols: Set<string>) => (protocols.has('bearer') ? 'bearer' : false),
	} as const;
	const wss = new WebSocketServer(options);
	wss.on('wsClientError', (error, socket) => refuse(socket, new RelayError('bad_request', lowerFirst(error.message))));
	server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
		// Before the handshake nobody else listens: a peer that is gone must not take the process with it.
		const ignore = (error: Error) => deps.logger.debug({ err: error }, 'a socket failed during its WebSocket handshake');
		socket.on('error', ignore);
		const refusal = refusalOf(request, deps.relay);
		if (refusal !== null) {
			deps.metrics.errorAnswered('websocket', refusal.code);
			refuse(socket, refusal);
			return;
		}
		wss.handleUpgrade(request, socket, head, (ws) => {
			socket.off('error', ignore);
			ws.on('error', (error) => deps.logger.debug({ err: error }, 'a WebSocket peer broke the protocol'));
			const connection = connect(deps, ws, socket);
			if (connection === null) return;
			const leave = heartbeat.join(connection);
			ws.on('close', () => {
				leave();
				connection.session.close();
				deps.metrics.connectionClosed('websocket');
			});
		});
	});
	return () => {
		heartbeat.stop();
		for (const ws of wss.clients) ws.terminate();
	};
}

function connect(deps: WebSocketDeps, ws: WebSocket, socket: Duplex): WebSocketConnection | null {
	try {
		const connection = new WebSocketConnection(deps, ws, socket, `sess_${randomBytes(6).toString('hex')}`);
		deps.metrics.connectionOpened('websocket');
		return connection;
	} catch (error) {
		// The node began to drain, or filled up, between the check and the end of the handshake.
		ws.close(ERRORS.shutting_down.closeCode, RelayError.from(error).message);
		return null;
	}
}

function refusalOf(request: IncomingMessage, relay: Relay): RelayError | null {
	const problem = edgeProblem(request);
	if (problem !== undefined) return new RelayError('bad_request', problem);
	const path = (request.url ?? '').split('?', 1)[0];
	if (path !== '/ws' && path !== '/ws/') return new RelayError('not_found', 'WebSockets are served at /ws');
	if (request.method !== 'GET') return new RelayError('method_not_allowed', 'a WebSocket handshake is a GET');
	return relay.refusal();
}

/** Answers an upgrade request that does not become a WebSocket. */
function refuse(socket: Duplex, error: RelayError): void {
	const { status, retryable } = ERRORS[error.code];
	const body = JSON.stringify({ error: error.code, message: error.message, detail: error.message });
	const retry = retryable ? 'Retry-After: 2\r\n' : '';
	socket.end(
		`HTTP/1.1 ${status} Refused\r\nConnection: close\r\nContent-Type: application/json\r\n${retry}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
	);
}

function lowerFirst(text: string): string {
	return text.charAt(0).toLowerCase() + text.slice(1);
}
