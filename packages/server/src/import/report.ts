/** What an import has done so far. */

export interface Count {
	/** Taken over now; in a dry run, what would be. */
	taken: number;
	/** Taken over by an import before. */
	before: number;
	skipped: number;
}

export type Counted = 'accounts' | 'sessions' | 'topics' | 'messages';

export interface Counts extends Readonly<Record<Counted, Count>> {
	/** Messages taken over under a later id than they had. */
	renumbered: number;
	/** Topics of servers before 0.2, which are not read. */
	legacyTopics: number;
}

export interface ImportListener {
	/** Something was passed over. */
	skipped(kind: Counted, key: string, why: string): void;
	/** Some work was done. */
	progressed(counts: Counts): void;
}

export class Report {
	readonly counts: Counts = {
		accounts: { taken: 0, before: 0, skipped: 0 },
		sessions: { taken: 0, before: 0, skipped: 0 },
		topics: { taken: 0, before: 0, skipped: 0 },
		messages: { taken: 0, before: 0, skipped: 0 },
		renumbered: 0,
		legacyTopics: 0,
	};
	readonly #listener: ImportListener;

	constructor(listener: ImportListener) {
		this.#listener = listener;
	}

	taken(kind: Counted, count = 1): void {
		this.counts[kind].taken += count;
		this.#listener.progressed(this.counts);
	}

	before(kind: Counted): void {
		this.counts[kind].before++;
	}

	skipped(kind: Counted, key: string, why: string): void {
		this.counts[kind].skipped++;
		this.#listener.skipped(kind, key, why);
	}
}
