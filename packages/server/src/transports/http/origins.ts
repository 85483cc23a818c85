/**
 * Which web pages may use the relay. A browser names a page's origin in the `Origin` header; other clients send none. Requests of
 * pages are granted by CORS, which @fastify/cors would do as well, but for its own route for every path and plain OPTIONS requests,
 * which are 405 here (PROTOCOL.md, "Browsers"). WebSockets know no CORS: whether a page may open one is for the server to say.
 */

import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { hostnameOf } from './hosts.ts';
import type { LogRefusal } from './refusal-log.ts';

/** Answers to a preflight are remembered so long; Chromium's own limit is two hours. */
const MAX_AGE_S = 7200;
const METHODS = 'GET, HEAD, POST, PUT, PATCH, DELETE';
/** The two last ones are set by polyfills of `EventSource`. */
const REQUEST_HEADERS =
	'Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id, Cache-Control, X-Requested-With';
const RESPONSE_HEADERS =
	'X-Request-Id, Retry-After, Allow, WWW-Authenticate, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset';

export class Origins {
	readonly #allowed: ReadonlySet<string>;
	readonly #all: boolean;
	readonly #logRefusal: LogRefusal;

	/** @param allowed origins as browsers write them, such as `https://app.example.org`, or `*` */
	constructor(allowed: readonly string[], logRefusal: LogRefusal) {
		this.#allowed = new Set(allowed.map((origin) => origin.toLowerCase()));
		this.#all = this.#allowed.has('*');
		this.#logRefusal = logRefusal;
	}

	/** Why a page may not open a WebSocket, or null. The relay's own pages may, and what is no page. */
	refusal(request: IncomingMessage): RelayError | null {
		const { origin, host } = request.headers;
		if (origin === undefined || this.#allows(origin) || isSameHost(origin, host)) return null;
		return this.#foreign(request);
	}

	/** Tells the browser what the page may do. True when that was all it asked for, and it is answered, or refused with the error. */
	handle({ method, headers, raw }: FastifyRequest, reply: FastifyReply, refuse: (error: RelayError) => void): boolean {
		const { origin, host } = headers;
		if (!this.#all && this.#allowed.size > 0) reply.header('vary', 'Origin');
		if (origin === undefined) return false;
		const isPreflight = method === 'OPTIONS' && headers['access-control-request-method'] !== undefined;
		if (!this.#allows(origin)) {
			if (isPreflight) refuse(this.#foreign(raw));
			// It is answered, and the browser keeps the answer from the page.
			else if (!isSameHost(origin, host)) this.#foreign(raw);
			return isPreflight;
		}
		reply.header('access-control-allow-origin', this.#all ? '*' : origin);
		// Client certificates are credentials; browsers take no `*` together with them.
		if (!this.#all) reply.header('access-control-allow-credentials', 'true');
		if (!isPreflight) {
			reply.header('access-control-expose-headers', RESPONSE_HEADERS);
			return false;
		}
		reply
			.code(204)
			.headers({
				'access-control-allow-methods': METHODS,
				'access-control-allow-headers': REQUEST_HEADERS,
				'access-control-max-age': String(MAX_AGE_S),
			})
			.send();
		return true;
	}

	#allows(origin: string): boolean {
		return this.#all || this.#allowed.has(origin) || this.#allowed.has(origin.toLowerCase());
	}

	#foreign(request: IncomingMessage): RelayError {
		const refusal = new RelayError('foreign_origin', 'pages of this origin may not use the relay; see PULSAR_ALLOWED_ORIGINS');
		this.#logRefusal(request, refusal);
		return refusal;
	}
}

/**
 * Whether a page is of the host that the request is for. Its scheme may be another: a proxy in front may speak TLS. Its port counts only if
 * `Host` has one: proxies on ports of their own pass on the name alone, as nginx does with `$host`.
 */
function isSameHost(origin: string, host: string | undefined): boolean {
	const [, scheme, from] = /^(https?):\/\/([^/@]+)$/i.exec(origin) ?? [];
	if (from === undefined || host === undefined) return false;
	const defaultPort = scheme?.toLowerCase() === 'https' ? ':443' : ':80';
	const bare = (text: string) => (text.endsWith(defaultPort) ? text.slice(0, -defaultPort.length) : text).toLowerCase();
	if (bare(from) === bare(host)) return true;
	return !/:\d*$/.test(host.replace(/^\[.*\]/, '')) && hostnameOf(from) === hostnameOf(host) && hostnameOf(host) !== '';
}
