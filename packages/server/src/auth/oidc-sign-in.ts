/**
 * Signing in at an OpenID Connect provider: authorization code with PKCE, state and nonce. What the relay must remember while
 * somebody is at the provider is sealed into a cookie of that browser, so that nobody can fill the relay with sign-ins that never
 * end, and a sign-in ends only in the browser in which it began. That it ends once is a record.
 */

import { hash, hkdfSync, randomBytes } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { EncryptJWT, jwtDecrypt } from 'jose';
import * as client from 'openid-client';
import type { Clock } from '../ports/clock.ts';
import type { Records } from '../ports/records.ts';
import type { Account, Accounts } from './accounts.ts';
import type { AuthLog } from './auth-log.ts';
import { isCurrent } from './credential-version.ts';
import { type FederatedAccounts, identityOf, verifiedEmail } from './federated-accounts.ts';
import { OidcProvider, type ProviderOptions } from './oidc-provider.ts';
import { causeOf, isUnavailable, providerUnavailable } from './outbound.ts';
import type { Permission } from './principal.ts';

/** Sign-ins that have ended, by the digest of their state. */
const USED = 'sign-in-used';
/** What a page is given to exchange for tokens, by its digest. */
const HANDOVER = 'sign-in-handover';
/** A used sign-in is remembered longer than it lives, for nodes whose clocks are late. */
const USED_MARGIN_MS = 120_000;
const HANDOVER_LIFETIME_MS = 60_000;
const SECRET_FORM = /^[A-Za-z0-9_-]{43}$/;
const SEALED_LENGTH_MAX = 3800;
const RETURN_URL_LENGTH_MAX = 1024;
const USER_CODE_LENGTH_MAX = 16;
const FAILURE_LENGTH_MAX = 200;

export interface OidcSignInOptions {
	/** The URL under which browsers reach the relay. */
	readonly baseUrl: string;
	readonly providers: readonly ProviderOptions[];
	readonly defaultPermissions: readonly Permission[];
	/** How long somebody may take at the provider. */
	readonly lifetimeS: number;
	/** Origins, beside the relay's own, to whose pages people may be sent back. */
	readonly returnOrigins: readonly string[];
}

/** What somebody wants who goes to a provider. */
export interface Purpose {
	/** The page to go back to; null = there is none, and tokens are the answer. */
	readonly next: string | null;
	/** The device that is to be approved; null = none. */
	readonly deviceUserCode: string | null;
}

/** Where to send the browser, and what it must bring back. */
export interface BegunSignIn {
	readonly url: string;
	readonly sealed: string;
	readonly lifetimeS: number;
}

export interface FinishedSignIn extends Purpose {
	readonly account: Account;
	/** What the session is called. */
	readonly clientHint: string;
}

interface Handover {
	readonly accountId: string;
	/** Absent in what relays up to 0.3.0 wrote. */
	readonly cv?: number;
	readonly clientHint: string;
}

interface Sealed extends Purpose {
	readonly provider: string;
	readonly state: string;
	readonly nonce: string;
	readonly verifier: string;
	readonly expiresAtMs: number;
}

interface Parts {
	readonly records: Records;
	readonly clock: Clock;
	readonly log: AuthLog;
	/** From which the key of the cookie is derived. */
	readonly secret: string;
	readonly accounts: Accounts;
	readonly federated: FederatedAccounts;
}

export class OidcSignIn {
	readonly #options: OidcSignInOptions;
	readonly #parts: Parts;
	readonly #providers: ReadonlyMap<string, OidcProvider>;
	readonly #key: Uint8Array;

	constructor(options: OidcSignInOptions, parts: Parts) {
		this.#options = options;
		this.#parts = parts;
		this.#providers = new Map(options.providers.map((provider) => [provider.name, new OidcProvider(provider, parts)]));
		this.#key = new Uint8Array(hkdfSync('sha256', parts.secret, '', 'pulsar-relay sign-in cookie', 32));
	}

	/** The providers that there are. */
	get providers(): readonly Pick<ProviderOptions, 'name' | 'displayName'>[] {
		return this.#options.providers;
	}

