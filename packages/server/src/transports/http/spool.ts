/**
 * A spool: bytes that arrive in pieces, put together. The pieces are copied into one growing buffer instead of being kept: a
 * client may send one byte at a time, and an object for each of its bytes would cost a hundred times what it sent.
 */

const CAPACITY_BYTES_MIN = 4096;

export class Spool {
	#buffer: Buffer = Buffer.alloc(0);
	#byteLength = 0;

	/** Bytes held. */
	get byteLength(): number {
		return this.#byteLength;
	}

	add(piece: Uint8Array): void {
		const needed = this.#byteLength + piece.byteLength;
		if (needed > this.#buffer.byteLength) {
			const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.byteLength * 2, CAPACITY_BYTES_MIN));
			grown.set(this.#buffer.subarray(0, this.#byteLength));
			this.#buffer = grown;
		}
		this.#buffer.set(piece, this.#byteLength);
		this.#byteLength = needed;
	}

	/** The bytes, which are the caller's from here on; the spool is empty again. */
	take(): Buffer {
		const taken = this.#buffer.subarray(0, this.#byteLength);
		this.#buffer = Buffer.alloc(0);
		this.#byteLength = 0;
		return taken;
	}
}
