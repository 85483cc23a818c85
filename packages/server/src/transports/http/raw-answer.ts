/** Error answers where there is only a socket: to what Node's HTTP parser refused, and to a WebSocket handshake. */

import { type OutgoingHttpHeaders, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { ERRORS, RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyReply } from 'fastify';
import type { HttpDeps } from './deps.ts';
import { errorBody, JSON_TYPE, retryAfter } from './errors.ts';
import { SECURITY_HEADERS } from './security-headers.ts';
import { why } from './traffic-log.ts';

/** The response that Node has begun on a socket, if any; its own handler of these errors looks here too. */
interface HttpSocket extends Duplex {
	readonly _httpMessage?: ServerResponse | null;
}

/** Answers what the parser refused, and closes. */
export function answerBrokenRequest(
	{ metrics, logger }: Pick<HttpDeps, 'metrics' | 'logger'>,
	error: Error,
	socket: Duplex,
	requestId: string,
): void {
	const code = 'code' in error ? error.code : undefined;
	const pending = (socket as HttpSocket)._httpMessage;
	// In the middle of an answer, anything that is written now would be taken for a part of it.
	// Without a handshake nothing can be said to a peer over TLS.
	const handshakeFailed = socket instanceof TLSSocket && pending === undefined && !isHttpProblem(code);
	if (handshakeFailed || code === 'ECONNRESET' || !socket.writable || pending?.headersSent === true) {
		socket.destroy();
		return;
	}
	if (pending?.req.complete === true) {
		// What is broken came after a whole request. That one may be a publish on its way to the store: it gets its own answer.
		pending.shouldKeepAlive = false;
		return;
	}
	const failure = failureOf(code);
	metrics.errorAnswered('http', failure.code);
	const peer = 'remoteAddress' in socket ? socket.remoteAddress : undefined;
	logger.debug({ request_id: requestId, peer, parser: code, ...why(failure) }, 'a request could not be read');
	socket.end(rawAnswer(failure, requestId), () => socket.destroy());
}

function isHttpProblem(code: unknown): boolean {
	return typeof code === 'string' && /^(HPE_|ERR_HTTP_)/.test(code);
}

/** An error answer as it goes over the wire, after which the connection closes. */
export function rawAnswer(error: RelayError, requestId: string): string {
	const { status } = ERRORS[error.code];
	const body = errorBody(error, requestId);
	const wait = retryAfter(error);
	const headers = [
		`HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
		`content-type: ${JSON_TYPE}`,
		`content-length: ${Buffer.byteLength(body)}`,
		`x-request-id: ${requestId}`,
		...Object.entries(SECURITY_HEADERS).map(([name, value]) => `${name}: ${value}`),
		...(wait === undefined ? [] : [`retry-after: ${wait}`]),
		...(status === 401 ? ['www-authenticate: Bearer'] : []),
		'connection: close',
	];
	return `${headers.join('\r\n')}\r\n\r\n${body}`;
}

function failureOf(code: unknown): RelayError {
	switch (code) {
		case 'ERR_HTTP_REQUEST_TIMEOUT':
			return new RelayError('request_timeout', 'the headers did not arrive in time');
		case 'HPE_HEADER_OVERFLOW':
			return new RelayError('headers_too_large', 'the headers are too large');
		case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
			return new RelayError('payload_too_large', 'the chunk extensions are too large');
		default:
			return new RelayError('bad_request', 'the request is not well-formed HTTP');
	}
}

/** What the hooks have put on an answer that is going to be written past the framework. */
export function headersOf(reply: FastifyReply): OutgoingHttpHeaders {
	return { ...(reply.getHeaders() as OutgoingHttpHeaders) };
}
