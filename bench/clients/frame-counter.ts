/**
 * Counts the text frames of one WebSocket, from the server's unmasked frames, by their headers alone. Where it is told to, it
 * also hands over each text frame whole.
 */

const OPCODE_TEXT = 0x1;
const OPCODE_CLOSE = 0x8;
const OPCODE_PING = 0x9;

export interface FrameEvents {
	/** Called with each text frame's content, which is only valid during the call; null = count only. */
	readonly text: ((content: Buffer) => void) | null;
	readonly ping: () => void;
	readonly close: (code: number, reason: string) => void;
}

export class FrameCounter {
	/** Text frames so far. */
	texts = 0;
	readonly #events: FrameEvents;
	/** Content bytes of a counted frame that are still to come. */
	#skip = 0;
	/** The start of a frame that is needed whole. */
	#carry: Buffer | null = null;

	constructor(events: FrameEvents) {
		this.#events = events;
	}

	/** Takes what the socket brought; `data` may be overwritten afterwards. */
	take(data: Buffer): void {
		let bytes = data;
		if (this.#carry !== null) {
			bytes = Buffer.concat([this.#carry, data]);
			this.#carry = null;
		}
		const end = bytes.length;
		let at = Math.min(this.#skip, end);
		this.#skip -= at;
		while (at < end) {
			const contentAt = at + headerBytes(bytes, at, end);
			if (contentAt > end) break;
			const frameEnd = contentAt + contentBytes(bytes, at);
			const opcode = (bytes[at] as number) & 0xf;
			if (opcode === OPCODE_TEXT && this.#events.text === null) {
				this.texts++;
				at = frameEnd;
				continue;
			}
			if (frameEnd > end) break;
			this.#handle(opcode, bytes.subarray(contentAt, frameEnd));
			at = frameEnd;
		}
		if (at < end) this.#carry = Buffer.from(bytes.subarray(at));
		else this.#skip += at - end;
	}

	#handle(opcode: number, content: Buffer): void {
		if (opcode === OPCODE_TEXT) {
			this.texts++;
			this.#events.text?.(content);
		} else if (opcode === OPCODE_PING) {
			this.#events.ping();
		} else if (opcode === OPCODE_CLOSE) {
			this.#events.close(content.length < 2 ? 1005 : content.readUInt16BE(0), content.toString('utf8', 2));
		}
	}
}

/** The length of the frame header at `at`; more than there is when it is not all there. */
function headerBytes(bytes: Buffer, at: number, end: number): number {
	if (end - at < 2) return 2;
	const length = bytes[at + 1] as number;
	if (length < 126) return 2;
	return length === 126 ? 4 : 10;
}

/** The length of the content behind a complete header. */
function contentBytes(bytes: Buffer, at: number): number {
	const length = bytes[at + 1] as number;
	if (length < 126) return length;
	return length === 126 ? ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number) : Number(bytes.readBigUInt64BE(at + 2));
}
