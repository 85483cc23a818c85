/**
 * Access tokens of another issuer, verified by its published keys: only asymmetric algorithms, only with its name and our audience
 * in them, and only for accounts that are there. What decides whose token it is: first the identity (`iss` and `sub`) if somebody
 * has signed in by it, else the claim that names an account, if there is such a setting.
 */

import { hash } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { decodeProtectedHeader, type JWTPayload, jwtVerify } from 'jose';
import type { Clock } from '../ports/clock.ts';
import type { Accounts } from './accounts.ts';
import type { AuthLog } from './auth-log.ts';
import { type FederatedAccounts, identityOf, verifiedEmail } from './federated-accounts.ts';
import { isUnavailable } from './outbound.ts';
import { RemoteKeys } from './remote-keys.ts';

const ALGORITHMS = ['RS256', 'ES256', 'EdDSA'];
const TYPES: readonly unknown[] = [undefined, 'jwt', 'at+jwt', 'application/at+jwt'];
/** What a token must not bring along: its own keys, or extensions that are not understood. */
const REFUSED_PARAMETERS = ['jwk', 'jku', 'x5u', 'x5c', 'crit', 'b64', 'zip', 'enc'];
const TOKEN_LENGTH_MAX = 16_384;
/** How far the issuer's clock may be ahead. That it is late only shortens the life of its tokens. */
const CLOCK_SKEW_S = 60;

export interface OutsideTokensOptions {
	readonly issuer: string;
	readonly audience: string;
	readonly jwksUri: string;
	/** The claim that has the username of the account; null = only identities count. */
	readonly claimUsername: string | null;
}

/** Whose a good token is, and until when. */
export interface OutsideToken {
	readonly accountId: string;
	/** Names the token. Made from all that is signed: another spelling of the signature is the same token. */
	readonly jti: string;
	/** 0 when the token does not say it: then it ends with the first change of the account's credentials. */
	readonly issuedAtMs: number;
	readonly expiresAtMs: number;
}

export class OutsideTokens {
	readonly #options: OutsideTokensOptions;
	readonly #clock: Clock;
	readonly #accounts: Accounts;
	readonly #federated: FederatedAccounts;
	readonly #keys: RemoteKeys;

	constructor(
		options: OutsideTokensOptions,
		{
			clock,
			log,
			accounts,
			federated,
		}: {
			readonly clock: Clock;
			readonly log: AuthLog;
			readonly accounts: Accounts;
			readonly federated: FederatedAccounts;
		},
	) {
		this.#options = options;
		this.#clock = clock;
		this.#accounts = accounts;
		this.#federated = federated;
		this.#keys = new RemoteKeys({ url: options.jwksUri, clock, log });
	}

	/**
	 * Verifies a token; null when it is none of the issuer's. Rejects with `invalid_credentials` when it is for no account, and with
	 * `provider_unavailable` when the issuer's keys could not be read yet.
	 */
	async verify(token: string): Promise<OutsideToken | null> {
		if (token.length > TOKEN_LENGTH_MAX || !hasGoodHeader(token)) return null;
		const payload = await this.#payloadOf(token);
		if (payload === null) return null;
		const { sub, exp, iat } = payload;
		const nowMs = this.#clock.nowMs();
		const identity = identityOf(this.#options.issuer, sub);
		if (identity === null || !isSeconds(exp) || exp * 1000 <= nowMs) return null;
		if (iat !== undefined && (!isSeconds(iat) || iat > nowMs / 1000 + CLOCK_SKEW_S)) return null;
		const accountId = (await this.#federated.find(identity))?.accountId ?? (await this.#named(payload));
		if (accountId === null) {
			throw new RelayError('invalid_credentials', 'the token is for no account', { detail: 'User not found' });
		}
		const signed = token.slice(0, token.lastIndexOf('.'));
		const jti = `outside-${hash('sha256', signed, 'base64url')}`;
		return { accountId, jti, issuedAtMs: Math.floor(iat ?? 0) * 1000, expiresAtMs: exp * 1000 };
	}

	async #payloadOf(token: string): Promise<JWTPayload | null> {
		const { issuer, audience } = this.#options;
		try {
			const { payload } = await this.#keys.verify((find) =>
				jwtVerify(token, find, {
					algorithms: ALGORITHMS,
					issuer,
					audience,
					requiredClaims: ['exp', 'sub'],
					clockTolerance: CLOCK_SKEW_S,
					currentDate: new Date(this.#clock.nowMs()),
				}),
			);
			return payload;
		} catch (error) {
			if (isUnavailable(error)) throw error;
			// Whatever is wrong with it: the answer is the same for all, and tells a forger nothing.
			return null;
		}
	}

	async #named(payload: JWTPayload): Promise<string | null> {
		const { claimUsername } = this.#options;
		if (claimUsername === null) return null;
		const name = claimUsername === 'email' ? verifiedEmail(payload, 'email') : payload[claimUsername];
		return typeof name === 'string' && name !== '' && name.length <= 512 ? this.#accounts.idOf(name) : null;
	}
}

function hasGoodHeader(token: string): boolean {
	let header: Readonly<Record<string, unknown>>;
	try {
		header = decodeProtectedHeader(token);
	} catch {
		// What is no token has no good header.
		return false;
	}
	const { alg, typ, kid } = header;
	if (typeof alg !== 'string' || !ALGORITHMS.includes(alg)) return false;
	if (!TYPES.includes(typeof typ === 'string' ? typ.toLowerCase() : typ)) return false;
	if (kid !== undefined && typeof kid !== 'string') return false;
	return !REFUSED_PARAMETERS.some((name) => Object.hasOwn(header, name));
}

function isSeconds(value: unknown): value is number {
	return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
