/**
 * Work per turn of the event loop. What is short is done at once, as long as this turn has not had enough of it. What is long, and what
 * comes after, is done in steps in later turns, one party's after another's, so that large messages of one client keep nobody
 * else waiting (docs/adr/0016-budgets.md).
 */

import type { Clock } from '../ports/clock.ts';
import type { Party } from './party.ts';

/** Bytes of a message up to which it may be looked at in one go; about 0.5 ms of the most laborious JSON. */
export const STEP_BYTES = 64 * 1024;
/** Bytes that are looked at in one go in one turn. */
const TURN_BYTES = 256 * 1024;
/** What looking at a message costs at least, in such bytes: a turn has an end also where messages are tiny. */
export const LOOK_COST_BYTES = 256;
/** How long the steps of one turn may take, in ms; the last one may exceed it by its own length. */
const TURN_MS = 2;

/** Work in steps: each `yield` ends a step of about {@link STEP_BYTES}. */
export type Steps<Result> = Generator<void, Result>;

interface Job {
	/** Takes one step. Whether it was the last. */
	step(): boolean;
}

export class Turns {
	readonly #clock: Clock;
	#turnBytes = 0;
	#turnBegun = false;
	/** Jobs by party; the first party has the next step. */
	readonly #jobs = new Map<string, Job[]>();
	#due = false;

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	/** Whether so many bytes may be looked at in one go, now. Else they are for {@link run}. */
	admits(bytes: number): boolean {
		const cost = bytes < LOOK_COST_BYTES ? LOOK_COST_BYTES : bytes;
		if (cost > STEP_BYTES || this.#turnBytes + cost > TURN_BYTES) return false;
		this.#turnBytes += cost;
		if (!this.#turnBegun) {
			this.#turnBegun = true;
			this.#clock.soon(this.#endTurn);
		}
		return true;
	}

	/** Does short work in a later turn, when it is the party's turn. Rejects with what it throws. */
	later(party: Party, work: () => void): Promise<void> {
		return new Promise((resolve, reject) => {
			const step = () => {
				try {
					resolve(work());
				} catch (thrown) {
					reject(thrown as Error);
				}
				return true;
			};
			this.#enqueue(party, { step });
		});
	}

	/** Does long work in later turns. Resolves with its result; rejects with what it throws. */
	run<Result>(party: Party, steps: Steps<Result>): Promise<Result> {
		return new Promise((resolve, reject) => {
			this.#enqueue(party, {
				step() {
					try {
						const { done, value } = steps.next();
						if (done === true) resolve(value);
						return done === true;
					} catch (thrown) {
						reject(thrown as Error);
						return true;
					}
				},
			});
		});
	}

	#endTurn = (): void => {
		this.#turnBegun = false;
		this.#turnBytes = 0;
	};

	#enqueue({ kind, name }: Party, job: Job): void {
		const party = `${kind} ${name}`;
		const jobs = this.#jobs.get(party);
		if (jobs === undefined) this.#jobs.set(party, [job]);
		else jobs.push(job);
		this.#schedule();
	}

	#schedule(): void {
		if (this.#due) return;
		this.#due = true;
		this.#clock.soon(() => {
			this.#due = false;
			this.#work();
			if (this.#jobs.size > 0) this.#schedule();
		});
	}

	#work(): void {
		const endMs = this.#clock.monotonicMs() + TURN_MS;
		for (const [party, jobs] of this.#jobs) {
			// To the end of the map, behind the parties that wait; the loop meets it once more when they have had their steps.
			this.#jobs.delete(party);
			this.#jobs.set(party, jobs);
			if (jobs[0]?.step() === true) jobs.shift();
			if (jobs.length === 0) this.#jobs.delete(party);
			if (this.#clock.monotonicMs() >= endMs) return;
		}
	}
}

/** All steps at once, for what is short. */
export function atOnce<Result>(steps: Steps<Result>): Result {
	for (;;) {
		const { done, value } = steps.next();
		if (done === true) return value;
	}
}
