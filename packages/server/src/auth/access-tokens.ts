/**
 * Tokens that are signed and not stored: access tokens, by which an account acts, and scoped tokens, which are limited to topics
 * and actions. Both are JWTs (HS256). Each kind has a signing key of its own, so that neither can pass for the other, here or
 * at another server that was given the same secret.
 */

import { hash, hkdfSync, randomBytes } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { jwtVerify, SignJWT } from 'jose';
import type { Clock } from '../ports/clock.ts';
import type { RecordOp, Records } from '../ports/records.ts';
import type { Account } from './accounts.ts';
import type { OutsideTokens } from './outside-tokens.ts';
import { ACTIONS, type MintedIn, type Scope } from './principal.ts';
import { RecordCache } from './record-cache.ts';

/** Tokens that were revoked before their time, by their names; and sessions that were logged out, for what was minted in them. */
export const DENIED_TOKEN = 'denied-token';

export const SCOPED_LIFETIME_S_MAX = 3600;

const TOKEN_LENGTH_MAX = 8192;
const FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.([A-Za-z0-9_-]{43})$/;
const JTI_FORM = /^[!-~]{1,128}$/;
const ACCESS_TYPE = 'JWT';
const SCOPED_TYPE = 'scoped+jwt';
/** Nodes whose clocks differ by less do not refuse each other's tokens as not issued yet. */
const ISSUED_AHEAD_S_MAX = 5;
/** A denial is kept so much longer than its token lives, for nodes whose clocks are late. */
const DENIAL_MARGIN_MS = 120_000;
/** Verified tokens that are remembered; each is about a kilobyte. */
const VERIFIED_MAX = 10_000;

/** What a good token says. */
export interface VerifiedToken {
	readonly accountId: string;
	/** Null for one of the earlier server without a name, which cannot be revoked. */
	readonly jti: string | null;
	readonly expiresAtMs: number;
	/** The session of an access token; null for a scoped token, and for one that has no name. */
	readonly sessionId: string | null;
	/** What the token is limited to; null for an access token, which is not. */
	readonly limits: TokenLimits | null;
}

export interface TokenLimits {
	readonly scopes: readonly Scope[];
	readonly keyId: string | null;
	readonly mintedIn: MintedIn | null;
}

/** A token as it is handed out. */
export interface IssuedToken {
	readonly token: string;
	readonly expiresInS: number;
}

export interface AccessTokensOptions {
	readonly records: Records;
	readonly clock: Clock;
	readonly secret: string;
	/** How long an access token lives. */
	readonly lifetimeS: number;
	/** Tokens of another issuer, for what is none of the relay's own; null = there is none. */
	readonly outside: OutsideTokens | null;
}

export class AccessTokens {
	readonly #records: Records;
	readonly #clock: Clock;
	readonly #lifetimeS: number;
	readonly #accessKey: Uint8Array;
	readonly #scopedKey: Uint8Array;
	readonly #outside: OutsideTokens | null;
	/** By what {@link nameOf} says. Oldest first. */
	readonly #verified = new Map<string, VerifiedToken>();
	/** When each was denied, in Unix seconds. */
	readonly #denied: RecordCache<number>;

	constructor({ records, clock, secret, lifetimeS, outside }: AccessTokensOptions) {
		this.#records = records;
		this.#clock = clock;
		this.#lifetimeS = lifetimeS;
		this.#outside = outside;
		this.#accessKey = Buffer.from(secret);
		this.#scopedKey = new Uint8Array(hkdfSync('sha256', secret, '', 'pulsar-relay scoped token', 32));
		this.#denied = new RecordCache({ records, clock, kind: DENIED_TOKEN, decode: ({ value }) => Number(value['atS']) });
	}

