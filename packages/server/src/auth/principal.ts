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

/** Somebody with the rights of an account. */
interface AccountHolder {
	readonly accountId: string;
	readonly username: string;
	/** Those of the stored account, whatever the token says. */
	readonly permissions: readonly Permission[];
	/** Unix time in ms at which the credential stops being one; null = never. */
	readonly expiresAtMs: number | null;
}

/** The account itself, by an access token. */
export interface AccountPrincipal extends AccountHolder {
	readonly kind: 'account';
	/** Names the token, so that it can be revoked; null for a token of the earlier server that has no name. */
	readonly jti: string | null;
	/** The session that the token is of, as logging out ends what was minted in it; null when it has no name either. */
	readonly sessionId: string | null;
}

/** Where a scoped token comes from: it ends when this session is logged out after that moment. */
export interface MintedIn {
	readonly sessionId: string;
	/** Unix time in seconds. */
	readonly mintedAtS: number;
}

/** A producer or service, by an API key of the account. */
export interface ApiKeyPrincipal extends AccountHolder {
	readonly kind: 'apiKey';
	readonly keyId: string;
	readonly scopes: readonly Scope[];
}

/** A browser or the like, by a short-lived token that the account or one of its keys has minted. */
export interface ScopedPrincipal extends AccountHolder {
	readonly kind: 'scoped';
	readonly jti: string;
	/** The key that minted it: the token ends with it. Null when the account did. */
	readonly keyId: string | null;
	/** The session in which the account minted it. Null when a key did. */
	readonly mintedIn: MintedIn | null;
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
			return { accountId, keyId: principal.keyId, tokenId: principal.jti };
	}
}
