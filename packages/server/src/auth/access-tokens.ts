/**
 * Tokens that are signed and not stored: access tokens, by which an account acts, and scoped tokens, which are limited to topics
 * and actions. Both are JWTs (HS256). Each kind has a signing key of its own, so that neither can pass for the other, here or
 * at another server that was given the same secret.
 */

import { hash, hkdfSync, randomBytes } from 'node:crypto';
import { jwtVerify, SignJWT } from 'jose';
import type { Clock } from '../ports/clock.ts';
import type { Account } from './accounts.ts';
import { failedCheck, invalidToken } from './invalid-token.ts';
import type { OutsideTokens } from './outside-tokens.ts';
import { ACTIONS, type Minter, type Scope, type TokenCredential } from './principal.ts';
import { nobody } from './usernames.ts';

export const SCOPED_LIFETIME_S_MAX = 3600;

const TOKEN_LENGTH_MAX = 8192;
const FORM = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.([A-Za-z0-9_-]{43})$/;
const JTI_FORM = /^[!-~]{1,128}$/;
const ACCESS_TYPE = 'JWT';
const SCOPED_TYPE = 'scoped+jwt';
/** Nodes whose clocks differ by less do not refuse each other's tokens as not issued yet. */
const ISSUED_AHEAD_S_MAX = 5;
/** Verified tokens that are remembered; each is about a kilobyte. */
const VERIFIED_MAX = 10_000;

/** A token as it is handed out. */
export interface IssuedToken {
	readonly token: string;
	readonly expiresInS: number;
}

export interface AccessTokensOptions {
	readonly clock: Clock;
	readonly secret: string;
	/** How long an access token lives. */
	readonly lifetimeS: number;
	/** Tokens of another issuer, for what is none of the relay's own; null = there is none. */
	readonly outside: OutsideTokens | null;
	/** The account id that an owner in a scope stands for; null when there is no such account. */
	readonly resolveOwner: (owner: string) => Promise<string | null>;
}

/** What an access token is made for. */
export interface AccessGrant {
	readonly account: Pick<Account, 'accountId' | 'username' | 'permissions'>;
	/** The account's credential version that the session was begun under. */
	readonly cv: number;
	readonly sessionId: string;
}

/** What a scoped token is made for. */
export interface ScopedGrant {
	readonly account: Pick<Account, 'accountId' | 'username'>;
	/** The account's credential version that the minter has. */
	readonly cv: number;
	/** As the token is to carry them: other owners by the name that the request has. */
	readonly scopes: readonly Scope[];
	readonly by: Minter;
	readonly lifetimeS: number;
}

export class AccessTokens {
	readonly #clock: Clock;
	readonly #lifetimeS: number;
	readonly #accessKey: Uint8Array;
	readonly #scopedKey: Uint8Array;
	readonly #outside: OutsideTokens | null;
	readonly #resolveOwner: AccessTokensOptions['resolveOwner'];
	/** By what {@link nameOf} says. Oldest first. */
	readonly #verified = new Map<string, TokenCredential>();

	constructor({ clock, secret, lifetimeS, outside, resolveOwner }: AccessTokensOptions) {
		this.#clock = clock;
		this.#lifetimeS = lifetimeS;
		this.#outside = outside;
		this.#resolveOwner = resolveOwner;
		this.#accessKey = Buffer.from(secret);
		this.#scopedKey = new Uint8Array(hkdfSync('sha256', secret, '', 'pulsar-relay scoped token', 32));
	}

