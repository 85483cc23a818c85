/**
 * A slice: consecutive messages of one topic on their way to subscribers. Live subscribers of a topic share one slice per
 * tick, and subscribers that catch up from the same cursor share theirs; each wire form is built at most once per slice (I7).
 */

import type { MessageFrames } from '@pulsar-relay/protocol/frames';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import { sseDataBytesMax, writeSseData } from '@pulsar-relay/protocol/sse';
import { firstIndexAfter } from '../log/block.ts';
import type { Deliverable } from '../ports/sink.ts';
import type { HotBlock } from './hot-block.ts';

/** A part of a block: its messages `[from, to)`. */
export interface BlockRange {
	readonly block: HotBlock;
	readonly from: number;
	readonly to: number;
}

/** Bounds on a slice; it holds at least one message. */
export interface SliceLimits {
	readonly messagesMax: number;
	readonly bytesMax: number;
}

/**
 * What one write to one socket, and one read from the store, carries at most, unless a single message is larger. With the
 * socket's own buffer limit it bounds what a connection can hold (I5), and it is large enough for the cost of a write to vanish
 * beside that of its messages.
 */
export const SLICE_LIMITS = Object.freeze({ messagesMax: 4096, bytesMax: 256 * 1024 });

/** The events of a slice back to back; the data of event i, with the empty line that ends it, is `bytes[dataStarts[i] … dataEnds[i])`. */
interface SseEvents {
	readonly bytes: Uint8Array;
	readonly dataStarts: Float64Array;
	readonly dataEnds: Float64Array;
}

const text = new TextEncoder();

export class Slice implements Deliverable {
	/** The name that its messages are encoded under. */
	readonly topic: string;
	readonly count: number;
	/** The oldest id it covers, expired or not. */
	readonly first: MessageId;
	readonly last: MessageId;
	/** Whether what is in it depends on the time it was made. */
	readonly expires: boolean;
	readonly #ranges: readonly BlockRange[];
	readonly #nowMs: number;
	#websocket: Uint8Array | null = null;
	#sse: SseEvents | null = null;
	/** The same messages under other names; a topic has at most three. */
	#renamed: Map<string, Slice> | null = null;
	/** Whether the blocks hold the messages under another name than the slice's. */
	readonly #foreign: boolean;

	/**
	 * @param ranges at least one, each with at least one message
	 * @param foreign whether the blocks hold the messages under another name than `topic`
	 */
	constructor(topic: string, ranges: readonly BlockRange[], nowMs: number, foreign = false) {
		const final = ranges[ranges.length - 1] as BlockRange;
		this.topic = topic;
		const initial = ranges[0] as BlockRange;
		this.first = { ms: initial.block.ms, n: initial.block.n + initial.from };
		this.last = { ms: final.block.ms, n: final.block.n + final.to - 1 };
		this.#ranges = ranges;
		this.#nowMs = nowMs;
		this.#foreign = foreign;
		let count = 0;
		let expires = false;
		for (const { block, from, to } of ranges) {
			count += block.liveCount(from, to, nowMs);
			if (block.expiries !== null) expires = true;
		}
		this.count = count;
		this.expires = expires;
	}

