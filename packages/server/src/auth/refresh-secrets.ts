/**
 * The secrets of refresh tokens: 24 bytes that nobody can guess, and a check of them by a key of the session. By the check a secret that was
 * used long ago is recognised though nothing of it is kept (ADR 0007).
 */

import { createHmac, hash, randomBytes, timingSafeEqual } from 'node:crypto';

export const JTI_FORM = /^[A-Za-z0-9-]{1,64}$/;

const SECRET_LENGTH_MAX = 256;
const BODY_BYTES = 24;
const CHECK_BYTES = 8;

/** The session of a token that was issued here; it stays the same when the token is replaced. */
export function sessionIdOf(refreshToken: string): string {
	return refreshToken.slice(0, refreshToken.indexOf('.'));
}

/** A token taken apart. */
export interface ParsedToken {
	readonly jti: string;
	readonly secret: string;
}

/** The parts of a refresh token; null when it has not the form of one. */
export function parseRefreshToken(token: string): ParsedToken | null {
	const dot = token.indexOf('.');
	const jti = token.slice(0, Math.max(dot, 0));
	const secret = token.slice(dot + 1);
	return JTI_FORM.test(jti) && secret !== '' && secret.length <= SECRET_LENGTH_MAX ? { jti, secret } : null;
}

/** What is stored of a secret. */
export function hashOf(secret: string): string {
	return hash('sha256', secret, 'hex');
}

/** Compares in the same time whatever differs. */
export function equals(a: string, b: string): boolean {
	return a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));
}

/** A new secret of the session that has this key. */
export function newSecret(checkKey: Buffer): string {
	return sealed(randomBytes(BODY_BYTES), checkKey);
}

function sealed(body: Buffer, checkKey: Buffer): string {
	return Buffer.concat([body, checkOf(body, checkKey)]).toString('base64url');
}

/** Whether a secret is, or was, one of the session that has this key. */
export function isSealed(secret: string, checkKey: string): boolean {
	const bytes = Buffer.from(secret, 'base64url');
	if (bytes.byteLength !== BODY_BYTES + CHECK_BYTES || bytes.toString('base64url') !== secret) return false;
	return timingSafeEqual(checkOf(bytes.subarray(0, BODY_BYTES), Buffer.from(checkKey, 'base64url')), bytes.subarray(BODY_BYTES));
}

function checkOf(body: Buffer, checkKey: Buffer): Buffer {
	return createHmac('sha256', checkKey).update(body).digest().subarray(0, CHECK_BYTES);
}

/** The secret that follows another: it takes that secret and the salt in the record to compute it. */
export function successorOf(secret: string, salt: string, checkKey: string): string {
	const body = createHmac('sha256', secret).update(`successor ${salt}`).digest().subarray(0, BODY_BYTES);
	return sealed(body, Buffer.from(checkKey, 'base64url'));
}
