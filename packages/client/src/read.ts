/**
 * A read: messages of some topics, one after the other, as fast as they are asked for. What is not asked for is not held: with a batch full,
 * the read stops following, keeps its cursors, and the log waits (I5).
 */

import { type Gap, GapError, RelayError } from './errors.ts';
import { isMessageId } from './ids.ts';
import type { Subscription } from './lane.ts';
import type { Position } from './links/link.ts';
import type { Message } from './message.ts';

export interface ReadOptions {
	/**
	 * Where to begin: `last` (the default, only what comes from now on), `earliest`, a message id, or positions by topic. A cursor saved under the
	 * read's `name` wins.
	 */
	readonly from?: Position | Readonly<Record<string, Position>>;
	/** Ends the read, without an error. */
	readonly signal?: AbortSignal;
	/** Called for each hole, before what follows it. Without it a gap throws {@link GapError}. */
	readonly onGap?: (gap: Gap) => void | Promise<void>;
	/** Messages held at most while nobody asks for them. Default 256. */
	readonly batch?: number;
	/** Saves the cursors under this name in the `cursors` of `connect`, once the message after is asked for. */
	readonly name?: string;
}

/** What a read needs of the client. */
export interface ReadHost {
	/** Follows the topics; resolves with what stops them. */
	follow(subscriptions: readonly Subscription[]): Following;
	/** Positions that were saved for a name; none without a name or a store. */
	savedCursors(name: string | undefined, topics: readonly string[]): Promise<ReadonlyMap<string, string>>;
	/** Remembers a position for a name. */
	saveCursor(name: string | undefined, topic: string, id: string): void;
}

export interface Following {
	pause(): void;
	resume(): void;
	stop(): void;
}

type Item =
	/** `before`: where its topic stood before it. */
	| { readonly kind: 'message'; readonly message: Message; readonly before: Position }
	| { readonly kind: 'gap'; readonly gap: Gap; readonly before: Position }
	| { readonly kind: 'end'; readonly error: RelayError | null };

const BATCH_DEFAULT = 256;

export class Read implements AsyncIterableIterator<Message> {
	readonly #host: ReadHost;
	readonly #topics: readonly string[];
	readonly #options: ReadOptions;
	readonly #batch: number;
	readonly #subscriptions: Subscription[] = [];
	#items: Item[] = [];
	/** How many of the items were taken: shifting each would move all that follow. */
	#taken = 0;
	#messages = 0;
	#paused = false;
	#following: Following | null = null;
	#begun: Promise<void> | null = null;
	/** Wakes the `next` that waits. */
	#wake: (() => void) | null = null;
	/** Given out, and not yet known to be done with. */
	#inHand: Message | null = null;
	#over = false;
	/** `next` calls run one after the other. */
	#last: Promise<unknown> = Promise.resolve();

	constructor(host: ReadHost, topics: readonly string[], options: ReadOptions) {
		this.#host = host;
		this.#topics = [...new Set(topics)];
		this.#options = options;
		this.#batch = options.batch ?? BATCH_DEFAULT;
		if (this.#topics.length === 0) throw new RelayError('invalid_argument', 'read() needs at least one topic');
		if (!(this.#batch >= 1)) throw new RelayError('invalid_argument', `batch is ${this.#batch}: it must be 1 or more`);
	}

	[Symbol.asyncIterator](): this {
		return this;
	}

	/** The next message; done once the signal has ended the read. Rejects with what ended it otherwise, and with {@link GapError}. */
	next(): Promise<IteratorResult<Message>> {
		const next = this.#last.then(() => this.#next());
		this.#last = next.catch(() => undefined);
		return next;
	}

	/** Ends the read, as `break` does. The message in hand does not count as done: it comes again to who resumes by name. */
	async return(): Promise<IteratorResult<Message>> {
		this.#end();
		return { done: true, value: undefined };
	}

	async #next(): Promise<IteratorResult<Message>> {
		const { signal, onGap, name } = this.#options;
		if (this.#inHand !== null) this.#host.saveCursor(name, this.#inHand.topic, this.#inHand.id);
		this.#inHand = null;
		for (;;) {
			if (this.#over || signal?.aborted === true) {
				this.#end();
				return { done: true, value: undefined };
			}
			this.#begun ??= this.#begin();
			await this.#begun;
			const item = this.#take();
			if (item === null) {
				await new Promise<void>((resolve) => {
					this.#wake = resolve;
				});
			} else if (item.kind === 'message') {
				this.#inHand = item.message;
				return { done: false, value: item.message };
			} else if (item.kind === 'end') {
				this.#end();
				if (item.error !== null) throw item.error;
			} else if (onGap === undefined) {
				this.#end();
				throw new GapError(item.gap, this.#cursorsAfter(item.gap));
			} else await onGap(item.gap);
		}
	}

	async #begin(): Promise<void> {
		const { from = 'last', signal, name } = this.#options;
		const saved = await this.#host.savedCursors(name, this.#topics);
		for (const topic of this.#topics) {
			const position = saved.get(topic) ?? (typeof from === 'string' ? from : (from[topic] ?? 'last'));
			if (position !== 'last' && position !== 'earliest' && !isMessageId(position)) {
				throw new RelayError(
					'invalid_argument',
					`from of topic ${topic} is "${position}": it is "last", "earliest" or a message id`,
				);
			}
			this.#subscriptions.push({
				topic,
				position,
				lastGap: null,
				message: (message, before) => this.#put({ kind: 'message', message, before }),
				gap: (gap, before) => this.#put({ kind: 'gap', gap, before }),
				ended: (error) => this.#put({ kind: 'end', error }),
			});
		}
		if (this.#over) return;
		signal?.addEventListener('abort', this.#onAbort);
		this.#following = this.#host.follow(this.#subscriptions);
	}

	readonly #onAbort = () => this.#end();

	#put(item: Item): void {
		if (this.#over) return;
		this.#items.push(item);
		if (item.kind === 'message') this.#messages++;
		if (this.#messages >= this.#batch && !this.#paused) {
			this.#paused = true;
			this.#following?.pause();
		}
		this.#wakeUp();
	}

	#take(): Item | null {
		const item = this.#items[this.#taken];
		if (item === undefined) return null;
		this.#taken++;
		if (this.#taken === this.#items.length) {
			this.#items = [];
			this.#taken = 0;
		}
		if (item.kind === 'message') this.#messages--;
		// Not at each message: what follows is on its way while the rest is worked through.
		if (this.#paused && this.#messages <= this.#batch / 4) {
			this.#paused = false;
			this.#following?.resume();
		}
		return item;
	}

	#wakeUp(): void {
		this.#wake?.();
		this.#wake = null;
	}

	/** Where the read stands after a gap, without what is held here and was not given out. */
	#cursorsAfter(gap: Gap): Readonly<Record<string, string>> {
		const cursors = new Map(this.#subscriptions.map(({ topic, position }) => [topic, position]));
		for (const item of this.#items.slice(this.#taken).toReversed()) {
			if (item.kind === 'message') cursors.set(item.message.topic, item.before);
			else if (item.kind === 'gap') cursors.set(item.gap.topic, item.before);
		}
		cursors.set(gap.topic, gap.to);
		return Object.fromEntries(cursors);
	}

	#end(): void {
		if (this.#over) return;
		this.#over = true;
		this.#options.signal?.removeEventListener('abort', this.#onAbort);
		this.#following?.stop();
		this.#items = [];
		this.#taken = 0;
		this.#wakeUp();
	}
}
