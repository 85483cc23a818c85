/** Identity and access, put together over one set of records. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { Records } from '../ports/records.ts';
import { AccessTokens } from './access-tokens.ts';
import { surveyAccounts } from './account-survey.ts';
import { type Account, type AccountChange, Accounts } from './accounts.ts';
import { ApiKeys } from './api-keys.ts';
import type { AuthLog } from './auth-log.ts';
import { Authenticator } from './authenticate.ts';
import { type BootstrapAdmin, bootstrapAdmin } from './bootstrap-admin.ts';
import { isCurrent } from './credential-version.ts';
import { DeviceFlow } from './device-flow.ts';
import { FederatedAccounts } from './federated-accounts.ts';
import { LiveConnections } from './live-connections.ts';
import { OidcSignIn, type OidcSignInOptions } from './oidc-sign-in.ts';
import { OutsideTokens, type OutsideTokensOptions } from './outside-tokens.ts';
import { Passwords } from './passwords.ts';
import type { AccountPrincipal, ScopedPrincipal } from './principal.ts';
import { sessionIdOf } from './refresh-secrets.ts';
import { RefreshTokens } from './refresh-tokens.ts';
import { Revocations } from './revocations.ts';
import { TopicAccess } from './topic-access.ts';

/** How often expired records are removed, and how soon again when there are more. */
const PURGE_INTERVAL_MS = 60_000;
const PURGE_AGAIN_MS = 100;

export interface AuthOptions {
	readonly records: Records;
	readonly clock: Clock;
	/** Whether what has expired by the clock may be removed; default always. */
	readonly mayPurge?: () => boolean;
	readonly log: AuthLog;
	readonly jwtSecret: string;
	readonly accessTokenLifetimeS: number;
	readonly refreshTokenLifetimeS: number;
	readonly refreshGraceS: number;
	/** Absent: nobody signs in by a browser. */
	readonly browser?: BrowserSignInOptions;
	/** Absent: only the relay's own tokens are good. */
	readonly outsideTokens?: OutsideTokensOptions;
}

/** Signing in by a browser: for a program that has none, and at a provider. */
export interface BrowserSignInOptions {
	/** The URL under which browsers reach the relay, without a slash at its end. */
	readonly baseUrl: string;
	readonly deviceLifetimeS: number;
	readonly deviceIntervalS: number;
	/** Null: there are no providers. */
	readonly oidc: Omit<OidcSignInOptions, 'baseUrl'> | null;
}

/** What signing in by a browser takes. */
export interface BrowserSignIn {
	readonly baseUrl: string;
	readonly device: DeviceFlow;
	readonly oidc: OidcSignIn | null;
}

/** What login and refresh answer with. */
export interface Tokens {
	readonly accessToken: string;
	readonly expiresInS: number;
	readonly refreshToken: string;
}

export class Auth {
	readonly passwords: Passwords;
	readonly accounts: Accounts;
	readonly federated: FederatedAccounts;
	readonly revocations: Revocations;
	readonly tokens: AccessTokens;
	readonly sessions: RefreshTokens;
	readonly keys: ApiKeys;
	readonly topics: TopicAccess;
	readonly authenticator: Authenticator;
	readonly live: LiveConnections;
	/** Null where there is no address for browsers. */
	readonly browser: BrowserSignIn | null;
	readonly #options: AuthOptions;
	#cancelPurge: () => void = () => {};
	#closed = false;

	constructor(options: AuthOptions) {
		const { records, clock, log } = options;
		this.#options = options;
		this.passwords = new Passwords();
		this.accounts = new Accounts({ records, clock, passwords: this.passwords });
		this.federated = new FederatedAccounts({ records, accounts: this.accounts });
		this.revocations = new Revocations({ records, clock });
		const { accounts, federated, revocations } = this;
		this.tokens = new AccessTokens({
			clock,
			secret: options.jwtSecret,
			lifetimeS: options.accessTokenLifetimeS,
			outside:
				options.outsideTokens === undefined
					? null
					: new OutsideTokens(options.outsideTokens, { clock, log, accounts, federated }),
			resolveOwner: (owner) => accounts.resolve(owner),
		});
		this.sessions = new RefreshTokens({
			records,
			clock,
			accounts,
			revocations,
			lifetimeS: options.refreshTokenLifetimeS,
			graceS: options.refreshGraceS,
		});
		this.keys = new ApiKeys({
			records,
			clock,
			onUseNotNoted: (error) => log.warn({ err: error }, 'the use of an API key could not be noted'),
		});
		this.topics = new TopicAccess({ records, clock, accounts });
		this.authenticator = new Authenticator({ clock, accounts, tokens: this.tokens, keys: this.keys, revocations });
		this.live = new LiveConnections({ records, clock, authenticator: this.authenticator, topics: this.topics });
		this.browser = options.browser === undefined ? null : this.#openBrowserSignIn(options.browser);
		this.#purgeLater(PURGE_INTERVAL_MS);
	}

	/** To be called once before it serves: looks at all accounts, and sees to the operator's. Rejects with `storage_unavailable`. */
	async prepare(admin: BootstrapAdmin | null): Promise<void> {
		const { records, log } = this.#options;
		const { accounts, passwords } = this;
		await surveyAccounts({ records, accounts, passwords });
		if (admin !== null) await bootstrapAdmin({ records, accounts, passwords, log }, admin);
	}

	/** Signs in by password. Rejects as {@link checkPassword} does. */
	async login(username: string, password: string): Promise<Tokens> {
		const account = await this.checkPassword(username, password);
		const tokens = await this.begin(account, 'password-login');
		// The password was replaced while it was checked, or this node has not heard of it yet.
		if (tokens === null) throw wrongPassword();
		return tokens;
	}