	/** How long its WebSocket form is, without putting that together. */
	get bytes(): number {
		let bytes = 0;
		for (const run of this.#frameRuns()) bytes += run.byteLength;
		return bytes;
	}

	/** The same messages for those who follow the topic by another name, encoded once for all of them (I7). */
	named(name: string): Slice {
		if (name === this.topic) return this;
		this.#renamed ??= new Map();
		let slice = this.#renamed.get(name);
		if (slice === undefined) {
			slice = new Slice(name, this.#ranges, this.#nowMs, true);
			this.#renamed.set(name, slice);
		}
		return slice;
	}

	websocket(): Uint8Array {
		this.#websocket ??= concat(this.#frameRuns());
		return this.#websocket;
	}

	sse(): Uint8Array {
		this.#sse ??= this.#encodeSse();
		return this.#sse.bytes;
	}

	forEachEvent(take: (id: MessageId, data: Uint8Array) => void): void {
		this.#sse ??= this.#encodeSse();
		const { bytes, dataStarts, dataEnds } = this.#sse;
		let i = 0;
		this.forEach((id) => {
			take(id, bytes.subarray(dataStarts[i], dataEnds[i]));
			i++;
		});
	}

	forEach(take: (id: MessageId, json: Uint8Array) => void): void {
		for (const { block, from, to } of this.#ranges) {
			const { bytes, starts, ends } = this.#framesOf(block);
			for (let i = from; i < to; i++) {
				if (block.expiries !== null && block.expiredAt(i, this.#nowMs)) continue;
				take({ ms: block.ms, n: block.n + i }, bytes.subarray(starts[i], ends[i]));
			}
		}
	}

	#framesOf(block: HotBlock): MessageFrames {
		return this.#foreign ? block.framesAs(this.topic) : block.frames();
	}

	/** Runs of frames as they lie in their blocks, broken only where an expired message lies between. */
	#frameRuns(): Uint8Array[] {
		const runs: Uint8Array[] = [];
		for (const { block, from, to } of this.#ranges) {
			const { bytes, ends } = this.#framesOf(block);
			let start = from;
			// A block without expiries is one run; otherwise each expired message ends the run before it.
			for (let i = block.expiries === null ? to : from; i <= to; i++) {
				if (i < to && !block.expiredAt(i, this.#nowMs)) continue;
				if (i > start) runs.push(bytes.subarray(startOf(ends, start), ends[i - 1]));
				start = i + 1;
			}
		}
		return runs;
	}

	#encodeSse(): SseEvents {
		const ids: Uint8Array[] = [];
		const objects: Uint8Array[] = [];
		let bytesMax = 0;
		this.forEach((id, json) => {
			const line = text.encode(`id: ${id.ms}-${id.n}\n\n`);
			ids.push(line);
			objects.push(json);
			bytesMax += line.byteLength + sseDataBytesMax(json);
		});
		const target = new Uint8Array(bytesMax);
		const dataStarts = new Float64Array(objects.length);
		const dataEnds = new Float64Array(objects.length);
		let at = 0;
		for (let i = 0; i < objects.length; i++) {
			dataStarts[i] = at;
			at = writeSseData(target, at, objects[i] as Uint8Array);
			dataEnds[i] = at;
			const line = ids[i] as Uint8Array;
			target.set(line, at);
			at += line.byteLength;
		}
		return { bytes: target.subarray(0, at), dataStarts, dataEnds };
	}
}

/**
 * The ranges of `blocks`, from `start` on, that lie after `after` and not beyond `until`, cut at the limits.
 *
 * @param blocks in id order, without overlap; from `start` on none is null
 */
export function rangesAfter(
	blocks: readonly (HotBlock | null)[],
	start: number,
	after: MessageId,
	until: MessageId,
	limits: SliceLimits,
): BlockRange[] {
	const ranges: BlockRange[] = [];
	let messages = 0;
	let bytes = 0;
	for (let i = start; i < blocks.length; i++) {
		const block = blocks[i] as HotBlock;
		const from = firstIndexAfter(block, after);
		const end = firstIndexAfter(block, until);
		if (from >= end) {
			if (end === 0) break;
			continue;
		}
		const { ends } = block.frames();
		const whole = (ends[end - 1] as number) - startOf(ends, from);
		let to = end;
		if (messages + end - from <= limits.messagesMax && bytes + whole <= limits.bytesMax) {
			messages += end - from;
			bytes += whole;
		} else {
			to = from;
			while (to < end && messages < limits.messagesMax) {
				const size = (ends[to] as number) - startOf(ends, to);
				if (messages > 0 && bytes + size > limits.bytesMax) break;
				bytes += size;
				messages++;
				to++;
			}
		}
		if (to > from) ranges.push({ block, from, to });
		if (to < end || bytes >= limits.bytesMax || messages >= limits.messagesMax) break;
	}
	return ranges;
}

function startOf(ends: Uint32Array, index: number): number {
	return index === 0 ? 0 : (ends[index - 1] as number);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
	const [only] = parts;
	if (parts.length === 1 && only !== undefined) return only;
	let length = 0;
	for (const part of parts) length += part.byteLength;
	const whole = new Uint8Array(length);
	let at = 0;
	for (const part of parts) {
		whole.set(part, at);
		at += part.byteLength;
	}
	return whole;
}
