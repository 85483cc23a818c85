/**
 * Tokens that are signed and not stored: access tokens, by which an account acts, and scoped tokens, which are limited to topics
 * and actions. Both are JWTs (HS256). Each kind has a signing key of its own, so that neither can pass for the other, here or
 * at another server that was given the same secret.
 */

import { hash, hkdfSync, randomBytes } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { jwtVerify, SignJWT } from 'jose';
import type { Clock } from '../ports/clock.ts';
import type { Records } from '../ports/records.ts';
import type { Account } from './accounts.ts';
import type { OutsideTokens } from './outside-tokens.ts';
import { ACTIONS, type Scope } from './principal.ts';
import { RecordCache } from './record-cache.ts';

/** Names of tokens that were revoked before their time. */
export const DENIED_TOKEN = 'denied-token';

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
	/** What the token is limited to; null for an access token, which is not. */
	readonly limits: { readonly scopes: readonly Scope[]; readonly keyId: string | null } | null;
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
	/** By the digest of the token, so that what is remembered cannot be used. Oldest first. */
	readonly #verified = new Map<string, VerifiedToken>();
	readonly #denied: RecordCache<true>;

	constructor({ records, clock, secret, lifetimeS, outside }: AccessTokensOptions) {
		this.#records = records;
		this.#clock = clock;
		this.#lifetimeS = lifetimeS;
		this.#outside = outside;
		this.#accessKey = Buffer.from(secret);
		this.#scopedKey = new Uint8Array(hkdfSync('sha256', secret, '', 'pulsar-relay scoped token', 32));
		this.#denied = new RecordCache({ records, clock, kind: DENIED_TOKEN, decode: () => true });
	}

	/** Issues an access token of an account. */
	async issue({ accountId, username, permissions }: Account): Promise<IssuedToken> {
		const token = await this.#sign({ sub: accountId, username, permissions }, ACCESS_TYPE, this.#lifetimeS);
		return { token, expiresInS: this.#lifetimeS };
	}

	/** Issues a scoped token; whoever calls has seen to it that the minter may give that much away. */
	async issueScoped(
		account: Pick<Account, 'accountId' | 'username'>,
		limits: { readonly scopes: readonly Scope[]; readonly keyId: string | null; readonly lifetimeS: number },
	): Promise<IssuedToken> {
		const { scopes, keyId, lifetimeS } = limits;
		const claims = { sub: account.accountId, username: account.username, scopes, ...(keyId === null ? {} : { key: keyId }) };
		return { token: await this.#sign(claims, SCOPED_TYPE, lifetimeS), expiresInS: lifetimeS };
	}

	/** What is known of a token without asking anybody: undefined when it must be verified or its denial be looked up. */
	peek(token: string): VerifiedToken | undefined {
		const verified = this.#verified.get(digestOf(token));
		if (verified === undefined || verified.expiresAtMs <= this.#clock.nowMs()) return undefined;
		return verified.jti === null || this.#denied.peek(verified.jti) === null ? verified : undefined;
	}

	/** Verifies a token. Rejects with `invalid_credentials`. */
	async verify(token: string): Promise<VerifiedToken> {
		const digest = digestOf(token);
		const known = this.#verified.get(digest);
		const verified = known !== undefined && known.expiresAtMs > this.#clock.nowMs() ? known : await this.#check(token);
		this.#remember(digest, verified);
		if (await this.isDenied(verified.jti)) throw revoked();
		return verified;
	}

	async isDenied(jti: string | null): Promise<boolean> {
		return jti !== null && (await this.#denied.get(jti)) !== null;
	}

	/** Revokes a token, on every node. */
	async deny({ jti, expiresAtMs }: Pick<VerifiedToken, 'jti' | 'expiresAtMs'>): Promise<void> {
		if (jti === null) return;
		await this.#records.write([
			{ op: 'put', kind: DENIED_TOKEN, id: jti, value: {}, expected: 'any', expiresAtMs: expiresAtMs + DENIAL_MARGIN_MS },
		]);
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
		return { ...verified, limits: null };
	}

	#remember(digest: string, verified: VerifiedToken): void {
		this.#verified.delete(digest);
		this.#verified.set(digest, verified);
		if (this.#verified.size <= VERIFIED_MAX) return;
		for (const oldest of this.#verified.keys()) {
			this.#verified.delete(oldest);
			break;
		}
	}
}

function digestOf(token: string): string {
	return hash('sha256', token, 'base64url');
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
	const verified = { accountId: sub, jti: jti ?? null, expiresAtMs: exp * 1000 };
	if (!scoped) return { ...verified, limits: null };
	const { scopes, key } = payload;
	if (jti === undefined || !isScopes(scopes) || (key !== undefined && typeof key !== 'string')) return null;
	return { ...verified, limits: { scopes, keyId: key ?? null } };
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
