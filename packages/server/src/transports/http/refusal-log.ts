/**
 * What the log says of refused hosts and web pages. A browser shows a page no more than that it failed, so the operator learns here which
 * setting is missing, or what a proxy in front does to `Host`. Everybody can send such requests: the lines are few.
 */

import type { IncomingMessage } from 'node:http';
import type { RelayError } from '@pulsar-relay/protocol/errors';
import type { Logger } from '../../ops/logger.ts';
import { printable } from '../../ops/printable.ts';
import type { Clock } from '../../ports/clock.ts';

/** Logs that a request was refused for its `Host` or `Origin`. */
export type LogRefusal = (request: IncomingMessage, refusal: RelayError) => void;

const INTERVAL_MS = 60_000;
const LINES_PER_INTERVAL = 10;

/** Makes the function that logs refusals, at most ten in a minute; the next line says how many were left out. */
export function createRefusalLog(logger: Logger, clock: Clock): LogRefusal {
	let sinceMs = Number.NEGATIVE_INFINITY;
	let lines = 0;
	let unlogged = 0;
	return (request, refusal) => {
		const nowMs = clock.monotonicMs();
		if (nowMs - sinceMs >= INTERVAL_MS) {
			sinceMs = nowMs;
			lines = 0;
		}
		if (lines >= LINES_PER_INTERVAL) {
			unlogged++;
			return;
		}
		lines++;
		const { headers, method, url = '', socket } = request;
		const fields = {
			reason: refusal.code,
			origin: shown(headers.origin),
			host: shown(headers.host),
			method,
			// Without the query, which may hold a token.
			path: shown(url.split('?', 1)[0]),
			upgrade: shown(headers.upgrade),
			peer: socket.remoteAddress,
			...(unlogged === 0 ? {} : { unlogged }),
		};
		unlogged = 0;
		logger.warn(fields, refusal.message);
	};
}

function shown(text: string | undefined): string | undefined {
	return text === undefined ? undefined : printable(text);
}
