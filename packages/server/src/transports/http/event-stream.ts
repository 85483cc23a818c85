/**
 * What `EventSource` needs to be told (PROTOCOL.md, "SSE"). A browser shows a page nothing of a refused request, and gives up for good on
 * every answer but 200; refusals that pass are therefore streams that end, with the event `closed`, which says why and what the page is to do.
 */

import { ERRORS, type RelayError } from '@pulsar-relay/protocol/errors';
import { encodeSseEvent } from '@pulsar-relay/protocol/sse';
import type { FastifyRequest } from 'fastify';

export const EVENT_STREAM_TYPE = 'text/event-stream; charset=utf-8';

/** Reconnecting clients are spread over so much more than they are asked to wait. */
const RETRY_SPREAD_MS = 1000;
/** `lastEventId`, `last-event-id`, `Last-Event-ID`, `lastEventID`: polyfills differ. */
const LAST_EVENT_ID_PARAMETER = /^last[-_]?event[-_]?id$/i;
/** What may be repeated in an event; nothing else can be a cursor. */
const CURSOR_FORM = /^[!-~]+$/;

/**
 * - `reconnect`: nothing, an `EventSource` comes back by itself.
 * - `renew`: get another credential, and open a new stream with it from the last event id.
 * - `stop`: nothing, the same request is refused again.
 */
type Action = 'reconnect' | 'renew' | 'stop';

/** @param lastEventId the cursor of the stream; it is repeated for clients that forget it with each event that has none */
export function encodeClosedEvent({ code, message }: RelayError, lastEventId: string): Uint8Array {
	const data = JSON.stringify({ code, message, action: actionOf(code), last_event_id: lastEventId });
	return encodeSseEvent({ event: 'closed', ...(lastEventId === '' ? {} : { id: lastEventId }), data });
}

function actionOf(code: RelayError['code']): Action {
	const { status, retryable } = ERRORS[code];
	if (retryable) return 'reconnect';
	return status === 401 ? 'renew' : 'stop';
}

/**
 * The stream in the place of a refusal that passes; null for clients that read the status. Browsers, and clients that do as they do, are known
 * by what they accept.
 */
export function refusalStream(request: FastifyRequest, error: RelayError, retryAfterS: number): string | null {
	const { method, headers } = request;
	if (method !== 'GET' || headers.accept?.trim().toLowerCase() !== 'text/event-stream') return null;
	const retryMs = Math.round(retryAfterS * 1000 + Math.random() * RETRY_SPREAD_MS);
	const lastEventId = lastEventIdOf(request);
	const event = encodeClosedEvent(error, CURSOR_FORM.test(lastEventId) ? lastEventId : '');
	return `retry: ${retryMs}\n${Buffer.from(event).toString()}`;
}

/** The last event id of a client that reconnects; empty for one that does not. Of several in the query the last one is the newest. */
export function lastEventIdOf({ headers, query }: FastifyRequest): string {
	const inHeader = headers['last-event-id'];
	if (typeof inHeader === 'string' && inHeader !== '') return inHeader;
	const inQuery = Object.entries(query as Readonly<Record<string, string | readonly string[]>>)
		.filter(([name]) => LAST_EVENT_ID_PARAMETER.test(name))
		.flatMap(([, value]) => value)
		.filter((value) => value !== '');
	return inQuery.at(-1) ?? '';
}
