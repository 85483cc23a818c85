/** Server-sent events over fetch, which unlike `EventSource` can send a token (PROTOCOL.md, "SSE"). */

import { type Gap, RelayError } from '../errors.ts';
import { notARelay, type Requests } from '../requests.ts';
import { queryOf } from './chunks.ts';
import { readEvents, type ServerEvent } from './event-stream.ts';
import type { Link, LinkEnd, LinkOptions } from './link.ts';
import { RequestLink, type Run } from './request-link.ts';

/** A stream without a word of when to come back. */
const RETRY_MS = 1000;

/** Opens event streams, one for each chunk of topics. */
export function openSseLink(requests: Requests, options: LinkOptions): Link {
	return new RequestLink('sse', options, (run) => stream(requests, options, run));
}

async function stream(requests: Requests, { positionOf }: LinkOptions, run: Run): Promise<LinkEnd> {
	const response = await requests.send(`/api/v1/events?${queryOf(run.chunk, positionOf)}`, {
		// With JSON beside it the relay answers a refusal with its status, and not as `EventSource` needs it.
		headers: { accept: 'text/event-stream, application/json' },
		signal: run.signal,
	});
	if (response.body === null || !/^text\/event-stream/.test(response.headers.get('content-type') ?? '')) {
		await response.body?.cancel();
		throw notARelay(response);
	}
	let retryMs = RETRY_MS;
	try {
		for await (const item of readEvents(response.body)) {
			run.alive();
			if (item.kind === 'retry') retryMs = item.retryMs;
			if (item.kind !== 'event') continue;
			const end = take(run, item.event);
			if (end !== null) return end;
		}
	} catch (cause) {
		return { kind: 'lost', error: new RelayError('unreachable', 'the event stream broke', { cause }) };
	}
	return { kind: 'drained', retryAfterMs: retryMs };
}

function take(run: Run, { name, data }: ServerEvent): LinkEnd | null {
	if (name === 'message') {
		run.message(data);
		return null;
	}
	const fields = JSON.parse(data) as { cursors?: Record<string, string>; topic?: string; code?: string; message?: string };
	const { topic = '', code = 'internal_error', message = '' } = fields;
	switch (name) {
		case 'subscribed':
			run.following(new Map(Object.entries(fields.cursors ?? {})));
			return null;
		case 'gap':
			run.gap(fields as unknown as Gap);
			return null;
		case 'topic_deleted':
			run.topicEnded(topic, new RelayError('topic_deleted', `topic ${topic} was deleted`));
			return null;
		case 'topic_forbidden':
			run.topicEnded(topic, new RelayError('forbidden', `the right to read topic ${topic} was taken back`));
			return null;
		case 'closed':
			return { kind: 'refused', error: new RelayError(code, message, { status: code === 'access_revoked' ? 403 : 401 }) };
		default:
			// A later relay may have more to say.
			return null;
	}
}
