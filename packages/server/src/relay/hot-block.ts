/**
 * A block in the hot tier, encoded for the wire when its first subscriber needs it and never again (I7).
 */

import { encodeMessageFrames, type MessageFrames, renameFrames } from '@pulsar-relay/protocol/frames';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, lastIdOf, readBlock } from '../log/block.ts';

/** What a message costs beside its packed bytes and its topic's name once it is encoded: ids, timestamp and key names. */
const ENCODED_OVERHEAD_BYTES = 160;
/** The objects and typed arrays around a block, measured as heap growth per one-message block. */
const BLOCK_OVERHEAD_BYTES = 600;

export class HotBlock {
	readonly ms: number;
	readonly n: number;
	readonly count: number;
	readonly last: MessageId;
	/** What the block counts against the hot tier's budget, encoded or not. */
	readonly costBytes: number;
	/** Expiry per message in Unix ms (0 = never), null when none of them expires. */
	readonly expiries: Float64Array | null;
	readonly #topic: string;
	#packed: Uint8Array | null;
	#frames: MessageFrames | null = null;

	/** @param topic the name that the messages are encoded under */
	constructor(topic: string, block: Block) {
		this.ms = block.ms;
		this.n = block.n;
		this.count = block.count;
		this.last = lastIdOf(block);
		this.costBytes = block.packed.byteLength + block.count * (ENCODED_OVERHEAD_BYTES + topic.length) + BLOCK_OVERHEAD_BYTES;
		this.#topic = topic;
		this.#packed = block.packed;
		const reader = readBlock(block.packed);
		this.expiries = reader.expires ? Float64Array.from({ length: block.count }, (_, i) => reader.expiresAtMs(i)) : null;
	}

	/** The message frames; the packed bytes are let go once they are inside the frames. */
	frames(): MessageFrames {
		if (this.#frames !== null) return this.#frames;
		const reader = readBlock(this.#packed as Uint8Array);
		this.#packed = null;
		this.#frames = encodeMessageFrames({
			topic: this.#topic,
			ms: this.ms,
			n: this.n,
			count: this.count,
			payload: reader.payload,
			metadata: reader.metadata,
		});
		return this.#frames;
	}

	/** The block's frames under another topic name. */
	framesAs(name: string): MessageFrames {
		return renameFrames(this.frames(), this.#topic, name, this);
	}

	/** Whether the message at `index` is past its time to live. */
	expiredAt(index: number, nowMs: number): boolean {
		const expiresAtMs = this.expiries?.[index] ?? 0;
		return expiresAtMs !== 0 && expiresAtMs <= nowMs;
	}

	/** The messages of `[from, to)` that are not past their time to live. */
	liveCount(from: number, to: number, nowMs: number): number {
		if (this.expiries === null) return to - from;
		let count = 0;
		for (let i = from; i < to; i++) if (!this.expiredAt(i, nowMs)) count++;
		return count;
	}
}
