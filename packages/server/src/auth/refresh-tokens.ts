/**
 * Refresh tokens. A session is a chain of them: each use gives a successor, and a token that comes again after its successor is
 * known shows that somebody else has it: the session ends.
 *
 * A session is one record however often it is rotated. Nothing is kept of the tokens before the last but one, and they are
 * recognised all the same: part of each secret is a check by a key of the session, which is worth nothing to who reads the record
 * but to end the session. The successor is computed from the secret that is presented and a salt of the record: only who has the
 * one can be given the other again, in the short while in which an answer may have been lost or two processes share a token.
 */

import { randomBytes, randomUUID } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { RecordOp, Records, StoredRecord } from '../ports/records.ts';
import { ACCOUNT, type Account, type Accounts } from './accounts.ts';
import { isCurrent } from './credential-version.ts';
import {
	equals,
	hashOf,
	isSealed,
	JTI_FORM,
	newSecret,
	type ParsedToken,
	parseRefreshToken,
	successorOf,
} from './refresh-secrets.ts';
import type { Revocations } from './revocations.ts';
import {
	ACCOUNT_SESSION,
	deleteSession,
	documentOf,
	originOf,
	putSession,
	type RefreshSession,
	SESSION,
	type SessionDocument,
	type SessionOrigin,
	sessionOf,
} from './session-records.ts';

const HINT_LENGTH_MAX = 255;
/**
 * Sessions of one account. Clients that sign in by password every few minutes and forget their refresh tokens make thousands: beyond
 * this the oldest of those that were never used end.
 */
export const SESSIONS_MAX = 500;
const ATTEMPTS_MAX = 10;

/** A session that another server began: its secret is known by its hash only. */
export interface AdoptedSession extends RefreshSession {
	readonly accountId: string;
	readonly secretHash: string;
	/** Its token came from a refresh, so that somebody keeps it. */
	readonly isSuccessor: boolean;
}

/**
 * - `rotated`: the token was good; its successor is the one that is good now.
 * - `replayed`: it had been good, and its time to be presented again is over; the session has been ended.
 * - `invalid`: anything else.
 */
export type RotateOutcome =
	| ({ readonly status: 'rotated'; readonly refreshToken: string } & SessionOrigin)
	| { readonly status: 'replayed'; readonly accountId: string; readonly jti: string }
	| { readonly status: 'invalid' };

export interface RefreshTokensOptions {
	readonly records: Records;
	readonly clock: Clock;
	readonly accounts: Accounts;
	readonly revocations: Revocations;
	readonly lifetimeS: number;
	/** How long after its use a token gives the same successor again; 0 = not at all. */
	readonly graceS: number;
}

export class RefreshTokens {
	readonly #options: RefreshTokensOptions;

	constructor(options: RefreshTokensOptions) {
		this.#options = options;
	}

