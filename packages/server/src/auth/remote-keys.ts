/**
 * The keys of an issuer (a JWKS), read over the network. New ones are found when a token names a key that is not known; while the
 * issuer is away the known ones go on. Nobody can make the relay ask more often than every half minute by naming keys that are
 * none, which is why this is not jose's own reader: that one asks for every such token while the issuer does not answer.
 */

import { createLocalJWKSet, errors, type FlattenedJWSInput, type JSONWebKeySet, type JWSHeaderParameters } from 'jose';
import type { Clock } from '../ports/clock.ts';
import type { AuthLog } from './auth-log.ts';
import { causeOf, fetchBounded, providerUnavailable } from './outbound.ts';

/** After so long keys are read again, beside what goes on. */
const FRESH_MS = 600_000;
/** Keys that could not be read again for so long are not used any more. */
const AGE_MS_MAX = 24 * 3_600_000;
/** How soon after an attempt the next one may be made. */
const ATTEMPT_INTERVAL_MS = 30_000;
/** The same while there are no keys at all. */
const FIRST_ATTEMPT_INTERVAL_MS = 5_000;

type Keys = ReturnType<typeof createLocalJWKSet>;

export interface RemoteKeysOptions {
	readonly url: string;
	readonly clock: Clock;
	readonly log: AuthLog;
}

export class RemoteKeys {
	readonly #options: RemoteKeysOptions;
	#keys: { readonly find: Keys; readonly readMs: number } | null = null;
	#attemptMs: number | null = null;
	#reading: Promise<void> | null = null;

	constructor(options: RemoteKeysOptions) {
		this.#options = options;
	}

	/**
	 * The key that a token is signed with, as jose asks for it. Rejects as jose does when there is none, and with
	 * `provider_unavailable` when no keys could be read yet.
	 */
	async find(header: JWSHeaderParameters, token: FlattenedJWSInput): ReturnType<Keys> {
		const known = await this.#known();
		try {
			return await known(header, token);
		} catch (error) {
			if (!(error instanceof errors.JWKSNoMatchingKey) || !this.#mayRead(ATTEMPT_INTERVAL_MS)) throw error;
			await this.#read();
			const keys = this.#keys?.find ?? known;
			return keys(header, token);
		}
	}

	async #known(): Promise<Keys> {
		const ageMs = this.#keys === null ? Number.POSITIVE_INFINITY : this.#options.clock.monotonicMs() - this.#keys.readMs;
		if (ageMs < FRESH_MS && this.#keys !== null) return this.#keys.find;
		if (ageMs < AGE_MS_MAX && this.#keys !== null) {
			// It never rejects; whoever asks now is served with what is known.
			if (this.#mayRead(ATTEMPT_INTERVAL_MS)) void this.#read();
			return this.#keys.find;
		}
		this.#keys = null;
		if (this.#reading !== null || this.#mayRead(FIRST_ATTEMPT_INTERVAL_MS)) await this.#read();
		const read = this.#keys as { readonly find: Keys } | null;
		if (read === null) throw providerUnavailable(undefined);
		return read.find;
	}

	#mayRead(intervalMs: number): boolean {
		return this.#attemptMs === null || this.#options.clock.monotonicMs() - this.#attemptMs >= intervalMs;
	}

	/** Reads the keys once, for all who ask meanwhile. A failure is told to the operator, and leaves what is known. */
	#read(): Promise<void> {
		this.#reading ??= this.#fetch().finally(() => {
			this.#reading = null;
		});
		return this.#reading;
	}

	async #fetch(): Promise<void> {
		const { url, clock, log } = this.#options;
		this.#attemptMs = clock.monotonicMs();
		try {
			const response = await fetchBounded(url, { headers: { accept: 'application/json' }, redirect: 'error' });
			if (response.status !== 200) throw new Error(`answered with status ${response.status}`);
			const find = createLocalJWKSet((await response.json()) as JSONWebKeySet);
			this.#keys = { find, readMs: clock.monotonicMs() };
		} catch (error) {
			log.warn({ url, cause: causeOf(error) }, 'the keys of the token issuer could not be read');
		}
	}
}
