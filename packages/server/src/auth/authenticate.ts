/**
 * From a credential to a principal. Nearly always everything that takes is in memory, and the answer is there at once; the
 * stored account, key and revocations count, as old as record-cache.ts lets them be.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { AccessTokens } from './access-tokens.ts';
import type { Account, Accounts } from './accounts.ts';
import type { ApiKey, ApiKeys, ShownKey } from './api-keys.ts';
import { isCurrent } from './credential-version.ts';
import { invalidToken } from './invalid-token.ts';
import { type KeySecret, secretOf } from './key-secrets.ts';
import type { Credential, KeyCredential, KnownPrincipal, TokenCredential } from './principal.ts';
import type { Revocation, Revocations } from './revocations.ts';
import { uncovered } from './scopes.ts';

export interface AuthenticatorOptions {
	readonly clock: Clock;
	readonly accounts: Accounts;
	readonly tokens: AccessTokens;
	readonly keys: ApiKeys;
	readonly revocations: Revocations;
}

/** What a credential rests on, as it is stored; null for what is not there, or does not matter to it. */
interface Grounds {
	readonly account: Account | null;
	readonly key: ApiKey | null;
	/** Of the token itself. */
	readonly token: Revocation | null;
	/** Of the session that it is of, or was minted in. */
	readonly session: Revocation | null;
}

export class Authenticator {
	readonly #options: AuthenticatorOptions;

	constructor(options: AuthenticatorOptions) {
		this.#options = options;
	}

	/**
	 * The principal of a token or key. Throws or rejects with `invalid_credentials`, with `forbidden` when the account is
	 * disabled, or with `storage_unavailable` when that cannot be found out: then nobody gets in.
	 */
	authenticate(credential: string): KnownPrincipal | Promise<KnownPrincipal> {
		return this.#options.keys.isKey(credential) ? this.#byKey(credential) : this.#byToken(credential);
	}

	/**
	 * The principal of a credential that was authenticated before, as it is now: at once where everything is in memory. Throws or rejects as
	 * {@link authenticate} does.
	 */
	renew(credential: Credential): KnownPrincipal | Promise<KnownPrincipal> {
		return credential.kind === 'token' ? this.#renewToken(credential) : this.#renewKey(credential);
	}

	/** The principal by what is stored at this moment, not by what is in memory. Rejects as {@link authenticate} does. */
	async confirm({ credential }: KnownPrincipal): Promise<KnownPrincipal> {
		if (credential.kind === 'key') return this.renew(credential);
		const { accounts, keys, revocations } = this.#options;
		const { jti, sessionId, keyId } = restsOn(credential);
		const [account, key, own, session] = await Promise.all([
			accounts.read(credential.accountId),
			keyId === null ? null : keys.get(keyId),
			jti === null ? null : revocations.read(jti),
			sessionId === null ? null : revocations.read(sessionId),
		]);
		return this.#tokenPrincipal(credential, { account, key, token: own, session });
	}

