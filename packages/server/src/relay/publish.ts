/**
 * Publishing: messages wait per topic until the loop has handled the input it has at hand, then each topic's batch is one
 * append (I9). What waits is bounded in bytes (I8); an acknowledgement is given only by the store's answer (I2).
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { messageBytes } from '../log/block.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { AppendEntry, AppendOutcome, DedupeKey, Store } from '../ports/store.ts';

/** A message to publish. */
export interface Publication {
	readonly topic: string;
	readonly entry: AppendEntry;
}

/** The objects around a message that waits: a million of one byte each are far more than a megabyte. */
export const ENTRY_COST_BYTES = 300;

export interface PublisherOptions {
	readonly store: Store;
	readonly clock: Clock;
	readonly observer: Observer;
	/** What may wait for the store, over all topics: payloads and metadata, and {@link ENTRY_COST_BYTES} for each message. */
	readonly queueBytesMax: number;
}

/** Where an entry's outcome goes: the request it came with, and its place there. */
interface Receipt {
	readonly request: PendingRequest;
	readonly place: number;
}

/** Owners that are remembered while nothing of theirs waits. */
const IDLE_SHARES_MAX = 1000;

/** What waits of the topics of one owner. */
interface Share {
	readonly owner: string;
	bytes: number;
}

interface Batch {
	readonly share: Share;
	readonly entries: AppendEntry[];
	readonly receipts: Receipt[];
	costBytes: number;
}

/** What became of a message: stored, refused for its key, or not stored because the store failed. */
export type PublishOutcome = AppendOutcome | { readonly status: 'failed'; readonly error: RelayError };

class PendingRequest {
	readonly outcomes: PublishOutcome[];
	#open: number;
	readonly #settle: (outcomes: readonly PublishOutcome[]) => void;

	constructor(size: number, settle: (outcomes: readonly PublishOutcome[]) => void) {
		this.outcomes = new Array(size);
		this.#open = size;
		this.#settle = settle;
	}

	put(place: number, outcome: PublishOutcome): void {
		this.outcomes[place] = outcome;
		if (--this.#open === 0) this.#settle(this.outcomes);
	}
}

export class Publisher {
	readonly #options: PublisherOptions;
	#waiting = new Map<string, Batch>();
	#queuedBytes = 0;
	/** Of owners whose topics have something waiting, and of some that had. */
	readonly #shares = new Map<string, Share>();
	/** Fingerprints of the keys under way: the store compares a key with what it has stored, not with what is coming. */
	readonly #keysInFlight = new Map<string, { readonly fingerprint: string; entries: number }>();
	#unsettled = 0;
	readonly #idleWaiters: (() => void)[] = [];

	constructor(options: PublisherOptions) {
		this.#options = options;
	}

	/** Bytes waiting for the store. */
	get queuedBytes(): number {
		return this.#queuedBytes;
	}

