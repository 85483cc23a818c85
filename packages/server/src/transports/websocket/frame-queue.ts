/**
 * The frames of a connection on their way from `ws` to their commands: in order, one at a time, in the turns that the budgets give. While
 * a command takes its time, or the connection is not ready, frames wait and the socket is not read, so that a bounded amount is held (I8).
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { WebSocket } from 'ws';
import type { Budgets } from '../../limits/budgets.ts';
import type { Party } from '../../limits/party.ts';
import type { Reception } from '../../limits/receptions.ts';
import { LOOK_COST_BYTES, STEP_BYTES } from '../../limits/turns.ts';
import { type ClientFrame, parseFrame, readFrame } from './frame.ts';
import type { Incoming } from './incoming.ts';

/** What a socket is read in at most. */
const CHUNK_BYTES_MAX = 64 * 1024;

/** The connection that the frames are for. */
export interface FrameRunner {
	/** Whether it can do with another frame: its peer reads, and not too much waits for the store. */
	readonly ready: boolean;
	/** Takes what the size of a frame costs. Throws `rate_limited`. */
	charge(bytes: number): void;
	/** Runs the frame's command; the frames after it wait for the promise. Throws why it cannot. */
	run(frame: ClientFrame): Promise<void> | undefined;
	/** Answers a frame, or one that could not be read, with an error. */
	fail(frame: ClientFrame | null, thrown: unknown): void;
}

export interface FrameQueueOptions {
	readonly ws: WebSocket;
	readonly budgets: Budgets;
	readonly party: Party;
	readonly payloadDepthMax: number;
	readonly incoming: Incoming;
}

/** A frame that has come. */
interface Arrived {
	/** Null for a binary one. */
	readonly data: Buffer | null;
	/** What it holds of the budgets; null when it came in one piece. */
	readonly reception: Reception | null;
}

export class FrameQueue {
	readonly #runner: FrameRunner;
	readonly #options: FrameQueueOptions;
	readonly #waiting: Arrived[] = [];
	/** For frames that wait and came in one piece: the chunk that they are in. */
	#pinned: Reception | null = null;
	#turnAsked = false;
	/** A frame is being read, or its command takes its time. */
	#busy = false;
	#stopped = false;

	constructor(runner: FrameRunner, options: FrameQueueOptions) {
		this.#runner = runner;
		this.#options = options;
	}

	/** Whether frames wait for one before them. */
	get busy(): boolean {
		return this.#busy;
	}

	/** Takes the next frame. */
	take(data: Buffer, binary: boolean): void {
		const { incoming, budgets, ws } = this.#options;
		const reception = incoming.next();
		if (this.#stopped) {
			reception?.end();
			return;
		}
		// A binary frame waits like any other: it is answered, too, and a peer that does not read may send millions of them (I8).
		const frame: Arrived = { data: binary ? null : data, reception };
		const first = this.#waiting.length === 0 && this.#open;
		if (first && budgets.turns.admits(data.byteLength)) {
			this.#run(frame);
			return;
		}
		this.#waiting.push(frame);
		ws.pause();
		if (reception === null) this.#pinned ??= incoming.hold(CHUNK_BYTES_MAX);
		if (first) this.#askForTurn();
	}

	/** Takes up what waited, as far as it goes in one step, and then the socket. */
	readOn(): void {
		let bytes = 0;
		while (this.#waiting.length > 0 && this.#open && !this.#stopped) {
			if (bytes >= STEP_BYTES) {
				this.#askForTurn();
				return;
			}
			const frame = this.#waiting.shift() as Arrived;
			bytes += Math.max(LOOK_COST_BYTES, frame.data?.byteLength ?? 0);
			this.#run(frame);
		}
		if (this.#waiting.length > 0) return;
		this.#pinned?.end();
		this.#pinned = null;
		if (this.#options.ws.isPaused && this.#open) this.#options.ws.resume();
	}

	/** No frame is run any more. */
	stop(): void {
		this.#stopped = true;
	}

	/** Nothing is held any more: the connection has closed. */
	end(): void {
		this.stop();
		this.#pinned?.end();
		for (const { reception } of this.#waiting.splice(0)) reception?.end();
	}

	get #open(): boolean {
		return !this.#busy && this.#runner.ready;
	}

	/** Takes up what waited in a later turn of the event loop, when it is this party's. */
	#askForTurn(): void {
		if (this.#turnAsked) return;
		this.#turnAsked = true;
		const { budgets, party } = this.#options;
		budgets.turns
			.later(party, () => {
				this.#turnAsked = false;
				this.readOn();
			})
			.catch((error: unknown) => this.#runner.fail(null, error));
	}

	#run({ data, reception }: Arrived): void {
		const { budgets, party, payloadDepthMax } = this.#options;
		try {
			if (data === null) throw new RelayError('unknown_frame', 'binary frames are not understood');
			this.#runner.charge(data.byteLength);
			if (data.byteLength <= STEP_BYTES) this.#command(parseFrame(data, payloadDepthMax), reception);
			else this.#readLater(budgets.turns.run(party, readFrame(data, payloadDepthMax)), reception);
		} catch (error) {
			this.#runner.fail(null, error);
			reception?.end();
		}
	}

	#readLater(reading: Promise<ClientFrame>, reception: Reception | null): void {
		this.#busy = true;
		reading
			.then(
				(frame) => {
					this.#busy = false;
					if (this.#stopped) reception?.end();
					else this.#command(frame, reception);
				},
				(error: unknown) => {
					this.#busy = false;
					this.#runner.fail(null, error);
					reception?.end();
				},
			)
			.finally(() => this.readOn());
	}

	#command(frame: ClientFrame, reception: Reception | null): void {
		try {
			const done = this.#runner.run(frame);
			if (done === undefined) reception?.end();
			else this.#finish(frame, done, reception);
		} catch (error) {
			this.#runner.fail(frame, error);
			reception?.end();
		}
	}

	/** Later frames wait for a command that takes time, so that frames take effect in order. */
	#finish(frame: ClientFrame, done: Promise<void>, reception: Reception | null): void {
		this.#busy = true;
		done
			.catch((error: unknown) => this.#runner.fail(frame, error))
			.finally(() => {
				this.#busy = false;
				reception?.end();
				this.readOn();
			});
	}
}
