/** Requests to those who vouch for people and tokens: bounded in time and size, and whatever fails looks the same. */

import { RelayError } from '@pulsar-relay/protocol/errors';

const ANSWER_BYTES_MAX = 1024 * 1024;
/** How long one request may take. */
export const OUTBOUND_TIMEOUT_MS = 10_000;

/**
 * Fetches. Rejects with `provider_unavailable` when there is no answer in time, or it is too large or says that the other side is
 * broken; then it may be tried again later.
 */
export async function fetchBounded(url: string | URL, init: RequestInit): Promise<Response> {
	const signal = init.signal ?? AbortSignal.timeout(OUTBOUND_TIMEOUT_MS);
	try {
		const response = await fetch(url, { ...init, signal });
		if (response.status >= 500) throw new Error(`answered with status ${response.status}`);
		const body = await bytesOf(response);
		return new Response(body.byteLength === 0 ? null : new Uint8Array(body), {
			status: response.status,
			headers: response.headers,
		});
	} catch (error) {
		throw providerUnavailable(error);
	}
}

async function bytesOf(response: Response): Promise<Buffer> {
	const chunks: Uint8Array[] = [];
	let length = 0;
	for await (const chunk of response.body ?? []) {
		length += chunk.byteLength;
		if (length > ANSWER_BYTES_MAX) throw new Error(`the answer is longer than ${ANSWER_BYTES_MAX} bytes`);
		chunks.push(chunk);
	}
	return Buffer.concat(chunks);
}

export function providerUnavailable(cause: unknown): RelayError {
	return new RelayError('provider_unavailable', 'the identity provider cannot be reached now', {
		cause,
		detail: 'OIDC provider unreachable',
	});
}

/** Whether a failure comes from the other side not being there, however a library has wrapped it. */
export function isUnavailable(error: unknown): boolean {
	for (let inner = error, depth = 0; inner instanceof Error && depth < 10; inner = inner.cause, depth++) {
		if (inner instanceof RelayError && inner.code === 'provider_unavailable') return true;
	}
	return false;
}

/** The words of a failure and of what caused it, for the operator. */
export function causeOf(error: unknown): string {
	const words: string[] = [];
	for (let inner = error, depth = 0; inner instanceof Error && depth < 10; inner = inner.cause, depth++) {
		if (!(inner instanceof RelayError)) words.push(inner.message);
	}
	return words.filter((text) => text !== '').join(': ');
}
