/**
 * Whose an idempotency key is. What all have together is bounded; beyond the bound those with most give way first, so that nobody's keys are
 * forgotten for those of somebody who has more.
 */

/** The holder of a key: its part before the first slash, which is the account; empty for a key without one. */
export function holderOf(key: string): string {
	const slash = key.indexOf('/');
	return slash < 0 ? '' : key.slice(0, slash);
}

/** The number of records to which those with more are cut down, so that all have no more than `max` together. */
export function levelOf(counts: readonly number[], max: number): number {
	let left = max;
	let holders = counts.length;
	for (const count of counts.toSorted((a, b) => a - b)) {
		const share = Math.floor(left / holders);
		if (count > share) return share;
		left -= count;
		holders--;
	}
	return Number.POSITIVE_INFINITY;
}
