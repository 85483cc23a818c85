/** What both poll routes do: check the rights, wait, and hold what an account may hold while it waits. */

import type { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Auth } from '../../auth/auth.ts';
import { holderOf } from '../../auth/principal.ts';
import { denial, type TopicRights } from '../../auth/topic-access.ts';
import type { AccountCaps } from '../../limits/account-caps.ts';
import type { ConnectionMetrics } from '../../ports/observer.ts';
import type { PollAnswer, PollRequest } from '../../relay/poll.ts';
import type { Relay } from '../../relay/relay.ts';
import type { Start } from '../../relay/start.ts';
import { principalOf } from '../http/access.ts';
import { onClientLeft } from '../http/client-left.ts';
import { type AllowedStarts, allowStarts, watchRights } from '../http/rights.ts';

export interface PollDeps {
	readonly relay: Relay;
	readonly metrics: ConnectionMetrics;
	/** Null where nobody is asked for credentials. */
	readonly auth: Auth | null;
	readonly rights: TopicRights;
	/** Null where accounts have no caps. */
	readonly caps: AccountCaps | null;
}

/** What a route says about its polls. */
export type PollOptions = Omit<PollRequest, 'starts' | 'shownAs' | 'bytesMax' | 'signal'> & {
	/** Decides where an allowed poll really starts; default: where it asked to. */
	readonly place?: (allowed: AllowedStarts) => Promise<PollRequest['starts']>;
};

/** What both routes may answer instead, beside what every route may. */
export const POLL_ERRORS = [
	'invalid_request',
	'invalid_topic',
	'subscription_limit',
	'too_many_polls',
	'account_limit',
	'storage_unavailable',
	'shutting_down',
] as const;

/** Bytes of messages in one answer, unless its first message alone is larger. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;

/**
 * The longest wait. A client may ask for 60 s, and proxies by default give up on an answer after 60 s: it goes out a little before.
 */
const WAIT_MS_MAX = 55_000;

/** How long to wait for a client that asks for so many seconds. */
export function waitMsOf(timeoutS: number): number {
	return Math.min(timeoutS * 1000, WAIT_MS_MAX);
}

/** Runs a poll of a request. Rejects with what refuses it, also while it waits. */
export async function runPoll(
	deps: PollDeps,
	request: FastifyRequest,
	reply: FastifyReply,
	wanted: ReadonlyMap<string, Start>,
	{ place, ...limits }: PollOptions,
): Promise<PollAnswer> {
	const principal = principalOf(request);
	const allowed = await allowStarts(deps.rights, principal, wanted);
	const { shownAs } = allowed;
	const held = principal.kind === 'open' ? null : (deps.caps?.openPoll(holderOf(principal)) ?? null);
	const gone = new AbortController();
	const unwatchClient = onClientLeft(request.raw, reply.raw, () => gone.abort());
	let refusal: RelayError | null = null;
	const refuse = (error: RelayError) => {
		refusal = error;
		gone.abort();
	};
	const unwatch = watchRights(deps.auth, principal, {
		topics: () => allowed.starts.keys(),
		end: refuse,
		endTopic: (topic) => refuse(denial('grant', 'subscribe', shownAs.get(topic) ?? topic)),
	});
	deps.metrics.connectionOpened('longpoll');
	try {
		const starts = place === undefined ? allowed.starts : await place(allowed);
		const answer = await deps.relay.poll({ ...limits, starts, shownAs, bytesMax: ANSWER_BYTES_MAX, signal: gone.signal });
		if (refusal !== null) throw refusal;
		return answer;
	} finally {
		unwatchClient();
		unwatch();
		held?.release();
		deps.metrics.connectionClosed('longpoll');
	}
}