	/**
	 * Publishes messages together. They may go to several topics; order is kept within each. Resolves with one outcome per
	 * message once all are settled; a message whose key another request under way has is a `conflict`. Rejects with `overloaded`
	 * when too much waits for the store, or too much of one owner's topics; then nothing was stored.
	 */
	publish(publications: readonly Publication[]): Promise<readonly PublishOutcome[]> {
		if (publications.length === 0) return Promise.resolve([]);
		let bytes = 0;
		for (const { entry } of publications) bytes += messageBytes(entry);
		const cost = bytes + publications.length * ENTRY_COST_BYTES;
		// A single request may be larger than the bound; it then waits alone.
		if (this.#queuedBytes > 0 && this.#queuedBytes + cost > this.#options.queueBytesMax) {
			return Promise.reject(new RelayError('overloaded', 'too many bytes wait to be stored'));
		}
		if (2 * (this.#queuedBytes + cost) > this.#options.queueBytesMax && this.#isOverShare(publications, cost)) {
			return Promise.reject(new RelayError('overloaded', 'too many bytes of this account wait to be stored'));
		}
		this.#options.observer.received(publications.length, bytes);
		this.#unsettled++;
		return new Promise((resolve) => {
			const request = new PendingRequest(publications.length, (outcomes) => {
				if (--this.#unsettled === 0) for (const wake of this.#idleWaiters.splice(0)) wake();
				resolve(outcomes);
			});
			for (let place = 0; place < publications.length; place++) {
				const { topic, entry } = publications[place] as Publication;
				if (entry.dedupe === null || this.#claim(entry.dedupe)) this.#enqueue(topic, entry, { request, place });
				else request.put(place, { status: 'conflict' });
			}
		});
	}

	/** Resolves when every publish so far is settled. */
	async idle(): Promise<void> {
		if (this.#unsettled === 0) return;
		await new Promise<void>((resolve) => {
			this.#idleWaiters.push(resolve);
		});
	}

	#enqueue(topic: string, entry: AppendEntry, receipt: Receipt): void {
		if (this.#waiting.size === 0) this.#options.clock.soon(() => this.#flush());
		let batch = this.#waiting.get(topic);
		if (batch === undefined) {
			batch = { share: this.#shareOf(ownerOf(topic)), entries: [], receipts: [], costBytes: 0 };
			this.#waiting.set(topic, batch);
		}
		batch.entries.push(entry);
		batch.receipts.push(receipt);
		const cost = messageBytes(entry) + ENTRY_COST_BYTES;
		batch.costBytes += cost;
		batch.share.bytes += cost;
		this.#queuedBytes += cost;
	}

	#shareOf(owner: string): Share {
		const known = this.#shares.get(owner);
		if (known !== undefined) return known;
		const share = { owner, bytes: 0 };
		this.#shares.set(owner, share);
		return share;
	}

	/** Whether one of the owners would have more waiting than is left for all others. Asked only when half of what may wait does. */
	#isOverShare(publications: readonly Publication[], cost: number): boolean {
		const left = this.#options.queueBytesMax - this.#queuedBytes;
		return publications.some(({ topic }) => {
			const owner = ownerOf(topic);
			const own = this.#shares.get(owner)?.bytes ?? 0;
			return owner !== '' && own > 0 && own + cost > left;
		});
	}

	#flush(): void {
		const waiting = this.#waiting;
		this.#waiting = new Map();
		for (const [topic, batch] of waiting) {
			const startedMs = this.#options.clock.monotonicMs();
			this.#options.store.append(topic, batch.entries).then(
				(outcomes) => this.#settle(batch, startedMs, outcomes, null),
				(error: unknown) => this.#settle(batch, startedMs, [], RelayError.from(error)),
			);
		}
	}

	#settle(batch: Batch, startedMs: number, outcomes: readonly AppendOutcome[], error: RelayError | null): void {
		this.#queuedBytes -= batch.costBytes;
		const { share } = batch;
		share.bytes -= batch.costBytes;
		// Not each time: a map that is emptied at each batch gets a new table each time.
		if (share.bytes === 0 && this.#shares.size > IDLE_SHARES_MAX) this.#shares.delete(share.owner);
		this.#options.observer.appended(this.#options.clock.monotonicMs() - startedMs, error === null);
		const failed: PublishOutcome | null = error === null ? null : { status: 'failed', error };
		for (let i = 0; i < batch.receipts.length; i++) {
			const { request, place } = batch.receipts[i] as Receipt;
			const { dedupe } = batch.entries[i] as AppendEntry;
			if (dedupe !== null) this.#release(dedupe.key);
			request.put(place, failed ?? (outcomes[i] as AppendOutcome));
		}
	}

	#claim({ key, fingerprint }: DedupeKey): boolean {
		const claim = this.#keysInFlight.get(key);
		if (claim === undefined) this.#keysInFlight.set(key, { fingerprint, entries: 1 });
		else if (claim.fingerprint !== fingerprint) return false;
		else claim.entries++;
		return true;
	}

	#release(key: string): void {
		const claim = this.#keysInFlight.get(key);
		if (claim !== undefined && --claim.entries === 0) this.#keysInFlight.delete(key);
	}
}

/** The account that a topic belongs to; empty where there are no accounts. */
function ownerOf(topic: string): string {
	return topic.slice(0, Math.max(0, topic.indexOf('/')));
}
