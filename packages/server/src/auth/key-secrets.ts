/** The secrets of API keys: 32 random bytes, of which only the SHA-256 is stored; and which of a key's secrets something was made with. */

import { hash, randomBytes, timingSafeEqual } from 'node:crypto';
import { invalidToken } from './invalid-token.ts';

const FORM = /^prk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;
const SECRET_BYTES = 32;
/** Stands for the secrets of a key that is not there, so that a guess at one takes the same work. */
const NOBODYS: readonly string[] = ['0'.repeat(64)];

/** A secret, without what it is. */
export interface KeySecret {
	/** Its credential version. */
	readonly cv: number;
	/** Unix time in ms at which it was made; of a secret that a relay 0.3.0 made, that of the key. */
	readonly sinceMs: number;
	/** When it stops being good; null = with the key. */
	readonly expiresAtMs: number | null;
}

/** A secret as it is stored. Relays up to 0.3.0 wrote neither its version nor its time. */
export type StoredSecret = Pick<KeySecret, 'expiresAtMs'> & Partial<KeySecret> & { readonly hash: string };

/** What a key consists of. Throws `invalid_credentials` for what has not the form of one. */
export function parseKey(credential: string): { readonly keyId: string; readonly secret: string } {
	const [, keyId, secret] = FORM.exec(credential) ?? [];
	if (keyId === undefined || secret === undefined) throw invalidToken('it has not the form of a key');
	return { keyId, secret };
}

export function newSecret(): string {
	return randomBytes(SECRET_BYTES).toString('base64url');
}

/** What is stored of a secret. */
export function hashOf(secret: string): string {
	return hash('sha256', secret, 'hex');
}

/** A key's secrets. Those that relays up to 0.3.0 made have the versions 0 and -1: whatever is made later has a higher one. */
export function timesOf(secrets: readonly StoredSecret[], keyCreatedAtMs: number): readonly KeySecret[] {
	return secrets.map(({ cv, sinceMs, expiresAtMs }, i) => {
		return { cv: cv ?? -i, sinceMs: sinceMs ?? keyCreatedAtMs, expiresAtMs };
	});
}

/** Which of the hashes is of a secret; -1 = none. All are compared, also where there is no key. */
export function placeOf(secret: string, hashes: readonly string[] | undefined): number {
	const presented = Buffer.from(hashOf(secret));
	let place = -1;
	for (const [i, stored] of (hashes ?? NOBODYS).entries()) if (timingSafeEqual(Buffer.from(stored), presented)) place = i;
	return hashes === undefined ? -1 : place;
}

/**
 * The secret of a key that something was made with, while it is good. Without its version, as in tokens of relays up to 0.3.0, the newest
 * that was there when it was issued.
 */
export function secretOf(
	secrets: readonly KeySecret[],
	made: { readonly secretCv: number | null; readonly issuedAtMs: number },
	nowMs: number,
): KeySecret | undefined {
	return secrets.find((secret) => {
		const isIts = made.secretCv === null ? secret.sinceMs <= made.issuedAtMs : secret.cv === made.secretCv;
		return isIts && isLive(secret, nowMs);
	});
}

export function isLive({ expiresAtMs }: KeySecret, nowMs: number): boolean {
	return expiresAtMs === null || expiresAtMs > nowMs;
}
