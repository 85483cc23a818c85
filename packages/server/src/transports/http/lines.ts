/** Lines of a body that arrives in chunks. A line is found where it lies; only one that spans chunks is copied. */

import { Spool } from './spool.ts';

const LF = 0x0a;

/** Takes the lines, in order. */
export interface LineTaker {
	/** Whether it wants no more lines for now. */
	readonly full: boolean;
	/** A line: `bytes[start … end)`, without its LF. */
	line(bytes: Buffer, start: number, end: number): void;
	/** A line was longer than allowed; it was not kept. */
	tooLong(): void;
}

export class LineSplitter {
	readonly #bytesMax: number;
	readonly #taker: LineTaker;
	/** The beginning of a line whose end has not come. */
	readonly #begun = new Spool();
	/** Whether the line under way is too long: its bytes are dropped as they come. */
	#skipping = false;

	/** @param bytesMax the longest line, without its end */
	constructor(bytesMax: number, taker: LineTaker) {
		this.#bytesMax = bytesMax;
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
		if (start < chunk.byteLength && !this.#skipping) this.#begin(chunk.subarray(start));
		return chunk.byteLength;
	}

	/** The body is over: a last line needs no LF. */
	end(): void {
		if (this.#skipping || this.#begun.byteLength > 0) this.#end(Buffer.alloc(0), 0, 0);
	}

	#begin(part: Buffer): void {
		if (this.#begun.byteLength + part.byteLength <= this.#bytesMax) {
			this.#begun.add(part);
		} else {
			this.#skipping = true;
			this.#begun.take();
		}
	}

	#end(chunk: Buffer, start: number, end: number): void {
		if (this.#skipping) {
			this.#skipping = false;
			this.#taker.tooLong();
		} else if (this.#begun.byteLength + end - start > this.#bytesMax) {
			this.#begun.take();
			this.#taker.tooLong();
		} else if (this.#begun.byteLength === 0) {
			this.#taker.line(chunk, start, end);
		} else {
			this.#begun.add(chunk.subarray(start, end));
			const line = this.#begun.take();
			this.#taker.line(line, 0, line.byteLength);
		}
	}
}
