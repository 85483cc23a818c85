/** `Idempotency-Key`: what names a publish request, so that its retries store nothing again (PROTOCOL.md, "Idempotency-Key"). */

import { createHash } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { type Principal, partyOf } from '../../auth/principal.ts';
import { STEP_BYTES, type Steps } from '../../limits/turns.ts';

/** Hashing takes about a third of the time that the most laborious JSON takes. */
const FINGERPRINT_STEP_BYTES = 4 * STEP_BYTES;
const FORM = /^[!-~]{1,255}$/;

/**
 * The key of a request with its scope in front, so that scopes never share one, or null when it has none. Its text is also
 * what a WebSocket `publish` gives as `idempotency_key`.
 *
 * @throws RelayError `bad_request` when it is not 1 to 255 visible ASCII characters
 */
export function scopedKey(text: string | readonly string[] | undefined, principal: Principal): string | null {
	if (text === undefined) return null;
	if (typeof text === 'string' && FORM.test(text)) return `${partyOf(principal)}/${text}`;
	throw new RelayError('bad_request', 'the idempotency key is not 1 to 255 visible ASCII characters');
}

/** The fingerprint of a request: its route and its body. Another body, or the same on another route, has another one. */
export function fingerprintOf(route: string, body: Uint8Array): string {
	return createHash('sha256').update(route).update('\n').update(body).digest('base64url');
}

/** As {@link fingerprintOf}, of a body in parts and in steps: for long bodies. */
export function* fingerprintInSteps(route: string, body: readonly Uint8Array[]): Steps<string> {
	const hash = createHash('sha256').update(route).update('\n');
	for (const part of body) {
		for (let at = 0; at < part.byteLength; at += FINGERPRINT_STEP_BYTES) {
			if (at > 0) yield;
			hash.update(part.subarray(at, at + FINGERPRINT_STEP_BYTES));
		}
	}
	return hash.digest('base64url');
}

/** The error for a key that the store knows from another request. */
export function idempotencyConflict(): RelayError {
	return new RelayError('idempotency_conflict', 'this idempotency key was used with another request');
}
