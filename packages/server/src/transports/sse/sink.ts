/**
 * The SSE sink: writes events to the response. The event id is a cursor that covers all the topics of the stream; with a single
 * topic that is the message id, and the events are the same bytes for every subscriber (I7).
 */

import type { ServerResponse } from 'node:http';
import { formatCursor } from '@pulsar-relay/protocol/cursor';
import { type Gap, gapObject } from '@pulsar-relay/protocol/frames';
import { formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import { encodeSseEvent, SSE_HEARTBEAT, sseDataBytesMax, writeSseData } from '@pulsar-relay/protocol/sse';
import type { Deliverable, Sink } from '../../ports/sink.ts';
import type { HeartbeatMember } from '../http/heartbeat.ts';

export class SseSink implements Sink, HeartbeatMember {
	readonly transport = 'sse';
	onWritable: () => void = () => {};
	readonly #response: ServerResponse;
	readonly #bufferBytesMax: number;
	/** What the stream follows, with the cursor of each. */
	readonly #cursors = new Map<string, MessageId>();
	#held: Uint8Array[] = [];
	#heldBytes = 0;

	/** @param bufferBytesMax more bytes than this waiting for the peer make the sink not writable */
	constructor(response: ServerResponse, bufferBytesMax: number) {
		this.#response = response;
		this.#bufferBytesMax = bufferBytesMax;
	}

	get writable(): boolean {
		return this.#heldBytes + this.#response.writableLength < this.#bufferBytesMax;
	}

	/** Opens the stream: when to reconnect, and where it starts, so that a reconnect before the first message loses nothing. */
	open(cursors: ReadonlyMap<string, MessageId>, retryMs: number): void {
		for (const [topic, id] of cursors) this.#cursors.set(topic, id);
		const starts = Object.fromEntries([...cursors].map(([topic, id]) => [topic, formatMessageId(id)]));
		this.#hold(Buffer.from(`retry: ${retryMs}\n`));
		this.#hold(encodeSseEvent({ event: 'subscribed', id: this.#cursor(), data: JSON.stringify({ cursors: starts }) }));
	}

	deliver(slice: Deliverable): boolean {
		if (this.#cursors.size > 1) return this.#deliverOneOfSeveral(slice);
		this.#cursors.set(slice.topic, slice.last);
		return slice.count > 0 && this.#hold(slice.sse());
	}

	gap(gap: Gap): void {
		this.#cursors.set(gap.topic, gap.to);
		this.#hold(encodeSseEvent({ event: 'gap', id: this.#cursor(), data: JSON.stringify(gapObject(gap)) }));
	}

	topicDeleted(topic: string): void {
		this.#hold(encodeSseEvent({ event: 'topic_deleted', data: JSON.stringify({ topic }) }));
		this.#cursors.delete(topic);
		if (this.#cursors.size > 0) return;
		this.flush();
		this.#response.end();
	}

	flush(): void {
		const held = this.#held;
		if (held.length === 0) return;
		// As in the WebSocket sink: the end of the write that filled the sink tells that it is writable again, `drain` may not.
		const onEnd = this.writable ? undefined : () => this.#written();
		this.#held = [];
		this.#heldBytes = 0;
		if (this.#response.writableEnded) return;
		const [only] = held;
		this.#response.write(held.length === 1 && only !== undefined ? only : Buffer.concat(held), onEnd);
	}

	drain(reconnectAfterMs: number): void {
		this.#hold(Buffer.from(`retry: ${reconnectAfterMs}\n\n`));
		this.flush();
		this.#response.end();
	}

	/** Keeps the connection from looking idle; a peer that does not even read those is found out by the socket. */
	beat(): void {
		if (this.writable) this.#response.write(SSE_HEARTBEAT);
	}

	/** With several topics each event's id names them all, so it is this stream's own; the data is shared all the same. */
	#deliverOneOfSeveral(slice: Deliverable): boolean {
		let first = false;
		slice.forEach((id, json) => {
			this.#cursors.set(slice.topic, id);
			const head = Buffer.from(`id: ${this.#cursor()}\n`);
			const event = new Uint8Array(head.byteLength + sseDataBytesMax(json));
			event.set(head);
			first = this.#hold(event.subarray(0, writeSseData(event, head.byteLength, json))) || first;
		});
		this.#cursors.set(slice.topic, slice.last);
		return first;
	}

	#cursor(): string {
		if (this.#cursors.size > 1) return formatCursor(this.#cursors);
		for (const id of this.#cursors.values()) return formatMessageId(id);
		return '';
	}

	#written(): void {
		if (this.writable) this.onWritable();
	}

	#hold(bytes: Uint8Array): boolean {
		this.#heldBytes += bytes.byteLength;
		return this.#held.push(bytes) === 1;
	}
}
