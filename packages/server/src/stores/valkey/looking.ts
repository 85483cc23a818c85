/**
 * Looking: asking the server where topics stand, since announcements can be lost, operators write by hand, and a server that comes
 * back may have less than it acknowledged (I10). Goes on without pause, a part of the watched topics each second; after an outage all at
 * once, and with them the topics that this node has lately appended to: it may be the only one that knows what they had.
 */

import { formatMessageId, type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../../ports/clock.ts';
import type { WatchedPosition } from '../../ports/store.ts';
import type { Connection } from './connection.ts';
import { failureOf, reasonOf } from './failure.ts';
import type { Reply } from './glide.ts';
import { positionOf } from './pages.ts';
import { SCRIPTS } from './scripts.ts';
import type { Watches } from './watches.ts';

/** How often watched topics are looked at although nothing was announced. */
const LOOK_INTERVAL_MS = 1000;
/** Topics in one such look; the others have their turn in the next. One costs the server some 5 us. */
const LOOK_TOPICS_MAX = 2000;
const TOPICS_PER_CALL_MAX = 500;
/** Topics of which the last append is remembered, those appended to last: some 200 bytes each. */
const APPENDED_TOPICS_MAX = 10_000;

/** A topic, and a message to look for. */
export type Asked = readonly [topic: string, id: MessageId];

export interface LookingOptions {
	readonly connection: () => Connection;
	readonly clock: Clock;
	readonly watches: Watches;
	readonly onWarning: (text: string, fields: Readonly<Record<string, unknown>>) => void;
	/** Has it remembered, for as long as of deleted ones, that topics have ended. Rejects when it cannot be. */
	readonly ended: (topics: readonly string[]) => Promise<void>;
	/** A topic ends with messages up to this one that are not confirmed (confirmations.ts); null = with none. */
	readonly onUnconfirmed: (topic: string, end: MessageId | null) => void;
	/** Has a call waited for when the store is closed. */
	readonly track: <Result>(call: Promise<Result>) => Promise<Result>;
}

export class Looking {
	readonly #options: LookingOptions;
	/** The newest message that this node has appended, by topic; the topic appended to last comes last. */
	readonly #appended = new Map<string, MessageId>();
	/** What was found to be lost, and could not be written down yet. */
	readonly #lossesDue = new Map<string, MessageId>();
	/** Topics that were lost as a whole, of which that is to be remembered. */
	readonly #lost = new Set<string>();
	/** Topics that could not be looked at, and were told of. */
	readonly #unreadable = new Set<string>();
	#after = 0;
	#running = false;
	#cancel = () => {};

	constructor(options: LookingOptions) {
		this.#options = options;
	}

	/** From here on looks every second until {@link stop}. */
	start(): void {
		this.#running = true;
		this.#lookLater();
	}

	stop(): void {
		this.#running = false;
		this.#cancel();
	}

	#lookLater(): void {
		this.#cancel = this.#options.clock.after(LOOK_INTERVAL_MS, () => {
			const { topics } = this.#options.watches;
			if (this.#after >= topics.length) this.#after = 0;
			const some = topics.slice(this.#after, this.#after + LOOK_TOPICS_MAX);
			this.#after += some.length;
			void this.look(some).then(() => {
				if (this.#running) this.#lookLater();
			});
		});
	}

	/** This node has appended to a topic. */
	appended(topic: string, last: MessageId): void {
		this.#appended.delete(topic);
		this.#appended.set(topic, last);
		if (this.#appended.size <= APPENDED_TOPICS_MAX) return;
		for (const oldest of this.#appended.keys()) {
			this.#appended.delete(oldest);
			return;
		}
	}

	/** The topic is no longer watched. */
	unwatched(topic: string): void {
		this.#unreadable.delete(topic);
	}

	/**
	 * Where topics stand, each with whether the given message is still there.
	 *
	 * @param by what this store has `announced` and is not there is written down as a loss; what a client `asked` for is not
	 */
	async positions(asked: readonly Asked[], by: 'announced' | 'asked'): Promise<readonly (WatchedPosition | Error)[]> {
		const positions: (WatchedPosition | Error)[] = [];
		const connection = this.#options.connection();
		for (let at = 0; at < asked.length; at += TOPICS_PER_CALL_MAX) {
			const some = asked.slice(at, at + TOPICS_PER_CALL_MAX);
			const calls = some.map(([topic, id]) => {
				const { stream, meta } = connection.keys.topic(topic);
				return { script: SCRIPTS.position, keys: [stream, meta], args: [formatMessageId(id), by] };
			});
			for (const [i, reply] of (await connection.evaluate(calls)).entries()) {
				this.#note(some[i] as Asked, reply, by);
				positions.push(watchedPositionOf(reply));
			}
		}
		return positions;
	}

	/** Looks at watched topics. Never rejects: the next look is due anyway. */
	look(topics: readonly string[]): Promise<boolean> {
		return this.#look(topics, 'found');
	}

	/** Looks at everything, while nothing is on its way. False when it could not be done. */
	lookAfterOutage(): Promise<boolean> {
		return this.#look(this.#options.watches.topics, 'foundAfterOutage');
	}

	async #look(topics: readonly string[], tell: 'found' | 'foundAfterOutage'): Promise<boolean> {
		const { watches, track } = this.#options;
		const asked: Asked[] = [...this.#lossesDue, ...topics.map((topic): Asked => [topic, watches.tipOf(topic)])];
		if (tell === 'foundAfterOutage') for (const one of this.#appended) if (!watches.has(one[0])) asked.push(one);
		if (asked.length === 0 && this.#lost.size === 0) return true;
		try {
			const positions = await track(this.positions(asked, 'announced'));
			for (const [i, [topic, seen]] of asked.entries()) {
				const position = positions[i];
				if (position === undefined || position instanceof Error) this.#noteUnreadable(topic, position);
				else {
					this.#unreadable.delete(topic);
					watches[tell](topic, seen, position);
				}
			}
			void track(this.#endLost());
			return true;
		} catch {
			// The connection knows and says so in its state.
			return false;
		}
	}

	/** Takes in what an answer says beside the position. */
	#note(asked: Asked, reply: Reply, by: 'announced' | 'asked'): void {
		if (!Array.isArray(reply)) return;
		const { onUnconfirmed, onWarning } = this.#options;
		const [topic] = asked;
		onUnconfirmed(topic, parseMessageId(String(reply[6])) ?? null);
		if (by === 'asked') return;
		this.#noteLoss(asked, reply);
		const removed = Number(reply[7]);
		if (removed > 0) onWarning('somebody else has removed messages from the stream of a topic', { topic, removed });
	}

	#noteLoss([topic, id]: Asked, reply: readonly Reply[]): void {
		if (reply[5] === 1) this.#lossesDue.set(topic, id);
		else if (this.#lossesDue.get(topic) === id) this.#lossesDue.delete(topic);
		const [exists, , , , there, due] = reply;
		if (exists === 0 && there === 0 && due === 0) this.#lost.add(topic);
	}

	/** Never rejects. */
	async #endLost(): Promise<void> {
		const topics = [...this.#lost].slice(0, TOPICS_PER_CALL_MAX);
		if (topics.length === 0) return;
		try {
			await this.#options.ended(topics);
			for (const topic of topics) this.#lost.delete(topic);
		} catch {
			// With the next look.
		}
	}

	/** One topic that cannot be looked at, of a wrong type for example, keeps nobody from the others. Told once. */
	#noteUnreadable(topic: string, error: unknown): void {
		if (this.#unreadable.has(topic)) return;
		this.#unreadable.add(topic);
		this.#options.onWarning('a topic cannot be read', { topic, why: reasonOf(error) });
	}
}

function watchedPositionOf(reply: Reply): WatchedPosition | Error {
	if (!Array.isArray(reply)) return failureOf(reply);
	try {
		return { ...positionOf(reply), intact: reply[4] === 1 };
	} catch (error) {
		return failureOf(error);
	}
}
