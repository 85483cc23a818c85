/**
 * One ticker for all long-lived connections of a transport: each is beaten once per interval, spread over the interval's
 * seconds, so that ten thousand of them neither need ten thousand timers nor are served all at once.
 */

import type { Clock } from '../../ports/clock.ts';

export interface HeartbeatMember {
	/** Called once per interval. */
	beat(): void;
}

const TICK_MS = 1000;

export class Heartbeat {
	readonly #clock: Clock;
	readonly #buckets: Set<HeartbeatMember>[];
	/** The bucket that is beaten next; a new member joins the one beaten last, so that its first beat is an interval away. */
	#next = 0;
	#cancel: () => void;

	constructor(clock: Clock, intervalS: number) {
		this.#clock = clock;
		this.#buckets = Array.from({ length: intervalS }, () => new Set<HeartbeatMember>());
		this.#cancel = clock.after(TICK_MS, () => this.#tick());
	}

	/** Adds a member. Returns its place, for {@link leave}. */
	join(member: HeartbeatMember): number {
		const place = (this.#next + this.#buckets.length - 1) % this.#buckets.length;
		this.#buckets[place]?.add(member);
		return place;
	}

	leave(member: HeartbeatMember, place: number): void {
		this.#buckets[place]?.delete(member);
	}

	stop(): void {
		this.#cancel();
	}

	#tick(): void {
		this.#cancel = this.#clock.after(TICK_MS, () => this.#tick());
		const bucket = this.#buckets[this.#next] as Set<HeartbeatMember>;
		this.#next = (this.#next + 1) % this.#buckets.length;
		for (const member of bucket) member.beat();
	}
}
