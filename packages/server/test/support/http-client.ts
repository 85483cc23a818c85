/** Requests to a server under test, with the answers as status, headers, text and JSON. */

import assert from 'node:assert/strict';

export interface Answer {
	readonly status: number;
	readonly headers: Headers;
	readonly text: string;
	/** The text parsed as JSON. */
	json<T = Record<string, unknown>>(): T;
}

export async function send(url: string, init: RequestInit = {}): Promise<Answer> {
	const response = await fetch(url, init);
	const text = await response.text();
	return { status: response.status, headers: response.headers, text, json: <T>() => JSON.parse(text) as T };
}

/** Sends a JSON text, or a value as one. */
export function sendJson(
	method: string,
	url: string,
	body: unknown,
	headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
	const text = typeof body === 'string' ? body : JSON.stringify(body);
	return send(url, { method, headers: { 'content-type': 'application/json', ...headers }, body: text });
}

/** Checks that an answer is a failure as documented, and returns its detail. */
export function assertFailure(answer: Answer, status: number, code: string): unknown {
	assert.equal(answer.status, status, answer.text);
	const body = answer.json<{ error: string; message: string; detail: unknown; request_id: string }>();
	assert.equal(body.error, code, answer.text);
	assert(body.message.length > 0);
	assert.equal(body.request_id, answer.headers.get('x-request-id'));
	return body.detail;
}
