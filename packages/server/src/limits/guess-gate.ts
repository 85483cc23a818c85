/**
 * Lets guesses through by a limit that counts only the wrong ones. Whether one is wrong is known only after it was tried, so as many are
 * tried at a time as may still be wrong, and the others wait: a hundred clients that sign in at once with the right password all
 * get in, and a hundred wrong guesses at once are no more than the limit.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { rateLimited } from './rate-limited.ts';
import type { RateLimit } from './rate-limits.ts';
import type { Balance } from './token-buckets.ts';

/** Guesses that may wait for others of their bucket. */
const WAITING_MAX = 1000;

/** A guess that is under way. */
export interface Guess {
	/** How the bucket stood. */
	readonly balance: Balance;
	/** To be called once, when it is known whether it was wrong. */
	settle(wrong: boolean): void;
}

/** The guesses of one bucket. */
interface Guesses {
	underWay: number;
	readonly waiting: (() => void)[];
}

export class GuessGate {
	readonly #limit: RateLimit;
	/** Of buckets with guesses under way or waiting. */
	readonly #guesses = new Map<string, Guesses>();
	#waiting = 0;

	constructor(limit: RateLimit) {
		this.#limit = limit;
	}

	/** Resolves when the guess may be tried. Rejects with `rate_limited`, or with `too_many_logins` when too many wait. */
	async enter(key: string): Promise<Guess> {
		for (;;) {
			// Other nodes count, too.
			await this.#limit.sync(key);
			const balance = this.#limit.look(key);
			const guesses = this.#guesses.get(key) ?? { underWay: 0, waiting: [] };
			if (!balance.allowed) {
				// Those who wait are not going to be let in either.
				wake(guesses, guesses.waiting.length);
				this.#forget(key, guesses);
				throw rateLimited(balance, 'too many failed attempts to sign in');
			}
			this.#guesses.set(key, guesses);
			if (guesses.underWay < balance.remaining) {
				guesses.underWay++;
				return { balance, settle: (wrong) => this.#settle(key, guesses, wrong) };
			}
			await this.#wait(guesses);
		}
	}

	async #wait({ waiting }: Guesses): Promise<void> {
		if (this.#waiting >= WAITING_MAX) throw new RelayError('too_many_logins', 'too many wait to sign in');
		this.#waiting++;
		await new Promise<void>((resolve) => {
			waiting.push(resolve);
		});
		this.#waiting--;
	}

	#settle(key: string, guesses: Guesses, wrong: boolean): void {
		guesses.underWay--;
		if (wrong) {
			this.#limit.charge(key);
			void this.#limit.sync(key);
		}
		// One has left: one may come. It tells the others when there is nothing left for them.
		wake(guesses, 1);
		this.#forget(key, guesses);
	}

	#forget(key: string, { underWay, waiting }: Guesses): void {
		if (underWay === 0 && waiting.length === 0) this.#guesses.delete(key);
	}
}

function wake({ waiting }: Guesses, count: number): void {
	for (const go of waiting.splice(0, count)) go();
}
