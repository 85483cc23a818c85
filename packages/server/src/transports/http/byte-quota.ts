/** Bytes that may be held at a time of what is still arriving, over all connections together (I8). */
export class ByteQuota {
	readonly #bytesMax: number;
	#heldBytes = 0;

	constructor(bytesMax: number) {
		this.#bytesMax = bytesMax;
	}

	/** Takes room for so many bytes; false, and nothing taken, when there is not enough. */
	take(bytes: number): boolean {
		if (this.#heldBytes + bytes > this.#bytesMax) return false;
		this.#heldBytes += bytes;
		return true;
	}

	/** Gives room back. */
	give(bytes: number): void {
		this.#heldBytes -= bytes;
	}
}
