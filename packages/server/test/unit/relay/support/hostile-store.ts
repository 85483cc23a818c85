/**
 * A store that does everything the port allows and no caller likes: it answers late and in an odd order, lets reads run ahead of
 * the announcements, fails, and, if asked to, loses announcements. The log itself is a memory store's.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { ReadLimits } from '../../../../src/log/page.ts';
import type { LogListener, Page, Store, WatchedPosition } from '../../../../src/ports/store.ts';

export interface Faults {
	/** Of a hundred reads, how many fail. */
	readsFailPercent: number;
	/** Of a hundred watch calls, how many fail. */
	watchesFailPercent: number;
	/** Of a hundred announced blocks, how many are lost. */
	lostPercent: number;
	/** Whether the answer to a watch call may come before the announcements of what it already counts in. */
	watchesOvertake: boolean;
}

export const NO_FAULTS: Readonly<Faults> = Object.freeze({
	readsFailPercent: 0,
	watchesFailPercent: 0,
	lostPercent: 0,
	watchesOvertake: false,
});

/** The calls whose answers keep to the order of the announcements, as one writer thread gives both. */
const IN_WRITER_ORDER = [
	'append',
	'createTopic',
	'getTopic',
	'listTopics',
	'updateTopic',
	'deleteTopic',
	'trim',
	'forgetKeys',
] as const;

export class HostileStore {
	/** What the relay is given. */
	readonly store: Store;
	readonly faults: Faults = { ...NO_FAULTS };
	/** Topics that are watched. */
	readonly watched = new Set<string>();
	/** How often the relay has heard of the deletion of each topic. */
	readonly deletionsHeard = new Map<string, number>();
	readonly #inner: Store;
	/** A whole number below `below`, at random. */
	readonly #pick: (below: number) => number;
	/** Announcements and the answers that keep their order, oldest first. */
	readonly #writer: (() => void)[] = [];
	/** Answers that come when they come. */
	readonly #reader: (() => void)[] = [];

	/** @param truth hears everything at once and unharmed */
	constructor(inner: Store, truth: LogListener, pick: (below: number) => number) {
		this.#inner = inner;
		this.#pick = pick;
		const overrides: Partial<Store> = {
			listen: (listener) => inner.listen(this.#delayed(listener, truth)),
			read: (topic, after, limits) => this.#read(topic, after, limits),
			watch: (topic) => this.#watch(topic),
			unwatch: (topic) => {
				this.watched.delete(topic);
				inner.unwatch(topic);
			},
		};
		this.store = new Proxy(inner, {
			get: (target, property) => {
				const own = overrides[property as keyof Store];
				if (own !== undefined) return own;
				const member = target[property as keyof Store];
				if (typeof member !== 'function') return member;
				const method = member.bind(target) as (...args: unknown[]) => unknown;
				if (!(IN_WRITER_ORDER as readonly PropertyKey[]).includes(property)) return method;
				return (...args: unknown[]) => this.#answer(this.#writer, method(...args) as Promise<unknown>);
			},
		});
	}

	/** Announcements and answers under way. */
	get pending(): number {
		return this.#writer.length + this.#reader.length;
	}

	/** Lets up to `count` announcements and answers arrive. */
	deliver(count: number): void {
		for (let i = 0; i < count && this.pending > 0; i++) {
			const fromWriter = this.#reader.length === 0 || (this.#writer.length > 0 && this.#pick(2) === 0);
			const next = fromWriter ? this.#writer.shift() : this.#reader.splice(this.#pick(this.#reader.length), 1)[0];
			next?.();
		}
	}

	#delayed(listener: LogListener, truth: LogListener): LogListener {
		return {
			appended: (topic, previous, floor, block) => {
				truth.appended(topic, previous, floor, block);
				if (this.#pick(100) >= this.faults.lostPercent) this.#writer.push(() => listener.appended(topic, previous, floor, block));
			},
			trimmed: (topic, floor) => {
				truth.trimmed(topic, floor);
				this.#writer.push(() => listener.trimmed(topic, floor));
			},
			deleted: (topic, tip) => {
				truth.deleted(topic, tip);
				this.#writer.push(() => {
					this.deletionsHeard.set(topic, (this.deletionsHeard.get(topic) ?? 0) + 1);
					listener.deleted(topic, tip);
				});
			},
			repositioned: (topic, position) => {
				truth.repositioned(topic, position);
				this.#writer.push(() => listener.repositioned(topic, position));
			},
		};
	}

	/** The page is either of the moment of the call or of the moment of the answer. */
	#read(topic: string, after: MessageId, limits: ReadLimits): Promise<Page> {
		if (this.#fails(this.faults.readsFailPercent)) return this.#answer(this.#reader, Promise.reject(failure()));
		if (this.#pick(2) === 0) return this.#answer(this.#reader, this.#inner.read(topic, after, limits));
		return new Promise((resolve, reject) => {
			this.#reader.push(() => void this.#inner.read(topic, after, limits).then(resolve, reject));
		});
	}

	#watch(topic: string): Promise<WatchedPosition> {
		const queue = this.faults.watchesOvertake ? this.#reader : this.#writer;
		if (this.#fails(this.faults.watchesFailPercent)) return this.#answer(queue, Promise.reject(failure()));
		return this.#answer(queue, this.#inner.watch(topic)).then((position) => {
			this.watched.add(topic);
			return position;
		});
	}

	/** Passes an answer on once it has had its turn in the queue. */
	#answer<T>(queue: (() => void)[], inner: Promise<T>): Promise<T> {
		return new Promise((resolve, reject) => {
			inner.then(
				(value) => queue.push(() => resolve(value)),
				(error: unknown) => queue.push(() => reject(error as Error)),
			);
		});
	}

	#fails(percent: number): boolean {
		return this.#pick(100) < percent;
	}
}

function failure(): RelayError {
	return new RelayError('storage_unavailable', 'the store fails on purpose');
}
