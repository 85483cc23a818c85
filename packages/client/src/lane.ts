/**
 * A lane: a set of topics, each followed once, over one link at a time. It keeps the link up: which transport, when to try again, when to
 * take another token, and whether the link still lives.
 *
 * ```
 * idle ──first topic──► connecting ──following──► live
 *   ▲                     │  ▲                     │
 *   │                     ▼  │ after the wait      │ the link ended
 *   │                    waiting ◄─────────────────┘
 *   └──last topic left (from any) ;  any ──an error that will not pass──► stopped
 * ```
 *
 * Switching to a better transport is make-before-break: a second link follows the same topics from the same cursors, and takes over when it has
 * proved itself. Both deliver meanwhile. Each delivers a run of the log without holes, so that what is not after the cursor has been
 * delivered already, and the rest follows it.
 */

import { Backoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import { type Gap, RelayError } from './errors.ts';
import { isAfter, isMessageId } from './ids.ts';
import { Ladder } from './ladder.ts';
import type { Link, LinkEnd, LinkEvents, Position, TransportKind } from './links/link.ts';
import { Message } from './message.ts';
import { isPassing, tokenRefused } from './requests.ts';
import type { RelayStatus } from './status.ts';
import type { TokenSource } from './token-source.ts';

/** A topic that a read follows. */
export interface Subscription {
	readonly topic: string;
	/** Where it stands: the lane moves it. */
	position: Position;
	/** The last gap that was reported: of two links, both report it. */
	lastGap: Gap | null;
	/** @param before where it stood before the message, or the gap */
	message(message: Message, before: Position): void;
	gap(gap: Gap, before: Position): void;
	/** It is not followed any more. */
	ended(error: RelayError): void;
}

/** Opens a link. Rejects when there is no token. */
export type OpenLink = (
	kind: TransportKind,
	options: { readonly events: LinkEvents; readonly positionOf: (topic: string) => Position; readonly token: string | null },
) => Link;

export interface LaneOptions {
	readonly clock: Clock;
	readonly tokens: TokenSource;
	readonly kinds: readonly TransportKind[];
	readonly openLink: OpenLink;
	/** Called after each change. */
	readonly onStatus: (status: RelayStatus) => void;
}

type State =
	| { readonly kind: 'idle' }
	| { readonly kind: 'connecting'; readonly attempt: Attempt }
	| { readonly kind: 'live'; readonly attempt: Attempt }
	| { readonly kind: 'waiting'; readonly cancel: () => void }
	| { readonly kind: 'stopped'; readonly error: RelayError };

/** One link and what is known of it. */
interface Attempt {
	readonly kind: TransportKind;
	/** Null while the token is asked for. */
	link: Link | null;
	token: string | null;
	/** When it first delivered anything; null until then. */
	openedAtMs: number | null;
	proved: boolean;
	over: boolean;
	/** Cancels its timers. */
	readonly timers: Map<'open' | 'prove' | 'silence' | 'token', () => void>;
}

/** How long a link may take until it follows what it is asked for. */
const OPEN_TIMEOUT_MS = 10_000;
/** How long a link must live before it counts as one that works. */
const PROVED_AFTER_MS = 5000;
/** A relay says something at least every 15 s on SSE and answers a poll within 25 s; on a WebSocket a ping is sent after this silence. */
const SILENCE_MS = 28_000;
/** How long an answer to a ping may take; shorter after a sleep. */
const ANSWER_MS = 10_000;
const WAKE_ANSWER_MS = 3000;
const BETTER_INTERVAL_MS = 300_000;

export class Lane {
	readonly #options: LaneOptions;
	readonly #subscriptions = new Map<string, Subscription>();
	/** Topics whose reads have enough for now. */
	readonly #paused = new Set<string>();
	readonly #ladder: Ladder;
	readonly #backoff: Backoff;
	#state: State = { kind: 'idle' };
	/** A link over a better transport that has not proved itself yet. */
	#better: Attempt | null = null;
	#cancelBetter = () => {};
	/** Whether a relay has ever been reached: then an answer from something else is the network's doing, and passes. */
	#reached = false;
	/** The token that the relay has refused; a second one in a row is the end. */
	#refusedOnce = false;
	#hidden = false;

	constructor(options: LaneOptions) {
		this.#options = options;
		this.#ladder = new Ladder(options.kinds);
		this.#backoff = new Backoff(options.clock);
	}

	/** Whether nothing is followed. */
	get empty(): boolean {
		return this.#subscriptions.size === 0;
	}

	follows(topic: string): boolean {
		return this.#subscriptions.has(topic);
	}

	/** Follows topics from where they stand. None of them is followed yet. */
	add(subscriptions: readonly Subscription[]): void {
		for (const subscription of subscriptions) this.#subscriptions.set(subscription.topic, subscription);
		const state = this.#state;
		if (state.kind === 'stopped') this.#fail(state.error);
		else if (state.kind === 'idle') this.#connect();
		else this.#eachLink((link) => link.follow(subscriptions.map(({ topic }) => topic)));
	}

	/** Leaves topics; their subscriptions get nothing more. */
	remove(subscriptions: readonly Subscription[]): void {
		const topics = this.#topicsOf(subscriptions);
		for (const topic of topics) this.#forget(topic);
		if (this.empty) this.#rest();
		else if (topics.length > 0) this.#eachLink((link) => link.unfollow(topics));
	}

	/** Stops what comes for topics, and keeps where they stand; the link stays. */
	pause(subscriptions: readonly Subscription[]): void {
		const topics = this.#topicsOf(subscriptions).filter((topic) => !this.#paused.has(topic));
		for (const topic of topics) this.#paused.add(topic);
		this.#eachLink((link) => link.unfollow(topics));
	}

	/** Goes on from where they stand. */
	resume(subscriptions: readonly Subscription[]): void {
		const topics = this.#topicsOf(subscriptions).filter((topic) => this.#paused.delete(topic));
		if (topics.length > 0) this.#eachLink((link) => link.follow(topics));
	}

	/** It may have slept: the link has 3 s to show that it lives. */
	wake(): void {
		if (this.#state.kind === 'waiting') this.#tryNow();
		else if (this.#state.kind === 'live') this.#probe(this.#state.attempt, WAKE_ANSWER_MS);
	}

	/** The network is back. */
	online(): void {
		this.wake();
		this.#tryBetter();
	}

	/** Ends the link while the page is hidden, and goes on from the cursors when it is shown. */
	hide(hidden: boolean): void {
		if (this.#hidden === hidden || this.#state.kind === 'stopped') return;
		this.#hidden = hidden;
		if (hidden) this.#rest();
		else if (!this.empty) this.#connect();
	}

	/** Ends it: every subscription ends with the error. */
	close(error: RelayError): void {
		this.#stop(error);
	}

	#topicsOf(subscriptions: readonly Subscription[]): string[] {
		return subscriptions.filter((each) => this.#subscriptions.get(each.topic) === each).map(({ topic }) => topic);
	}

	#forget(topic: string): void {
		this.#subscriptions.delete(topic);
		this.#paused.delete(topic);
	}

	#eachLink(run: (link: Link) => void): void {
		const state = this.#state;
		if ((state.kind === 'connecting' || state.kind === 'live') && state.attempt.link !== null) run(state.attempt.link);
		if (this.#better?.link != null) run(this.#better.link);
	}

	#connect(): void {
		if (this.#hidden) return;
		const attempt = this.#begin(this.#ladder.kind);
		this.#become({ kind: 'connecting', attempt }, { state: 'connecting', transport: attempt.kind });
	}

	#become(state: State, status: RelayStatus): void {
		this.#state = state;
		this.#options.onStatus(status);
	}

	/** Opens a link and gives it time until it follows. */
	#begin(kind: TransportKind): Attempt {
		const attempt: Attempt = { kind, link: null, token: null, openedAtMs: null, proved: false, over: false, timers: new Map() };
		this.#arm(attempt, 'open', OPEN_TIMEOUT_MS, () => {
			this.#onEnd(attempt, lost(`the relay does not answer over ${kind} within ${OPEN_TIMEOUT_MS / 1000} s`));
		});
		this.#options.tokens.get().then(
			(token) => {
				if (attempt.over) return;
				attempt.token = token;
				const events = this.#eventsOf(attempt);
				const positionOf = (topic: string) => this.#subscriptions.get(topic)?.position ?? 'last';
				attempt.link = this.#options.openLink(kind, { events, positionOf, token });
				attempt.link.follow([...this.#subscriptions.keys()].filter((topic) => !this.#paused.has(topic)));
			},
			(error: RelayError) => this.#onEnd(attempt, { kind: 'refused', error }),
		);
		return attempt;
	}

	#arm(attempt: Attempt, name: 'open' | 'prove' | 'silence' | 'token', delayMs: number, run: () => void): void {
		attempt.timers.get(name)?.();
		attempt.timers.set(name, this.#options.clock.after(delayMs, run));
	}

	/** Ends a link without a word. */
	#drop(attempt: Attempt): void {
		attempt.over = true;
		for (const cancel of attempt.timers.values()) cancel();
		attempt.link?.close();
	}

	#eventsOf(attempt: Attempt): LinkEvents {
		// Nothing of a link that was dropped counts.
		const whileIn = <A extends readonly unknown[]>(run: (...args: A) => void) => {
			return (...args: A) => {
				if (!attempt.over) run(...args);
			};
		};
		return {
			alive: whileIn(() => this.#listen(attempt)),
			following: whileIn((cursors) => this.#onFollowing(attempt, cursors)),
			message: whileIn((text) => this.#onMessage(text)),
			gap: whileIn((gap) => this.#onGap(gap)),
			topicEnded: whileIn((topic, error) => this.#onTopicEnded(topic, error)),
			ended: whileIn((end) => this.#onEnd(attempt, end)),
		};
	}

	#onFollowing(attempt: Attempt, cursors: ReadonlyMap<string, string>): void {
		for (const [topic, cursor] of cursors) {
			const subscription = this.#subscriptions.get(topic);
			if (subscription !== undefined && !isMessageId(subscription.position)) subscription.position = cursor;
		}
		if (attempt.openedAtMs !== null) return;
		attempt.openedAtMs = this.#options.clock.nowMs();
		attempt.timers.get('open')?.();
		this.#reached = true;
		this.#refusedOnce = false;
		this.#arm(attempt, 'prove', PROVED_AFTER_MS, () => this.#onProved(attempt));
		this.#renewToken(attempt);
		if (this.#better !== attempt) this.#becomeLive(attempt);
	}

	#becomeLive(attempt: Attempt): void {
		this.#become({ kind: 'live', attempt }, { state: 'live', transport: attempt.kind });
		this.#cancelBetter();
		if (this.#ladder.better !== null) {
			this.#cancelBetter = this.#options.clock.after(BETTER_INTERVAL_MS, () => this.#tryBetter());
		}
	}

	#onProved(attempt: Attempt): void {
		attempt.proved = true;
		this.#backoff.reset();
		this.#ladder.proved(attempt.kind);
		if (this.#better !== attempt) return;
		// Make before break: the new link has everything since the common cursor.
		const state = this.#state;
		if (state.kind === 'connecting' || state.kind === 'live') this.#drop(state.attempt);
		if (state.kind === 'waiting') state.cancel();
		this.#better = null;
		this.#becomeLive(attempt);
	}

	/** Tries a better transport beside the one that works. */
	#tryBetter(): void {
		const { better } = this.#ladder;
		if (better !== null && this.#better === null && this.#state.kind === 'live') this.#better = this.#begin(better);
	}

	#onMessage(text: string): void {
		const message = new Message(text);
		const subscription = this.#subscriptions.get(message.topic);
		if (subscription === undefined || this.#paused.has(message.topic)) return;
		const { position } = subscription;
		if (isMessageId(position) && !isAfter(message.id, position)) return;
		subscription.position = message.id;
		subscription.message(message, position);
	}

	#onGap(gap: Gap): void {
		const subscription = this.#subscriptions.get(gap.topic);
		if (subscription === undefined || this.#paused.has(gap.topic)) return;
		const { position, lastGap } = subscription;
		const again = lastGap?.reason === gap.reason && lastGap.from === gap.from && lastGap.to === gap.to;
		// The other of two links has gone beyond it. Only a log that ends earlier sets the cursor back.
		const passed = gap.reason !== 'ahead' && isMessageId(position) && !isAfter(gap.to, position);
		if (again || passed) return;
		subscription.lastGap = gap;
		subscription.position = gap.to;
		subscription.gap(gap, position);
	}

	#onTopicEnded(topic: string, error: RelayError): void {
		const subscription = this.#subscriptions.get(topic);
		if (subscription === undefined) return;
		this.#forget(topic);
		this.#eachLink((link) => link.unfollow([topic]));
		subscription.ended(error);
		if (this.empty) this.#rest();
	}

	/** Every sign of life puts the end of a silent link off. */
	#listen(attempt: Attempt): void {
		this.#arm(attempt, 'silence', SILENCE_MS, () => {
			// Nothing is asked for, so that nothing need come.
			if (this.#paused.size === this.#subscriptions.size) this.#listen(attempt);
			else this.#probe(attempt, ANSWER_MS);
		});
	}

	/** Asks for a sign of life; a link that gives none is lost. */
	#probe(attempt: Attempt, answerMs: number): void {
		attempt.link?.probe();
		this.#arm(attempt, 'silence', answerMs, () =>
			this.#onEnd(attempt, lost(`the relay was silent for ${answerMs / 1000} s after a ping`)),
		);
	}

	/** Takes another token before the one in use expires, without a new connection where the transport can. */
	#renewToken(attempt: Attempt): void {
		const { tokens, clock } = this.#options;
		if (tokens.renewAtMs === null) return;
		this.#arm(attempt, 'token', Math.max(0, tokens.renewAtMs - clock.nowMs()), () => {
			tokens.get().then(
				(token) => {
					if (attempt.over || token === null) return;
					attempt.token = token;
					attempt.link?.refresh(token);
					this.#renewToken(attempt);
				},
				// The link goes on until its token expires, and asks again then.
				() => {},
			);
		});
	}

	#onEnd(attempt: Attempt, end: LinkEnd): void {
		this.#drop(attempt);
		if (this.#better === attempt) {
			// What works goes on; the better one has its next try later.
			this.#better = null;
			if (this.#state.kind === 'live') this.#becomeLive(this.#state.attempt);
			return;
		}
		if (end.kind === 'lost' && !attempt.proved) this.#ladder.failed();
		if (end.kind === 'drained') {
			// A crowd was sent away: each has a delay of its own, given by the relay.
			this.#wait(end.retryAfterMs, new RelayError('shutting_down', 'the relay sent its clients to another node'));
			return;
		}
		const error = this.#judge(attempt, end.error);
		if (error === null) this.#connect();
		else if (this.#isFinal(error)) this.#stop(error);
		else this.#wait(error.retryAfterMs ?? this.#backoff.next(), error);
	}

	/** The error to act on; null to try again at once, with another token. */
	#judge(attempt: Attempt, error: RelayError): RelayError | null {
		if (error.status !== 401 || !this.#options.tokens.renewable || error.code === 'token_refused') return error;
		if (this.#refusedOnce && error.code !== 'credentials_expired') return tokenRefused(error);
		this.#refusedOnce = true;
		this.#options.tokens.refused(attempt.token);
		return null;
	}

	#isFinal(error: RelayError): boolean {
		return !isPassing(error) && !(this.#reached && error.code === 'not_a_relay');
	}

	#wait(delayMs: number, error: RelayError): void {
		const cancel = this.#options.clock.after(delayMs, () => this.#connect());
		this.#become({ kind: 'waiting', cancel }, { state: 'offline', error, retryInMs: delayMs });
	}

	#tryNow(): void {
		if (this.#state.kind !== 'waiting') return;
		this.#state.cancel();
		this.#connect();
	}

	/** Nothing to follow, for now. */
	#rest(): void {
		this.#release();
		if (this.#state.kind !== 'stopped') this.#become({ kind: 'idle' }, { state: 'idle' });
	}

	#release(): void {
		const state = this.#state;
		if (state.kind === 'connecting' || state.kind === 'live') this.#drop(state.attempt);
		if (state.kind === 'waiting') state.cancel();
		if (this.#better !== null) this.#drop(this.#better);
		this.#better = null;
		this.#cancelBetter();
	}

	#stop(error: RelayError): void {
		this.#release();
		this.#become({ kind: 'stopped', error }, { state: 'stopped', error });
		this.#fail(error);
	}

	#fail(error: RelayError): void {
		const subscriptions = [...this.#subscriptions.values()];
		this.#subscriptions.clear();
		this.#paused.clear();
		for (const subscription of subscriptions) subscription.ended(error);
	}
}

function lost(message: string): LinkEnd {
	return { kind: 'lost', error: new RelayError('unreachable', message) };
}
