/**
 * The edge: what is checked of every request before anything else looks at it. Node's parser refuses most malformed HTTP; these
 * are the ambiguities it lets pass, each of which a proxy in front could read in another way than the relay does.
 */

import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { TrustsHost } from './hosts.ts';
import type { LogRefusal } from './refusal-log.ts';

/** Headers of one request. Node drops what is over its own count without a word, so that count is refused here. */
export const HEADERS_MAX = 128;

const REQUEST_ID_FORM = /^[A-Za-z0-9_.-]{1,128}$/;

/** Why a request is refused, or null when it may pass. */
export function edgeRefusal(
	request: IncomingMessage,
	{ trustsHost, logRefusal }: { readonly trustsHost: TrustsHost; readonly logRefusal: LogRefusal },
): RelayError | null {
	const problem = edgeProblem(request);
	if (problem !== undefined) return new RelayError('bad_request', problem);
	if (trustsHost(request.headers.host, request.url ?? '')) return null;
	const refusal = new RelayError('untrusted_host', 'the relay is not reached under this Host; see PULSAR_TRUSTED_HOSTS');
	logRefusal(request, refusal);
	return refusal;
}

function edgeProblem(request: IncomingMessage): string | undefined {
	const { rawHeaders, url = '' } = request;
	if (rawHeaders.length >= 2 * HEADERS_MAX) return `the request has ${HEADERS_MAX} headers or more`;
	return headerProblem(rawHeaders, request.httpVersion) ?? targetProblem(url);
}

/** Of these headers the second one would be dropped or appended silently, and only one can be meant. */
function headerProblem(rawHeaders: readonly string[], httpVersion: string): string | undefined {
	let hosts = 0;
	let contentTypes = 0;
	let authorizations = 0;
	let idempotencyKeys = 0;
	for (let i = 0; i < rawHeaders.length; i += 2) {
		const name = rawHeaders[i] as string;
		// By length first: most headers are none of these, and lower-casing each name would cost more than the rest of the check.
		if (name.length === 4) hosts += name.toLowerCase() === 'host' ? 1 : 0;
		else if (name.length === 12) contentTypes += name.toLowerCase() === 'content-type' ? 1 : 0;
		else if (name.length === 13) authorizations += name.toLowerCase() === 'authorization' ? 1 : 0;
		else if (name.length === 15) idempotencyKeys += name.toLowerCase() === 'idempotency-key' ? 1 : 0;
	}
	if (hosts > 1) return 'the request has more than one Host header';
	if (hosts === 0 && httpVersion === '1.1') return 'the request has no Host header';
	if (contentTypes > 1) return 'the request has more than one Content-Type header';
	if (authorizations > 1) return 'the request has more than one Authorization header';
	if (idempotencyKeys > 1) return 'the request has more than one Idempotency-Key header';
	return undefined;
}

function targetProblem(url: string): string | undefined {
	if (!url.startsWith('/')) return 'the request target is not a path';
	return url.includes('%00') ? 'the request target contains a NUL' : undefined;
}

/** Makes what names each request: the client's `X-Request-Id` when it is a plain word, else a new one. */
export function createRequestIds(): (request?: IncomingMessage) => string {
	// Random per process and counted within it: unique without asking for randomness per request.
	const prefix = randomBytes(6).toString('hex');
	let count = 0;
	return (request) => {
		const given = request?.headers['x-request-id'];
		if (typeof given === 'string' && REQUEST_ID_FORM.test(given)) return given;
		count++;
		return `${prefix}-${count.toString(36)}`;
	};
}
