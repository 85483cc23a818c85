/**
 * React bindings. Components that show the same topics in the same way share one read, which outlives the last of them by a second: a component that
 * is mounted twice, as StrictMode does, or that moves within the page, does not connect anew.
 */

import { createContext, createElement, type ReactNode, useContext, useState, useSyncExternalStore } from 'react';
import type { Gap } from './errors.ts';
import { RelayError } from './errors.ts';
import type { Position } from './links/link.ts';
import type { Message } from './message.ts';
import type { Relay } from './relay.ts';
import type { RelayStatus } from './status.ts';

export interface TopicOptions {
	/** Where to begin; default `last`. */
	readonly from?: Position | Readonly<Record<string, Position>>;
	/** Messages that are kept, the newest of them. Default 100. */
	readonly keep?: number;
}

/** What a component shows of its topics. */
export interface TopicState {
	/** In the order in which they came. */
	readonly messages: readonly Message[];
	readonly gaps: readonly Gap[];
	/** What ended the read; null while it goes on. */
	readonly error: RelayError | null;
}

const KEEP_DEFAULT = 100;
const LINGER_MS = 1000;
/** Components are told at most once in so many milliseconds: a display shows no more. */
const FRAME_MS = 16;
const EMPTY: TopicState = { messages: [], gaps: [], error: null };

interface Shared {
	readonly relay: Relay;
	readonly feeds: Map<string, Feed>;
}

const RelayContext = createContext<Shared | null>(null);

/** Gives the components below it a relay. */
export function RelayProvider({ relay, children }: { readonly relay: Relay; readonly children?: ReactNode }): ReactNode {
	const [shared, setShared] = useState<Shared>(() => ({ relay, feeds: new Map() }));
	if (shared.relay !== relay) setShared({ relay, feeds: new Map() });
	return createElement(RelayContext.Provider, { value: shared }, children);
}

/** The relay of the provider above. Throws without one. */
export function useRelay(): Relay {
	return useShared().relay;
}

/** What the connection is doing. */
export function useRelayStatus(): RelayStatus {
	const { status } = useShared().relay;
	return useSyncExternalStore(
		(listener) => status.subscribe(listener),
		() => status.value,
		() => status.value,
	);
}

/** The newest messages of topics, as they come. Options are compared by value: they may be written in place. */
export function useTopic(topics: string | readonly string[], options: TopicOptions = {}): TopicState {
	const shared = useShared();
	const key = JSON.stringify([topics, options.from ?? 'last', options.keep ?? KEEP_DEFAULT]);
	const feed = feedOf(shared, key, topics, options);
	return useSyncExternalStore(feed.subscribe, feed.state, () => EMPTY);
}

function useShared(): Shared {
	const shared = useContext(RelayContext);
	if (shared === null) throw new RelayError('invalid_argument', 'there is no <RelayProvider relay={…}> above this component');
	return shared;
}

function feedOf({ relay, feeds }: Shared, key: string, topics: string | readonly string[], options: TopicOptions): Feed {
	const feed = feeds.get(key) ?? new Feed(relay, topics, options);
	feeds.set(key, feed);
	return feed;
}

/** One read, for all components that show the same. Reads while somebody listens, and a second longer. */
class Feed {
	readonly #relay: Relay;
	readonly #topics: string | readonly string[];
	readonly #options: TopicOptions;
	readonly #listeners = new Set<() => void>();
	#state = EMPTY;
	#stop: (() => void) | null = null;
	#linger: ReturnType<typeof setTimeout> | undefined;
	#frame: ReturnType<typeof setTimeout> | undefined;

	constructor(relay: Relay, topics: string | readonly string[], options: TopicOptions) {
		this.#relay = relay;
		this.#topics = topics;
		this.#options = options;
	}

	readonly state = (): TopicState => this.#state;

	readonly subscribe = (listener: () => void): (() => void) => {
		this.#listeners.add(listener);
		clearTimeout(this.#linger);
		this.#stop ??= this.#read();
		return () => {
			this.#listeners.delete(listener);
			if (this.#listeners.size === 0) this.#linger = setTimeout(() => this.#rest(), LINGER_MS);
		};
	};

	#read(): () => void {
		const { from = 'last', keep = KEEP_DEFAULT } = this.#options;
		return this.#relay.follow(
			this.#topics,
			(message) => this.#become({ ...this.#state, messages: [...this.#state.messages, message].slice(-keep) }),
			{
				from,
				onGap: (gap) => this.#become({ ...this.#state, gaps: [...this.#state.gaps, gap].slice(-keep) }),
				onError: (error) => this.#become({ ...this.#state, error: error as RelayError }),
			},
		);
	}

	#become(state: TopicState): void {
		this.#state = state;
		this.#frame ??= setTimeout(() => {
			this.#frame = undefined;
			for (const listener of [...this.#listeners]) listener();
		}, FRAME_MS);
	}

	/** Nobody shows it any more: who does later begins anew. */
	#rest(): void {
		this.#stop?.();
		this.#stop = null;
		this.#state = EMPTY;
	}
}
