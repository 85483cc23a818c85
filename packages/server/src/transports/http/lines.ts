/** Lines of a body that arrives in chunks. A line is found where it lies; only one that spans chunks is copied. */

import { Spool } from './spool.ts';

const LF = 0x0a;

/** Called for a line, which is `bytes[start … end)` without its LF; an empty view stands for a line that was too long. */
export interface LineTaker {
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

	/** Takes the next chunk and gives out the lines that end in it. */
	add(chunk: Buffer): void {
		let start = 0;
		for (let end = chunk.indexOf(LF); end >= 0; end = chunk.indexOf(LF, start)) {
			this.#end(chunk, start, end);
			start = end + 1;
		}
		if (start === chunk.byteLength || this.#skipping) return;
		if (this.#begun.byteLength + chunk.byteLength - start > this.#bytesMax) {
			this.#skipping = true;
			this.#begun.take();
			return;
		}
		this.#begun.add(chunk.subarray(start));
	}

	/** The body is over: a last line needs no LF. */
	end(): void {
		if (this.#skipping || this.#begun.byteLength > 0) this.#end(Buffer.alloc(0), 0, 0);
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
