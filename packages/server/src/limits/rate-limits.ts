/**
 * The rate limits, and what keeps them the same on all nodes. A node decides by its own view of a bucket, at once; each second it tells the
 * others, by way of the store, what it has given out, and learns what is left. Where a wrong guess counts, it asks before. While the
 * store is away, each node goes on by its own view (docs/adr/0010-shared-rate-limits.md).
 */

import type { Clock } from '../ports/clock.ts';
import type { SharedBuckets } from '../ports/shared-buckets.ts';
import { type Balance, TokenBuckets } from './token-buckets.ts';

const TELL_INTERVAL_MS = 1000;
/** Buckets of one limit in one telling; the others have their turn in the next. One costs the store some 5 us. */
const TELL_BUCKETS_MAX = 2000;
/** Of each limit; some 200 bytes each. */
const BUCKETS_MAX = 50_000;
/**
 * Wrong guesses that one address may make at all accounts or sessions, for one that it may make at one of them. Refresh tokens cannot be
 * guessed; but a host that serves hundreds may keep trying those of many who have revoked them, and must not lose the others for it.
 */
const ADDRESS_FACTORS = { login: 10, refresh: 100 } as const;

/** Tokens per minute of each limit. */
export interface RatesPerMinute {
	/** What an account, one of its keys, or its scoped tokens together may ask for, by requests and messages. */
	readonly principal: number;
	/** What one client address may ask for without credentials, or with wrong ones. */
	readonly address: number;
	/** Wrong passwords, and refresh tokens that are none, by one address for one account. */
	readonly login: number;
	readonly refresh: number;
	/** Device codes that one address may ask for, and wrong user codes that it may try. */
	readonly device: number;
}

export interface RateLimitsOptions {
	readonly clock: Clock;
	readonly perMinute: RatesPerMinute;
	/** Null for a node that is alone. */
	readonly shared: SharedBuckets | null;
	/** Told when the nodes no longer share the limits, with the reason, and when they do again. */
	readonly onSharing?: (change: { readonly sharing: true } | { readonly sharing: false; readonly error: unknown }) => void;
}

/** One limit. */
export class RateLimit {
	readonly name: string;
	readonly #buckets: TokenBuckets;
	readonly #shared: SharedBuckets | null;

	constructor(name: string, { clock, shared }: Pick<RateLimitsOptions, 'clock' | 'shared'>, perMinute: number) {
		this.name = name;
		this.#buckets = new TokenBuckets({ clock, perMinute, bucketsMax: BUCKETS_MAX });
		this.#shared = shared;
	}

	/** As {@link TokenBuckets.take}, by this node's view. */
	take(key: string, cost?: number): Balance {
		return this.#buckets.take(key, cost);
	}

	look(key: string): Balance {
		return this.#buckets.look(key);
	}

	charge(key: string): void {
		this.#buckets.charge(key);
	}

	/** Asks what the other nodes have left, and tells them what this one has taken. Never rejects: without an answer this node's view counts. */
	sync(key: string): Promise<void> {
		return this.#tell([key]);
	}

	/** Tells of all buckets of which there is something to tell. */
	syncAll(): Promise<void> {
		return this.#tell(this.#buckets.untold(TELL_BUCKETS_MAX));
	}

	async #tell(keys: readonly string[]): Promise<void> {
		if (this.#shared === null || keys.length === 0) return;
		const buckets = this.#buckets;
		const { perMinute } = buckets;
		const spendings = keys.map((key) => ({ key: `${this.name}:${key}`, spent: buckets.tell(key), perMinute }));
		const left = await this.#shared.spend(spendings).catch(() => null);
		for (const [i, key] of keys.entries()) {
			const spent = spendings[i]?.spent ?? 0;
			const tokens = left?.[i];
			if (tokens === undefined) buckets.notTold(key, spent);
			else buckets.told(key, spent, tokens);
		}
	}
}

/** A limit on wrong guesses: by one address at one account, and by one address at all. */
export interface GuessLimit {
	readonly narrow: RateLimit;
	readonly wide: RateLimit;
}

export class RateLimits {
	readonly principals: RateLimit;
	readonly addresses: RateLimit;
	readonly login: GuessLimit;
	readonly refresh: GuessLimit;
	readonly device: RateLimit;
	readonly userCode: RateLimit;
	readonly #clock: Clock;
	readonly #shared: SharedBuckets | null;
	#cancelTimer = () => {};

	constructor(options: RateLimitsOptions) {
		const { clock, perMinute } = options;
		const shared = options.shared === null ? null : this.#watch(options.shared, options);
		this.#clock = clock;
		this.#shared = shared;
		const create = (name: string, rate: number) => new RateLimit(name, { clock, shared }, rate);
		const guesses = (name: keyof typeof ADDRESS_FACTORS): GuessLimit => ({
			narrow: create(name, perMinute[name]),
			wide: create(`${name}-address`, perMinute[name] * ADDRESS_FACTORS[name]),
		});
		this.principals = create('principal', perMinute.principal);
		this.addresses = create('address', perMinute.address);
		this.login = guesses('login');
		this.refresh = guesses('refresh');
		this.device = create('device', perMinute.device);
		this.userCode = create('user-code', perMinute.device);
		if (shared !== null) this.#tellLater();
	}

	close(): void {
		this.#cancelTimer();
		this.#shared?.close();
	}

	#watch(shared: SharedBuckets, { onSharing }: RateLimitsOptions): SharedBuckets {
		let sharing = true;
		return {
			spend: async (spendings) => {
				try {
					const left = await shared.spend(spendings);
					if (!sharing) onSharing?.({ sharing: true });
					sharing = true;
					return left;
				} catch (error) {
					if (sharing) onSharing?.({ sharing: false, error });
					sharing = false;
					throw error;
				}
			},
			close: () => shared.close(),
		};
	}

	#tellLater(): void {
		const { login, refresh } = this;
		const byAddress = [this.addresses, this.device, this.userCode];
		const limits = [this.principals, ...byAddress, login.narrow, login.wide, refresh.narrow, refresh.wide];
		this.#cancelTimer = this.#clock.after(TELL_INTERVAL_MS, () => {
			// One telling at a time: while the store is slow, what is spent adds up.
			void Promise.all(limits.map((limit) => limit.syncAll())).then(() => this.#tellLater());
		});
	}
}
