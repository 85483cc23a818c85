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
import { failedCheck, invalidToken } from './invalid-token.ts';
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
	 * Verifies a token. Rejects with `invalid_credentials`, and with `provider_unavailable` when the issuer's keys could not be read yet.
	 */
	async verify(token: string): Promise<OutsideToken> {
		if (token.length > TOKEN_LENGTH_MAX) throw invalidToken('it is too long');
		const headerProblem = problemOfHeader(token);
		if (headerProblem !== null) throw invalidToken(headerProblem);
		const payload = await this.#payloadOf(token);
		const { sub, exp, iat } = payload;
		const nowMs = this.#clock.nowMs();
		const identity = identityOf(this.#options.issuer, sub);
		if (identity === null) throw invalidToken('its claim sub is not a name');
		if (!isSeconds(exp) || exp * 1000 <= nowMs) throw invalidToken('it has expired');
		if (iat !== undefined && (!isSeconds(iat) || iat > nowMs / 1000 + CLOCK_SKEW_S)) {
			throw invalidToken('it was issued in the future; compare the clocks');
		}
		const accountId = (await this.#federated.find(identity))?.accountId ?? (await this.#named(payload));
		if (accountId === null) {
			throw new RelayError('invalid_credentials', 'the token is for no account', {
				detail: 'User not found',
				cause: 'nobody has signed in with its iss and sub, and PULSAR_TOKEN_CLAIM_USERNAME names no account',
			});
		}
		const signed = token.slice(0, token.lastIndexOf('.'));
		const jti = `outside-${hash('sha256', signed, 'base64url')}`;
		return { accountId, jti, issuedAtMs: Math.floor(iat ?? 0) * 1000, expiresAtMs: exp * 1000 };
	}

	async #payloadOf(token: string): Promise<JWTPayload> {
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
			throw invalidToken(failedCheck(error));
		}
	}

	async #named(payload: JWTPayload): Promise<string | null> {
		const { claimUsername } = this.#options;
		if (claimUsername === null) return null;
		const name = claimUsername === 'email' ? verifiedEmail(payload, 'email') : payload[claimUsername];
		return typeof name === 'string' && name !== '' && name.length <= 512 ? this.#accounts.idOf(name) : null;
	}
}

/** What is wrong with a token's header, or null. */
function problemOfHeader(token: string): string | null {
	let header: Readonly<Record<string, unknown>>;
	try {
		header = decodeProtectedHeader(token);
	} catch {
		return 'it is no JWT, nor a token of the relay';
	}
	const { alg, typ, kid } = header;
	if (typeof alg !== 'string' || !ALGORITHMS.includes(alg)) return `its algorithm is none of ${ALGORITHMS.join(', ')}`;
	if (!TYPES.includes(typeof typ === 'string' ? typ.toLowerCase() : typ)) return 'its type is not that of an access token';
	if (kid !== undefined && typeof kid !== 'string') return 'the name of its key is no text';
	const refused = REFUSED_PARAMETERS.find((name) => Object.hasOwn(header, name));
	return refused === undefined ? null : `its header has ${refused}`;
}

function isSeconds(value: unknown): value is number {
	return typeof value === 'number' && Number.isFinite(value) && value >= 0;
}