	/**
	 * Begins a session of an account, by what was made under that credential version of it. Null when the account is gone, disabled, or has
	 * other credentials meanwhile.
	 */
	async issue({ accountId, cv }: Pick<Account, 'accountId' | 'cv'>, clientHint: string | null): Promise<string | null> {
		const { records, clock, accounts, lifetimeS } = this.#options;
		const jti = randomUUID();
		const checkKey = randomBytes(16);
		const secret = newSecret(checkKey);
		const nowMs = clock.nowMs();
		const document: SessionDocument = {
			accountId,
			accountCv: cv,
			clientHint: clientHint === null ? null : clientHint.slice(0, HINT_LENGTH_MAX).toWellFormed(),
			issuedAtMs: nowMs,
			expiresAtMs: nowMs + lifetimeS * 1000,
			lastUsedAtMs: null,
			secretHash: hashOf(secret),
			checkKey: checkKey.toString('base64url'),
			previous: null,
		};
		await this.#makeRoom(accountId);
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const account = await accounts.read(accountId);
			if (account?.isActive !== true || account.cv !== cv) return null;
			const outcome = await records.write([
				{ op: 'check', kind: ACCOUNT, id: accountId, expected: account.version },
				...putSession(jti, document, 'absent'),
			]);
			if (outcome.status === 'ok') return `${jti}.${secret}`;
		}
		throw new RelayError('overloaded', 'the account is being changed by too many at once');
	}

	/** The credential version of a session; null when it is not kept here. */
	async versionOf(jti: string): Promise<number | null> {
		const record = JTI_FORM.test(jti) ? await this.#options.records.get(SESSION, jti) : undefined;
		return record === undefined ? null : (documentOf(record).cv ?? 0);
	}

	/** Ends the scoped tokens that were minted in a session until now. The session goes on. */
	async logOut(jti: string): Promise<void> {
		const { records, revocations } = this.#options;
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = JTI_FORM.test(jti) ? await records.get(SESSION, jti) : undefined;
			if (record === undefined) return revocations.endMintedIn(jti);
			const document = documentOf(record);
			const cv = (document.cv ?? 0) + 1;
			const outcome = await records.write([
				...putSession(jti, { ...document, cv }, record.version),
				revocations.raiseSession(jti, cv),
			]);
			if (outcome.status === 'ok') return;
		}
		throw new RelayError('overloaded', 'the session is being used by too many at once');
	}

	/** Goes on with a session as it is given, and writes the mark in the same step. False when it is marked, or its account is gone. */
	async adopt({ jti, isSuccessor: _, ...session }: AdoptedSession, mark: RecordOp): Promise<boolean> {
		const document: SessionDocument = { ...session, checkKey: randomBytes(16).toString('base64url'), previous: null };
		const outcome = await this.#options.records.write([
			mark,
			{ op: 'check', kind: ACCOUNT, id: session.accountId, expected: 'present' },
			...putSession(jti, document, 'absent'),
		]);
		return outcome.status === 'ok';
	}

	/** Gives the successor of a token; see {@link RotateOutcome}. Of two that present the same token at once both get the same. */
	async rotate(token: string): Promise<RotateOutcome> {
		const parsed = parseRefreshToken(token);
		if (parsed === null) return { status: 'invalid' };
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await this.#options.records.get(SESSION, parsed.jti);
			if (record === undefined) return { status: 'invalid' };
			const outcome = await this.#rotate(record, parsed);
			if (outcome !== null) return outcome;
		}
		throw new RelayError('overloaded', 'the session is being refreshed by too many at once');
	}

	/** Ends the session of a token, if it is one; nothing tells whether it was. False for what has not the form of a token. */
	async revoke(token: string): Promise<boolean> {
		const parsed = parseRefreshToken(token);
		if (parsed === null) return false;
		const record = await this.#options.records.get(SESSION, parsed.jti);
		if (record === undefined) return true;
		const document = documentOf(record);
		const isOfSession = equals(document.secretHash, hashOf(parsed.secret)) || isSealed(parsed.secret, document.checkKey);
		if (isOfSession) await this.#end(parsed.jti, document.accountId);
		return true;
	}

	/** The sessions of an account that have not ended, newest first. */
	async list(accountId: string): Promise<readonly RefreshSession[]> {
		const account = await this.#options.accounts.get(accountId);
		if (account === null) return [];
		return (await this.#stored(accountId))
			.filter((record) => isCurrent(account, originOf(record)))
			.map(sessionOf)
			.sort((a, b) => b.issuedAtMs - a.issuedAtMs);
	}

	/** Ends one session of an account. False when it has no such session. */
	async delete(accountId: string, jti: string): Promise<boolean> {
		const record = JTI_FORM.test(jti) ? await this.#options.records.get(SESSION, jti) : undefined;
		if (record === undefined || documentOf(record).accountId !== accountId) return false;
		return this.#end(jti, accountId);
	}

	/** Ends a session unless its token has been used here. */
	async deleteUnused(accountId: string, jti: string): Promise<void> {
		const record = await this.#options.records.get(SESSION, jti);
		if (record !== undefined && documentOf(record).previous === null) await this.delete(accountId, jti);
	}

	/** Removes every session of an account whose credentials were replaced, or that is gone: nothing is good any more that was made in them. */
	async forgetAll(accountId: string): Promise<void> {
		for (const jti of await this.#jtisOf(accountId)) await this.#forget(jti, accountId);
	}

	/** Null when somebody else changed the session at the same time. */
	async #rotate(record: StoredRecord, { jti, secret }: ParsedToken): Promise<RotateOutcome | null> {
		const { records, clock, lifetimeS, graceS } = this.#options;
		const document = documentOf(record);
		const { accountId, previous } = document;
		const origin = originOf(record);
		const nowMs = clock.nowMs();
		const presentedHash = hashOf(secret);
		if (equals(document.secretHash, presentedHash)) {
			const salt = randomBytes(16).toString('base64url');
			const next = successorOf(secret, salt, document.checkKey);
			const rotated: SessionDocument = {
				...document,
				expiresAtMs: nowMs + lifetimeS * 1000,
				lastUsedAtMs: nowMs,
				secretHash: hashOf(next),
				previous: { secretHash: presentedHash, salt, rotatedAtMs: nowMs },
			};
			const outcome = await records.write(putSession(jti, rotated, record.version));
			return outcome.status === 'ok' ? { status: 'rotated', ...origin, refreshToken: `${jti}.${next}` } : null;
		}
		if (previous !== null && equals(previous.secretHash, presentedHash) && nowMs - previous.rotatedAtMs <= graceS * 1000) {
			const refreshToken = `${jti}.${successorOf(secret, previous.salt, document.checkKey)}`;
			return { status: 'rotated', ...origin, refreshToken };
		}
		const wasGood = (previous !== null && equals(previous.secretHash, presentedHash)) || isSealed(secret, document.checkKey);
		if (!wasGood) return { status: 'invalid' };
		await this.#end(jti, accountId);
		return { status: 'replayed', accountId, jti };
	}

	/** Ends a session and everything that was made in it. */
	async #end(jti: string, accountId: string): Promise<boolean> {
		const { records, revocations } = this.#options;
		const outcome = await records.write([...deleteSession(jti, accountId), revocations.endSession(jti)]);
		return outcome.status === 'ok';
	}

	/** Ends a session only: access tokens that were given out in it live on. */
	async #forget(jti: string, accountId: string): Promise<void> {
		await this.#options.records.write(deleteSession(jti, accountId));
	}

	async #stored(accountId: string): Promise<readonly StoredRecord[]> {
		const jtis = await this.#jtisOf(accountId);
		const found = await Promise.all(jtis.map((jti) => this.#options.records.get(SESSION, jti)));
		return found.filter((record) => record !== undefined);
	}

	async #jtisOf(accountId: string): Promise<string[]> {
		const prefix = `${accountId}/`;
		const page = await this.#options.records.list(ACCOUNT_SESSION, { prefix, after: null, limit: 2 * SESSIONS_MAX });
		return page.map(({ id }) => id.slice(prefix.length));
	}

	/** Ends sessions until one more is not too many: first those that were never used, oldest first, then the longest unused. */
	async #makeRoom(accountId: string): Promise<void> {
		if ((await this.#jtisOf(accountId)).length < SESSIONS_MAX) return;
		const sessions = (await this.#stored(accountId)).map(sessionOf);
		const tooMany = Math.max(0, sessions.length - SESSIONS_MAX + 1);
		const usedMs = ({ lastUsedAtMs }: RefreshSession) => lastUsedAtMs ?? 0;
		const byUse = sessions.toSorted((a, b) => usedMs(a) - usedMs(b) || a.issuedAtMs - b.issuedAtMs);
		for (const { jti } of byUse.slice(0, tooMany)) await this.#forget(jti, accountId);
	}
}
