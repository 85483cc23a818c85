/**
 * A poll: one question for the next messages of some topics, answered at once when there are any and otherwise as soon as
 * there are. It follows its topics before it reads them, so nothing falls between the reading and the waiting.
 */

import type { Gap, GapReason } from '@pulsar-relay/protocol/frames';
import { compareMessageIds, type MessageId } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../ports/clock.ts';
import type { Observer } from '../ports/observer.ts';
import type { HotBlock } from './hot-block.ts';
import type { Hub } from './hub.ts';
import { rangesAfter, SLICE_LIMITS, Slice, type SliceLimits } from './slice.ts';
import { followAll, type ShownNames, type Start } from './start.ts';
import type { TopicLog, Waiter } from './topic-log.ts';

export interface PollRequest {
	/** The topics, each with its start, in the order in which the answer lists them. */
	readonly starts: ReadonlyMap<string, Start>;
	/** By what names the answer tells of the topics; default: their owners'. */
	readonly shownAs?: ShownNames;
	readonly waitMs: number;
	/** Messages in the answer at most. */
	readonly messagesMax: number;
	/** Messages of one topic in the answer at most. */
	readonly messagesPerTopicMax: number;
	/** Bytes in the answer at most, unless its first message alone is larger. */
	readonly bytesMax: number;
	/**
	 * Whether a gap at the start is an answer by itself; default: yes. A client that takes no cursor from a gap would ask again at once,
	 * and so on without end: it is told with the messages, or when its time is up.
	 */
	readonly startGapAnswers?: boolean;
	/** Aborted when nobody waits for the answer any more. */
	readonly signal: AbortSignal;
}

export interface PollAnswer {
	/** In topic order, within a topic in log order. */
	readonly slices: readonly Slice[];
	readonly gaps: readonly Gap[];
	/** Where each topic's reader stands after this answer. */
	readonly cursors: ReadonlyMap<string, MessageId>;
	/** Whether there is more after the cursors already. */
	readonly hasMore: boolean;
}

interface Reader {
	readonly topic: TopicLog;
	cursor: MessageId;
	/**
	 * The page of the store that is being used up, beyond the cursor from `pageAt` on. Kept for one round: without it a poll that
	 * passes over expired messages would read a page for every few of them.
	 */
	page: readonly HotBlock[];
	pageAt: number;
	/** Whether the answer has messages of the topic: it ends before a gap then, as a gap stands before what it is about. */
	served: boolean;
}

export interface PollOptions {
	readonly hub: Hub;
	readonly clock: Clock;
	readonly observer: Observer;
	/** The polls under way: each puts in what makes it answer at once with what it has. */
	readonly underWay: Set<() => void>;
}

/** Runs a poll. Rejects with `storage_unavailable` when a topic cannot be read. */
export async function poll(options: PollOptions, request: PollRequest): Promise<PollAnswer> {
	using waiting = new Waiting(options, request);
	await waiting.follow();
	while (true) {
		const answer = await waiting.collect();
		if (answer !== null) return answer;
	}
}

/**
 * Messages in the first page for an answer with room for so many: not many more, or each small answer would cost the store a large
 * page. If they have expired, the next ones are large. In powers of two, so that polls share pages.
 */
function pageMessages(room: number): number {
	return Math.min(PAGE_MESSAGES_MAX, Math.max(PAGE_MESSAGES_MIN, 2 ** Math.ceil(Math.log2(room))));
}

const PAGE_MESSAGES_MIN = 128;
const PAGE_MESSAGES_MAX = SLICE_LIMITS.messagesMax;

