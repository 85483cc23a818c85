/**
 * The WebSocket transport: the handshake on `GET /ws` and the life of the connections. `ws` does the handshake, the parsing of
 * what the peer sends and the control frames; message frames are written by the sink.
 */

import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { ERRORS, RelayError } from '@pulsar-relay/protocol/errors';
import { type RawData, type WebSocket, WebSocketServer } from 'ws';
import type { Principal } from '../../auth/principal.ts';
import { createRequestIds } from '../http/edge.ts';
import { Heartbeat } from '../http/heartbeat.ts';
import { rawAnswer } from '../http/raw-answer.ts';
import { admit } from './admission.ts';
import type { WebSocketDeps } from './command.ts';
import { type Accepted, CLOSE_TIMEOUT_MS, isWatched, WebSocketConnection } from './connection.ts';

/** A message in more fragments than this is refused with 1008: no client needs them, and each costs bookkeeping. */
const FRAGMENTS_MAX = 1024;

/** Serves WebSockets on the server. Returns what closes every connection that is still open, at once. */
export function serveWebSockets(server: Server, deps: WebSocketDeps): () => void {
	const heartbeat = new Heartbeat(deps.clock, deps.pingIntervalS);
	const connections = new Map<WebSocket, WebSocketConnection>();
	// Not inline: the types of `ws` do not know `closeTimeout` yet.
	const options = {
		noServer: true,
		clientTracking: false,
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
	const requestIdOf = createRequestIds();
	// An upgrade request that does not become a WebSocket.
	const refuse = (request: IncomingMessage, socket: Duplex, refusal: RelayError) => {
		deps.metrics.errorAnswered('websocket', refusal.code);
		deps.edge.traffic.upgradeRefused(request, refusal);
		// Nobody reads from this socket any more, so that not even its end would be noticed: it is let go of here (I8).
		socket.end(rawAnswer(refusal, requestIdOf(request)), () => socket.destroy());
	};
	wss.on('wsClientError', (error, socket, request) =>
		refuse(request, socket, new RelayError('bad_request', lowerFirst(error.message))),
	);
	// Before the handshake nobody else listens: a peer that is gone must not take the process with it.
	const onSocketError = (error: Error) => deps.logger.debug({ err: error }, 'a socket failed during its WebSocket handshake');
	const listen = sharedListeners(deps, connections, heartbeat);
	server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
		socket.on('error', onSocketError);
		const accept = (principal: Principal) => {
			wss.handleUpgrade(request, socket, head, (ws) => {
				socket.off('error', onSocketError);
				const connection = connect(deps, ws, { socket, request, principal });
				if (connection === null) return;
				connections.set(ws, connection);
				connection.heartbeatPlace = heartbeat.join(connection);
				listen(ws);
				if (deps.auth !== null && isWatched(connection)) deps.auth.live.add(connection);
			});
		};
		admit(deps, request, accept, (refusal) => refuse(request, socket, refusal));
	});
	return () => {
		heartbeat.stop();
		for (const ws of connections.keys()) ws.terminate();
	};
}

/** The same few functions listen to every socket: a closure for each event of each would be most of what an idle one costs. */
function sharedListeners(
	deps: WebSocketDeps,
	connections: Map<WebSocket, WebSocketConnection>,
	heartbeat: Heartbeat,
): (ws: WebSocket) => void {
	function onError(this: WebSocket, error: Error): void {
		deps.logger.debug({ err: error, session_id: connections.get(this)?.id }, 'a WebSocket peer broke the protocol');
	}
	function onMessage(this: WebSocket, data: RawData, binary: boolean): void {
		// One Buffer, since `binaryType` is the default.
		connections.get(this)?.take(data as Buffer, binary);
	}
	function onPing(this: WebSocket, data: Buffer): void {
		const connection = connections.get(this);
		// A peer that pings and does not read gets no pongs heaped up for it (I8).
		if (connection?.takeControl() === true && connection.writable) this.pong(data);
	}
	function onPong(this: WebSocket): void {
		connections.get(this)?.takeControl();
	}
	function onClose(this: WebSocket, code: number, reason: Buffer): void {
		const connection = connections.get(this);
		if (connection === undefined) return;
		connections.delete(this);
		heartbeat.leave(connection, connection.heartbeatPlace);
		connection.closed(code, reason.toString());
		if (deps.auth !== null && isWatched(connection)) deps.auth.live.remove(connection);
		deps.metrics.connectionClosed('websocket');
	}
	return (ws) => {
		ws.on('error', onError);
		ws.on('message', onMessage);
		ws.on('ping', onPing);
		ws.on('pong', onPong);
		ws.on('close', onClose);
	};
}

function connect(deps: WebSocketDeps, ws: WebSocket, accepted: Accepted): WebSocketConnection | null {
	try {
		const connection = new WebSocketConnection(deps, ws, accepted);
		deps.metrics.connectionOpened('websocket');
		return connection;
	} catch (error) {
		// The node began to drain, or filled up, between the check and the end of the handshake.
		ws.on('error', (closing) => deps.logger.debug({ err: closing }, 'a WebSocket peer broke the protocol'));
		ws.close(ERRORS.shutting_down.closeCode, RelayError.from(error).message);
		return null;
	}
}

function lowerFirst(text: string): string {
	return text.charAt(0).toLowerCase() + text.slice(1);
}
