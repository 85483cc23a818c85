/**
 * The store's clock, which is the one that counts: nodes with clocks of their own give ids and judge ages by it. Asked for each second and
 * carried on by this machine's steady time in between. An age counts only when the store's clock and the node's agree that it is reached.
 */

import type { Clock } from '../../ports/clock.ts';
import type { Connection } from './connection.ts';
import { failureOf } from './failure.ts';

const LOOK_INTERVAL_MS = 1000;
/** A node whose clock is further from the store's is not ready. */
const SKEW_MAX_MS = 5000;
/** From here on an operator is told. */
const SKEW_TOLD_MS = 1000;
/** How often the time is written down for the next start. */
const MARK_INTERVAL_MS = 60_000;

export interface StoreClockOptions {
	readonly clock: Clock;
	/** Null = the clock is this node's: for an import, which chooses the ids, and for a test that moves it. */
	readonly connection: (() => Connection) | null;
	readonly onWarning: (text: string, fields: Readonly<Record<string, unknown>>) => void;
}

interface Moment {
	readonly serverMs: number;
	readonly monotonicMs: number;
}

/** How far this machine's clock is from the store's: `told` to an operator, or so far that the node is `unfit`. */
type Skew = 'none' | 'told' | 'unfit';

export class StoreClock {
	readonly #options: StoreClockOptions;
	#last: Moment | null = null;
	/** See `Store.lastKnownMs`. */
	#lastKnownMs: number | undefined;
	#markedMs = Number.NEGATIVE_INFINITY;
	/** This machine's clock less the store's. */
	#skewMs = 0;
	#skew: Skew = 'none';
	#running = true;
	#cancel = () => {};

	constructor(options: StoreClockOptions) {
		this.#options = options;
	}

	/** Looks for the first time, and then each second until {@link stop}. Rejects when the server does not answer. */
	async open(): Promise<void> {
		const { connection } = this.#options;
		if (connection === null) return;
		const { keys } = connection();
		const [marked] = await connection().run([['GET', keys.clock]]);
		if (marked instanceof Error) throw failureOf(marked);
		this.#lastKnownMs = marked == null ? undefined : Number(String(marked));
		await this.#look();
		this.#lookLater();
	}

	stop(): void {
		this.#running = false;
		this.#cancel();
	}

	/** Unix time in ms by the store's clock. */
	nowMs(): number {
		const { clock } = this.#options;
		if (this.#last === null) return clock.nowMs();
		return Math.floor(this.#last.serverMs + clock.monotonicMs() - this.#last.monotonicMs);
	}

	/** The time by which ages are judged: never ahead of the store's clock, nor of what the node believes. */
	agesMs(nodeMs: number): number {
		return this.#last === null ? nodeMs : Math.min(nodeMs, this.nowMs());
	}

	/** When a relay last judged ages by this store, as it was remembered at the start. */
	get lastKnownMs(): number | undefined {
		return this.#lastKnownMs;
	}

	/** Remembers the time by which ages were judged, now and then, for the next start. */
	async remember(agesMs: number): Promise<void> {
		const { clock, connection } = this.#options;
		const nowMs = clock.monotonicMs();
		if (connection === null || this.#skew === 'unfit' || nowMs - this.#markedMs < MARK_INTERVAL_MS) return;
		this.#markedMs = nowMs;
		await connection().run([['SET', connection().keys.clock, String(agesMs)]]);
	}

	get skewMs(): number {
		return this.#skewMs;
	}

	/** Why the node must not be used; null when its clock is good enough. */
	get trouble(): string | null {
		if (this.#skew !== 'unfit') return null;
		return `the clock of this machine is ${describeSkew(this.#skewMs)} the store's, and may differ by ${SKEW_MAX_MS / 1000} s; set the wrong one right`;
	}

	#lookLater(): void {
		this.#cancel = this.#options.clock.after(LOOK_INTERVAL_MS, () => {
			void this.#lookAgain();
		});
	}

	/** Never rejects. */
	async #lookAgain(): Promise<void> {
		try {
			await this.#look();
		} catch {
			// The connection knows and says so in its state; until it is back time is carried on.
		}
		if (this.#running) this.#lookLater();
	}

	async #look(): Promise<void> {
		const { clock, connection } = this.#options;
		if (connection === null) return;
		const nodeMs = clock.nowMs();
		const askedMs = clock.monotonicMs();
		const replies = await connection().runEverywhere(['TIME']);
		const tookMs = clock.monotonicMs() - askedMs;
		// Of a Cluster the earliest: nothing is old before every server says so.
		const serverMs = Math.min(...replies.map(millisecondsOf));
		this.#last = { serverMs, monotonicMs: askedMs + tookMs / 2 };
		this.#noteSkew(nodeMs + tookMs / 2 - serverMs, tookMs / 2);
	}

	#noteSkew(skewMs: number, uncertainMs: number): void {
		const before = this.#skew;
		this.#skewMs = Math.round(skewMs);
		const certainMs = Math.abs(skewMs) - uncertainMs;
		this.#skew = certainMs > SKEW_MAX_MS ? 'unfit' : certainMs > SKEW_TOLD_MS ? 'told' : 'none';
		if (this.#skew === before) return;
		const { onWarning } = this.#options;
		if (this.#skew === 'none') onWarning("the clock of this machine agrees with the store's again", {});
		else onWarning(this.trouble ?? `the clock of this machine is ${describeSkew(this.#skewMs)} the store's`, {});
	}
}

function describeSkew(skewMs: number): string {
	return `${(Math.abs(skewMs) / 1000).toFixed(1)} s ${skewMs > 0 ? 'ahead of' : 'behind'}`;
}

/** What TIME answers: seconds and microseconds. */
function millisecondsOf(reply: unknown): number {
	if (!Array.isArray(reply)) throw failureOf(reply);
	const [seconds, micros] = reply.map(Number);
	return Number(seconds) * 1000 + Number(micros) / 1000;
}
