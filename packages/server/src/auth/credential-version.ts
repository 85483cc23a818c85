/**
 * Credential versions (ADR 0013). An account, a secret of an API key and a sign-in session each have a counter, `cv`. What is made from them
 * carries the counter as it was, and is good while it still has that value. Raising the counter ends all of it at once, on every
 * node, whatever it is and wherever it is kept.
 */

/** The counter of an account or a session. */
export interface CredentialVersion {
	/** Null where only the time is known: of a session that a relay 0.3.0 has ended. */
	readonly cv: number | null;
	/** Unix time in ms of the last rise; null = there was none. Judges what carries no counter. */
	readonly raisedAtMs: number | null;
}

/** What was made from an account or a session. */
export interface Derived {
	/** The counter when it was made; null for what relays up to 0.3.0 and other issuers have made. */
	readonly cv: number | null;
	/** Unix time in ms. */
	readonly issuedAtMs: number;
}

/** Whether something was made under the version that counts now. */
export function isCurrent({ cv, raisedAtMs }: CredentialVersion, made: Derived): boolean {
	if (cv !== null && made.cv !== null) return made.cv === cv;
	return raisedAtMs === null || made.issuedAtMs > raisedAtMs;
}

/** The version after a rise. */
export function raised<Version extends { readonly cv: number; readonly raisedAtMs: number | null }>(
	version: Version,
	nowMs: number,
): Version {
	// A clock that was set back must not bring back what was ended.
	return { ...version, cv: version.cv + 1, raisedAtMs: Math.max(nowMs, version.raisedAtMs ?? 0) };
}
