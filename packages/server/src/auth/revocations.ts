/**
 * What was ended before its time: tokens by their name, and sessions by theirs. A session that has ended, or was logged out, is known
 * here for as long as something that was made in it may live.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { Expected, RecordOp, Records } from '../ports/records.ts';
import type { CredentialVersion } from './credential-version.ts';
import { RecordCache } from './record-cache.ts';

export const REVOCATION = 'denied-token';

/** The longest life of a token that the relay gives out: that of an access token, as far as it can be set. */
const TOKEN_LIFETIME_MS_MAX = 2 * 3_600_000;
/** A revocation is kept so much longer than what it ends, for nodes whose clocks are late. */
const MARGIN_MS = 120_000;
const ATTEMPTS_MAX = 10;

/** Of a token that it is here is all that counts; of a session, from which version on scoped tokens are good. */
export interface Revocation extends CredentialVersion {
	/** The session is over: its access tokens are, too. Else it was logged out and goes on. */
	readonly isOver: boolean;
}

export class Revocations {
	readonly #records: Records;
	readonly #clock: Clock;
	readonly #cache: RecordCache<Revocation>;

	constructor({ records, clock }: { readonly records: Records; readonly clock: Clock }) {
		this.#records = records;
		this.#clock = clock;
		this.#cache = new RecordCache({ records, clock, kind: REVOCATION, decode: ({ value }) => revocationOf(value) });
	}

	/** The revocation of a token or session, null when there is none, undefined when that must be read. */
	peek(id: string): Revocation | null | undefined {
		return this.#cache.peek(id);
	}

	get(id: string): Promise<Revocation | null> {
		return this.#cache.get(id);
	}

	/** As it is stored at this moment. */
	async read(id: string): Promise<Revocation | null> {
		const record = await this.#records.get(REVOCATION, id);
		return record === undefined ? null : revocationOf(record.value);
	}

	/** Ends a token, and what was minted by it where it is a session by itself. */
	async endToken(jti: string, expiresAtMs: number): Promise<void> {
		await this.#records.write([this.#put(jti, { endsAtMs: expiresAtMs })]);
	}

	/**
	 * Ends the scoped tokens that were minted in a session which is not kept here (any more): the one of a token that is a session by itself, or
	 * one that made room for others.
	 */
	async endMintedIn(sessionId: string): Promise<void> {
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await this.#records.get(REVOCATION, sessionId);
			if (record !== undefined && revocationOf(record.value).isOver) return;
			const outcome = await this.#records.write([this.#put(sessionId, { expected: record?.version ?? 'absent' })]);
			if (outcome.status === 'ok') return;
		}
		throw new RelayError('overloaded', 'the session is being logged out by too many at once');
	}

	/** What is to be written with the end of a session. */
	endSession(sessionId: string): RecordOp {
		return this.#put(sessionId, { isOver: true });
	}

	/** What is to be written when a session is logged out: what was minted in it under an earlier version ends. */
	raiseSession(sessionId: string, cv: number): RecordOp {
		return this.#put(sessionId, { cv });
	}

	close(): void {
		this.#cache.close();
	}

	#put(
		id: string,
		{ endsAtMs = 0, expected = 'any', ...said }: { endsAtMs?: number; expected?: Expected; cv?: number; isOver?: true },
	): RecordOp {
		const nowMs = this.#clock.nowMs();
		// The time is all that relays up to 0.3.0 look at.
		const value = { ...said, atS: Math.floor(nowMs / 1000) };
		const expiresAtMs = Math.max(endsAtMs, nowMs + TOKEN_LIFETIME_MS_MAX) + MARGIN_MS;
		return { op: 'put', kind: REVOCATION, id, value, expected, expiresAtMs };
	}
}

function revocationOf({ atS, cv, isOver }: Readonly<Record<string, unknown>>): Revocation {
	return { cv: typeof cv === 'number' ? cv : null, raisedAtMs: Number(atS) * 1000, isOver: isOver === true };
}
