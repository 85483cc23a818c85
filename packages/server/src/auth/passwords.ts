/**
 * Passwords: Argon2id on other threads, a few at a time, so that those who sign in neither stop the event loop nor take the
 * processor from those who publish. A wrong password takes the same time for every account: one that does not exist, and
 * one whose imported hash costs more than new ones.
 */

import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { hash, verify } from '@node-rs/argon2';
import { RelayError } from '@pulsar-relay/protocol/errors';

/** The smaller of the settings that OWASP recommends for Argon2id: 11 ms on one core where the earlier server's took 300. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 } as const;
const CURRENT = `$argon2id$v=19$m=${COST.memoryCost},t=${COST.timeCost},p=${COST.parallelism}$`;
const CURRENT_KEY = costKey(COST);
/** Costs that are made up for, beside today's, and the dearest of them: above the earlier server's (64 MiB, 3 passes). */
const OTHER_COSTS_MAX = 3;
const OTHER_COST_KIB_PASSES_MAX = 4 * 65_536;
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
	/** The costs of hashes that there are, each with a hash of nobody's password, once it was needed. */
	readonly #costs = new Map<string, { readonly cost: Cost; nobodys: Promise<string> | null }>([
		[CURRENT_KEY, { cost: COST, nobodys: null }],
	]);

	constructor(options: PasswordsOptions = {}) {
		this.#concurrency = options.concurrency ?? Math.max(1, availableParallelism() - 1);
		this.#waitingMax = options.waitingMax ?? WAITING_MAX;
	}

	/** The PHC text of a password. Rejects with `too_many_logins` when too many wait. */
	hash(password: string): Promise<string> {
		return this.#run(() => hash(password, COST));
	}

	/**
	 * Whether a password is the one of a hash; null = there is none. A wrong one is compared with a hash of each cost that there is, so that
	 * all take the same time. Rejects with `too_many_logins` when too many wait.
	 */
	async verify(phc: string | null, password: string): Promise<boolean> {
		const own = phc === null ? null : costOf(phc);
		if (phc !== null && own !== null) {
			this.learn(phc);
			if (await this.#run(() => verify(phc, password))) return true;
		}
		for (const key of [...this.#costs.keys()]) {
			if (own !== null && key === costKey(own)) continue;
			const nobodys = await this.#nobodys(key);
			await this.#run(() => verify(nobodys, password));
		}
		return false;
	}

	/** Takes note of a hash that there is: what it costs is made up for from now on. */
	learn(phc: string): void {
		const cost = costOf(phc);
		if (cost === null || this.#costs.size > OTHER_COSTS_MAX) return;
		const key = costKey(cost);
		if (this.#costs.has(key) || cost.memoryCost * cost.timeCost > OTHER_COST_KIB_PASSES_MAX) return;
		this.#costs.set(key, { cost, nobodys: null });
	}

	/** Whether a hash is of other costs than new ones, and should be made anew when its password is at hand. */
	isOutdated(phc: string): boolean {
		return !phc.startsWith(CURRENT);
	}

	/** A hash of that cost which is of no password. */
	async #nobodys(key: string): Promise<string> {
		const entry = this.#costs.get(key) ?? { cost: COST, nobodys: null };
		entry.nobodys ??= this.#run(() => hash(randomBytes(16).toString('hex'), entry.cost));
		try {
			return await entry.nobodys;
		} catch (error) {
			entry.nobodys = null;
			throw error;
		}
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
	return costOf(phc) !== null;
}

interface Cost {
	readonly memoryCost: number;
	readonly timeCost: number;
	readonly parallelism: number;
}

function costKey({ memoryCost, timeCost, parallelism }: Cost): string {
	return `${memoryCost},${timeCost},${parallelism}`;
}

/** What a hash costs to check; null when it is no usable one. */
function costOf(phc: string): Cost | null {
	const match = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,172}$/.exec(phc);
	if (match === null) return null;
	const [, memoryCost = 0, timeCost = 0, parallelism = 0] = match.map(Number);
	const isBounded = memoryCost <= IMPORTED_MAX.m && timeCost <= IMPORTED_MAX.t && parallelism <= IMPORTED_MAX.p;
	return isBounded ? { memoryCost, timeCost, parallelism } : null;
}
