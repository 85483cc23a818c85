/** Long-polling: works wherever HTTP does (PROTOCOL.md, "Poll"). */

import type { Gap } from '../errors.ts';
import { elementSpans, memberSpans } from '../json-spans.ts';
import type { Requests } from '../requests.ts';
import { queryOf } from './chunks.ts';
import type { Link, LinkEnd, LinkOptions } from './link.ts';
import { RequestLink, type Run } from './request-link.ts';

/** Below the 30 s after which some proxies give up on an answer. */
const WAIT_S = 25;
const MESSAGES_MAX = 1000;

/** Asks again and again, for each chunk of topics. */
export function openPollLink(requests: Requests, options: LinkOptions): Link {
	return new RequestLink('poll', options, (run) => poll(requests, options, run));
}

async function poll(requests: Requests, { positionOf }: LinkOptions, run: Run): Promise<LinkEnd> {
	const { topics } = run.chunk;
	// The first request does not wait: its answer shows that the relay can be reached, and where topics begin that have no id yet.
	for (let first = true; ; first = false) {
		const query = queryOf(run.chunk, positionOf);
		query.set('timeout', first ? '0' : `${WAIT_S}`);
		query.set('limit', `${MESSAGES_MAX}`);
		const nextOffset = take(run, await requests.text(`/api/v1/poll?${query}`, { signal: run.signal }));
		if (first) run.following(positionsIn(topics, nextOffset));
	}
}

/** Gives out an answer. Returns where the next poll goes on. */
function take(run: Run, text: string): string {
	run.alive();
	const members = memberSpans(text);
	const member = (name: string): unknown => {
		const span = members.get(name);
		return span === undefined ? undefined : JSON.parse(text.slice(span.start, span.end));
	};
	for (const gap of (member('gaps') ?? []) as Gap[]) run.gap(gap);
	for (const { start, end } of elementSpans(text, members.get('messages')?.start ?? text.length))
		run.message(text.slice(start, end));
	return `${member('next_offset')}`;
}

/** The positions in a `next_offset`: the id of the only topic, or `topic:id` for each. */
function positionsIn(topics: readonly string[], nextOffset: string): ReadonlyMap<string, string> {
	const [only] = topics;
	if (topics.length === 1 && only !== undefined && !nextOffset.includes(':')) return new Map([[only, nextOffset]]);
	return new Map(
		nextOffset.split(',').map((part) => {
			const colon = part.indexOf(':');
			return [part.slice(0, colon), part.slice(colon + 1)];
		}),
	);
}
