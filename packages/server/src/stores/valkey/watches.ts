/**
 * The topics that this node watches. Announcements reach it twice, by the answer to its own appends and by the topic's channel, and
 * over two connections, so in any order; what goes on to the listener is the chain, each piece once and in order. A piece that does
 * not fit waits a moment for the one before it. If that does not come, or a look at the store says that the topic is elsewhere, the
 * listener is told where it is, and reads (I10).
 */

import { compareMessageIds, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { type Block, lastIdOf } from '../../log/block.ts';
import { hasNews, type Loss, NO_LOSSES } from '../../log/losses.ts';
import type { Clock } from '../../ports/clock.ts';
import type { LogListener, WatchedPosition } from '../../ports/store.ts';
import { type Announcement, parseAnnouncement } from './announcement.ts';

/** How long a missing piece may be on its way: connections to one server differ by far less. */
const HOLE_WAIT_MS = 100;
/** Pieces that wait for one before them; with more, the node reads instead. */
const HELD_PIECES_MAX = 256;

/** In place of the id of a topic that was deleted, when none was, and when it was found deleted. */
const NONE = '-';
const UNKNOWN_ID = '?';

interface Piece {
	readonly previous: MessageId;
	readonly last: MessageId;
	readonly floor: MessageId;
	/** Gives null when the messages have to be read. */
	readonly block: () => Block | null;
}

/**
 * - `opening`: subscribed or about to be; its position is not known, pieces wait. Leaves to `following` with the position.
 * - `following`: `tip` is what the listener was told last.
 */
interface Watch {
	state: 'opening' | 'following';
	tip: MessageId;
	floor: MessageId;
	losses: readonly Loss[];
	/** Whether the topic is known to exist. */
	exists: boolean;
	/** The last deletion that was told, by the id of the topic: it is heard twice, too. */
	deletedId: string;
	held: Piece[];
	/** Cancels the look that is due; null when none is. */
	cancelLook: (() => void) | null;
}

export interface WatchesOptions {
	readonly clock: Clock;
	/** Asks the store where topics stand, and comes back with {@link Watches.found}. */
	readonly look: (topics: readonly string[]) => void;
}

export class Watches {
	readonly #options: WatchesOptions;
	readonly #watches = new Map<string, Watch>();
	#listener: LogListener | null = null;

	constructor(options: WatchesOptions) {
		this.#options = options;
	}

	listen(listener: LogListener): void {
		this.#listener = listener;
	}

	/** Whether a topic is watched. */
	has(topic: string): boolean {
		return this.#watches.has(topic);
	}

	get topics(): readonly string[] {
		return [...this.#watches.keys()];
	}

	/** The newest message of a watched topic that the listener was told of; 0-0 when it was told of none. */
	tipOf(topic: string): MessageId {
		return this.#watches.get(topic)?.tip ?? ZERO_ID;
	}

	/** Begins to hold what is announced of a topic. False when it is watched already. */
	open(topic: string): boolean {
		if (this.#watches.has(topic)) return false;
		this.#watches.set(topic, {
			state: 'opening',
			tip: ZERO_ID,
			floor: ZERO_ID,
			losses: NO_LOSSES,
			exists: false,
			deletedId: NONE,
			held: [],
			cancelLook: null,
		});
		return true;
	}

	/** The position that {@link open} waited for. */
	opened(topic: string, position: WatchedPosition): void {
		const watch = this.#watches.get(topic);
		if (watch === undefined) return;
		if (watch.state === 'opening') {
			watch.state = 'following';
			watch.tip = position.tip;
			watch.floor = position.floor;
			watch.losses = position.losses ?? NO_LOSSES;
			watch.exists = position.exists;
		}
		this.#advance(topic, watch);
	}

	/** Forgets topics. */
	drop(topics: readonly string[]): void {
		for (const topic of topics) {
			this.#watches.get(topic)?.cancelLook?.();
			this.#watches.delete(topic);
		}
	}

	/** Something came over a channel. Of a topic that is not watched any more it is dropped. */
	heard(topic: string, message: Uint8Array): void {
		const watch = this.#watches.get(topic);
		const announcement = watch === undefined ? undefined : parseAnnouncement(message);
		if (watch !== undefined && announcement !== undefined) this.#take(topic, watch, announcement);
	}

	/** This node has appended. */
	appended(topic: string, previous: MessageId, floor: MessageId, block: Block): void {
		const watch = this.#watches.get(topic);
		if (watch === undefined) this.#listener?.appended(topic, previous, floor, block);
		else this.#hold(topic, watch, { previous, last: lastIdOf(block), floor, block: () => block });
	}

	/** This node has trimmed. */
	trimmed(topic: string, floor: MessageId): void {
		const watch = this.#watches.get(topic);
		if (watch === undefined) this.#listener?.trimmed(topic, floor);
		else this.#trim(topic, watch, floor);
	}

	/** This node has deleted the topic. */
	deleted(topic: string, tip: MessageId, topicId: string): void {
		const watch = this.#watches.get(topic);
		if (watch === undefined) this.#listener?.deleted(topic, tip);
		else this.#delete(topic, watch, tip, topicId);
	}

	/**
	 * Where a topic was found to stand, asked with `seen`. Not intact is certain: `seen` was in the log when it was announced. Ahead may
	 * be announcements that are still on their way, so it becomes a fact only when a second look finds the node no further.
	 */
	found(topic: string, seen: MessageId, position: WatchedPosition): void {
		const watch = this.#current(topic, seen, position);
		if (watch === undefined) return;
		if (hasLost(watch, position)) this.#reposition(topic, watch, position);
		else if (compareMessageIds(position.tip, watch.tip) <= 0) this.#trim(topic, watch, position.floor);
		else if (watch.cancelLook === null) this.#lookLater(topic, watch, position);
	}

	/**
	 * As {@link found}, of a look during which nothing is on its way: announcements may have been missed for good. Topics are among those
	 * looked at that are not watched.
	 */
	foundAfterOutage(topic: string, seen: MessageId, position: WatchedPosition): void {
		if (!this.#watches.has(topic)) {
			if (!position.intact) this.#listener?.repositioned(topic, position);
			return;
		}
		const watch = this.#current(topic, seen, position);
		if (watch === undefined) return;
		if (hasLost(watch, position) || compareMessageIds(position.tip, watch.tip) > 0) this.#reposition(topic, watch, position);
		else this.#trim(topic, watch, position.floor);
	}

	/**
	 * The watch that an answer is about; undefined when the topic has moved on since the question. Several looks may be on their way, and
	 * what was lost is told once (I4): the first answer moves the tip, and the others are about one that is no more.
	 */
	#current(topic: string, seen: MessageId, { exists, intact, tip }: WatchedPosition): Watch | undefined {
		const watch = this.#watches.get(topic);
		if (watch === undefined || watch.state === 'opening' || compareMessageIds(seen, watch.tip) !== 0) return undefined;
		if (exists || !watch.exists || !intact) return watch;
		// Its deletion was missed, or is still on its way.
		this.#delete(topic, watch, tip, UNKNOWN_ID);
		return undefined;
	}

	/** Stops the timers. */
	close(): void {
		this.drop(this.topics);
	}

	#take(topic: string, watch: Watch, announcement: Announcement): void {
		switch (announcement.kind) {
			case 'appended':
				this.#hold(topic, watch, announcement);
				return;
			case 'trimmed':
				this.#trim(topic, watch, announcement.floor);
				return;
			case 'deleted':
				this.#delete(topic, watch, announcement.tip, announcement.topicId);
		}
	}

	#hold(topic: string, watch: Watch, piece: Piece): void {
		if (watch.state === 'following' && compareMessageIds(piece.last, watch.tip) <= 0) return;
		watch.held.push(piece);
		if (watch.state === 'opening') {
			if (watch.held.length > HELD_PIECES_MAX) watch.held.shift();
		} else this.#advance(topic, watch);
	}

	/** Tells the pieces that fit, in order. What is left has a hole before it. */
	#advance(topic: string, watch: Watch): void {
		for (let fits = true; fits; ) {
			fits = false;
			for (let i = 0; i < watch.held.length; i++) {
				const piece = watch.held[i] as Piece;
				const isNext = compareMessageIds(piece.previous, watch.tip) === 0;
				if (!isNext && compareMessageIds(piece.last, watch.tip) > 0) continue;
				watch.held.splice(i--, 1);
				if (!isNext) continue;
				watch.tip = piece.last;
				watch.exists = true;
				if (compareMessageIds(piece.floor, watch.floor) > 0) watch.floor = piece.floor;
				this.#tell(topic, watch, piece);
				fits = true;
			}
		}
		if (watch.held.length === 0) return;
		// A piece that was appended after a message below our tip: the log no longer has the tip.
		const lost = watch.held.some((piece) => compareMessageIds(piece.previous, watch.tip) < 0);
		if (lost || watch.held.length > HELD_PIECES_MAX) {
			watch.held = [];
			this.#options.look([topic]);
		} else if (watch.cancelLook === null) this.#lookLater(topic, watch, null);
	}

	#tell(topic: string, { tip, floor }: Watch, { previous, block }: Piece): void {
		const messages = block();
		if (messages === null) this.#listener?.repositioned(topic, { exists: true, tip, floor, intact: true });
		else this.#listener?.appended(topic, previous, floor, messages);
	}

	/** Looks again in a moment; with a position, takes it for a fact if the node is no further by then. */
	#lookLater(topic: string, watch: Watch, position: WatchedPosition | null): void {
		const { tip } = watch;
		watch.cancelLook = this.#options.clock.after(HOLE_WAIT_MS, () => {
			watch.cancelLook = null;
			if (compareMessageIds(watch.tip, tip) !== 0) {
				if (watch.held.length > 0) this.#lookLater(topic, watch, null);
			} else if (position === null) this.#options.look([topic]);
			else this.#reposition(topic, watch, position);
		});
	}

	#reposition(topic: string, watch: Watch, position: WatchedPosition): void {
		watch.tip = position.tip;
		watch.floor = position.floor;
		watch.losses = position.losses ?? NO_LOSSES;
		watch.exists = position.exists;
		this.#listener?.repositioned(topic, position);
		this.#advance(topic, watch);
	}

	#trim(topic: string, watch: Watch, floor: MessageId): void {
		if (compareMessageIds(floor, watch.floor) <= 0) return;
		watch.floor = floor;
		this.#listener?.trimmed(topic, floor);
	}

	#delete(topic: string, watch: Watch, tip: MessageId, topicId: string): void {
		const moved = compareMessageIds(tip, watch.tip);
		if ((watch.deletedId === topicId && topicId !== UNKNOWN_ID) || moved < 0) return;
		const toldAlready = watch.deletedId === UNKNOWN_ID && moved === 0 && !watch.exists;
		watch.deletedId = topicId;
		if (toldAlready) return;
		watch.exists = false;
		watch.tip = tip;
		watch.floor = tip;
		this.#listener?.deleted(topic, tip);
		this.#advance(topic, watch);
	}
}

/** Whether messages were lost of which the listener has not been told: what it knew last is gone, or another node has found something. */
function hasLost({ losses }: Watch, position: WatchedPosition): boolean {
	return !position.intact || hasNews(position.losses ?? NO_LOSSES, losses);
}
