/** How long a worker that died waits before it is started again. */

export interface BackOff {
	readonly minMs: number;
	readonly maxMs: number;
}

/**
 * The wait after the `deaths`-th death in a row: doubles from `minMs` to `maxMs`, less up to a half by `random` (0 to 1), so that
 * workers that died of one cause do not all come back in the same moment.
 */
export function backOffMs(deaths: number, { minMs, maxMs }: BackOff, random: number): number {
	return Math.min(maxMs, minMs * 2 ** (deaths - 1)) * (1 - random / 2);
}
