/** Principals: on whose behalf a request or a connection acts, and what it may do. */

/** What an account may do; `admin` does not imply the others. */
export type Permission = 'admin' | 'read' | 'write';

export const PERMISSIONS: readonly Permission[] = ['admin', 'read', 'write'];

/** What keys and scoped tokens are limited to. */
export type Action = 'publish' | 'subscribe';

export const ACTIONS: readonly Action[] = ['publish', 'subscribe'];

/** Actions on the topics that a pattern matches; see scopes.ts. */
export interface Scope {
	readonly actions: readonly Action[];
	/** Names or beginnings of names that end in `*`, as they are in the store: with the owner in front. */
	readonly topics: readonly string[];
}

/** A token whose signature was found right: what it says. */
export interface TokenCredential {
	readonly kind: 'token';
	readonly accountId: string;
	/** Names the token, so that it can be revoked; null for one of the earlier server without a name. */
	readonly jti: string | null;
	/** Unix time in ms, in whole seconds; 0 for one of another issuer that does not say it. */
	readonly issuedAtMs: number;
	readonly expiresAtMs: number;
	/** The account's credential version that it was made under; null where it carries none. */
	readonly cv: number | null;
	/** The session of an access token; null for a scoped token, and for one that has no name. */
	readonly sessionId: string | null;
	/** What the token is limited to; null for an access token, which is not. */
	readonly limits: TokenLimits | null;
}

/** An API key whose secret was found right. */
export interface KeyCredential {
	readonly kind: 'key';
	readonly keyId: string;
	/** The credential version of the secret. */
	readonly secretCv: number;
}

/** What somebody has shown. It can be looked at again at any time, as long as a connection is open. */
export type Credential = TokenCredential | KeyCredential;

export interface TokenLimits {
	readonly scopes: readonly Scope[];
	readonly mintedBy: Minter;
}

/** What a scoped token comes from, and ends with. The versions are null in tokens of relays up to 0.3.0. */
export type Minter =
	| { readonly kind: 'key'; readonly keyId: string; readonly secretCv: number | null }
	/** The id is null for a session that has no name. */
	| { readonly kind: 'session'; readonly sessionId: string | null; readonly sessionCv: number | null };

/** Somebody with the rights of an account. */
interface AccountHolder {
	readonly accountId: string;
	readonly username: string;
	/** Those of the stored account, whatever the token says. */
	readonly permissions: readonly Permission[];
	/** The credential version of the account under which the credential was found good. */
	readonly cv: number;
	/** Unix time in ms at which the credential stops being one; null = never. */
	readonly expiresAtMs: number | null;
	readonly credential: Credential;
}

/** The account itself, by an access token. */
export interface AccountPrincipal extends AccountHolder {
	readonly kind: 'account';
	/** Names the token, so that it can be revoked; null for a token of the earlier server that has no name. */
	readonly jti: string | null;
	/** The session that the token is of, as logging out ends what was minted in it; null when it has no name either. */
	readonly sessionId: string | null;
}

/** A producer or service, by an API key of the account. */
export interface ApiKeyPrincipal extends AccountHolder {
	readonly kind: 'apiKey';
	readonly keyId: string;
	/** Which secret of the key: the principal ends with it. */
	readonly secretCv: number;
	readonly scopes: readonly Scope[];
}

/** A browser or the like, by a short-lived token that the account or one of its keys has minted. */
export interface ScopedPrincipal extends AccountHolder {
	readonly kind: 'scoped';
	readonly jti: string;
	readonly mintedBy: Minter;
	readonly scopes: readonly Scope[];
}

/** Anybody, while the relay asks nobody for credentials. */
export interface OpenPrincipal {
	readonly kind: 'open';
}

export type Principal = OpenPrincipal | AccountPrincipal | ApiKeyPrincipal | ScopedPrincipal;

/** Anybody who has shown a credential. */
export type KnownPrincipal = Exclude<Principal, OpenPrincipal>;

export const OPEN: OpenPrincipal = { kind: 'open' };

/**
 * What a principal counts as, for idempotency keys and rate limits: two producers with a key each share neither, and browsers with
 * scoped tokens cannot use up what their account has.
 */
export function partyOf(principal: Principal): string {
	switch (principal.kind) {
		case 'open':
			return 'anonymous';
		case 'account':
			return principal.accountId;
		case 'apiKey':
			return `${principal.accountId}/${principal.keyId}`;
		case 'scoped':
			return `${principal.accountId}/scoped`;
	}
}

/** On whose behalf a principal holds something open: its account, and the key and the scoped token that it comes by; null = none. */
export function holderOf(principal: KnownPrincipal): {
	readonly accountId: string;
	readonly keyId: string | null;
	readonly tokenId: string | null;
} {
	const { accountId } = principal;
	switch (principal.kind) {
		case 'account':
			return { accountId, keyId: null, tokenId: null };
		case 'apiKey':
			return { accountId, keyId: principal.keyId, tokenId: null };
		case 'scoped':
			return { accountId, keyId: principal.mintedBy.kind === 'key' ? principal.mintedBy.keyId : null, tokenId: principal.jti };
	}
}

/** Whether there is any topic that a principal may publish to, as far as its permissions and scopes say. */
export function mayPublish(principal: Principal): boolean {
	if (principal.kind === 'open') return true;
	if (!principal.permissions.includes('write')) return false;
	return principal.kind === 'account' || principal.scopes.some(({ actions }) => actions.includes('publish'));
}
