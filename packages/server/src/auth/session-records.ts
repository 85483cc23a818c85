/** The records of sign-in sessions: one of each session, and one under its account. */

import type { RecordOp, StoredRecord } from '../ports/records.ts';

export const SESSION = 'session';
/** `<account>/<session>`, so that an account's sessions can be listed. */
export const ACCOUNT_SESSION = 'account-session';

/** A session as it is stored. */
export interface SessionDocument {
	readonly accountId: string;
	/** The account's credential version that it was begun under; absent in what relays up to 0.3.0 and imports have written. */
	readonly accountCv?: number;
	/** Its own credential version, which rises with a logout. Absent = 0. */
	readonly cv?: number;
	readonly clientHint: string | null;
	readonly issuedAtMs: number;
	readonly expiresAtMs: number;
	readonly lastUsedAtMs: number | null;
	/** SHA-256 of the secret that is good now, in hex. */
	readonly secretHash: string;
	/** Computes the check in each secret; base64url. */
	readonly checkKey: string;
	/** The secret before, while it can still be presented by mistake. */
	readonly previous: { readonly secretHash: string; readonly salt: string; readonly rotatedAtMs: number } | null;
}

/** A session as its owner sees it. */
export interface RefreshSession {
	readonly jti: string;
	readonly issuedAtMs: number;
	readonly expiresAtMs: number;
	readonly lastUsedAtMs: number | null;
	readonly clientHint: string | null;
}

/** Whose a session is, and since when. */
export interface SessionOrigin {
	readonly jti: string;
	readonly accountId: string;
	readonly issuedAtMs: number;
	/** The account's credential version that it was begun under; null where that is not known. */
	readonly cv: number | null;
}

/** Writes a session. Also renews the entry under the account, so that it lives as long as the session. */
export function putSession(jti: string, document: SessionDocument, expected: 'absent' | number): RecordOp[] {
	const { accountId, expiresAtMs } = document;
	return [
		{ op: 'put', kind: SESSION, id: jti, value: { ...document }, expected, expiresAtMs },
		{ op: 'put', kind: ACCOUNT_SESSION, id: `${accountId}/${jti}`, value: {}, expected: 'any', expiresAtMs },
	];
}

/** Ends a session as a record; what ends with it is the caller's to write. */
export function deleteSession(jti: string, accountId: string): RecordOp[] {
	return [
		{ op: 'delete', kind: SESSION, id: jti, expected: 'present' },
		{ op: 'delete', kind: ACCOUNT_SESSION, id: `${accountId}/${jti}`, expected: 'any' },
	];
}

export function originOf(record: StoredRecord): SessionOrigin {
	const { accountId, issuedAtMs, accountCv } = documentOf(record);
	return { jti: record.id, accountId, issuedAtMs, cv: accountCv ?? null };
}

export function documentOf({ value }: StoredRecord): SessionDocument {
	return value as unknown as SessionDocument;
}

export function sessionOf(record: StoredRecord): RefreshSession {
	const { issuedAtMs, expiresAtMs, lastUsedAtMs, clientHint } = documentOf(record);
	return { jti: record.id, issuedAtMs, expiresAtMs, lastUsedAtMs, clientHint };
}
