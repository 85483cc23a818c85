/** Minting scoped tokens: an account or a key gives away a part of what it may do, for a while. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { AccessTokens, IssuedToken } from './access-tokens.ts';
import type { AccountPrincipal, ApiKeyPrincipal, KnownPrincipal, Minter, Scope } from './principal.ts';
import type { RefreshTokens } from './refresh-tokens.ts';
import { type RequestedScope, uncovered } from './scopes.ts';
import { denial, PERMISSION_FOR, permissionRequired, type TopicAccess } from './topic-access.ts';

export const SCOPED_LIFETIME_S_DEFAULT = 300;
/** A token with more would not fit into a header. */
const PATTERNS_MAX = 50;

/** Scopes as they are stored. A pattern whose owner does not exist matches nothing, and is not refused: who exists must not show. */
export function resolveScopes(
	topics: TopicAccess,
	accountId: string,
	requested: readonly RequestedScope[],
): Promise<readonly Scope[]> {
	return Promise.all(
		requested.map(async ({ actions, topics: patterns }) => {
			const resolved = await Promise.all(patterns.map((pattern) => topics.patternOf(accountId, pattern)));
			return { actions: [...new Set(actions)], topics: [...new Set(resolved)] };
		}),
	);
}

/**
 * Mints a token. It can do nothing that the minter cannot: for a key its scopes are the bound, for an account its permissions.
 * Rejects with `forbidden`.
 */
export async function mintScopedToken(
	{ tokens, topics, sessions }: { readonly tokens: AccessTokens; readonly topics: TopicAccess; readonly sessions: RefreshTokens },
	minter: KnownPrincipal,
	{ scopes: requested, lifetimeS }: { readonly scopes: readonly RequestedScope[]; readonly lifetimeS: number },
): Promise<IssuedToken> {
	if (minter.kind === 'scoped') throw new RelayError('forbidden', 'a scoped token cannot mint another');
	if (requested.reduce((sum, { topics: patterns }) => sum + patterns.length, 0) > PATTERNS_MAX) {
		throw new RelayError('invalid_request', `the scopes name more than ${PATTERNS_MAX} topics`);
	}
	const needed = new Set(requested.flatMap(({ actions }) => actions));
	for (const action of needed) {
		const permission = PERMISSION_FOR[action];
		if (!minter.permissions.includes(permission)) throw permissionRequired(permission);
	}
	if (minter.kind === 'apiKey') await checkCovered(topics, minter, requested);
	return tokens.issueScoped({
		account: minter,
		cv: minter.cv,
		scopes: carried(minter.accountId, requested),
		by: await minterOf(sessions, minter),
		lifetimeS,
	});
}

/** Throws `forbidden` for the first pattern that the key does not contain, in the words of the request. */
async function checkCovered(topics: TopicAccess, key: ApiKeyPrincipal, requested: readonly RequestedScope[]): Promise<void> {
	for (const { actions, topics: patterns } of requested) {
		for (const pattern of patterns) {
			const scope = { actions, topics: [await topics.patternOf(key.accountId, pattern)] };
			const beyond = uncovered(key.scopes, [scope]);
			if (beyond !== undefined) throw denial('scope', beyond.action, pattern);
		}
	}
}

/** Scopes as a token carries them: its own topics as in the store, those of others by the name that was given. */
function carried(accountId: string, requested: readonly RequestedScope[]): readonly Scope[] {
	return requested.map(({ actions, topics }) => ({
		actions: [...new Set(actions)],
		topics: [...new Set(topics.map((pattern) => (pattern.includes('/') ? pattern : `${accountId}/${pattern}`)))],
	}));
}

/** A session's version is that of now: what an access token mints after a logout of its session is good, as the token is. */
async function minterOf(sessions: RefreshTokens, minter: AccountPrincipal | ApiKeyPrincipal): Promise<Minter> {
	if (minter.kind === 'apiKey') return { kind: 'key', keyId: minter.keyId, secretCv: minter.secretCv };
	const { sessionId } = minter;
	return { kind: 'session', sessionId, sessionCv: sessionId === null ? null : await sessions.versionOf(sessionId) };
}
