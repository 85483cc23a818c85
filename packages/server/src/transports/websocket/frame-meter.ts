/**
 * Counts what a peer has sent of a message that is not complete yet. `ws` keeps the fragments of a message, and the bytes of a frame,
 * until the last one has come; the meter reads the heads of the frames on their way to it and knows how much that is.
 *
 * It also takes the mask off long frames as they come, and leaves one of zeros, which `ws` does not apply: `ws` would take it off 16 MiB in
 * one turn of the event loop, which is most of what a long frame costs.
 */

/** Hears what comes. */
export interface FrameListener {
	/** A frame of a message begins, which has at least so many bytes with it. */
	onBegin(messageBytes: number): void;
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
/** Frames up to this are left to `ws`. */
const SHORT_FRAME_BYTES = 64 * 1024;

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
	/** The mask that is taken off the frame under way, the place in it of the next byte; null when it is left to `ws`. */
	#mask: number[] | null = null;
	#maskPlace = 0;
	/** Bytes of the message under way, with all of the frame under way. */
	#messageBytes = 0;
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
				this.#takeHeadByte(chunk, at++);
				if (this.#headLength > 0) continue;
			}
			const part = Math.min(this.#left, end - at);
			if (this.#mask !== null) this.#unmask(this.#mask, chunk.subarray(at, at + part));
			this.#left -= part;
			at += part;
			if (this.#left > 0 || !this.#last) continue;
			this.#last = false;
			this.#inMessage = false;
			this.#messageBytes = 0;
			this.#listener.onComplete();
		}
		// All of the chunk stays in memory while a part of it does.
		if (this.#inMessage || this.#headLength > 0 || this.#left > 0) this.#listener.onPart(end);
		else this.#listener.onBetween();
	}

	#takeHeadByte(chunk: Uint8Array, at: number): void {
		const byte = chunk[at] as number;
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
			this.#mask = null;
		} else if (place < this.#lengthEnd) {
			this.#left = this.#left * 256 + byte;
		} else if (this.#left > SHORT_FRAME_BYTES) {
			this.#mask ??= [];
			this.#mask.push(byte);
			chunk[at] = 0;
		}
		if (this.#headLength < this.#headEnd) return;
		this.#headLength = 0;
		this.#maskPlace = 0;
		// Control frames come between the fragments of a message and are no part of it.
		if ((this.#first & OPCODE) >= FIRST_CONTROL_OPCODE) return;
		this.#inMessage = true;
		this.#last = (this.#first & FIN) !== 0;
		this.#messageBytes += this.#left;
		this.#listener.onBegin(this.#messageBytes);
	}

	#unmask(mask: readonly number[], bytes: Uint8Array): void {
		let place = this.#maskPlace;
		const [a = 0, b = 0, c = 0, d = 0] = [mask[place], mask[(place + 1) & 3], mask[(place + 2) & 3], mask[(place + 3) & 3]];
		const { length } = bytes;
		const whole = length - (length % 4);
		for (let i = 0; i < whole; i += 4) {
			bytes[i] = (bytes[i] as number) ^ a;
			bytes[i + 1] = (bytes[i + 1] as number) ^ b;
			bytes[i + 2] = (bytes[i + 2] as number) ^ c;
			bytes[i + 3] = (bytes[i + 3] as number) ^ d;
		}
		for (let i = whole; i < length; i++) {
			bytes[i] = (bytes[i] as number) ^ (mask[place] as number);
			place = (place + 1) & 3;
		}
		this.#maskPlace = place;
	}
}
