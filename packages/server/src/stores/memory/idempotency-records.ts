/**
 * Which keyed messages were appended before, over all topics, oldest record first. Judging a call and recording it are two
 * steps, so that a call that is refused leaves no record (I9).
 */

import type { MessageId } from '@pulsar-relay/protocol/message-id';
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
	/** In order of insertion. One made after the clock stepped back lives as long as the one before it. */
	readonly #records = new Map<string, IdempotencyRecord>();

	/** Judges the entries of one call, in order, also against each other. `first` is the id that the first appended one gets. */
	judge(entries: readonly AppendEntry[], first: MessageId, nowMs: number): Judgement {
		const outcomes: AppendOutcome[] = [];
		const appended: AppendEntry[] = [];
		const records = new Map<string, IdempotencyRecord>();
		const known = (place: string) => records.get(place) ?? this.#records.get(place);
		for (const entry of entries) {
			const { dedupe } = entry;
			const same = dedupe === null ? undefined : known(placeOf(dedupe.key, dedupe.item));
			const head = dedupe === null ? undefined : known(placeOf(dedupe.key, 0));
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
		for (const [place, record] of records) this.#records.set(place, record);
	}

	/** Removes records from before `beforeMs` and the oldest beyond `recordsMax`, a bounded number at once. */
	forget(beforeMs: number, recordsMax: number): { readonly removed: number; readonly more: boolean } {
		let removed = 0;
		for (const [place, { recordedAtMs }] of this.#records) {
			if (recordedAtMs >= beforeMs && this.#records.size <= recordsMax) break;
			if (removed === FORGET_RECORDS_MAX) return { removed, more: true };
			this.#records.delete(place);
			removed++;
		}
		return { removed, more: false };
	}
}

function placeOf(key: string, item: number): string {
	return `${item}:${key}`;
}

function differs(record: IdempotencyRecord | undefined, dedupe: DedupeKey): boolean {
	return record !== undefined && record.fingerprint !== dedupe.fingerprint;
}
