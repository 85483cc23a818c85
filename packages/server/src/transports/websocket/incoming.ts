/** What a connection holds of the budgets: for the message that comes in part, and for those that wait to be taken. */

import type { Duplex } from 'node:stream';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { PIECE_COST_BYTES, type Receiver, type Reception, type Receptions, tooManyBytes } from '../../limits/receptions.ts';
import { type FrameListener, FrameMeter } from './frame-meter.ts';

/** Who receives the messages of a connection. */
export interface MessageReceiver extends Receiver {
	/** The largest message that may come now, in bytes. */
	readonly messageBytesMax: number;
}

export class Incoming implements FrameListener {
	readonly #socket: Duplex;
	readonly #receptions: Receptions;
	readonly #receiver: MessageReceiver;
	/** Of the message that has come in part. */
	#receiving: Reception | null = null;
	/** Of messages that are complete, until `ws` hands them over. */
	readonly #complete: (Reception | null)[] = [];

	/** @param receiver also hears `overloaded` of what there is no room for, and `payload_too_large` */
	constructor(socket: Duplex, receptions: Receptions, receiver: MessageReceiver) {
		this.#socket = socket;
		this.#receptions = receptions;
		this.#receiver = receiver;
		const meter = new FrameMeter(this);
		// Before `ws`, which listens already.
		socket.prependListener('data', (chunk: Buffer) => meter.take(chunk));
	}

	/** What the message that `ws` hands over holds; null when it came in one piece. */
	next(): Reception | null {
		return this.#complete.shift() ?? null;
	}

	/** Accounts for a message that came in one piece and has to wait. */
	hold(bytes: number): Reception {
		const reception = this.#begin();
		reception.complete();
		if (!reception.take(bytes + PIECE_COST_BYTES)) this.#receiver.onFail(tooManyBytes());
		return reception;
	}

	/** Nothing of what comes is wanted any more: it is read and dropped. What is held stays accounted for until {@link end}. */
	drop(): void {
		this.#socket.removeAllListeners('data');
		this.#socket.resume();
	}

	/** Nothing is held any more. */
	end(): void {
		this.#receiving?.end();
		for (const reception of this.#complete.splice(0)) reception?.end();
	}

	onBegin(messageBytes: number): void {
		const { messageBytesMax } = this.#receiver;
		if (messageBytes <= messageBytesMax) return;
		const message = `a connection that may not publish sends frames of at most ${messageBytesMax} bytes`;
		this.#receiver.onFail(new RelayError('payload_too_large', message));
	}

	onPart(bytes: number): void {
		this.#receiving ??= this.#begin();
		if (!this.#receiving.take(bytes + PIECE_COST_BYTES)) this.#receiver.onFail(tooManyBytes());
	}

	onComplete(): void {
		this.#receiving?.complete();
		this.#complete.push(this.#receiving);
		this.#receiving = null;
	}

	onBetween(): void {
		this.#receiving?.end();
		this.#receiving = null;
	}

	#begin(): Reception {
		return this.#receptions.begin(this.#receiver);
	}
}
