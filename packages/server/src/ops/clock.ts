/** The system's clock and event loop. */

import { performance } from 'node:perf_hooks';
import type { Clock } from '../ports/clock.ts';

export const systemClock: Clock = {
	nowMs: () => Date.now(),
	monotonicMs: () => performance.now(),
	after(delayMs, run) {
		const timer = setTimeout(run, delayMs).unref();
		return () => clearTimeout(timer);
	},
	soon(run) {
		setImmediate(run);
	},
};
