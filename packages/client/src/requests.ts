/** HTTP requests to a relay: with the token of the moment, and with failures told apart. */

import { RelayError } from './errors.ts';
import type { TokenSource } from './token-source.ts';

export interface RequestOptions {
	readonly method?: 'GET' | 'POST';
	readonly headers?: Readonly<Record<string, string>>;
	readonly body?: string;
	readonly signal?: AbortSignal;
}

export class Requests {
	/** Without a slash at its end. */
	readonly baseUrl: string;
	readonly #tokens: TokenSource;

	constructor(baseUrl: string, tokens: TokenSource) {
		this.baseUrl = baseUrl;
		this.#tokens = tokens;
	}

	/**
	 * Sends a request; after a 401 again, with another token. Resolves with answers of 2xx only. Rejects with a {@link RelayError}, or with the
	 * signal's reason.
	 */
	async send(path: string, options: RequestOptions = {}): Promise<Response> {
		for (let refused = false; ; ) {
			const token = await this.#tokens.get();
			const response = await this.#fetch(path, token, options);
			if (response.ok) return response;
			const error = await errorOf(response);
			if (error.status !== 401 || !this.#tokens.renewable) throw error;
			// A token that expired while the request waited was good: only those that are refused at once count.
			if (refused && error.code !== 'credentials_expired') throw tokenRefused(error);
			refused ||= error.code !== 'credentials_expired';
			this.#tokens.refused(token);
		}
	}

	/** As {@link send}, with the answer's JSON text. An answer that is no JSON is `not_a_relay`. */
	async text(path: string, options: RequestOptions = {}): Promise<string> {
		const response = await this.send(path, options);
		if (isJson(response)) {
			try {
				return await response.text();
			} catch (cause) {
				throw brokenOff(this.baseUrl, options.signal, cause);
			}
		}
		await response.body?.cancel();
		throw notARelay(response);
	}

	async #fetch(
		path: string,
		token: string | null,
		{ method = 'GET', headers = {}, body, signal }: RequestOptions,
	): Promise<Response> {
		try {
			return await fetch(`${this.baseUrl}${path}`, {
				method,
				headers: token === null ? headers : { ...headers, authorization: `Bearer ${token}` },
				cache: 'no-store',
				...(body === undefined ? {} : { body }),
				...(signal === undefined ? {} : { signal }),
			});
		} catch (cause) {
			throw brokenOff(this.baseUrl, signal, cause);
		}
	}
}

/** Why a request ended without an answer: because its caller wanted so, or because nobody answers. */
export function brokenOff(baseUrl: string, signal: AbortSignal | undefined, cause: unknown): unknown {
	if (signal?.aborted === true) return signal.reason;
	return new RelayError('unreachable', `no answer from ${baseUrl}: is it running, and may this page or machine reach it?`, {
		cause,
	});
}

export function tokenRefused(cause: RelayError): RelayError {
	return new RelayError('token_refused', `the relay refuses what the token function gives: ${cause.message}`, {
		status: 401,
		cause,
	});
}

export function notARelay(response: Response): RelayError {
	const type = response.headers.get('content-type') ?? 'no type';
	return new RelayError('not_a_relay', `${response.url} answers ${response.status} with ${type}: that is no Pulsar Relay`, {
		status: response.status,
	});
}

/** The relay's own error, when it is one: the body names it (PROTOCOL.md, "Errors"). */
export async function errorOf(response: Response): Promise<RelayError> {
	return errorIn(response, await failureOf(response));
}

/** Why an upgrade to WebSocket would be refused, from the answer of `GET /ws`; null when it would not. A relay before 0.4 has no such route. */
export async function upgradeRefusalOf(response: Response): Promise<RelayError | null> {
	const failure = await failureOf(response);
	if (failure?.error === 'not_found') return null;
	if (failure?.error !== 'upgrade_required') return errorIn(response, failure);
	const { refusal } = failure;
	return refusal == null ? null : relayErrorOf(response, refusal.error, refusal.message, refusal.status);
}

interface Failure {
	readonly error: string;
	readonly message: string;
	readonly refusal?: { readonly error: string; readonly message: string; readonly status: number } | null;
}

/** The body of a failure; null when no relay wrote it. */
async function failureOf(response: Response): Promise<Failure | null> {
	if (!isJson(response)) {
		await response.body?.cancel();
		return null;
	}
	const body = (await response.json().catch(() => null)) as { error?: unknown } | null;
	return typeof body?.error === 'string' ? (body as Failure) : null;
}

function errorIn(response: Response, failure: Failure | null): RelayError {
	return failure === null ? notARelay(response) : relayErrorOf(response, failure.error, failure.message, response.status);
}

function relayErrorOf(response: Response, code: string, message: string, status: number): RelayError {
	const retryAfterS = Number(response.headers.get('retry-after') ?? Number.NaN);
	return new RelayError(code, message, { status, ...(Number.isFinite(retryAfterS) ? { retryAfterMs: retryAfterS * 1000 } : {}) });
}

function isJson(response: Response): boolean {
	return /^application\/(?:[\w.+-]+\+)?json(?:;|$)/.test(response.headers.get('content-type') ?? '');
}

/** Whether the same request may succeed later: nobody answered, a proxy did, or the relay says so. */
export function isPassing(error: RelayError): boolean {
	const { code, status } = error;
	if (code === 'unreachable' || code === 'token_failed') return true;
	if (code === 'not_a_relay') return status === undefined || status >= 500;
	return status === undefined ? false : status === 408 || status === 429 || status >= 500;
}
