/** Lines of a body that arrives in chunks. A line is found where it lies; only one that spans chunks is copied. */

import type { RelayError } from '@pulsar-relay/protocol/errors';
import type { Reception } from '../../limits/receptions.ts';
import { BodyBuffer } from './body-buffer.ts';

const LF = 0x0a;

/** Takes the lines, in order. */
export interface LineTaker {
	/** Whether it wants no more lines for now. */
	readonly full: boolean;
	/** A line: `bytes[start … end)`, without its LF. */
	line(bytes: Buffer, start: number, end: number): void;
	/** A line was not kept: it is longer than allowed, or too much of other lines and bodies is arriving. */
	dropped(code: 'payload_too_large' | 'overloaded'): void;
	/** A line that has begun did not end in time. */
	late(error: RelayError): void;
}

/** Tells the budgets that a line has begun. */
export type BeginLine = (onFail: (error: RelayError) => void) => Reception;

export class LineSplitter {
	readonly #bytesMax: number;
	readonly #beginLine: BeginLine;
	readonly #taker: LineTaker;
	/** The beginning of a line whose end has not come. */
	readonly #begun = new BodyBuffer();
	/** Of that line, also while it is dropped: an endless one must not last. */
	#reception: Reception | null = null;
	/** Why the line under way is not kept: its bytes are dropped as they come. Null while it is. */
	#dropping: 'payload_too_large' | 'overloaded' | null = null;

	/**
	 * @param bytesMax the longest line, without its end
	 * @param beginLine for lines whose end has not come
	 */
	constructor(bytesMax: number, beginLine: BeginLine, taker: LineTaker) {
		this.#bytesMax = bytesMax;
		this.#beginLine = beginLine;
		this.#taker = taker;
	}

	/**
	 * Takes the next chunk and gives out the lines that end in it, until the taker has had enough.
	 *
	 * @returns how much of the chunk was taken; the rest is to be added again, before the next chunk
	 */
	add(chunk: Buffer): number {
		let start = 0;
		for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
			if (this.#taker.full) return start;
			this.#end(chunk, start, end);
			start = end + 1;
		}
		if (start < chunk.byteLength && this.#dropping === null) this.#begin(chunk.subarray(start));
		return chunk.byteLength;
	}

	/** The body is over: a last line needs no LF. */
	end(): void {
		if (this.#dropping !== null || this.#begun.byteLength > 0) this.#end(Buffer.alloc(0), 0, 0);
	}

	/** Nothing more comes: lets go of the line that has begun. */
	release(): void {
		this.#takeBegun();
	}

	#begin(part: Buffer): void {
		this.#reception ??= this.#receive();
		if (this.#begun.byteLength + part.byteLength > this.#bytesMax) this.#drop('payload_too_large');
		else if (!this.#reception.take(part.byteLength)) this.#drop('overloaded');
		else this.#begun.add(part);
	}

	#receive(): Reception {
		return this.#beginLine((error) => {
			if (error.code === 'request_timeout') this.#taker.late(error);
			else this.#drop('overloaded');
		});
	}

	#drop(code: 'payload_too_large' | 'overloaded'): void {
		this.#dropping = code;
		this.#takeBegun();
		this.#reception = this.#receive();
	}

	#takeBegun(): Buffer {
		this.#reception?.end();
		this.#reception = null;
		return this.#begun.take();
	}

	#end(chunk: Buffer, start: number, end: number): void {
		if (this.#dropping !== null) {
			this.#takeBegun();
			this.#taker.dropped(this.#dropping);
			this.#dropping = null;
		} else if (this.#begun.byteLength + end - start > this.#bytesMax) {
			this.#takeBegun();
			this.#taker.dropped('payload_too_large');
		} else if (this.#begun.byteLength === 0) {
			this.#taker.line(chunk, start, end);
		} else {
			const begun = this.#takeBegun();
			const line = Buffer.concat([begun, chunk.subarray(start, end)]);
			this.#taker.line(line, 0, line.byteLength);
		}
	}
}