	/** Issues an access token of an account, in a session. */
	async issue({ account: { accountId, username, permissions }, cv, sessionId }: AccessGrant): Promise<IssuedToken> {
		const claims = { sub: accountId, username, permissions, sid: sessionId, cv };
		const token = await this.#sign(claims, ACCESS_TYPE, this.#lifetimeS);
		return { token, expiresInS: this.#lifetimeS };
	}

	/** Issues a scoped token; the caller has checked that the minter may give that much away. */
	async issueScoped({ account, cv, scopes, by, lifetimeS }: ScopedGrant): Promise<IssuedToken> {
		const claims = { sub: account.accountId, username: account.username, scopes, ...minterClaims(by, cv) };
		return { token: await this.#sign(claims, SCOPED_TYPE, lifetimeS), expiresInS: lifetimeS };
	}

	/** What a token says that was verified before; undefined when it must be verified. Whether it still counts is not asked here. */
	peek(token: string): TokenCredential | undefined {
		const verified = this.#verified.get(nameOf(token));
		return verified === undefined || verified.expiresAtMs <= this.#clock.nowMs() ? undefined : verified;
	}

	/** Verifies a token. Rejects with `invalid_credentials`. */
	async verify(token: string): Promise<TokenCredential> {
		const known = this.peek(token);
		if (known !== undefined) return known;
		const { credential, isFinal } = await this.#withOwners(await this.#check(token));
		if (isFinal) this.#remember(nameOf(token), credential);
		return credential;
	}

	close(): void {
		this.#verified.clear();
	}

	#sign(claims: Record<string, unknown>, type: string, lifetimeS: number): Promise<string> {
		const issuedAtS = Math.floor(this.#clock.nowMs() / 1000);
		return new SignJWT({ ...claims, exp: issuedAtS + lifetimeS, iat: issuedAtS, jti: randomBytes(16).toString('hex') })
			.setProtectedHeader({ alg: 'HS256', typ: type })
			.sign(type === ACCESS_TYPE ? this.#accessKey : this.#scopedKey);
	}

	async #check(token: string): Promise<TokenCredential> {
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
		} catch (error) {
			throw invalidToken(failedCheck(error));
		}
		throw invalidToken('its claims are not those of a token of the relay, or it was issued in the future');
	}

	/** A token that has not the form of the relay's own: its signature is never compared with the relay's keys. */
	async #checkOutside(token: string): Promise<TokenCredential> {
		if (this.#outside === null) throw invalidToken('it has not the form of a token of the relay, and no other issuer is set up');
		const verified = await this.#outside.verify(token);
		// It is a session by itself.
		return { ...verified, kind: 'token', cv: null, sessionId: verified.jti, limits: null };
	}

	/**
	 * With the owners of its topics as they are in the store: the token has their names, as it must not tell its bearer their ids. Final
	 * unless an owner does not exist: an account of that name may be made a moment later.
	 */
	async #withOwners(credential: TokenCredential): Promise<{ readonly credential: TokenCredential; readonly isFinal: boolean }> {
		const { limits } = credential;
		if (limits === null) return { credential, isFinal: true };
		let isFinal = true;
		const inStore = async (pattern: string): Promise<string> => {
			const slash = pattern.indexOf('/');
			if (slash < 0) return pattern;
			const owner = pattern.slice(0, slash);
			const accountId = await this.#resolveOwner(owner);
			if (accountId === null) isFinal = false;
			return `${accountId ?? nobody(owner)}${pattern.slice(slash)}`;
		};
		const scopes = await Promise.all(
			limits.scopes.map(async ({ actions, topics }) => ({ actions, topics: await Promise.all(topics.map(inStore)) })),
		);
		return { credential: { ...credential, limits: { ...limits, scopes } }, isFinal };
	}

	#remember(name: string, verified: TokenCredential): void {
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
function claimsOf(payload: Readonly<Record<string, unknown>>, nowMs: number, scoped: boolean): TokenCredential | null {
	const { sub, username, exp, iat, jti, nbf, sid, cv } = payload;
	if (typeof sub !== 'string' || sub === '' || typeof username !== 'string') return null;
	if (!isSeconds(exp) || !isSeconds(iat) || (nbf !== undefined && !isSeconds(nbf))) return null;
	if (exp * 1000 <= nowMs || iat > nowMs / 1000 + ISSUED_AHEAD_S_MAX) return null;
	if (jti !== undefined && (typeof jti !== 'string' || !JTI_FORM.test(jti))) return null;
	if (sid !== undefined && (typeof sid !== 'string' || !JTI_FORM.test(sid))) return null;
	if (!isVersion(cv)) return null;
	const verified = {
		kind: 'token',
		accountId: sub,
		jti: jti ?? null,
		issuedAtMs: iat * 1000,
		expiresAtMs: exp * 1000,
		cv: cv ?? null,
	} as const;
	// A token of the earlier server is a session by itself.
	if (!scoped) return { ...verified, sessionId: sid ?? jti ?? null, limits: null };
	const mintedBy = minterOf(payload, sid ?? null);
	if (jti === undefined || mintedBy === null || !isScopes(payload['scopes'])) return null;
	return { ...verified, sessionId: null, limits: { scopes: payload['scopes'], mintedBy } };
}

/** What a scoped token says of its minter: a session with the version of its account, or a key, which needs neither. */
function minterClaims(by: Minter, cv: number): object {
	if (by.kind === 'key') return { key: by.keyId, ...(by.secretCv === null ? {} : { kcv: by.secretCv }) };
	const { sessionId, sessionCv } = by;
	return { cv, ...(sessionId === null ? {} : { sid: sessionId }), ...(sessionCv === null ? {} : { scv: sessionCv }) };
}

function minterOf({ key, kcv, scv }: Readonly<Record<string, unknown>>, sessionId: string | null): Minter | null {
	if (!isVersion(kcv) || !isVersion(scv)) return null;
	if (key === undefined) return { kind: 'session', sessionId, sessionCv: scv ?? null };
	return typeof key === 'string' ? { kind: 'key', keyId: key, secretCv: kcv ?? null } : null;
}

function isVersion(value: unknown): value is number | undefined {
	return value === undefined || Number.isSafeInteger(value);
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
