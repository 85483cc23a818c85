/**
 * Lets guesses through by limits that count only the wrong ones. Whether one is wrong is known only after it was tried, so as many are
 * tried at a time as may still be wrong, on all nodes together, and the others wait: a hundred clients that sign in at once with the right
 * password all get in, and a hundred wrong guesses at once are no more than the limit. While the store is away a node counts its own only.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { Reservation, SharedBuckets } from '../ports/shared-buckets.ts';
import { type Bucket, syncBuckets } from './rate-limit.ts';
import { rateLimited } from './rate-limited.ts';
import type { Balance } from './token-buckets.ts';

/** Guesses that may wait for others, of which the client that waits with most leaves as many free as it takes. */
const WAITING_MAX = 1000;
/** Guesses of one client that are tried at a time, so that a whole network cannot fill the queue of passwords that are checked. */
const UNDER_WAY_MAX = 50;
/** How soon it is asked again for a place that a guess at another node takes. */
const BUSY_RETRY_MS = 50;
const BUSY_RETRIES_MAX = 200;
/** A node that dies gives back the places of its guesses after this time. */
const RESERVED_MS = 15_000;

/** A guess that is under way. */
export interface Guess {
	/** How the first of its buckets stood. */
	readonly balance: Balance;
	/** To be called once, when it is known whether it was wrong. */
	settle(wrong: boolean): void;
}

export interface GuessGateOptions {
	readonly clock: Clock;
	/** Null for a node that is alone. */
	readonly shared: SharedBuckets | null;
}

/** The guesses of one bucket, or of one client, at this node. */
class Place {
	readonly name: string;
	/** Guesses that may be under way. */
	readonly capacity: () => number;
	/** Guesses that were begun and have not ended: those under way, those that wait, and those that ask. */
	guesses = 0;
	underWay = 0;
	readonly waiting: (() => void)[] = [];

	constructor(name: string, capacity: () => number) {
		this.name = name;
		this.capacity = capacity;
	}

	wake(count: number): void {
		for (const go of this.waiting.splice(0, count)) go();
	}
}

export class GuessGate {
	readonly #clock: Clock;
	readonly #shared: SharedBuckets | null;
	/** Of buckets and clients with guesses. */
	readonly #places = new Map<string, Place>();
	/** How many wait, by client. */
	readonly #waiting = new Map<string, number>();
	#waitingCount = 0;
	#reservations = 0;
	/** Tells the reservations of this node from those of others. */
	readonly #node = Math.random().toString(36).slice(2);

	constructor({ clock, shared }: GuessGateOptions) {
		this.#clock = clock;
		this.#shared = shared;
	}

