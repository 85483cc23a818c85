/** When the machine or the page wakes up: timers stood still meanwhile, and a connection may be dead without knowing it. */

import type { Clock } from './clock.ts';

/** The parts of a browser that are used; all of them are absent elsewhere. */
interface EventSourceLike {
	addEventListener?(name: string, listener: () => void): void;
	removeEventListener?(name: string, listener: () => void): void;
}
interface Page extends EventSourceLike {
	readonly visibilityState?: string;
}

const TICK_MS = 10_000;

export interface WakeListeners {
	/** It may have slept: look whether the connection lives. */
	woke(): void;
	/** The network is back: try at once, and better transports again. */
	online(): void;
	/** The page is hidden, or shown again. */
	hidden(hidden: boolean): void;
}

/** Listens to what the environment says. Returns what ends it. */
export function listenForWaking(clock: Clock, listeners: WakeListeners): () => void {
	const page = (globalThis as { document?: Page }).document;
	const scope = globalThis as EventSourceLike;
	const onVisibility = () => {
		const hidden = page?.visibilityState === 'hidden';
		listeners.hidden(hidden);
		if (!hidden) listeners.woke();
	};
	const onWake = () => listeners.woke();
	const onOnline = () => listeners.online();
	page?.addEventListener?.('visibilitychange', onVisibility);
	page?.addEventListener?.('resume', onWake);
	scope.addEventListener?.('pageshow', onWake);
	scope.addEventListener?.('online', onOnline);
	let lastMs = clock.nowMs();
	let cancel = () => {};
	const tick = () => {
		cancel = clock.after(TICK_MS, () => {
			const nowMs = clock.nowMs();
			// A timer that comes twice as late as it should: nobody ran meanwhile.
			if (nowMs - lastMs > 2 * TICK_MS) listeners.woke();
			lastMs = nowMs;
			tick();
		});
	};
	tick();
	return () => {
		cancel();
		page?.removeEventListener?.('visibilitychange', onVisibility);
		page?.removeEventListener?.('resume', onWake);
		scope.removeEventListener?.('pageshow', onWake);
		scope.removeEventListener?.('online', onOnline);
	};
}
