/** The one answer to whatever is wrong with a token or key, and what the log may know of it. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { errors } from 'jose';

const CLAIM_LENGTH_MAX = 200;

/**
 * The answer is the same for all, and tells a forger nothing.
 *
 * @param check what failed, for the log only; nothing of the token but its claims may be in it
 */
export function invalidToken(check: string): RelayError {
	return new RelayError('invalid_credentials', 'the token or key is not valid, or has expired', {
		detail: 'Invalid or expired token',
		cause: check,
	});
}

/** Which check a token failed, from what the library threw. */
export function failedCheck(error: unknown): string {
	if (error instanceof errors.JWTExpired) return `it has expired${claimText('exp', error.payload['exp'])}`;
	if (error instanceof errors.JWTClaimValidationFailed) {
		const { claim, reason, payload } = error;
		return `its claim ${claim} is ${reason === 'missing' ? 'missing' : 'wrong'}${claimText(claim, payload[claim])}`;
	}
	if (error instanceof errors.JWSSignatureVerificationFailed) return 'its signature is not by the key';
	if (error instanceof errors.JWKSNoMatchingKey) return 'the issuer has no key of this name and algorithm';
	if (error instanceof errors.JOSEAlgNotAllowed) return 'its algorithm is not allowed';
	if (error instanceof errors.JOSEError) return `it is malformed (${error.code})`;
	return 'it is malformed';
}

/** What a claim says, from a client and so in few characters. */
function claimText(claim: string, value: unknown): string {
	const text = JSON.stringify(value) ?? '';
	return text === '' ? '' : `: ${claim} is ${text.length <= CLAIM_LENGTH_MAX ? text : `${text.slice(0, CLAIM_LENGTH_MAX)}…`}`;
}
