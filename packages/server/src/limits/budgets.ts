/**
 * The budgets of everything that is received: bytes of messages that have come in part or wait, and work per turn of the event loop
 * (docs/adr/0016-budgets.md). Every transport asks here.
 */

import type { RelayError } from '@pulsar-relay/protocol/errors';
import type { Party } from './party.ts';
import { Receptions, type ReceptionsOptions, tooManyBytes } from './receptions.ts';
import { atOnce, type Steps, Turns } from './turns.ts';

/** Bytes of a message that each cost a token of the rate limit, beyond those of the message itself. */
const BYTES_PER_TOKEN = 16 * 1024;

/** What the size of a body or frame costs of the rate limit, beside what it asks for. */
export function tokensFor(bytes: number): number {
	return Math.floor(bytes / BYTES_PER_TOKEN);
}

export class Budgets {
	readonly receptions: Receptions;
	readonly turns: Turns;

	constructor(options: ReceptionsOptions) {
		this.receptions = new Receptions(options);
		this.turns = new Turns(options.clock);
	}

	/**
	 * Reads a message that has come: at once when it is short and this turn of the loop has not had enough, else as {@link readLater}.
	 * Throws or rejects with what the steps throw, and `overloaded`.
	 */
	read<Result>(partyOf: () => Party, bytes: number, steps: () => Steps<Result>): Result | Promise<Result> {
		return this.turns.admits(bytes) ? atOnce(steps()) : this.readLater(partyOf(), bytes, steps());
	}

	/** Reads a message in later turns, with what it holds accounted for until it is read. Rejects as {@link read} does. */
	async readLater<Result>(party: Party, bytes: number, steps: Steps<Result>): Promise<Result> {
		let failure: RelayError | null = null;
		const onFail = (error: RelayError) => {
			failure = error;
		};
		const reception = this.receptions.begin({ party: () => party, onFail });
		if (!reception.take(bytes)) {
			reception.end();
			throw tooManyBytes();
		}
		// It has come whole: only others can end it.
		reception.complete();
		try {
			return await this.turns.run(
				party,
				unless(() => failure, steps),
			);
		} finally {
			reception.end();
		}
	}

	/** Stops the timer. */
	close(): void {
		this.receptions.close();
	}
}

function* unless<Result>(failureOf: () => RelayError | null, steps: Steps<Result>): Steps<Result> {
	for (;;) {
		const failure = failureOf();
		if (failure !== null) throw failure;
		const { done, value } = steps.next();
		if (done === true) return value;
		yield;
	}
}
