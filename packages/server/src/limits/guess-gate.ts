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

export class GuessGate {
	readonly #limit: RateLimit;
	readonly #underWay = new Map<string, { count: number; readonly waiting: (() => void)[] }>();
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
			if (!balance.allowed) throw rateLimited(balance, 'too many failed attempts to sign in');
			const others = this.#underWay.get(key);
			if (others === undefined) this.#underWay.set(key, { count: 1, waiting: [] });
			else if (others.count < balance.remaining) others.count++;
			else {
				await this.#wait(others.waiting);
				continue;
			}
			return { balance, settle: (wrong) => this.#settle(key, wrong) };
		}
	}

	async #wait(waiting: (() => void)[]): Promise<void> {
		if (this.#waiting >= WAITING_MAX) throw new RelayError('too_many_logins', 'too many wait to sign in');
		this.#waiting++;
		await new Promise<void>((resolve) => {
			waiting.push(resolve);
		});
		this.#waiting--;
	}

	#settle(key: string, wrong: boolean): void {
		if (wrong) {
			this.#limit.charge(key);
			void this.#limit.sync(key);
		}
		const others = this.#underWay.get(key);
		if (others === undefined) return;
		if (--others.count === 0) this.#underWay.delete(key);
		// All of them: after a wrong one it may be that none may go on.
		for (const wake of others.waiting.splice(0)) wake();
	}
}
