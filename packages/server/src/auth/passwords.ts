/**
 * Passwords: Argon2id on other threads, a few at a time, so that those who sign in neither stop the event loop nor take the
 * processor from those who publish. Whoever has no password to compare with costs as much as one who has.
 */

import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { hash, verify } from '@node-rs/argon2';
import { RelayError } from '@pulsar-relay/protocol/errors';

/** The smaller of the settings that OWASP recommends for Argon2id: 11 ms on one core where the earlier server's took 300. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
const CURRENT = `$argon2id$v=19$m=${COST.memoryCost},t=${COST.timeCost},p=${COST.parallelism}$`;
/** What an imported hash may cost to check. */
const IMPORTED_MAX = { m: 262_144, t: 16, p: 16 } as const;
/** Passwords that may wait for their turn: some seconds of work. */
const WAITING_MAX = 200;

export const PASSWORD_LENGTH_MIN = 8;
/** Longer ones would only be work. */
export const PASSWORD_LENGTH_MAX = 1024;

export interface PasswordsOptions {
	/** Hashes computed at the same time; default: one less than there are processors, at least one. */
	readonly concurrency?: number;
	readonly waitingMax?: number;
}

export class Passwords {
	readonly #concurrency: number;
	readonly #waitingMax: number;
	readonly #waiting: (() => void)[] = [];
	#running = 0;
	/** What the password of nobody is compared with. */
	#nobody: Promise<string> | null = null;

	constructor(options: PasswordsOptions = {}) {
		this.#concurrency = options.concurrency ?? Math.max(1, availableParallelism() - 1);
		this.#waitingMax = options.waitingMax ?? WAITING_MAX;
	}

	/** The PHC text of a password. Rejects with `too_many_logins` when too many wait. */
	hash(password: string): Promise<string> {
		return this.#run(() => hash(password, COST));
	}

	/**
	 * Whether a password is the one of a hash; null = there is none, which takes as long as a wrong password. Rejects with
	 * `too_many_logins` when too many wait.
	 */
	async verify(phc: string | null, password: string): Promise<boolean> {
		const known = phc !== null && isUsableHash(phc);
		this.#nobody ??= this.hash(randomBytes(16).toString('hex'));
		const against = known ? phc : await this.#nobody.catch((error: unknown) => this.#forgetNobody(error));
		const right = await this.#run(() => verify(against, password));
		return right && known;
	}

	/** Whether a hash is of other costs than new ones, and should be made anew when its password is at hand. */
	isOutdated(phc: string): boolean {
		return !phc.startsWith(CURRENT);
	}

	#forgetNobody(error: unknown): never {
		this.#nobody = null;
		throw error;
	}

	async #run<T>(work: () => Promise<T>): Promise<T> {
		if (this.#running >= this.#concurrency) {
			if (this.#waiting.length >= this.#waitingMax) {
				throw new RelayError('too_many_logins', 'too many passwords wait to be checked');
			}
			// Whoever ends hands its place over, so that nobody who comes meanwhile gets in first.
			await new Promise<void>((resolve) => {
				this.#waiting.push(resolve);
			});
		} else {
			this.#running++;
		}
		try {
			return await work();
		} finally {
			const next = this.#waiting.shift();
			if (next === undefined) this.#running--;
			else next();
		}
	}
}

/** Whether a hash is Argon2id, well-formed, and not one that would take the machine away. */
export function isUsableHash(phc: string): boolean {
	const match = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,172}$/.exec(phc);
	if (match === null) return false;
	const [, m, t, p] = match.map(Number);
	return Number(m) <= IMPORTED_MAX.m && Number(t) <= IMPORTED_MAX.t && Number(p) <= IMPORTED_MAX.p;
}
