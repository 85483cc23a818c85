/**
 * The rate limits, and what keeps them the same on all nodes: each second a node tells the others what it has given out. Where a wrong guess
 * counts, it asks before (guess-gate.ts). While the store is away, each node goes on by its own view (docs/adr/0010-shared-rate-limits.md).
 */

import type { Clock } from '../ports/clock.ts';
import type { SharedBuckets } from '../ports/shared-buckets.ts';
import { AddressLimit } from './address-limit.ts';
import { GuessGate } from './guess-gate.ts';
import { RateLimit, syncBuckets } from './rate-limit.ts';

const TELL_INTERVAL_MS = 1000;
/**
 * Wrong guesses that one address may make at all accounts or sessions, for one that it may make at one of them. Refresh tokens cannot be
 * guessed; but a host that serves hundreds may keep trying those of many who have revoked them, and must not lose the others for it.
 */
const ALL_SUBJECTS_FACTORS = { login: 10, refresh: 100 } as const;

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

/** A limit on wrong guesses by an address: at one subject, such as an account, and at all of them. */
export interface GuessLimit {
	readonly oneSubject: AddressLimit;
	readonly allSubjects: AddressLimit;
	readonly gate: GuessGate;
}

export class RateLimits {
	readonly principals: RateLimit;
	readonly addresses: AddressLimit;
	readonly login: GuessLimit;
	readonly refresh: GuessLimit;
	readonly device: AddressLimit;
	readonly userCode: { readonly limit: AddressLimit; readonly gate: GuessGate };
	readonly #clock: Clock;
	readonly #shared: SharedBuckets | null;
	#cancelTimer = () => {};

	constructor(options: RateLimitsOptions) {
		const { clock, perMinute } = options;
		const shared = options.shared === null ? null : watched(options.shared, options);
		this.#clock = clock;
		this.#shared = shared;
		const byAddress = (name: string, rate: number) => new AddressLimit({ name, clock, perMinute: rate });
		const guesses = (name: keyof typeof ALL_SUBJECTS_FACTORS): GuessLimit => ({
			oneSubject: byAddress(name, perMinute[name]),
			allSubjects: byAddress(`${name}-address`, perMinute[name] * ALL_SUBJECTS_FACTORS[name]),
			gate: new GuessGate({ clock, shared }),
		});
		this.principals = new RateLimit({ name: 'principal', clock, perMinute: perMinute.principal });
		this.addresses = byAddress('address', perMinute.address);
		this.login = guesses('login');
		this.refresh = guesses('refresh');
		this.device = byAddress('device', perMinute.device);
		this.userCode = { limit: byAddress('user-code', perMinute.device), gate: new GuessGate({ clock, shared }) };
		if (shared !== null) this.#tellLater();
	}

	close(): void {
		this.#cancelTimer();
		this.#shared?.close();
	}

	#tellLater(): void {
		const { addresses, device, userCode, login, refresh } = this;
		const guesses = [login, refresh].flatMap(({ oneSubject, allSubjects }) => [oneSubject, allSubjects]);
		const byAddress = [addresses, device, userCode.limit, ...guesses].flatMap(({ limits }) => limits);
		const limits = [this.principals, ...byAddress];
		this.#cancelTimer = this.#clock.after(TELL_INTERVAL_MS, () => {
			// One telling at a time: while the store is slow, what is spent adds up.
			const tellings = limits.map((limit) => syncBuckets(this.#shared, limit.untold()));
			void Promise.all(tellings).then(() => this.#tellLater());
		});
	}
}

/** Tells when sharing begins to fail, and when it works again. */
function watched(shared: SharedBuckets, { onSharing }: RateLimitsOptions): SharedBuckets {
	let sharing = true;
	const watch = async <T>(call: Promise<T>): Promise<T> => {
		try {
			const answer = await call;
			if (!sharing) onSharing?.({ sharing: true });
			sharing = true;
			return answer;
		} catch (error) {
			if (sharing) onSharing?.({ sharing: false, error });
			sharing = false;
			throw error;
		}
	};
	return {
		spend: (spendings) => watch(shared.spend(spendings)),
		reserve: (reservation) => watch(shared.reserve(reservation)),
		release: (reservation) => watch(shared.release(reservation)),
		close: () => shared.close(),
	};
}
