/**
 * Messages that have come in part: bodies, lines, WebSocket messages. What is held of them is bounded, over all and for each party,
 * and each has a time in which it must be complete (docs/adr/0016-budgets.md).
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import { ByteShare, HeldBytes } from './byte-shares.ts';
import type { Party } from './party.ts';

export interface ReceptionsOptions {
	readonly clock: Clock;
	/** Of all parties. */
	readonly bytesMax: number;
	/** Of one account, or of one client address where there are no accounts. At least the largest message that is allowed. */
	readonly shareBytesMax: number;
	/** From the beginning of a message to its end, in ms. */
	readonly timeoutMs: number;
}

/** Of all clients together that have not signed in on a relay that asks for it: their forms are small. */
const STRANGERS_BYTES_MAX = 8 * 1024 * 1024;
/** Of each of their addresses. */
const STRANGER_BYTES_MAX = 1024 * 1024;
/** What the pieces of a message cost beside their bytes where they are kept as they came. */
export const PIECE_COST_BYTES = 256;
const SWEEP_INTERVAL_MS = 250;

/** A message that is being received. */
export interface Reception {
	/** Takes room for more of it. False when its party, or the relay, holds too much; nothing was taken then. */
	take(bytes: number): boolean;
	/** It has come, or nobody waits for the rest. Gives the room back. Idempotent. */
	end(): void;
	/** It has come: its time no longer runs. The room stays taken until {@link end}. */
	complete(): void;
}

/** Who receives a message. */
export interface Receiver {
	/** Whose share is used; asked when more than nothing is held. */
	party(): Party;
	/** Called at most once, with `request_timeout` or, when the message had to give way to others, `overloaded`. It has ended then. */
	onFail(error: RelayError): void;
	/** Whether the client is gone, for receivers that do not hear of it; asked a few times a second. */
	isOver?(): boolean;
	/** Whether it is the relay that does not read on: the client's time begins anew. */
	isHeldUp?(): boolean;
}

export class Receptions {
	readonly #options: ReceptionsOptions;
	readonly #all: ByteShare;
	/** Those whose time runs. Not a Set, which would move to a new table again and again as messages join and leave. */
	readonly #running = new RunningReceptions();
	#cancelSweep: (() => void) | null = null;

	constructor(options: ReceptionsOptions) {
		this.#options = options;
		this.#all = new ByteShare(options.bytesMax);
	}

	/** Bytes held of messages that have come in part, or wait to be read. */
	get bytes(): number {
		return this.#all.bytes;
	}

	/** A message begins. */
	begin(receiver: Receiver): Reception {
		const { clock, timeoutMs } = this.#options;
		const reception = new RunningReception(this, receiver, clock.monotonicMs() + timeoutMs);
		this.#running.add(reception);
		this.#cancelSweep ??= clock.after(SWEEP_INTERVAL_MS, () => this.#sweep());
		return reception;
	}

	/** For {@link RunningReception}. */
	stopClock(reception: RunningReception): void {
		this.#running.remove(reception);
	}

	/** For {@link RunningReception}. */
	holdFor(reception: RunningReception): HeldBytes {
		return new HeldBytes(
			() => this.#shareOf(reception.receiver.party()),
			() => reception.fail(tooManyBytes()),
		);
	}

	/** Stops the timer. */
	close(): void {
		this.#cancelSweep?.();
		this.#running.clear();
	}

	#shareOf({ kind, name, credential }: Party): ByteShare {
		if (kind === 'stranger') return this.#all.share('strangers', STRANGERS_BYTES_MAX).share(name, STRANGER_BYTES_MAX);
		const { shareBytesMax } = this.#options;
		const share = this.#all.share(`${kind} ${name}`, shareBytesMax);
		// Below the account's share, so that one of its tokens gives way to the others when it has used it up.
		return kind === 'account' ? share.share(credential ?? '', shareBytesMax) : share;
	}

	/** One look at all of them, rather than a timer for each: nearly all messages are complete before the first look. */
	#sweep(): void {
		const { clock, timeoutMs } = this.#options;
		this.#cancelSweep = null;
		const nowMs = clock.monotonicMs();
		for (const reception of this.#running.all()) {
			const { receiver } = reception;
			if (!reception.isRunning) continue;
			if (receiver.isOver?.() === true) reception.end();
			else if (receiver.isHeldUp?.() === true) reception.dueMs = nowMs + timeoutMs;
			else if (reception.dueMs <= nowMs)
				reception.fail(new RelayError('request_timeout', `the message was not complete after ${timeoutMs / 1000} s`));
		}
		if (!this.#running.empty) this.#cancelSweep = clock.after(SWEEP_INTERVAL_MS, () => this.#sweep());
	}
}

class RunningReception implements Reception {
	dueMs: number;
	/** Its neighbours in {@link RunningReceptions}; null at an end, and once it was removed. */
	before: RunningReception | null = null;
	after: RunningReception | null = null;
	isRunning = false;
	readonly receiver: Receiver;
	readonly #receptions: Receptions;
	/** Null until something is held: most messages come in one piece. */
	#held: HeldBytes | null = null;

	constructor(receptions: Receptions, receiver: Receiver, dueMs: number) {
		this.#receptions = receptions;
		this.receiver = receiver;
		this.dueMs = dueMs;
	}

	take(bytes: number): boolean {
		this.#held ??= this.#receptions.holdFor(this);
		return this.#held.take(bytes);
	}

	complete(): void {
		this.#receptions.stopClock(this);
	}

	end(): void {
		this.#receptions.stopClock(this);
		this.#held?.release();
	}

	fail(error: RelayError): void {
		this.end();
		this.receiver.onFail(error);
	}
}

/** A list that is linked through its members: joining and leaving costs no memory. */
class RunningReceptions {
	#first: RunningReception | null = null;

	get empty(): boolean {
		return this.#first === null;
	}

	add(reception: RunningReception): void {
		reception.isRunning = true;
		reception.after = this.#first;
		if (this.#first !== null) this.#first.before = reception;
		this.#first = reception;
	}

	/** Idempotent. */
	remove(reception: RunningReception): void {
		if (!reception.isRunning) return;
		const { before, after } = reception;
		reception.isRunning = false;
		if (before !== null) before.after = after;
		else if (this.#first === reception) this.#first = after;
		if (after !== null) after.before = before;
		reception.before = null;
		reception.after = null;
	}

	clear(): void {
		for (const reception of this.all()) this.remove(reception);
	}

	/** All of them, as a list of its own: what happens to one may end others. */
	all(): readonly RunningReception[] {
		const all: RunningReception[] = [];
		for (let next = this.#first; next !== null; next = next.after) all.push(next);
		return all;
	}
}

/** The error for a message that there is no room for. */
export function tooManyBytes(): RelayError {
	return new RelayError(
		'overloaded',
		'too many bytes of messages are arriving at once, from this client or in all; send fewer at a time',
	);
}
