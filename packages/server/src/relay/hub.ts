/**
 * The hub: every topic this node has to do with. It takes the store's announcements into the hot tier, and once per tick
 * offers each topic's new messages to its live subscribers and wakes its polls. It never awaits a subscriber (I5).
 */

import { compareMessageIds, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { type Block, lastIdOf } from '../log/block.ts';
import { hasNews, type Loss, NO_LOSSES, newsOf } from '../log/losses.ts';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { Sink } from '../ports/sink.ts';
import type { LogListener, Store, WatchedPosition } from '../ports/store.ts';
import { HotBlock } from './hot-block.ts';
import { HotTier, type HotTierLimits } from './hot-tier.ts';
import { rangesAfter, SLICE_LIMITS, Slice } from './slice.ts';
import { type Subscriber, TopicLog } from './topic-log.ts';

/** The longest a busy node waits between two ticks to send more per write. */
const TICK_DELAY_MAX_MS = 4;
const HOUSEKEEPING_INTERVAL_MS = 1000;

export interface HubOptions {
	readonly store: Store;
	readonly clock: Clock;
	readonly observer: Observer;
	readonly hotTier: HotTierLimits;
}

/** A log that is shorter than it was, or has holes. */
interface Lost {
	readonly tip: MessageId;
	readonly floor: MessageId;
	readonly losses: readonly Loss[];
}

/** A page of the store. */
export interface HotPage {
	readonly blocks: readonly HotBlock[];
	/** Where the log ended when it was read. Without blocks, nothing was left between the cursor and here. */
	readonly tip: MessageId;
}

export class Hub implements LogListener {
	readonly #store: Store;
	readonly #clock: Clock;
	readonly #observer: Observer;
	readonly #hotTier: HotTier;
	readonly #topics = new Map<string, TopicLog>();
	/** Topics with fresh blocks. */
	#moved: TopicLog[] = [];
	/** Sinks with something to flush at the end of the tick. */
	#held: Sink[] = [];
	/** Store reads under way, so that a crowd resuming from one place reads once. */
	readonly #reads = new Map<string, Promise<HotPage>>();
	#tickDue = false;
	/** Monotonic time before which another tick would only make a busy loop busier. */
	#restUntilMs = 0;
	#stopHousekeeping: () => void;

	constructor(options: HubOptions) {
		this.#store = options.store;
		this.#clock = options.clock;
		this.#observer = options.observer;
		this.#hotTier = new HotTier(options.hotTier);
		this.#stopHousekeeping = this.#clock.after(HOUSEKEEPING_INTERVAL_MS, () => this.#keepHouse());
	}

	/** Bytes in the hot tier. */
	get hotBytes(): number {
		return this.#hotTier.bytes;
	}

	/** The polls waiting per topic, for topics with any. */
	*waitingPolls(): Generator<readonly [topic: string, polls: number]> {
		for (const topic of this.#topics.values()) if (topic.waiters.size > 0) yield [topic.name, topic.waiters.size];
	}

	/**
	 * Starts following a topic, existing or not. When it resolves the topic is watched and all that was announced has been
	 * offered, so that its position is current. Rejects when the store cannot tell; then nothing is followed. Ends with
	 * {@link unfollow}.
	 */
	async follow(name: string): Promise<TopicLog> {
		let topic = this.#topics.get(name);
		if (topic === undefined) {
			topic = new TopicLog(name, ZERO_ID, ZERO_ID);
			this.#topics.set(name, topic);
		}
		topic.followers++;
		try {
			topic.opening ??= topic.watched ? null : this.verify(topic);
			await topic.opening;
		} catch (error) {
			topic.followers--;
			throw error;
		} finally {
			topic.opening = null;
		}
		topic.watched = true;
		this.#offerNow(topic);
		return topic;
	}

	unfollow(topic: TopicLog): void {
		topic.followers--;
	}

	/** Asks the store where a topic really stands; a position ahead of ours means that announcements were missed. */
	async verify(topic: TopicLog): Promise<void> {
		const { tip } = topic;
		const position = await this.#store.watch(topic.name, tip);
		// Forgotten meanwhile: nobody would ever end the watch.
		if (!this.#topics.has(topic.name)) {
			this.#store.unwatch(topic.name);
			return;
		}
		// What was asked about is past: an announcement, or another look, has found out meanwhile.
		if (!position.intact && compareMessageIds(topic.tip, tip) !== 0) return this.verify(topic);
		this.#moveTo(topic, position);
		this.#offerNow(topic);
	}

	/**
	 * Whether a message is, or was before it was trimmed, part of the log. What is in memory does not tell it of a store that can lose
	 * messages: a peer that another node has told of a loss may ask before this one has noticed, so that is found out first (I3).
	 * Rejects when the store cannot tell.
	 */
	async hasSeen(topic: TopicLog, id: MessageId): Promise<boolean> {
		if (this.#store.has === undefined) return true;
		const [has] = await Promise.all([this.#store.has(topic.name, id), this.verify(topic)]);
		return has;
	}

	/** Reads the page after a cursor from the store, of a slice's length at most; concurrent reads of one page are one read. */
	readPage(topic: TopicLog, after: MessageId, messagesMax: number = SLICE_LIMITS.messagesMax): Promise<HotPage> {
		const key = `${topic.name}:${after.ms}-${after.n}:${messagesMax}`;
		let read = this.#reads.get(key);
		if (read === undefined) {
			const own = this.#readPage(topic, after, messagesMax).finally(() => {
				if (this.#reads.get(key) === own) this.#reads.delete(key);
			});
			this.#reads.set(key, own);
			read = own;
		}
		return read;
	}

	async #readPage(topic: TopicLog, after: MessageId, messagesMax: number): Promise<HotPage> {
		let succeeded = false;
		try {
			const page = await this.#store.read(topic.name, after, { ...SLICE_LIMITS, messagesMax });
			succeeded = true;
			// Another node has found a loss: the page is right, but not every reader of it knows yet.
			if (hasNews(page.losses ?? NO_LOSSES, topic.losses)) await this.verify(topic);
			this.#raiseFloor(topic, page.floor);
			return { blocks: page.blocks.map((block) => new HotBlock(topic.shown, block)), tip: page.tip };
		} finally {
			this.#observer.read(succeeded);
		}
	}

	appended(name: string, previous: MessageId, floor: MessageId, block: Block): void {
		let topic = this.#topics.get(name);
		if (topic === undefined) {
			topic = new TopicLog(name, previous, floor);
			this.#topics.set(name, topic);
		}
		// The store's position, asked for meanwhile, has counted it in: everybody has it or reads it.
		if (compareMessageIds(lastIdOf(block), topic.tip) <= 0) return;
		if (compareMessageIds(topic.tip, previous) !== 0) this.#skipTo(topic, previous);
		this.#raiseFloor(topic, floor);
		const hot = new HotBlock(topic.shown, block);
		topic.tip = hot.last;
		if (topic.live.length === 0 && topic.waiters.size === 0) {
			// Nobody is at the end of the log: whoever is behind reads on when its socket or its store read lets it.
			topic.offered = hot.last;
		} else {
			if (topic.fresh.length === 0) this.#moved.push(topic);
			topic.fresh.push(hot);
			this.#scheduleTick();
		}
		this.#hotTier.add(topic.ring, hot, this.#clock.monotonicMs());
	}

	trimmed(name: string, floor: MessageId): void {
		const topic = this.#topics.get(name);
		if (topic !== undefined) this.#raiseFloor(topic, floor);
	}

	deleted(name: string, tip: MessageId): void {
		const topic = this.#topics.get(name);
		if (topic === undefined) return;
		this.#offerNow(topic);
		topic.tip = tip;
		topic.offered = tip;
		topic.floor = tip;
		topic.losses = NO_LOSSES;
		this.#hotTier.reset(topic.ring, tip);
		for (const waiter of topic.waiters) waiter.topicDeleted(topic);
		for (const subscriber of topic.subscribers) subscriber.topicDeleted();
	}

	repositioned(name: string, position: WatchedPosition): void {
		const topic = this.#topics.get(name);
		if (topic !== undefined) this.#moveTo(topic, position);
	}

	/** Stops the timers. Subscribers are their transports' to close. */
	close(): void {
		this.#stopHousekeeping();
	}

	/** Coalescing adapts: at once when the loop is idle; after a rest as long as the last tick when ticks fill the loop. */
	#scheduleTick(): void {
		if (this.#tickDue) return;
		this.#tickDue = true;
		const restMs = this.#restUntilMs - this.#clock.monotonicMs();
		if (restMs <= 0) this.#clock.soon(() => this.#tick());
		else this.#clock.after(restMs, () => this.#tick());
	}

	#tick(): void {
		this.#tickDue = false;
		const startedMs = this.#clock.monotonicMs();
		const moved = this.#moved;
		this.#moved = [];
		for (const topic of moved) this.#offer(topic);
		this.#flushHeld();
		const endedMs = this.#clock.monotonicMs();
		this.#restUntilMs = endedMs + Math.min(endedMs - startedMs, TICK_DELAY_MAX_MS);
	}

	#offerNow(topic: TopicLog): void {
		this.#offer(topic);
		this.#flushHeld();
	}

	/** Hands a topic's fresh blocks to its live set, the same bytes to each socket, and wakes its polls. */
	#offer(topic: TopicLog): void {
		const { fresh } = topic;
		if (fresh.length === 0) return;
		topic.fresh = [];
		const nowMs = this.#clock.nowMs();
		let start = 0;
		while (compareMessageIds(topic.offered, topic.tip) < 0) {
			const ranges = rangesAfter(fresh, start, topic.offered, topic.tip, SLICE_LIMITS);
			const final = ranges[ranges.length - 1];
			if (final === undefined) break;
			const slice = new Slice(topic.shown, ranges, nowMs);
			this.#deliverLive(topic, slice);
			topic.offered = slice.last;
			start = fresh.indexOf(final.block, start);
		}
		for (const waiter of topic.waiters) waiter.wake();
		this.#observer.deliveryDelay(Math.max(0, nowMs - (fresh[0] as HotBlock).ms));
	}

	#deliverLive(topic: TopicLog, slice: Slice): void {
		const { live } = topic;
		const { count } = slice;
		let websockets = 0;
		// Backwards, because a subscription that leaves is replaced by the last one, which has had its turn.
		for (let i = live.length - 1; i >= 0; i--) {
			const subscriber = live[i] as Subscriber;
			const { sink } = subscriber;
			if (!sink.writable) {
				subscriber.fellBehind(topic.offered);
				this.#observer.behind(1);
				continue;
			}
			if (sink.deliver(slice.named(subscriber.shown))) this.#held.push(sink);
			if (sink.transport === 'websocket') websockets++;
		}
		this.#observer.delivered('websocket', websockets * count);
		this.#observer.delivered('sse', (live.length - websockets) * count);
	}

	#flushHeld(): void {
		if (this.#held.length === 0) return;
		const held = this.#held;
		this.#held = [];
		for (const sink of held) sink.flush();
	}

	/** Takes over where the store says that a topic stands. */
	#moveTo(topic: TopicLog, { tip, floor, intact, losses = NO_LOSSES }: WatchedPosition): void {
		const moved = compareMessageIds(tip, topic.tip);
		// Several looks may find the same loss, which is told once: it is news, or, not being written down, where the log now ends is. One
		// that is not among those found now stays known: the position may be older, or be told without them.
		const news = newsOf(losses, topic.losses);
		const lost = news.length > 0 || (!intact && (losses.length === 0 ? moved !== 0 : moved < 0));
		const given = intact && news.every(({ removed }) => removed === true);
		if (lost) this.#rewind(topic, { tip: intact && moved < 0 ? topic.tip : tip, floor, losses }, given);
		else if (moved > 0) this.#skipTo(topic, tip);
		this.#raiseFloor(topic, floor);
	}

	/** Announcements up to `tip` were missed: everybody reads them from the store, from where they are. */
	#skipTo(topic: TopicLog, tip: MessageId): void {
		this.#offerNow(topic);
		const left = topic.live.slice();
		for (const subscriber of left) {
			subscriber.fellBehind(topic.offered);
			this.#observer.behind(1);
		}
		this.#hotTier.reset(topic.ring, tip);
		topic.tip = tip;
		topic.offered = tip;
		for (const subscriber of left) subscriber.readOn();
		for (const waiter of topic.waiters) waiter.wake();
	}

	/** The store has lost messages that it had announced: everybody is told, and goes on from where the log is now (I4, I10). */
	#rewind(topic: TopicLog, { tip, floor, losses }: Lost, given: boolean): void {
		this.#offerNow(topic);
		const reached = topic.offered;
		this.#hotTier.reset(topic.ring, tip);
		topic.forgetSlices();
		topic.rewinds++;
		// Pages that are being read may be of the log as it was: whoever reads on must not share them.
		for (const key of this.#reads.keys()) if (key.startsWith(`${topic.name}:`)) this.#reads.delete(key);
		topic.tip = tip;
		topic.offered = tip;
		topic.floor = floor;
		topic.losses = losses;
		for (const waiter of topic.waiters) waiter.logRewound(topic, given);
		for (const subscriber of [...topic.subscribers]) subscriber.logRewound(reached, given);
	}

	/**
	 * Raises a topic's floor, at most to its tip: a page may tell of a floor before what it took has been announced. It never
	 * ends up beyond `offered` either, or a reader that is put there would be given what the next tick offers once more (I4).
	 */
	#raiseFloor(topic: TopicLog, floor: MessageId): void {
		const known = compareMessageIds(floor, topic.tip) < 0 ? floor : topic.tip;
		if (compareMessageIds(known, topic.floor) <= 0) return;
		if (compareMessageIds(known, topic.offered) > 0) this.#offerNow(topic);
		topic.floor = known;
		this.#hotTier.trim(topic.ring, known);
	}

	#keepHouse(): void {
		this.#stopHousekeeping = this.#clock.after(HOUSEKEEPING_INTERVAL_MS, () => this.#keepHouse());
		this.#hotTier.expire(this.#clock.monotonicMs());
		for (const topic of this.#topics.values()) {
			topic.forgetSlices();
			if (topic.followers > 0 || !topic.ring.empty) continue;
			if (topic.watched) this.#store.unwatch(topic.name);
			this.#topics.delete(topic.name);
		}
	}
}