class Waiting implements Waiter {
	readonly #options: PollOptions;
	readonly #request: PollRequest;
	readonly #readers: Reader[] = [];
	readonly #gaps: Gap[] = [];
	readonly #cancelTimer: () => void;
	/** Gaps that are no answer by themselves; null until the first round has found those at the start. */
	#gapsHeld: number | null = null;
	#over = false;
	#woken = false;
	#resume: (() => void) | null = null;
	readonly #finish = () => {
		this.#over = true;
		this.#resume?.();
	};

	constructor(options: PollOptions, request: PollRequest) {
		this.#options = options;
		this.#request = request;
		this.#cancelTimer = options.clock.after(request.waitMs, this.#finish);
		request.signal.addEventListener('abort', this.#finish);
		options.underWay.add(this.#finish);
		if (request.signal.aborted) this.#over = true;
	}

	wake(): void {
		this.#woken = true;
		this.#resume?.();
	}

	topicDeleted(topic: TopicLog): void {
		const reader = this.#readers.find((candidate) => candidate.topic === topic);
		if (reader === undefined) return;
		this.#addGap(topic, 'deleted', reader.cursor, topic.offered);
		reader.cursor = topic.offered;
		this.wake();
	}

	logRewound(topic: TopicLog, given: boolean): void {
		const reader = this.#readers.find((candidate) => candidate.topic === topic);
		if (reader === undefined) return;
		const { cursor } = reader;
		if (!given && !topic.meetsLoss(cursor)) {
			if (compareMessageIds(cursor, topic.tip) > 0) reader.cursor = topic.tip;
			this.#addGap(topic, 'ahead', cursor, reader.cursor);
		}
		reader.page = [];
		this.wake();
	}

	async follow(): Promise<void> {
		await followAll(this.#options.hub, this.#request.starts, (followed) => {
			for (const { topic, start } of followed) {
				this.#readers.push({ topic, cursor: start.cursor, page: [], pageAt: 0, served: false });
				if (start.gap !== null) this.#addGap(topic, start.gap.reason, start.gap.from, start.cursor);
				topic.waiters.add(this);
			}
		});
	}

	/** One round: the answer when there is one or time is up, else null after something moved. */
	async collect(): Promise<PollAnswer | null> {
		this.#woken = false;
		const slices: Slice[] = [];
		const { messagesMax, messagesPerTopicMax, bytesMax } = this.#request;
		let messages = 0;
		let bytes = 0;
		for (const reader of this.#readers) {
			const before = messages;
			while (compareMessageIds(reader.cursor, reader.topic.offered) < 0) {
				const room = Math.min(messagesMax - messages, messagesPerTopicMax - (messages - before));
				if (room === 0 || bytes >= bytesMax) break;
				if (!reader.topic.covers(reader.cursor) && !(await this.#turnPage(reader, room))) continue;
				// From here on without a pause, in which the topic could be deleted and the reader be moved.
				const slice = this.#next(reader, { messagesMax: room, bytesMax: bytesMax - bytes });
				if (slice === null) break;
				const sliceBytes = slice.bytes;
				// A slice holds at least one message, which alone may be too large for what is left.
				if (slices.length > 0 && bytes + sliceBytes > bytesMax) break;
				reader.cursor = slice.last;
				if (slice.count > 0) {
					reader.served = true;
					slices.push(slice);
					messages += slice.count;
					bytes += sliceBytes;
				} else if (this.#over) break;
			}
			reader.page = [];
		}
		this.#gapsHeld ??= this.#request.startGapAnswers === false ? this.#gaps.length : 0;
		if (slices.length > 0 || this.#gaps.length > this.#gapsHeld || this.#over) {
			this.#options.observer.delivered('longpoll', messages);
			const cursors = new Map(this.#readers.map(({ topic, cursor }) => [this.#shown(topic), cursor]));
			const hasMore = this.#readers.some(({ topic, cursor }) => compareMessageIds(cursor, topic.offered) < 0);
			return { slices, gaps: this.#gaps, cursors, hasMore };
		}
		if (!this.#woken) {
			await new Promise<void>((resolve) => {
				this.#resume = resolve;
			});
			this.#resume = null;
		}
		return null;
	}

	[Symbol.dispose](): void {
		this.#cancelTimer();
		this.#request.signal.removeEventListener('abort', this.#finish);
		this.#options.underWay.delete(this.#finish);
		for (const { topic } of this.#readers) {
			topic.waiters.delete(this);
			this.#options.hub.unfollow(topic);
		}
	}

	/** The next slice after a reader's cursor, from memory or from its page; null when there is none after all. */
	#next(reader: Reader, limits: SliceLimits): Slice | null {
		const { topic } = reader;
		if (compareMessageIds(reader.cursor, topic.floor) < 0 && !this.#passTo(reader, 'trimmed', topic.floor)) return null;
		const loss = topic.lossAt(reader.cursor);
		if (loss !== undefined && !this.#passTo(reader, 'ahead', loss.to)) return null;
		const ranges = topic.covers(reader.cursor)
			? topic.rangesAfter(reader.cursor, limits)
			: rangesAfter(reader.page, reader.pageAt, reader.cursor, topic.endAfter(reader.cursor), limits);
		if (ranges.length === 0) {
			// Nothing is left before the next loss, not even the message that it began after: somebody else removed that.
			const next = reader.page.length > 0 ? topic.nextLossAfter(reader.cursor) : undefined;
			return next !== undefined && this.#passTo(reader, 'ahead', next.to) ? this.#next(reader, limits) : null;
		}
		return new Slice(topic.shown, ranges, this.#options.clock.nowMs()).named(this.#shown(topic));
	}

	/**
	 * Reads a page after the reader's cursor, unless the last one goes beyond it. False when it is of the log as it was before the store
	 * lost a part of it.
	 */
	async #turnPage(reader: Reader, room: number): Promise<boolean> {
		const { page, topic, cursor } = reader;
		while (reader.pageAt < page.length && compareMessageIds((page[reader.pageAt] as HotBlock).last, cursor) <= 0) reader.pageAt++;
		if (reader.pageAt < page.length) return true;
		const { rewinds } = topic;
		const { blocks, tip } = await this.#options.hub.readPage(
			topic,
			cursor,
			page.length > 0 ? PAGE_MESSAGES_MAX : pageMessages(room),
		);
		if (topic.rewinds !== rewinds) return false;
		reader.page = blocks;
		reader.pageAt = 0;
		// Nothing up to where the log ended, though announced: somebody else removed it. Unless the reader was moved meanwhile.
		const end = compareMessageIds(tip, topic.offered) < 0 ? tip : topic.offered;
		if (blocks.length > 0 || reader.cursor !== cursor || compareMessageIds(end, cursor) <= 0) return true;
		if (compareMessageIds(cursor, topic.floor) < 0 || topic.lossAt(cursor) !== undefined) return true;
		this.#passTo(reader, 'trimmed', end);
		return true;
	}

	/** Passes a hole, and tells of it, unless that is for the next answer. */
	#passTo(reader: Reader, reason: GapReason, to: MessageId): boolean {
		if (reader.served) return false;
		this.#addGap(reader.topic, reason, reader.cursor, to);
		reader.cursor = to;
		return true;
	}

	#addGap(topic: TopicLog, reason: GapReason, from: MessageId | null, to: MessageId): void {
		this.#options.observer.gap(reason);
		this.#gaps.push({ topic: this.#shown(topic), reason, from, to });
	}

	#shown({ name, shown }: TopicLog): string {
		return this.#request.shownAs?.get(name) ?? shown;
	}
}
