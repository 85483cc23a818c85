/** A store that refuses what the test tells it to refuse, and is otherwise the one it wraps. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Store } from '../../src/ports/store.ts';

export interface FailingStore {
	readonly store: Store;
	/** The topics to which nothing can be appended; `all` for every topic. */
	refuse: ReadonlySet<string> | 'all';
	/** What appends are held back by; resolve it to let them go on. Null: by nothing. */
	hold: Promise<void> | null;
	/** What appends are refused with. */
	error: unknown;
	/** What `health` says instead of the store's own; null: the store's own. */
	unhealthy: string | null;
}

export function createFailingStore(inner: Store): FailingStore {
	const control: FailingStore = {
		refuse: new Set(),
		hold: null,
		error: new RelayError('storage_unavailable', 'the disk is full'),
		unhealthy: null,
		store: {
			listen: (listener) => inner.listen(listener),
			async append(topic, entries) {
				if (control.hold !== null) await control.hold;
				if (control.refuse === 'all' || control.refuse.has(topic)) throw control.error;
				return inner.append(topic, entries);
			},
			read: (topic, after, limits) => inner.read(topic, after, limits),
			readBefore: (topic, before, limits) => inner.readBefore(topic, before, limits),
			watch: (topic) => inner.watch(topic),
			unwatch: (topic) => inner.unwatch(topic),
			createTopic: (name, change) => inner.createTopic(name, change),
			getTopic: (name) => inner.getTopic(name),
			listTopics: (after, limit) => inner.listTopics(after, limit),
			updateTopic: (name, change) => inner.updateTopic(name, change),
			deleteTopic: (name) => inner.deleteTopic(name),
			trim: (step) => inner.trim(step),
			forgetKeys: (beforeMs, keysMax) => inner.forgetKeys(beforeMs, keysMax),
			health: () => (control.unhealthy === null ? inner.health() : { status: 'unavailable', reason: control.unhealthy }),
			stats: () => inner.stats(),
			close: () => inner.close(),
		},
	};
	return control;
}
