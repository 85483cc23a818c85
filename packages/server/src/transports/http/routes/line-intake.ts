/**
 * The lines of a streamed publish on their way from the socket into batches. What has come is looked at in the turns that the budgets
 * give; a long line is read in steps, and those behind it wait.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Budgets } from '../../../limits/budgets.ts';
import type { Party } from '../../../limits/party.ts';
import { STEP_BYTES } from '../../../limits/turns.ts';
import { LineSplitter } from '../lines.ts';
import { LineBatch, type LineContext, readLine } from './line-batch.ts';

/** A batch this large is published, and others get their turn, before more lines are looked at. */
const BATCH_BYTES = 256 * 1024;

export interface LineIntakeOptions {
	readonly budgets: Budgets;
	readonly party: Party;
	/** The longest line, without its end. */
	readonly lineBytesMax: number;
	/** There may be a batch to take, or room for more lines; or the body has ended. */
	onChange(): void;
	/** A line that has begun did not end in time. */
	onLate(error: RelayError): void;
	/** Whether it is the relay that does not read on. */
	isHeldUp(): boolean;
}

/** A long line that is to be read in steps. */
interface LongLine {
	readonly number: number;
	readonly bytes: Buffer;
	readonly start: number;
	readonly end: number;
}

export class LineIntake {
	readonly #options: LineIntakeOptions;
	readonly #lines: LineSplitter;
	#context: LineContext;
	#batch: LineBatch;
	/** What has come and was not looked at yet. */
	#rest: Buffer | null = null;
	#lineNumber = 0;
	#longLine: LongLine | null = null;
	/** Turns that were asked for, and long lines that are being read: a turn may begin with the reading of a line, before it ends itself. */
	#waits = 0;
	#bodyEnded = false;
	/** The last line has been taken, which needs no end. */
	#linesEnded = false;
	#released = false;

	constructor(options: LineIntakeOptions, context: LineContext) {
		this.#options = options;
		this.#context = context;
		this.#batch = new LineBatch(context);
		const { budgets, party, lineBytesMax } = options;
		const isHeldUp = () => this.#waiting || options.isHeldUp();
		const isFull = () => this.#longLine !== null || this.#batch.costBytes >= BATCH_BYTES;
		const beginLine = (onFail: (error: RelayError) => void) => budgets.receptions.begin({ party: () => party, onFail, isHeldUp });
		this.#lines = new LineSplitter(lineBytesMax, beginLine, {
			get full() {
				return isFull();
			},
			line: (bytes, start, end) => this.#take({ number: ++this.#lineNumber, bytes, start, end }),
			dropped: (code) => {
				const message = code === 'overloaded' ? 'too much is arriving at once' : `the line is longer than ${lineBytesMax} bytes`;
				this.#batch.reject(++this.#lineNumber, new RelayError(code, message));
			},
			late: options.onLate,
		});
	}

	/** Whether it takes more of the body now. */
	get open(): boolean {
		return !this.#waiting && this.#rest === null && this.#batch.costBytes < BATCH_BYTES;
	}

	/** Whether there is more to look at once there is room for it. */
	get hasMore(): boolean {
		return this.#rest !== null || (this.#bodyEnded && !this.#linesEnded);
	}

	/** Lines that are ready to be published. */
	get lines(): number {
		return this.#batch.size;
	}

	/** Whether all lines of the body are in batches that were taken. */
	get ended(): boolean {
		return this.#linesEnded && !this.#waiting && this.#batch.size === 0;
	}

	/** What lines are read with from now on. */
	set context(context: LineContext) {
		this.#context = context;
		if (this.#batch.size === 0) this.#batch = new LineBatch(context);
	}

	add(chunk: Buffer): void {
		this.#rest = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
		this.look();
	}

	/** The body is over. */
	end(): void {
		this.#bodyEnded = true;
		this.look();
	}

	/** Looks at what has come, as far as a batch goes. */
	look(): void {
		if (this.#waiting || this.#released || this.#batch.costBytes >= BATCH_BYTES) return;
		const { turns } = this.#options.budgets;
		if (this.#rest === null || turns.admits(this.#rest.byteLength)) this.#lookNow();
		else this.#wait(turns.later(this.#options.party, () => this.#lookNow()));
	}

	/** The lines that are ready to be published; null when there are none. */
	takeBatch(): LineBatch | null {
		if (this.#batch.size === 0) return null;
		const batch = this.#batch;
		this.#batch = new LineBatch(this.#context);
		return batch;
	}

	/** No more lines are wanted: forgets what is in no batch yet. */
	release(): void {
		this.#released = true;
		this.#rest = null;
		this.#lines.release();
	}

	#lookNow(): void {
		if (this.#released) return;
		const rest = this.#rest;
		if (rest !== null) {
			const taken = this.#lines.add(rest);
			this.#rest = taken === rest.byteLength ? null : rest.subarray(taken);
		}
		if (this.#rest === null && this.#longLine === null && this.#bodyEnded) {
			this.#lines.end();
			this.#linesEnded = true;
		}
		if (this.#longLine !== null) this.#wait(this.#readLongLine(this.#longLine));
		this.#options.onChange();
	}

	get #waiting(): boolean {
		return this.#waits > 0;
	}

	#take(line: LongLine): void {
		const { number, bytes, start, end } = line;
		if (end - start > STEP_BYTES) this.#longLine = line;
		else this.#batch.add(number, bytes, start, end);
	}

	async #readLongLine({ number, bytes, start, end }: LongLine): Promise<void> {
		const { budgets, party } = this.#options;
		try {
			const line = await budgets.readLater(party, end - start, readLine(bytes, start, end, this.#context));
			if (line !== null) this.#batch.addRead(number, line);
		} catch (thrown) {
			this.#batch.reject(number, RelayError.from(thrown));
		} finally {
			this.#longLine = null;
		}
	}

	/** Nothing more is looked at before this. */
	#wait(done: Promise<void>): void {
		this.#waits++;
		done
			.catch((error: unknown) => this.#options.onLate(RelayError.from(error)))
			.finally(() => {
				this.#waits--;
				if (this.#released || this.#waiting) return;
				if (this.hasMore) this.look();
				else this.#options.onChange();
			});
	}
}
