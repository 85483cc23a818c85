/**
 * The event `closed`: why a stream ends or does not begin, and what the page is to do (PROTOCOL.md, "SSE"). A browser shows a page
 * nothing of a refused request, and gives up for good on every answer but 200; refusals that pass are therefore streams that end.
 */

import { ERRORS, type RelayError } from '@pulsar-relay/protocol/errors';
import { encodeSseEvent } from '@pulsar-relay/protocol/sse';
import type { FailureAnswer } from '../http/errors.ts';

export const EVENT_STREAM_TYPE = 'text/event-stream; charset=utf-8';

/** Reconnecting clients are spread over so much more than they are asked to wait. */
const RETRY_SPREAD_MS = 1000;

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

/** The answer for a refusal that passes: a stream that says when to come back, and ends. */
export function streamOfRefusal(error: RelayError, lastEventId: string, retryAfterS: number): FailureAnswer {
	const retryMs = Math.round(retryAfterS * 1000 + Math.random() * RETRY_SPREAD_MS);
	const event = Buffer.from(encodeClosedEvent(error, lastEventId)).toString();
	return { status: 200, type: EVENT_STREAM_TYPE, body: `retry: ${retryMs}\n${event}` };
}