	/** Issues an access token of an account, in a session. */
	async issue({ accountId, username, permissions }: Account, sessionId: string): Promise<IssuedToken> {
		const claims = { sub: accountId, username, permissions, sid: sessionId };
		const token = await this.#sign(claims, ACCESS_TYPE, this.#lifetimeS);
		return { token, expiresInS: this.#lifetimeS };
	}

	/** Issues a scoped token; whoever calls has seen to it that the minter may give that much away. */
	async issueScoped(
		account: Pick<Account, 'accountId' | 'username'>,
		limits: {
			readonly scopes: readonly Scope[];
			/** The key that mints it, or the session of the account that does. */
			readonly by: { readonly keyId: string } | { readonly sessionId: string | null };
			readonly lifetimeS: number;
		},
	): Promise<IssuedToken> {
		const { scopes, by, lifetimeS } = limits;
		const minter = 'keyId' in by ? { key: by.keyId } : by.sessionId === null ? {} : { sid: by.sessionId };
		const claims = { sub: account.accountId, username: account.username, scopes, ...minter };
		return { token: await this.#sign(claims, SCOPED_TYPE, lifetimeS), expiresInS: lifetimeS };
	}

	/** What is known of a token without asking anybody: undefined when it must be verified or its denial be looked up. */
	peek(token: string): VerifiedToken | undefined {
		const verified = this.#verified.get(nameOf(token));
		if (verified === undefined || verified.expiresAtMs <= this.#clock.nowMs()) return undefined;
		if (verified.jti !== null && this.#denied.peek(verified.jti) !== null) return undefined;
		const mintedIn = verified.limits?.mintedIn ?? null;
		if (mintedIn === null) return verified;
		const deniedAtS = this.#denied.peek(mintedIn.sessionId);
		return deniedAtS === undefined || endsAt(mintedIn, deniedAtS) ? undefined : verified;
	}

	/** Verifies a token. Rejects with `invalid_credentials`. */
	async verify(token: string): Promise<VerifiedToken> {
		const name = nameOf(token);
		const known = this.#verified.get(name);
		const verified = known !== undefined && known.expiresAtMs > this.#clock.nowMs() ? known : await this.#check(token);
		this.#remember(name, verified);
		if (await this.isDenied(verified.jti, verified.limits?.mintedIn ?? null)) throw revoked();
		return verified;
	}

	/** Whether a token was revoked, or the session in which it was minted was logged out since. */
	async isDenied(jti: string | null, mintedIn: MintedIn | null): Promise<boolean> {
		if (jti !== null && (await this.#denied.get(jti)) !== null) return true;
		return mintedIn !== null && endsAt(mintedIn, await this.#denied.get(mintedIn.sessionId));
	}

	/** Revokes a token, on every node, and the scoped tokens that were minted in its session until now. */
	async deny({ jti, sessionId, expiresAtMs }: Pick<VerifiedToken, 'jti' | 'sessionId' | 'expiresAtMs'>): Promise<void> {
		const nowMs = this.#clock.nowMs();
		const lastEndsAtMs = sessionId === null ? expiresAtMs : Math.max(expiresAtMs, nowMs + SCOPED_LIFETIME_S_MAX * 1000);
		const put = (id: string): RecordOp => ({
			op: 'put',
			kind: DENIED_TOKEN,
			id,
			value: { atS: Math.floor(nowMs / 1000) },
			expected: 'any',
			expiresAtMs: lastEndsAtMs + DENIAL_MARGIN_MS,
		});
		const denied = new Set([jti, sessionId].filter((id) => id !== null));
		if (denied.size > 0) await this.#records.write([...denied].map(put));
	}

	close(): void {
		this.#denied.close();
		this.#verified.clear();
	}

	#sign(claims: Record<string, unknown>, type: string, lifetimeS: number): Promise<string> {
		const issuedAtS = Math.floor(this.#clock.nowMs() / 1000);
		return new SignJWT({ ...claims, exp: issuedAtS + lifetimeS, iat: issuedAtS, jti: randomBytes(16).toString('hex') })
			.setProtectedHeader({ alg: 'HS256', typ: type })
			.sign(type === ACCESS_TYPE ? this.#accessKey : this.#scopedKey);
	}

	async #check(token: string): Promise<VerifiedToken> {
		const header = headerOf(token);
		if (header === null) return this.#checkOutside(token);
		const scoped = header.typ === SCOPED_TYPE;
		try {
			const { payload } = await jwtVerify(token, scoped ? this.#scopedKey : this.#accessKey, {
				algorithms: ['HS256'],
				currentDate: new Date(this.#clock.nowMs()),
			});
			const verified = claimsOf(payload, this.#clock.nowMs(), scoped);
			if (verified !== null) return verified;
		} catch {
			// Whatever is wrong with it: the answer is the same for all, and tells a forger nothing.
		}
		throw invalidToken();
	}

	/** A token that has not the form of the relay's own: its signature is never compared with the relay's keys. */
	async #checkOutside(token: string): Promise<VerifiedToken> {
		const verified = (await this.#outside?.verify(token)) ?? null;
		if (verified === null) throw invalidToken();
		// It is a session by itself.
		return { ...verified, sessionId: verified.jti, limits: null };
	}

	#remember(name: string, verified: VerifiedToken): void {
		this.#verified.delete(name);
		this.#verified.set(name, verified);
		if (this.#verified.size <= VERIFIED_MAX) return;
		for (const oldest of this.#verified.keys()) {
			this.#verified.delete(oldest);
			break;
		}
	}
}

/** Longer ones are of other issuers; remembered as they are they could fill the memory. */
const NAME_LENGTH_MAX = 1024;

/** What a token is remembered by: itself, since a digest for each request costs a microsecond, four times the look. */
function nameOf(token: string): string {
	return token.length <= NAME_LENGTH_MAX ? token : hash('sha256', token, 'base64url');
}

/**
 * The header of a token of the form the relay gives out, or null. It has an algorithm, a type and nothing else: a token that
 * brings its own key, names one, or asks for an extension is not looked at any further.
 */
function headerOf(token: string): { readonly typ?: unknown } | null {
	const signature = token.length <= TOKEN_LENGTH_MAX ? FORM.exec(token)?.[1] : undefined;
	// The last character has bits to spare: only one of its spellings is the signature's.
	if (signature === undefined || Buffer.from(signature, 'base64url').toString('base64url') !== signature) return null;
	let header: unknown;
	try {
		header = JSON.parse(Buffer.from(token.slice(0, token.indexOf('.')), 'base64url').toString());
	} catch {
		return null;
	}
	if (typeof header !== 'object' || header === null || Array.isArray(header)) return null;
	const { alg, typ, ...others } = header as Record<string, unknown>;
	const typeIsKnown = typ === undefined || typ === ACCESS_TYPE || typ === SCOPED_TYPE;
	return alg === 'HS256' && typeIsKnown && Object.keys(others).length === 0 ? { typ } : null;
}

/** The claims of a token whose signature is right, or null when they are not such a token's. */
function claimsOf(payload: Readonly<Record<string, unknown>>, nowMs: number, scoped: boolean): VerifiedToken | null {
	const { sub, username, exp, iat, jti, nbf } = payload;
	if (typeof sub !== 'string' || sub === '' || typeof username !== 'string') return null;
	if (!isSeconds(exp) || !isSeconds(iat) || (nbf !== undefined && !isSeconds(nbf))) return null;
	if (exp * 1000 <= nowMs || iat > nowMs / 1000 + ISSUED_AHEAD_S_MAX) return null;
	if (jti !== undefined && (typeof jti !== 'string' || !JTI_FORM.test(jti))) return null;
	const { sid, scopes, key } = payload;
	if (sid !== undefined && (typeof sid !== 'string' || !JTI_FORM.test(sid))) return null;
	const verified = { accountId: sub, jti: jti ?? null, expiresAtMs: exp * 1000 };
	// A token of the earlier server is a session by itself.
	if (!scoped) return { ...verified, sessionId: sid ?? jti ?? null, limits: null };
	if (jti === undefined || !isScopes(scopes) || (key !== undefined && typeof key !== 'string')) return null;
	const mintedIn = sid === undefined ? null : { sessionId: sid, mintedAtS: iat };
	return { ...verified, sessionId: null, limits: { scopes, keyId: key ?? null, mintedIn } };
}

/** Whether a token ends by its session having been denied at that time; null = it has not been. */
function endsAt({ mintedAtS }: MintedIn, deniedAtS: number | null): boolean {
	return deniedAtS !== null && mintedAtS <= deniedAtS;
}

function isSeconds(value: unknown): value is number {
	return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function isScopes(value: unknown): value is readonly Scope[] {
	const isTexts = (list: unknown) => Array.isArray(list) && list.every((item) => typeof item === 'string');
	return (
		Array.isArray(value) &&
		value.every((scope: Partial<Scope> | null) => {
			return isTexts(scope?.topics) && isTexts(scope?.actions) && scope?.actions?.every((action) => ACTIONS.includes(action));
		})
	);
}

/** The one answer to whatever is wrong with a token or key. */
export function invalidToken(): RelayError {
	return new RelayError('invalid_credentials', 'the token or key is not valid, or has expired', {
		detail: 'Invalid or expired token',
	});
}

function revoked(): RelayError {
	return new RelayError('invalid_credentials', 'the token has been revoked', { detail: 'Token has been revoked' });
}