	/**
	 * Begins a sign-in. Rejects with `not_found` for a provider that there is not, with `bad_request` for a page that nobody may be
	 * sent to, and with `provider_unavailable`.
	 */
	async begin(name: string, purpose: Purpose): Promise<BegunSignIn> {
		const provider = this.#provider(name);
		const next = purpose.next === null ? null : this.#returnUrl(purpose.next);
		const { lifetimeS } = this.#options;
		const configuration = await provider.configuration();
		const sealed: Sealed = {
			next,
			deviceUserCode: purpose.deviceUserCode?.slice(0, USER_CODE_LENGTH_MAX) ?? null,
			provider: name,
			state: client.randomState(),
			nonce: client.randomNonce(),
			verifier: client.randomPKCECodeVerifier(),
			expiresAtMs: this.#parts.clock.nowMs() + lifetimeS * 1000,
		};
		const url = client.buildAuthorizationUrl(configuration, {
			redirect_uri: this.#redirectUri(name),
			scope: provider.options.scopes.join(' '),
			state: sealed.state,
			nonce: sealed.nonce,
			code_challenge: await client.calculatePKCECodeChallenge(sealed.verifier),
			code_challenge_method: 'S256',
		});
		return { url: url.href, sealed: await this.#seal(sealed), lifetimeS };
	}

	/**
	 * Ends a sign-in, once. Rejects with `not_found`, `bad_request`, `account_conflict`, `forbidden` when the account is disabled, and
	 * with `provider_unavailable`; after that alone the same answer of the provider may be presented again.
	 *
	 * @param query what the provider sent the browser back with
	 * @param sealed what the browser was given at the beginning; null when it brought nothing
	 */
	async finish(name: string, query: string, sealed: string | null): Promise<FinishedSignIn> {
		const provider = this.#provider(name);
		const params = new URLSearchParams(query);
		const failure = params.get('error');
		if (failure !== null) throw failed(`OIDC error: ${failure}: ${params.get('error_description') ?? ''}`);
		const state = params.get('state');
		if (params.get('code') === null || state === null) throw refused('Missing code or state');
		const begun = sealed === null ? null : await this.#open(sealed);
		if (begun === null || begun.state !== state) throw refused('Invalid or expired state');
		if (begun.provider !== name) throw refused('State/provider mismatch');
		const used = await this.#use(begun);
		if (used === null) throw refused('Invalid or expired state');
		let claims: client.IDToken;
		try {
			claims = await this.#exchange(provider, query, begun);
		} catch (error) {
			if (!isUnavailable(error)) throw this.#invalid(name, error);
			// Nothing is known to have come of it: whoever tries again is not to be told that it is over.
			await this.#parts.records.write([{ op: 'delete', kind: USED, id: used.id, expected: used.version }]);
			throw providerUnavailable(error);
		}
		const account = await this.#accountOf(provider, claims);
		if (!account.isActive) {
			throw new RelayError('forbidden', 'the account is not active', { detail: 'User account is inactive' });
		}
		const { next, deviceUserCode } = begun;
		return { account, next, deviceUserCode, clientHint: `oidc-${name}` };
	}

	/** Gives a page something to exchange for tokens, once and soon: tokens themselves would stay in the browser's history. */
	async handOver({ account, clientHint }: FinishedSignIn): Promise<string> {
		const code = randomBytes(32).toString('base64url');
		const expiresAtMs = this.#parts.clock.nowMs() + HANDOVER_LIFETIME_MS;
		const value = { accountId: account.accountId, cv: account.cv, clientHint };
		await this.#parts.records.write([
			{ op: 'put', kind: HANDOVER, id: hash('sha256', code, 'hex'), value, expected: 'absent', expiresAtMs },
		]);
		return code;
	}

	/** The account that a page was handed; null when the code is unknown, used or expired, or the account has other credentials since. */
	async redeem(code: string): Promise<{ readonly account: Account; readonly clientHint: string } | null> {
		const { records, accounts } = this.#parts;
		if (!SECRET_FORM.test(code)) return null;
		const record = await records.get(HANDOVER, hash('sha256', code, 'hex'));
		if (record === undefined) return null;
		const outcome = await records.write([{ op: 'delete', kind: HANDOVER, id: record.id, expected: record.version }]);
		if (outcome.status === 'conflict') return null;
		const { accountId, cv, clientHint } = record.value as unknown as Handover;
		const account = await accounts.read(accountId);
		const issuedAtMs = (record.expiresAtMs ?? 0) - HANDOVER_LIFETIME_MS;
		const isGood = account?.isActive === true && isCurrent(account, { cv: cv ?? null, issuedAtMs });
		return isGood ? { account, clientHint } : null;
	}

	#provider(name: string): OidcProvider {
		const provider = this.#providers.get(name);
		if (provider !== undefined) return provider;
		const shown = name.slice(0, 64).replace(/[^\x20-\x7e]/g, '?');
		throw new RelayError('not_found', 'no such identity provider', { detail: `Unknown OIDC provider: ${shown}` });
	}

	#redirectUri(name: string): string {
		return `${this.#options.baseUrl}/auth/oidc/${name}/callback`;
	}

	/** The page to go back to, in full. Compared as browsers read it, since they take more spellings for a host than one thinks. */
	#returnUrl(next: string): string {
		const { baseUrl, returnOrigins } = this.#options;
		const url = next.length > RETURN_URL_LENGTH_MAX ? null : URL.parse(next, `${baseUrl}/`);
		const isHttp = url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '';
		if (isHttp && [new URL(baseUrl).origin, ...returnOrigins].includes(url.origin)) return url.href;
		throw refused('next is not a page that this relay sends people to');
	}

	/** Marks a sign-in as ended; null when it was already. */
	async #use({ state, expiresAtMs: endsAtMs }: Sealed): Promise<{ readonly id: string; readonly version: number } | null> {
		const id = hash('sha256', state, 'hex');
		const expiresAtMs = endsAtMs + USED_MARGIN_MS;
		const outcome = await this.#parts.records.write([{ op: 'put', kind: USED, id, value: {}, expected: 'absent', expiresAtMs }]);
		return outcome.status === 'ok' ? { id, version: outcome.version } : null;
	}

	async #exchange(provider: OidcProvider, query: string, { state, nonce, verifier }: Sealed): Promise<client.IDToken> {
		const configuration = await provider.configuration();
		const url = new URL(this.#redirectUri(provider.options.name));
		url.search = query;
		const tokens = await client.authorizationCodeGrant(configuration, url, {
			pkceCodeVerifier: verifier,
			expectedState: state,
			expectedNonce: nonce,
			idTokenExpected: true,
		});
		const claims = tokens.claims();
		if (claims === undefined || tokens.id_token === undefined) throw new Error('there is no ID token');
		await provider.verifySignature(tokens.id_token);
		return claims;
	}

	async #accountOf(provider: OidcProvider, claims: client.IDToken): Promise<Account> {
		const { name, claimUsername, claimEmail, claimSub } = provider.options;
		const identity = identityOf(claims.iss, claims[claimSub]);
		if (identity === null) throw this.#invalid(name, new Error(`the claim ${claimSub} is missing`));
		const email = verifiedEmail(claims, claimEmail);
		// An address that is not known to be the person's must not get into the account by way of its name.
		const ownName = claimUsername === claimEmail ? email : claims[claimUsername];
		return this.#parts.federated.findOrMake(identity, {
			provider: name,
			names: [ownName, claims['preferred_username'], email],
			email,
			permissions: this.#options.defaultPermissions,
		});
	}

	#invalid(provider: string, error: unknown): RelayError {
		const cause = causeOf(error);
		this.#parts.log.warn({ provider, cause }, 'a sign-in was refused for what the identity provider answered');
		return failed(`OIDC validation failed: ${error instanceof Error ? error.message : 'unknown'}`);
	}

	#seal({ expiresAtMs, ...rest }: Sealed): Promise<string> {
		return new EncryptJWT({ ...rest, exp: Math.ceil(expiresAtMs / 1000) })
			.setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
			.encrypt(this.#key);
	}

	async #open(text: string): Promise<Sealed | null> {
		if (text.length > SEALED_LENGTH_MAX) return null;
		try {
			const { payload } = await jwtDecrypt(text, this.#key, {
				keyManagementAlgorithms: ['dir'],
				contentEncryptionAlgorithms: ['A256GCM'],
				currentDate: new Date(this.#parts.clock.nowMs()),
			});
			const { exp = 0, ...rest } = payload;
			// Only the relay has the key, and it seals nothing else.
			return { ...rest, expiresAtMs: exp * 1000 } as unknown as Sealed;
		} catch {
			// Another browser's, too old, or made up: there is no sign-in that it belongs to.
			return null;
		}
	}
}

function refused(detail: string): RelayError {
	return new RelayError('bad_request', `${detail.charAt(0).toLowerCase()}${detail.slice(1)}`, { detail });
}

/** What others say goes on in one line, as far as it can be shown. */
function failed(text: string): RelayError {
	const detail = text
		.slice(0, FAILURE_LENGTH_MAX)
		.replace(/[^\x20-\x7e]/g, '?')
		.trim();
	return new RelayError('bad_request', 'the sign-in failed at the identity provider', { detail });
}