	#byKey(credential: string): KnownPrincipal | Promise<KnownPrincipal> {
		const { keys, accounts } = this.#options;
		const key = keys.peek(credential);
		const account = key === undefined ? undefined : accounts.peek(key.accountId);
		if (key === undefined || account === undefined) return this.#loadByKey(credential);
		const principal = this.#keyPrincipal(account, key, credentialOf(key));
		keys.used(key);
		return principal;
	}

	async #loadByKey(credential: string): Promise<KnownPrincipal> {
		const { keys, accounts } = this.#options;
		const key = await keys.verify(credential);
		const principal = this.#keyPrincipal(await accounts.get(key.accountId), key, credentialOf(key));
		keys.used(key);
		return principal;
	}

	#byToken(credential: string): KnownPrincipal | Promise<KnownPrincipal> {
		const { tokens } = this.#options;
		const known = tokens.peek(credential);
		if (known !== undefined) return this.#renewToken(known);
		return tokens.verify(credential).then((verified) => this.#renewToken(verified));
	}

	#renewKey(credential: KeyCredential): KnownPrincipal | Promise<KnownPrincipal> {
		const { keys, accounts } = this.#options;
		const key = keys.peekById(credential.keyId);
		if (key === null) throw invalidToken('the key was deleted or has expired');
		const account = key === undefined ? undefined : accounts.peek(key.accountId);
		if (key === undefined || account === undefined) return this.#loadKey(credential);
		return this.#keyPrincipal(account, key, credential);
	}

	async #loadKey(credential: KeyCredential): Promise<KnownPrincipal> {
		const { keys, accounts } = this.#options;
		const key = await keys.get(credential.keyId);
		if (key === null) throw invalidToken('the key was deleted or has expired');
		return this.#keyPrincipal(await accounts.get(key.accountId), key, credential);
	}

	#keyPrincipal(found: Account | null, key: ApiKey, credential: KeyCredential): KnownPrincipal {
		const account = active(found);
		const { secretCv } = credential;
		const secret = secretOf(key.secrets, { secretCv, issuedAtMs: 0 }, this.#options.clock.nowMs());
		if (secret === undefined) throw invalidToken('the secret of the key was replaced');
		const { accountId, username, permissions, cv } = account;
		const { keyId, scopes } = key;
		const expiresAtMs = earliest(key.expiresAtMs, secret.expiresAtMs);
		return { kind: 'apiKey', accountId, username, permissions, cv, keyId, secretCv, scopes, expiresAtMs, credential };
	}

	#renewToken(token: TokenCredential): KnownPrincipal | Promise<KnownPrincipal> {
		const { accounts, keys, revocations } = this.#options;
		const { jti, sessionId, keyId } = restsOn(token);
		const account = accounts.peek(token.accountId);
		const key = keyId === null ? null : keys.peekById(keyId);
		const own = jti === null ? null : revocations.peek(jti);
		const session = sessionId === null ? null : revocations.peek(sessionId);
		if (account === undefined || key === undefined || own === undefined || session === undefined) return this.#load(token);
		return this.#tokenPrincipal(token, { account, key, token: own, session });
	}

	async #load(token: TokenCredential): Promise<KnownPrincipal> {
		const { accounts, keys, revocations } = this.#options;
		const { jti, sessionId, keyId } = restsOn(token);
		const [account, key, own, session] = await Promise.all([
			accounts.get(token.accountId),
			keyId === null ? null : keys.get(keyId),
			jti === null ? null : revocations.get(jti),
			sessionId === null ? null : revocations.get(sessionId),
		]);
		return this.#tokenPrincipal(token, { account, key, token: own, session });
	}

	#tokenPrincipal(token: TokenCredential, grounds: Grounds): KnownPrincipal {
		if (grounds.token !== null) throw revoked('it was logged out');
		if (isOver(token, grounds.session)) throw revoked('its session has ended');
		const account = active(grounds.account);
		const { accountId, username, permissions, cv } = account;
		const { jti, sessionId, expiresAtMs, limits } = token;
		const holder = { accountId, username, permissions, cv, expiresAtMs, credential: token };
		if (limits === null) {
			if (!isCurrent(account, token)) throw revoked('it is from before a change of the password, or the like');
			return { ...holder, kind: 'account', jti, sessionId };
		}
		if (jti === null) throw invalidToken('it is a scoped token without a name');
		const { scopes, mintedBy } = limits;
		if (mintedBy.kind === 'session') {
			if (!isCurrent(account, token)) throw revoked('it is from before a change of the password, or the like');
			return { ...holder, kind: 'scoped', jti, scopes, mintedBy };
		}
		const secret = this.#minterOf(token, grounds.key);
		const endsAtMs = earliest(expiresAtMs, earliest(grounds.key?.expiresAtMs ?? null, secret.expiresAtMs));
		return { ...holder, kind: 'scoped', jti, scopes, mintedBy, expiresAtMs: endsAtMs };
	}

	/** The secret by which a key minted a token. Throws when it or the key is gone, or when the key may do less by now than the token says. */
	#minterOf({ accountId, issuedAtMs, limits }: TokenCredential, key: ApiKey | null): KeySecret {
		const secretCv = limits?.mintedBy.kind === 'key' ? limits.mintedBy.secretCv : null;
		const secret = key === null ? undefined : secretOf(key.secrets, { secretCv, issuedAtMs }, this.#options.clock.nowMs());
		if (secret === undefined || key?.accountId !== accountId || uncovered(key.scopes, limits?.scopes ?? []) !== undefined) {
			throw invalidToken('the key that minted it is gone, has another secret, or may do less by now');
		}
		return secret;
	}
}

/** The names of what ends a token beside its account. */
export function restsOn({ jti, sessionId, limits }: TokenCredential): {
	readonly jti: string | null;
	readonly sessionId: string | null;
	readonly keyId: string | null;
} {
	if (limits === null) return { jti, sessionId: sessionId === jti ? null : sessionId, keyId: null };
	const { mintedBy } = limits;
	return mintedBy.kind === 'key'
		? { jti, sessionId: null, keyId: mintedBy.keyId }
		: { jti, sessionId: mintedBy.sessionId, keyId: null };
}

/** Whether the session of a token has ended; of a scoped token also whether it was logged out since the token was minted. */
function isOver({ issuedAtMs, limits }: TokenCredential, session: Revocation | null): boolean {
	if (session === null || session.isOver || limits === null) return session?.isOver === true;
	const { mintedBy } = limits;
	return mintedBy.kind === 'session' && !isCurrent(session, { cv: mintedBy.sessionCv, issuedAtMs });
}

function credentialOf({ keyId, secretCv }: ShownKey): KeyCredential {
	return { kind: 'key', keyId, secretCv };
}

function earliest(a: number | null, b: number | null): number | null {
	return a === null || b === null ? (a ?? b) : Math.min(a, b);
}

function active(account: Account | null): Account {
	if (account === null) {
		throw new RelayError('invalid_credentials', 'the account is gone', {
			detail: 'User not found',
			cause: 'there is no account of this id',
		});
	}
	if (!account.isActive) throw new RelayError('forbidden', 'the account is not active', { detail: 'User is inactive' });
	return account;
}

function revoked(check: string): RelayError {
	return new RelayError('invalid_credentials', 'the token has been revoked', { detail: 'Token has been revoked', cause: check });
}

/** The credential in an `Authorization` header. Throws `not_authenticated` when there is none of a kind that is understood. */
export function bearerOf(authorization: string | undefined): string {
	const [, credential] = /^bearer +(\S+) *$/i.exec(authorization ?? '') ?? [];
	if (credential === undefined) {
		throw new RelayError('not_authenticated', 'the request has no bearer credentials', { detail: 'Not authenticated' });
	}
	return credential;
}