	/**
	 * Resolves when the guess may be tried: each of the buckets has a token for it. Rejects with `rate_limited`, or with `too_many_logins` when
	 * too many wait.
	 *
	 * @param client who waits, if it comes to that: where many wait, the one that waits most is refused first
	 */
	async enter(buckets: readonly Bucket[], client: string): Promise<Guess> {
		const places = [
			...buckets.map((bucket) => this.#place(nameOf(bucket), () => balanceOf(bucket).remaining)),
			this.#place(`client ${client}`, () => UNDER_WAY_MAX),
		];
		for (const place of places) place.guesses++;
		let woken: Place | null = null;
		try {
			for (;;) {
				await this.#refuseEmpty(buckets);
				const full = places.find((place) => place.underWay >= place.capacity());
				if (full !== undefined) {
					// Its turn there is for another, as long as it waits here.
					if (woken !== full) woken?.wake(1);
					woken = full;
					await this.#wait(full, client);
					continue;
				}
				woken = null;
				const guess = await this.#try(buckets, places);
				if (guess !== null) return guess;
			}
		} catch (error) {
			woken?.wake(1);
			this.#forget(places);
			throw error;
		}
	}

	/** Throws `rate_limited` when one of the buckets is empty, by what all nodes know. */
	async #refuseEmpty(buckets: readonly Bucket[]): Promise<void> {
		const isEmpty = (bucket: Bucket) => !balanceOf(bucket).allowed;
		if (!buckets.some(isEmpty)) return;
		await syncBuckets(this.#shared, buckets);
		const empty = buckets.find(isEmpty);
		if (empty === undefined) return;
		// Those who wait are not going to be let in either.
		const place = this.#places.get(nameOf(empty));
		place?.wake(place.waiting.length);
		throw rateLimited(balanceOf(empty), 'too many failed attempts to sign in');
	}

	/** Takes the places here, and then at all nodes. Null when one of the buckets has turned out to be empty. */
	async #try(buckets: readonly Bucket[], places: readonly Place[]): Promise<Guess | null> {
		for (const place of places) place.underWay++;
		const reservation = this.#reservationOf(buckets);
		let verdict: 'granted' | 'busy' | 'empty' = 'busy';
		for (let tries = 0; verdict === 'busy' && tries < BUSY_RETRIES_MAX; tries++) {
			if (tries > 0) await new Promise<void>((resolve) => this.#clock.after(BUSY_RETRY_MS, resolve));
			verdict = await this.#reserve(reservation, buckets);
		}
		if (verdict === 'granted') {
			const [balance] = buckets.map(balanceOf);
			const settle = (wrong: boolean) => {
				this.#settle(buckets, reservation, wrong);
				this.#leave(places);
				this.#forget(places);
			};
			return { balance: balance as Balance, settle };
		}
		this.#leave(places);
		if (verdict === 'busy') throw new RelayError('too_many_logins', 'too many sign in at the same time');
		return null;
	}

	async #reserve(reservation: Reservation, buckets: readonly Bucket[]): Promise<'granted' | 'busy' | 'empty'> {
		if (this.#shared === null) return 'granted';
		// What the others were not told yet, as while the store was away.
		const untold = buckets.filter(({ limit, key }) => limit.owes(key));
		await syncBuckets(this.#shared, untold);
		const answer = await this.#shared.reserve(reservation).catch(() => null);
		// The store is away: what this node knows has to do.
		if (answer === null) return 'granted';
		for (const [i, { limit, key }] of buckets.entries()) limit.told(key, 0, answer.tokens[i]);
		return answer.verdict;
	}

	#reservationOf(buckets: readonly Bucket[]): Reservation {
		this.#reservations++;
		return {
			holder: `${this.#node}-${this.#reservations}`,
			buckets: buckets.map(({ limit, key }) => limit.shared(key)),
			lifetimeMs: RESERVED_MS,
		};
	}

	#settle(buckets: readonly Bucket[], reservation: Reservation, wrong: boolean): void {
		if (wrong) for (const { limit, key } of buckets) limit.charge(key);
		void this.#settleShared(buckets, reservation, wrong);
	}

	/** The others learn that it was wrong before they may take its place. */
	async #settleShared(buckets: readonly Bucket[], reservation: Reservation, wrong: boolean): Promise<void> {
		if (this.#shared === null) return;
		if (wrong) await syncBuckets(this.#shared, buckets);
		// When the store is away, the reservation ends by itself.
		await this.#shared.release(reservation).catch(() => null);
	}

	/** One has left: one may come. It tells the others when there is nothing left for them. */
	#leave(places: readonly Place[]): void {
		for (const place of places) {
			place.underWay--;
			place.wake(1);
		}
	}

	async #wait(place: Place, client: string): Promise<void> {
		const own = this.#waiting.get(client) ?? 0;
		if (own >= WAITING_MAX - this.#waitingCount) throw new RelayError('too_many_logins', 'too many wait to sign in');
		this.#waitingCount++;
		this.#waiting.set(client, own + 1);
		await new Promise<void>((resolve) => {
			place.waiting.push(resolve);
		});
		this.#waitingCount--;
		const left = (this.#waiting.get(client) ?? 1) - 1;
		if (left === 0) this.#waiting.delete(client);
		else this.#waiting.set(client, left);
	}

	#place(name: string, capacity: () => number): Place {
		const place = this.#places.get(name) ?? new Place(name, capacity);
		this.#places.set(name, place);
		return place;
	}

	#forget(places: readonly Place[]): void {
		for (const place of places) if (--place.guesses === 0) this.#places.delete(place.name);
	}
}

function balanceOf({ limit, key }: Bucket): Balance {
	return limit.look(key);
}

function nameOf({ limit, key }: Bucket): string {
	return `${limit.name}:${key}`;
}
