/**
 * Which keyed messages were appended before, over all topics, by whose they are, oldest record first. Judging a call and recording it are two
 * steps, so that a call that is refused leaves no record (I9).
 */

import type { MessageId } from '@pulsar-relay/protocol/message-id';
import { holderOf, levelOf } from '../../log/key-holders.ts';
import type { AppendEntry, AppendOutcome, DedupeKey } from '../../ports/store.ts';

/** Records that one call of {@link IdempotencyRecords.forget} removes at most. */
const FORGET_RECORDS_MAX = 10_000;

interface IdempotencyRecord {
	readonly fingerprint: string;
	readonly id: MessageId;
	readonly recordedAtMs: number;
}

/** What would become of the entries of one call. */
export interface Judgement {
	readonly outcomes: readonly AppendOutcome[];
	/** The entries to append, in order; they get consecutive ids. */
	readonly appended: readonly AppendEntry[];
	/** The records to make once they are appended, by their place in the map. */
	readonly records: ReadonlyMap<string, IdempotencyRecord>;
}

export class IdempotencyRecords {
	/** By holder, each in order of insertion. One made after the clock stepped back lives as long as the one before it. */
	readonly #holders = new Map<string, Map<string, IdempotencyRecord>>();
	#size = 0;

	/** Judges the entries of one call, in order, also against each other. `first` is the id that the first appended one gets. */
	judge(entries: readonly AppendEntry[], first: MessageId, nowMs: number): Judgement {
		const outcomes: AppendOutcome[] = [];
		const appended: AppendEntry[] = [];
		const records = new Map<string, IdempotencyRecord>();
		const known = (key: string, item: number) => {
			const place = placeOf(key, item);
			return records.get(place) ?? this.#holders.get(holderOf(key))?.get(place);
		};
		for (const entry of entries) {
			const { dedupe } = entry;
			const same = dedupe === null ? undefined : known(dedupe.key, dedupe.item);
			const head = dedupe === null ? undefined : known(dedupe.key, 0);
			if (dedupe !== null && (differs(same, dedupe) || differs(head, dedupe))) {
				outcomes.push({ status: 'conflict' });
			} else if (same !== undefined) {
				outcomes.push({ status: 'duplicate', id: same.id });
			} else {
				const id = { ms: first.ms, n: first.n + appended.length };
				outcomes.push({ status: 'appended', id });
				appended.push(entry);
				if (dedupe !== null)
					records.set(placeOf(dedupe.key, dedupe.item), { fingerprint: dedupe.fingerprint, id, recordedAtMs: nowMs });
			}
		}
		return { outcomes, appended, records };
	}

	/** Keeps the records of a call whose entries were appended. */
	record(records: ReadonlyMap<string, IdempotencyRecord>): void {
		for (const [place, record] of records) {
			const holder = holderOf(place.slice(place.indexOf(':') + 1));
			const own = this.#holders.get(holder) ?? new Map<string, IdempotencyRecord>();
			this.#holders.set(holder, own.set(place, record));
		}
		this.#size += records.size;
	}

	/** Removes records from before `beforeMs`, and beyond `recordsMax` the oldest of those with most; a bounded number at once. */
	forget(beforeMs: number, recordsMax: number): { readonly removed: number; readonly more: boolean } {
		const sizeBefore = this.#size;
		const left = () => FORGET_RECORDS_MAX - (sizeBefore - this.#size);
		for (const [holder, own] of this.#holders) {
			this.#remove(holder, own, ({ recordedAtMs }) => recordedAtMs < beforeMs && left() > 0);
		}
		if (this.#size > recordsMax) {
			const level = levelOf(
				[...this.#holders.values()].map(({ size }) => size),
				recordsMax,
			);
			for (const [holder, own] of this.#holders) {
				this.#remove(holder, own, () => own.size > level && this.#size > recordsMax && left() > 0);
			}
		}
		return { removed: sizeBefore - this.#size, more: left() === 0 };
	}

	/** Removes the oldest records of a holder as long as they shall go. */
	#remove(holder: string, own: Map<string, IdempotencyRecord>, shallGo: (record: IdempotencyRecord) => boolean): void {
		for (const [place, record] of own) {
			if (!shallGo(record)) break;
			own.delete(place);
			this.#size--;
		}
		if (own.size === 0) this.#holders.delete(holder);
	}
}

function placeOf(key: string, item: number): string {
	return `${item}:${key}`;
}

function differs(record: IdempotencyRecord | undefined, dedupe: DedupeKey): boolean {
	return record !== undefined && record.fingerprint !== dedupe.fingerprint;
}
