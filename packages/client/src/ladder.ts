/**
 * Which transport is used. One that fails three times without having proved itself gives way to the next; a better one is tried again after a
 * while. A transport has proved itself when it delivered something and lived 5 s: a proxy may let a connection open and kill it after.
 */

import type { TransportKind } from './links/link.ts';

/** From the best to the one that works everywhere. */
export const TRANSPORTS: readonly TransportKind[] = ['ws', 'sse', 'poll'];

const FAILURES_MAX = 3;

export class Ladder {
	readonly #kinds: readonly TransportKind[];
	#rung = 0;
	#failures = 0;

	/** @param kinds at least one */
	constructor(kinds: readonly TransportKind[]) {
		this.#kinds = kinds;
	}

	/** What to use now. */
	get kind(): TransportKind {
		return this.#kinds[this.#rung] ?? 'poll';
	}

	/** The next better one; null on the best. */
	get better(): TransportKind | null {
		return this.#kinds[this.#rung - 1] ?? null;
	}

	/** The transport in use was lost before it had proved itself. After the last rung it begins anew: the network may be another by then. */
	failed(): void {
		this.#failures++;
		if (this.#failures < FAILURES_MAX) return;
		this.#failures = 0;
		this.#rung = (this.#rung + 1) % this.#kinds.length;
	}

	/** This transport has proved itself. */
	proved(kind: TransportKind): void {
		this.#failures = 0;
		this.#rung = this.#kinds.indexOf(kind);
	}
}
