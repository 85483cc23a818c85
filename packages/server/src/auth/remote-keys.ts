/**
 * The keys of an issuer (a JWKS), read over the network. A token that names an unknown key makes the relay read them again, so a new
 * signing key is good at once. While the issuer is away the known keys go on. Made-up key names share a small budget of reads, which is
 * why this is not jose's own reader: that one refuses a new key for 30 s, and reads for every such token while the issuer is away.
 */

import { createLocalJWKSet, errors, type FlattenedJWSInput, type JSONWebKeySet, type JWSHeaderParameters } from 'jose';
import type { Clock } from '../ports/clock.ts';
import type { AuthLog } from './auth-log.ts';
import { causeOf, fetchBounded, providerUnavailable } from './outbound.ts';

/** After so long keys are read again, beside what goes on. */
const FRESH_MS = 600_000;
/** Keys that could not be read again for so long are not used any more. */
const AGE_MS_MAX = 24 * 3_600_000;
/** How soon after a failed refresh of old keys the next one may begin. */
const REFRESH_INTERVAL_MS = 30_000;
/** The same while there are no keys at all. */
const FIRST_ATTEMPT_INTERVAL_MS = 5_000;
/** Reads for unknown keys: so many at once, and one more per interval. A flood of made-up names delays a real new key by one interval. */
const UNKNOWN_KEY_READS_MAX = 4;
const UNKNOWN_KEY_READ_INTERVAL_MS = 10_000;
/** Names of keys that a read did not find, remembered so that the same name does not cause the next read as well. */
const MISSED_NAMES_MAX = 100;

/** Finds the key of a signature, as jose asks for it. */
type Keys = (header?: JWSHeaderParameters, token?: FlattenedJWSInput) => Promise<CryptoKey>;

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
	/** When each unknown name last caused a read, oldest first. */
	readonly #missed = new Map<string, number>();
	#unknownKeyReads = UNKNOWN_KEY_READS_MAX;
	#refilledMs: number | null = null;

	constructor(options: RemoteKeysOptions) {
		this.#options = options;
	}

	/** Where the keys are read. */
	get url(): string {
		return this.#options.url;
	}

	/**
	 * Runs a verification with the keys, which `find` gives as jose asks for them. A verification that finds no key runs on newer keys, if
	 * there are any; so does one that fails on its signature where the token does not name its key. Rejects as the verification does, and
	 * with `provider_unavailable` when no keys could be read yet.
	 */
	async verify<T>(verification: (find: Keys) => Promise<T>): Promise<T> {
		let named = true;
		const find: Keys = async (header, token) => {
			named = header?.kid !== undefined;
			return this.#find(header, token);
		};
		try {
			return await verification(find);
		} catch (error) {
			const mayBeOfANewKey = !named && error instanceof errors.JWSSignatureVerificationFailed;
			if (!mayBeOfANewKey || !(await this.#readFor(''))) throw error;
			return verification(find);
		}
	}

	async #find(header?: JWSHeaderParameters, token?: FlattenedJWSInput): Promise<CryptoKey> {
		const known = await this.#known();
		try {
			return await known(header, token);
		} catch (error) {
			if (!(error instanceof errors.JWKSNoMatchingKey) || !(await this.#readFor(header?.kid ?? ''))) throw error;
			return (this.#keys?.find ?? known)(header, token);
		}
	}

	async #known(): Promise<Keys> {
		const ageMs = this.#keys === null ? Number.POSITIVE_INFINITY : this.#options.clock.monotonicMs() - this.#keys.readMs;
		if (ageMs < FRESH_MS && this.#keys !== null) return this.#keys.find;
		if (ageMs < AGE_MS_MAX && this.#keys !== null) {
			// It never rejects; this verification goes on with the known keys.
			if (this.#mayRead(REFRESH_INTERVAL_MS)) void this.#read();
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

	/** Reads the keys because a token names one that is unknown, or waits for the read under way. False: there was no read. */
	async #readFor(name: string): Promise<boolean> {
		if (this.#reading === null && !this.#spendRead(name)) return false;
		await this.#read();
		return true;
	}

	#spendRead(name: string): boolean {
		const nowMs = this.#options.clock.monotonicMs();
		const refills = Math.floor((nowMs - (this.#refilledMs ?? nowMs)) / UNKNOWN_KEY_READ_INTERVAL_MS);
		this.#unknownKeyReads = Math.min(UNKNOWN_KEY_READS_MAX, this.#unknownKeyReads + refills);
		this.#refilledMs = (this.#refilledMs ?? nowMs) + refills * UNKNOWN_KEY_READ_INTERVAL_MS;
		const missedMs = this.#missed.get(name);
		const missedJustNow = missedMs !== undefined && nowMs - missedMs < UNKNOWN_KEY_READ_INTERVAL_MS;
		if (missedJustNow || this.#unknownKeyReads === 0) return false;
		this.#unknownKeyReads--;
		this.#missed.delete(name);
		this.#missed.set(name, nowMs);
		if (this.#missed.size > MISSED_NAMES_MAX) {
			for (const oldest of this.#missed.keys()) {
				this.#missed.delete(oldest);
				break;
			}
		}
		return true;
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
