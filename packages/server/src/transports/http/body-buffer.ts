/**
 * Bytes that arrive in pieces, put together. The pieces are copied into a few large segments instead of being kept: a client may
 * send one byte at a time, and an object for each of its bytes would cost a hundred times what it sent.
 */

const FIRST_SEGMENT_BYTES = 4096;
/** A segment grows up to this; then it stays where it is and another one begins. */
const SEGMENT_BYTES = 1024 * 1024;

export class BodyBuffer {
	/** Full segments. */
	#full: Buffer[] = [];
	#segment: Buffer = Buffer.alloc(0);
	/** Bytes used of the segment. */
	#used = 0;
	#byteLength = 0;
	readonly #expectedBytes: number | null;

	/** @param expectedBytes how many will come, when that is known; the bytes are then put where they stay */
	constructor(expectedBytes: number | null = null) {
		this.#expectedBytes = expectedBytes;
	}

	/** Bytes held. */
	get byteLength(): number {
		return this.#byteLength;
	}

	add(piece: Uint8Array): void {
		for (let from = 0; from < piece.byteLength; ) {
			if (this.#used === this.#segment.byteLength) this.#grow(piece.byteLength - from);
			const part = piece.subarray(from, from + this.#segment.byteLength - this.#used);
			this.#segment.set(part, this.#used);
			this.#used += part.byteLength;
			from += part.byteLength;
		}
		this.#byteLength += piece.byteLength;
	}

	/** The bytes, which are the caller's from here on; the buffer is empty again. */
	take(): Buffer {
		const last = this.#segment.subarray(0, this.#used);
		const taken = this.#full.length === 0 ? last : Buffer.concat([...this.#full, last]);
		this.#full = [];
		this.#segment = Buffer.alloc(0);
		this.#used = 0;
		this.#byteLength = 0;
		return taken;
	}

	#grow(neededBytes: number): void {
		const filled = this.#segment.byteLength;
		const expected = this.#expectedBytes ?? 0;
		if (filled >= SEGMENT_BYTES && this.#byteLength >= expected) {
			this.#full.push(this.#segment);
			this.#segment = Buffer.allocUnsafeSlow(SEGMENT_BYTES);
			this.#used = 0;
			return;
		}
		// A client that has sent a segment is believed how much it is going to send: memory that is not written to costs nothing.
		const wanted = Math.max(filled + neededBytes, filled * 2, FIRST_SEGMENT_BYTES);
		const size = filled >= SEGMENT_BYTES ? expected : Math.min(wanted, SEGMENT_BYTES);
		const grown = Buffer.allocUnsafeSlow(size);
		grown.set(this.#segment);
		this.#segment = grown;
	}
}
