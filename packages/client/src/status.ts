/** What the connection is doing, to show and to subscribe to. */

import type { RelayError } from './errors.ts';
import type { TransportKind } from './links/link.ts';

export type RelayStatus =
	/** Nothing is read. */
	| { readonly state: 'idle' }
	| { readonly state: 'connecting'; readonly transport: TransportKind }
	/** Messages come as they are published. */
	| { readonly state: 'live'; readonly transport: TransportKind }
	/** No relay can be reached, or it refuses; the next try is in `retryInMs`. */
	| { readonly state: 'offline'; readonly error: RelayError; readonly retryInMs: number }
	/** It is of no use to try again. Every read throws the error. */
	| { readonly state: 'stopped'; readonly error: RelayError };

/** A value that changes, in the form that `useSyncExternalStore` takes. */
export interface Observable<T> {
	readonly value: T;
	/** Calls after each change. Returns what ends it. */
	subscribe(listener: (value: T) => void): () => void;
}

export class StatusValue implements Observable<RelayStatus> {
	#value: RelayStatus = { state: 'idle' };
	readonly #listeners = new Set<(value: RelayStatus) => void>();

	get value(): RelayStatus {
		return this.#value;
	}

	subscribe(listener: (value: RelayStatus) => void): () => void {
		// One of its own, so that the same function may subscribe twice.
		const own = (value: RelayStatus) => listener(value);
		this.#listeners.add(own);
		return () => this.#listeners.delete(own);
	}

	set(value: RelayStatus): void {
		this.#value = value;
		for (const listener of [...this.#listeners]) listener(value);
	}
}
