/**
 * The one place that asks the application for a token. One call at a time, whoever needs it; before the token in use expires; and once after
 * the relay has refused it. How long a token is good is counted from when it was given, by the token's own two times: the clock of
 * this machine may be wrong by an hour.
 */

import type { Clock } from './clock.ts';
import { RelayError } from './errors.ts';

/** A token, or a function that gives a fresh one: `null` for none. It is called again before the token expires. */
export type TokenOption = string | (() => string | null | Promise<string | null>);

const CALL_TIMEOUT_MS = 15_000;
/** Renewed when this part of its life is left. */
const RENEW_FRACTION = 0.1;
const RENEW_MS_MAX = 30_000;

interface Held {
	readonly token: string | null;
	/** By the clock's own count; null when the token does not say. */
	readonly renewAtMs: number | null;
}

export class TokenSource {
	readonly #option: TokenOption | null;
	readonly #clock: Clock;
	#held: Held | null = null;
	#flight: Promise<string | null> | null = null;

	constructor(option: TokenOption | undefined, clock: Clock) {
		this.#option = option ?? null;
		this.#clock = clock;
	}

	/** Whether another token can be had when the one in use is refused. */
	get renewable(): boolean {
		return typeof this.#option === 'function';
	}

	/** When the token in use should be replaced, by the clock; null when never. */
	get renewAtMs(): number | null {
		return this.#held?.renewAtMs ?? null;
	}

	/** The token for the next request. Rejects with `token_failed`. */
	get(): Promise<string | null> {
		const held = this.#held;
		if (held !== null && (held.renewAtMs === null || this.#clock.nowMs() < held.renewAtMs)) return Promise.resolve(held.token);
		this.#flight ??= this.#ask().finally(() => {
			this.#flight = null;
		});
		return this.#flight;
	}

	/** The relay has refused this token: the next {@link get} asks for another. */
	refused(token: string | null): void {
		if (this.#held?.token === token && this.renewable) this.#held = null;
	}

	async #ask(): Promise<string | null> {
		if (typeof this.#option !== 'function') return this.#hold(this.#option);
		const { promise: timedOut, cancel } = this.#timeout();
		try {
			return this.#hold(await Promise.race([this.#option(), timedOut]));
		} catch (cause) {
			if (cause instanceof RelayError) throw cause;
			throw new RelayError('token_failed', 'the token function failed; see .cause. It is called again with the next try', {
				cause,
			});
		} finally {
			cancel();
		}
	}

	#hold(token: string | null): string | null {
		const lifetimeMs = token === null ? null : lifetimeMsOf(token);
		const marginMs = lifetimeMs === null ? 0 : Math.min(lifetimeMs * RENEW_FRACTION, RENEW_MS_MAX);
		const renewAtMs = lifetimeMs === null || !this.renewable ? null : this.#clock.nowMs() + lifetimeMs - marginMs;
		this.#held = { token, renewAtMs };
		return token;
	}

	#timeout(): { readonly promise: Promise<never>; cancel(): void } {
		const { promise, reject } = Promise.withResolvers<never>();
		const cancel = this.#clock.after(CALL_TIMEOUT_MS, () => {
			reject(new RelayError('token_failed', `the token function gave nothing for ${CALL_TIMEOUT_MS / 1000} s`));
		});
		return { promise, cancel };
	}
}

/** How long a JWT is good from when it was made (RFC 7519, `exp` and `iat`); null for anything else. */
function lifetimeMsOf(token: string): number | null {
	const claims = token.split('.')[1];
	if (claims === undefined) return null;
	try {
		const { exp, iat } = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/'))) as { exp?: unknown; iat?: unknown };
		return typeof exp === 'number' && typeof iat === 'number' && exp > iat ? (exp - iat) * 1000 : null;
	} catch {
		// An API key, or a token of another form: the relay says when it has expired.
		return null;
	}
}
