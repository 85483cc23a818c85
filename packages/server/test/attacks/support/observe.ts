/**
 * Loaded into a relay before it: measures the turns of its event loop and its memory, and tells whoever started it when asked. A turn is
 * measured in CPU time of its thread, so that other processes on a busy machine do not count.
 */

import process from 'node:process';

/** What the relay was seen to do since it was asked before. */
export interface Observation {
	/** CPU time of the longest turn of the event loop, in ms. */
	readonly longestTurnMs: number;
	/** Most bytes of memory that were resident. */
	readonly residentBytes: number;
}

const TICK_MS = 1;
const MEMORY_INTERVAL_MS = 20;

let longestTurnUs = 0;
let residentBytes = 0;
let before = process.threadCpuUsage();

// Each turn in which it is due runs it once: between two runs there is no more than a turn and a tick.
setInterval(() => {
	const { user, system } = process.threadCpuUsage(before);
	before = process.threadCpuUsage();
	longestTurnUs = Math.max(longestTurnUs, user + system);
}, TICK_MS).unref();

setInterval(() => {
	residentBytes = Math.max(residentBytes, process.memoryUsage.rss());
}, MEMORY_INTERVAL_MS).unref();

process.on('message', () => {
	process.send?.({ longestTurnMs: longestTurnUs / 1000, residentBytes: Math.max(residentBytes, process.memoryUsage.rss()) });
	longestTurnUs = 0;
	residentBytes = 0;
});
process.channel?.unref();
