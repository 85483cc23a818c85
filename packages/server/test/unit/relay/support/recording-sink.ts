/**
 * A sink without a socket: it holds and flushes bytes as the real ones do, with a buffer that the test can stop from draining,
 * and hears what a client would make of them.
 */

import assert from 'node:assert/strict';
import { encodeTextFrame, type Gap, gapObject } from '@pulsar-relay/protocol/frames';
import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { encodeSseEvent } from '@pulsar-relay/protocol/sse';
import type { Deliverable, Sink } from '../../../../src/ports/sink.ts';
import { decodeTextFrames, EventStream } from './decode.ts';

/** One thing that the peer was told, in the order of the wire. */
export type Told =
	| { readonly kind: 'message'; readonly topic: string; readonly id: MessageId; readonly json: string }
	| { readonly kind: 'gap'; readonly gap: Gap }
	| { readonly kind: 'deleted' | 'forbidden'; readonly topic: string }
	/** What the transport itself sent, by {@link RecordingSink.note}. */
	| { readonly kind: 'note'; readonly note: string };

export interface RecordingSinkOptions {
	readonly transport?: 'websocket' | 'sse';
	/** Bytes that wait for the peer at which the sink is not writable. Default 1 MiB. */
	readonly bufferBytesMax?: number;
	/** Calls `run` when the socket would emit `drain` after a flush that went through. Default: at once, inside the flush. */
	readonly later?: (run: () => void) => void;
	/** Hears everything as it is flushed. Default: it is only kept. */
	readonly hear?: (told: Told) => void;
}

export class RecordingSink implements Sink {
	readonly transport: 'websocket' | 'sse';
	onWritable: () => void = () => {};
	/** All that was flushed. */
	readonly told: Told[] = [];
	/** The slices taken, in order. */
	readonly slices: Deliverable[] = [];
	/** The most bytes that ever waited for the peer. */
	bytesPeak = 0;
	/** Slices delivered although the sink was not writable; anything but 0 breaks I5. */
	deliveredUnasked = 0;
	/** Writes to the socket. */
	writes = 0;
	drainedWith: number | null = null;
	readonly #bufferBytesMax: number;
	readonly #later: (run: () => void) => void;
	readonly #hear: (told: Told) => void;
	readonly #events = new EventStream();
	#held: Uint8Array[] = [];
	#heldBytes = 0;
	#unreadBytes = 0;
	#stalled = false;
	#gapLast = false;

	constructor(options: RecordingSinkOptions = {}) {
		this.transport = options.transport ?? 'websocket';
		this.#bufferBytesMax = options.bufferBytesMax ?? 1024 * 1024;
		this.#later = options.later ?? ((run) => run());
		this.#hear = options.hear ?? (() => {});
	}

	get writable(): boolean {
		return this.#heldBytes + this.#unreadBytes < this.#bufferBytesMax;
	}

	/** Whether the peer has stopped reading. */
	get stalled(): boolean {
		return this.#stalled;
	}

	/** The ids of the messages flushed, of one topic or of all. */
	ids(topic?: string): string[] {
		return this.told.flatMap((told) =>
			told.kind === 'message' && (topic === undefined || told.topic === topic) ? [`${told.id.ms}-${told.id.n}`] : [],
		);
	}

	/** The peer stops reading. */
	stall(): void {
		this.#stalled = true;
	}

	/** The peer reads everything and goes on reading. */
	resume(): void {
		const full = !this.writable;
		this.#stalled = false;
		this.#unreadBytes = 0;
		if (full && this.writable) this.onWritable();
	}

	/** Holds something of the transport's own, such as the answer to a command. */
	note(note: string): void {
		this.#hold(
			this.transport === 'sse'
				? encodeSseEvent({ event: 'note', data: note })
				: encodeTextFrame(`{"type":"note","note":"${note}"}`),
		);
	}

	deliver(slice: Deliverable): boolean {
		if (!this.writable && !this.#gapLast) this.deliveredUnasked++;
		this.#gapLast = false;
		this.slices.push(slice);
		if (slice.count === 0) return false;
		return this.#hold(this.transport === 'sse' ? slice.sse() : slice.websocket());
	}

	gap(gap: Gap): void {
		// A gap and the slice after it are one step.
		this.#gapLast = this.writable;
		const data = JSON.stringify({ type: 'gap', ...gapObject(gap) });
		this.#hold(this.transport === 'sse' ? encodeSseEvent({ event: 'gap', data }) : encodeTextFrame(data));
	}

	topicDeleted(topic: string): void {
		const data = JSON.stringify({ type: 'deleted', topic });
		this.#hold(this.transport === 'sse' ? encodeSseEvent({ event: 'deleted', data }) : encodeTextFrame(data));
	}

	topicForbidden(topic: string): void {
		const data = JSON.stringify({ type: 'forbidden', topic });
		this.#hold(this.transport === 'sse' ? encodeSseEvent({ event: 'forbidden', data }) : encodeTextFrame(data));
	}

	flush(): void {
		const held = this.#held;
		if (held.length === 0) return;
		const full = !this.writable;
		this.#held = [];
		this.#unreadBytes += this.#heldBytes;
		this.#heldBytes = 0;
		this.writes++;
		if (!this.#stalled) this.#unreadBytes = 0;
		const bytes = Buffer.concat(held);
		if (this.transport === 'websocket') for (const text of decodeTextFrames(bytes)) this.#tell(text);
		else this.#tellEvents(bytes);
		if (full && this.writable) this.#later(() => this.onWritable());
	}

	drain(reconnectAfterMs: number): void {
		this.drainedWith = reconnectAfterMs;
	}

	#hold(bytes: Uint8Array): boolean {
		this.#heldBytes += bytes.byteLength;
		this.bytesPeak = Math.max(this.bytesPeak, this.#heldBytes + this.#unreadBytes);
		return this.#held.push(bytes) === 1;
	}

	#tellEvents(bytes: Uint8Array): void {
		for (const { type, data, lastEventId } of this.#events.take(bytes)) {
			if (type === 'note') this.#told({ kind: 'note', note: data });
			else this.#tell(data);
			if (type !== 'message') continue;
			assert.equal(lastEventId, (JSON.parse(data) as { message_id: string }).message_id, 'the event id is the cursor');
		}
		assert.ok(this.#events.between, 'a write ends with an event');
	}

	#tell(json: string): void {
		const frame = JSON.parse(json) as Record<string, string>;
		const { type, topic = '' } = frame;
		if (type === 'message') this.#told({ kind: 'message', topic, id: idOf(frame['message_id']), json });
		else if (type === 'note') this.#told({ kind: 'note', note: frame['note'] ?? '' });
		else if (type === 'deleted' || type === 'forbidden') this.#told({ kind: type, topic });
		else {
			assert.equal(type, 'gap');
			const from = frame['from'] === null ? null : idOf(frame['from']);
			this.#told({ kind: 'gap', gap: { topic, reason: frame['reason'] as Gap['reason'], from, to: idOf(frame['to']) } });
		}
	}

	#told(told: Told): void {
		this.told.push(told);
		this.#hear(told);
	}
}

function idOf(text: string | undefined): MessageId {
	const id = parseMessageId(text ?? '');
	assert.ok(id !== undefined, `${text} is a message id`);
	return id;
}
