/**
 * From a credential to a principal. Nearly always everything that takes is in memory, and the answer is there at once; the
 * stored account, key and denials count, as old as record-cache.ts lets them be.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { type AccessTokens, invalidToken, type VerifiedToken } from './access-tokens.ts';
import type { Account, Accounts } from './accounts.ts';
import type { ApiKey, ApiKeys } from './api-keys.ts';
import type { KnownPrincipal, Scope } from './principal.ts';
import { uncovered } from './scopes.ts';

export interface AuthenticatorOptions {
	readonly accounts: Accounts;
	readonly tokens: AccessTokens;
	readonly keys: ApiKeys;
}

export class Authenticator {
	readonly #accounts: Accounts;
	readonly #tokens: AccessTokens;
	readonly #keys: ApiKeys;

	constructor({ accounts, tokens, keys }: AuthenticatorOptions) {
		this.#accounts = accounts;
		this.#tokens = tokens;
		this.#keys = keys;
	}

	/**
	 * The principal of a token or key. Throws or rejects with `invalid_credentials`, with `forbidden` when the account is
	 * disabled, or with `storage_unavailable` when that cannot be found out: then nobody gets in.
	 */
	authenticate(credential: string): KnownPrincipal | Promise<KnownPrincipal> {
		return this.#keys.isKey(credential) ? this.#byKey(credential) : this.#byToken(credential);
	}

	/** The principal as it is now. Rejects as {@link authenticate} does when its credential is one no longer. */
	async renew(principal: KnownPrincipal): Promise<KnownPrincipal> {
		const account = await this.#accounts.get(principal.accountId);
		switch (principal.kind) {
			case 'account':
				if (await this.#tokens.isDenied(principal.jti, null)) throw invalidToken();
				break;
			case 'scoped':
				if (await this.#tokens.isDenied(principal.jti, principal.mintedIn)) throw invalidToken();
				if (principal.keyId !== null) checkMinter(await this.#keys.get(principal.keyId), principal);
				break;
			case 'apiKey': {
				const key = await this.#keys.get(principal.keyId);
				if (key === null) throw invalidToken();
				return byKeyOf(active(account), key);
			}
		}
		const { permissions } = active(account);
		return { ...principal, permissions };
	}

	#byKey(credential: string): KnownPrincipal | Promise<KnownPrincipal> {
		const key = this.#keys.peek(credential);
		const account = key === undefined ? undefined : this.#accounts.peek(key.accountId);
		if (key === undefined || account === undefined) return this.#loadByKey(credential);
		return this.#use(key, account);
	}

	async #loadByKey(credential: string): Promise<KnownPrincipal> {
		const key = await this.#keys.verify(credential);
		return this.#use(key, await this.#accounts.get(key.accountId));
	}

	#use(key: ApiKey, account: Account | null): KnownPrincipal {
		const principal = byKeyOf(active(account), key);
		this.#keys.used(key);
		return principal;
	}

	#byToken(credential: string): KnownPrincipal | Promise<KnownPrincipal> {
		const verified = this.#tokens.peek(credential);
		if (verified === undefined) return this.#loadByToken(credential);
		const account = this.#accounts.peek(verified.accountId);
		const keyId = verified.limits?.keyId ?? null;
		const key = keyId === null ? null : this.#keys.peekById(keyId);
		if (account === undefined || key === undefined) return this.#loadByToken(credential);
		return byTokenOf(verified, account, key);
	}

	async #loadByToken(credential: string): Promise<KnownPrincipal> {
		const verified = await this.#tokens.verify(credential);
		const keyId = verified.limits?.keyId ?? null;
		const [account, key] = await Promise.all([
			this.#accounts.get(verified.accountId),
			keyId === null ? null : this.#keys.get(keyId),
		]);
		return byTokenOf(verified, account, key);
	}
}

/** @param key the key that minted the token, null when there is none or it is gone */
function byTokenOf(verified: VerifiedToken, account: Account | null, key: ApiKey | null): KnownPrincipal {
	const { accountId, username, permissions } = active(account);
	const { jti, sessionId, expiresAtMs, limits } = verified;
	if (limits === null) return { kind: 'account', accountId, username, permissions, jti, sessionId, expiresAtMs };
	const { scopes, keyId, mintedIn } = limits;
	if (jti === null) throw invalidToken();
	if (keyId !== null) checkMinter(key, { accountId, scopes });
	return { kind: 'scoped', accountId, username, permissions, jti, expiresAtMs, scopes, keyId, mintedIn };
}

/** Throws when the key that minted a token is gone, or may do less by now than the token says. */
function checkMinter(key: ApiKey | null, token: { readonly accountId: string; readonly scopes: readonly Scope[] }): void {
	if (key?.accountId !== token.accountId || uncovered(key.scopes, token.scopes) !== undefined) throw invalidToken();
}

function byKeyOf({ accountId, username, permissions }: Account, { keyId, scopes, expiresAtMs }: ApiKey): KnownPrincipal {
	return { kind: 'apiKey', accountId, username, permissions, keyId, scopes, expiresAtMs };
}

function active(account: Account | null): Account {
	if (account === null) {
		throw new RelayError('invalid_credentials', 'the account is gone', { detail: 'User not found' });
	}
	if (!account.isActive) throw new RelayError('forbidden', 'the account is not active', { detail: 'User is inactive' });
	return account;
}

/** The credential in an `Authorization` header. Throws `not_authenticated` when there is none of a kind that is understood. */
export function bearerOf(authorization: string | undefined): string {
	const [, credential] = /^bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
	if (credential === undefined) {
		throw new RelayError('not_authenticated', 'the request has no bearer credentials', { detail: 'Not authenticated' });
	}
	return credential;
}