	/** The account of a password. Rejects with `invalid_credentials`, the same and as late whatever is wrong, or `forbidden`. */
	async checkPassword(username: string, password: string): Promise<Account> {
		const account = await this.accounts.findByName(username);
		const right = await this.passwords.verify(account?.passwordHash ?? null, password);
		if (account === null || !right) throw wrongPassword();
		if (!account.isActive) {
			throw new RelayError('forbidden', 'the account is not active', { detail: 'User account is inactive' });
		}
		if (account.passwordHash !== null && this.passwords.isOutdated(account.passwordHash)) {
			await this.accounts.rehash(account, password);
		}
		return account;
	}

	/**
	 * Begins a session of an account that has shown who it is. Null when it is gone or disabled, or when what it has shown was replaced
	 * meanwhile.
	 */
	async begin(account: Account, clientHint: string | null): Promise<Tokens | null> {
		const refreshToken = await this.sessions.issue(account, clientHint);
		return refreshToken === null ? null : this.#issue(account, account.cv, refreshToken);
	}

	/** Gives new tokens for a refresh token. Rejects with `invalid_credentials`. */
	async refresh(refreshToken: string): Promise<Tokens> {
		const outcome = await this.sessions.rotate(refreshToken);
		if (outcome.status !== 'rotated') {
			if (outcome.status === 'replayed') {
				const { accountId, jti } = outcome;
				this.#options.log.warn({ account_id: accountId, session: jti }, 'a used refresh token came again; its session was ended');
			}
			throw invalidRefreshToken(`the refresh token is ${outcome.status}`);
		}
		const account = await this.accounts.get(outcome.accountId);
		if (account?.isActive === true && isCurrent(account, outcome)) {
			return this.#issue(account, outcome.cv ?? account.cv, outcome.refreshToken);
		}
		await this.sessions.delete(outcome.accountId, outcome.jti);
		if (account?.isActive === true) throw invalidRefreshToken('the session is from before a change of the password, or the like');
		throw new RelayError('invalid_credentials', 'user not found', { detail: 'user not found' });
	}

	/**
	 * Ends the token of a principal, and of an access token the scoped tokens that were minted in its session until now. The session goes on:
	 * clients of the earlier server keep its refresh token.
	 */
	async logout(principal: AccountPrincipal | ScopedPrincipal): Promise<void> {
		const { credential } = principal;
		if (credential.kind !== 'token') return;
		const { jti, sessionId, expiresAtMs } = credential;
		if (jti !== null) await this.revocations.endToken(jti, expiresAtMs);
		if (sessionId !== null && sessionId !== jti) await this.sessions.logOut(sessionId);
	}

	/** Changes an account; null when there is none. A new password, and disabling, end everything that was made under the account's credentials. */
	async changeAccount(accountId: string, change: AccountChange): Promise<Account | null> {
		const account = await this.accounts.change(accountId, change);
		// They are refused in any case; this only tidies up.
		if (account !== null && change.password !== undefined) await this.sessions.forgetAll(accountId);
		return account;
	}

	/** Deletes an account, its sessions and its keys. False when there is none. */
	async deleteAccount(accountId: string): Promise<boolean> {
		const deleted = await this.accounts.delete(accountId);
		// Without their account they are worth nothing; this only tidies up.
		await this.sessions.forgetAll(accountId);
		await this.keys.deleteAll(accountId);
		await this.federated.forget(accountId);
		return deleted;
	}

	/** Stops the background work. The records are closed by whoever opened them. */
	close(): void {
		this.#closed = true;
		this.#cancelPurge();
		this.live.close();
		this.topics.close();
		this.keys.close();
		this.tokens.close();
		this.revocations.close();
		this.accounts.close();
	}

	#openBrowserSignIn({ baseUrl, oidc, ...device }: BrowserSignInOptions): BrowserSignIn {
		const { records, clock, log, jwtSecret: secret } = this.#options;
		const { accounts, federated } = this;
		return {
			baseUrl,
			device: new DeviceFlow({
				records,
				clock,
				accounts,
				lifetimeS: device.deviceLifetimeS,
				intervalS: device.deviceIntervalS,
			}),
			oidc: oidc === null ? null : new OidcSignIn({ ...oidc, baseUrl }, { records, clock, log, secret, accounts, federated }),
		};
	}

	async #issue(account: Account, cv: number, refreshToken: string): Promise<Tokens> {
		const { token, expiresInS } = await this.tokens.issue({ account, cv, sessionId: sessionIdOf(refreshToken) });
		return { accessToken: token, expiresInS, refreshToken };
	}

	#purgeLater(delayMs: number): void {
		if (this.#closed) return;
		this.#cancelPurge = this.#options.clock.after(delayMs, () => {
			if (this.#options.mayPurge?.() === false) {
				this.#purgeLater(PURGE_INTERVAL_MS);
				return;
			}
			this.#options.records.purge().then(
				({ more }) => this.#purgeLater(more ? PURGE_AGAIN_MS : PURGE_INTERVAL_MS),
				(error: unknown) => {
					if (!this.#closed) this.#options.log.warn({ err: error }, 'expired records could not be removed');
					this.#purgeLater(PURGE_INTERVAL_MS);
				},
			);
		});
	}
}

function invalidRefreshToken(check: string): RelayError {
	return new RelayError('invalid_credentials', 'invalid refresh token', { detail: 'invalid refresh token', cause: check });
}

function wrongPassword(): RelayError {
	return new RelayError('invalid_credentials', 'incorrect username or password', { detail: 'Incorrect username or password' });
}
