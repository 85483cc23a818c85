/**
 * Counts what a peer has sent of a message that is not complete yet. `ws` keeps the fragments of a message, and the bytes of a frame,
 * until the last one has come; the meter reads the heads of the frames on their way to it and knows how much that is.
 */

/** Hears what comes. */
export interface FrameListener {
	/** The message under way is complete; what was kept of it goes to its reader next. */
	onComplete(): void;
	/** A chunk has ended in the middle of a message or of a frame: so many more bytes are kept. */
	onPart(bytes: number): void;
	/** A chunk has ended between messages: nothing is kept. */
	onBetween(): void;
}

const FIN = 0x80;
const OPCODE = 0x0f;
const FIRST_CONTROL_OPCODE = 0x8;
const MASKED = 0x80;
const LENGTH = 0x7f;
const LENGTH_IN_2_BYTES = 126;
const LENGTH_IN_8_BYTES = 127;
const MASK_BYTES = 4;
/** A head has these, then the bytes of the length where that is longer, then the mask. */
const SHORT_HEAD_BYTES = 2;

export class FrameMeter {
	readonly #listener: FrameListener;
	/** Bytes of a head that have come; 0 when none is under way. */
	#headLength = 0;
	#first = 0;
	/** Of the head under way, where the length ends and where the mask does. */
	#lengthEnd = SHORT_HEAD_BYTES;
	#headEnd = SHORT_HEAD_BYTES;
	/** Bytes of the frame under way that are still to come after its head. */
	#left = 0;
	/** A frame of a message has begun, and its last one has not ended. */
	#inMessage = false;
	/** The frame under way ends the message. */
	#last = false;

	constructor(listener: FrameListener) {
		this.#listener = listener;
	}

	/** Takes the next chunk of what the peer sends. */
	take(chunk: Uint8Array): void {
		const end = chunk.byteLength;
		for (let at = 0; at < end; ) {
			if (this.#left === 0 || this.#headLength > 0) {
				this.#takeHeadByte(chunk[at++] as number);
				if (this.#headLength > 0) continue;
			}
			const part = Math.min(this.#left, end - at);
			this.#left -= part;
			at += part;
			if (this.#left > 0 || !this.#last) continue;
			this.#last = false;
			this.#inMessage = false;
			this.#listener.onComplete();
		}
		// All of the chunk stays in memory while a part of it does.
		if (this.#inMessage || this.#headLength > 0 || this.#left > 0) this.#listener.onPart(end);
		else this.#listener.onBetween();
	}

	#takeHeadByte(byte: number): void {
		const place = this.#headLength++;
		if (place === 0) {
			this.#first = byte;
			return;
		}
		if (place === 1) {
			const length = byte & LENGTH;
			const more = length === LENGTH_IN_2_BYTES ? 2 : length === LENGTH_IN_8_BYTES ? 8 : 0;
			this.#left = more === 0 ? length : 0;
			this.#lengthEnd = SHORT_HEAD_BYTES + more;
			this.#headEnd = this.#lengthEnd + ((byte & MASKED) === 0 ? 0 : MASK_BYTES);
		} else if (place < this.#lengthEnd) {
			this.#left = this.#left * 256 + byte;
		}
		if (this.#headLength < this.#headEnd) return;
		this.#headLength = 0;
		// Control frames come between the fragments of a message and are no part of it.
		if ((this.#first & OPCODE) >= FIRST_CONTROL_OPCODE) return;
		this.#inMessage = true;
		this.#last = (this.#first & FIN) !== 0;
	}
}
