/** Minting scoped tokens: an account or a key gives away a part of what it may do, for a while. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { AccessTokens, IssuedToken } from './access-tokens.ts';
import type { Action, KnownPrincipal, Scope } from './principal.ts';
import { uncovered } from './scopes.ts';
import { authorize, denial, type TopicAccess } from './topic-access.ts';

export const SCOPED_LIFETIME_S_DEFAULT = 300;
/** A token with more would not fit into a header. */
const PATTERNS_MAX = 50;

/** A scope as a request names it: patterns relative to the account. */
export interface RequestedScope {
	readonly actions: readonly Action[];
	readonly topics: readonly string[];
}

/** Scopes as they are stored. Rejects with `invalid_request` for a pattern whose owner is nobody. */
export async function resolveScopes(
	topics: TopicAccess,
	accountId: string,
	requested: readonly RequestedScope[],
): Promise<readonly Scope[]> {
	return Promise.all(
		requested.map(async ({ actions, topics: patterns }) => {
			const resolved = await Promise.all(
				patterns.map(async (pattern) => {
					const inStore = await topics.patternOf(accountId, pattern);
					if (inStore === null) throw new RelayError('invalid_request', `the owner of ${pattern} is nobody`);
					return inStore;
				}),
			);
			return { actions: [...new Set(actions)], topics: [...new Set(resolved)] };
		}),
	);
}

/** Scopes as their owner wrote them: its own topics are bare. */
export function shownScopes(accountId: string, scopes: readonly Scope[]): readonly RequestedScope[] {
	const own = `${accountId}/`;
	return scopes.map(({ actions, topics }) => ({
		actions,
		topics: topics.map((pattern) => (pattern.startsWith(own) ? pattern.slice(own.length) : pattern)),
	}));
}

/**
 * Mints a token. It can do nothing that the minter cannot: for a key its scopes are the bound, for an account its permissions.
 * Rejects with `forbidden`.
 */
export async function mintScopedToken(
	{ tokens, topics }: { readonly tokens: AccessTokens; readonly topics: TopicAccess },
	minter: KnownPrincipal,
	{ scopes: requested, lifetimeS }: { readonly scopes: readonly RequestedScope[]; readonly lifetimeS: number },
): Promise<IssuedToken> {
	if (minter.kind === 'scoped') throw new RelayError('forbidden', 'a scoped token cannot mint another');
	if (requested.reduce((sum, { topics: patterns }) => sum + patterns.length, 0) > PATTERNS_MAX) {
		throw new RelayError('invalid_request', `the scopes name more than ${PATTERNS_MAX} topics`);
	}
	for (const { actions } of requested) {
		for (const action of actions) {
			const decision = authorize(
				{ ...minter, kind: 'account', jti: null, sessionId: null },
				action,
				`${minter.accountId}/`,
				null,
			);
			if (decision.status === 'denied') throw denial(decision.reason, action, '');
		}
	}
	const scopes = await resolveScopes(topics, minter.accountId, requested);
	const beyond = minter.kind === 'apiKey' ? uncovered(minter.scopes, scopes) : undefined;
	if (beyond !== undefined) {
		const [shown] = shownScopes(minter.accountId, [{ actions: [beyond.action], topics: [beyond.topic] }]);
		throw denial('scope', beyond.action, shown?.topics[0] ?? '');
	}
	const by = minter.kind === 'apiKey' ? { keyId: minter.keyId } : { sessionId: minter.sessionId };
	return tokens.issueScoped(minter, { scopes, by, lifetimeS });
}
