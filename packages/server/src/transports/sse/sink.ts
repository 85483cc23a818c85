/**
 * The SSE sink: writes events to the response. The event id is a cursor that covers all the topics of the stream; with a single
 * topic that is the message id, and the events are the same bytes for every subscriber (I7).
 */

import type { ServerResponse } from 'node:http';
import { CompactCursor } from '@pulsar-relay/protocol/compact-cursor';
import { formatCursor } from '@pulsar-relay/protocol/cursor';
import type { RelayError } from '@pulsar-relay/protocol/errors';
import { type Gap, gapObject } from '@pulsar-relay/protocol/frames';
import { formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import { encodeSseEvent, SSE_HEARTBEAT } from '@pulsar-relay/protocol/sse';
import type { Deliverable, Sink } from '../../ports/sink.ts';
import { encodeClosedEvent } from '../http/event-stream.ts';
import type { HeartbeatMember } from '../http/heartbeat.ts';

/** A copy of a piece smaller than this costs less than a write of its own. */
const SHARED_BYTES_MIN = 64 * 1024;
/** A cursor that names its topics can be read by people and used for other topics, too; a longer one is written in short. */
const NAMED_CURSOR_LENGTH_MAX = 128;
/** Of a message id, with what stands around it in a cursor that names its topics. */
const NAMED_ID_LENGTH = ',:1795438000123-0'.length;

export class SseSink implements Sink, HeartbeatMember {
	readonly transport = 'sse';
	onWritable: () => void = () => {};
	/** Messages that were delivered. */
	messages = 0;
	readonly #response: ServerResponse;
	readonly #bufferBytesMax: number;
	/** What the stream follows, with the cursor of each. */
	readonly #cursors = new Map<string, MessageId>();
	/**
	 * Whether the stream began with several topics. Its event ids then cover each to the end, also when only one is left: a bare
	 * message id would be taken for the cursor of all the topics that the client asks for when it reconnects.
	 */
	#ofSeveral = false;
	/** The same cursors in short, where their names would be most of a stream. */
	#compact: CompactCursor | null = null;
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
		this.#ofSeveral = cursors.size > 1;
		if (this.#ofSeveral && namedLength(cursors.keys()) > NAMED_CURSOR_LENGTH_MAX) this.#compact = new CompactCursor(cursors);
		const starts = Object.fromEntries([...cursors].map(([topic, id]) => [topic, formatMessageId(id)]));
		this.#hold(Buffer.from(`retry: ${retryMs}\n`));
		this.#hold(encodeSseEvent({ event: 'subscribed', id: this.#cursor(), data: JSON.stringify({ cursors: starts }) }));
	}

	deliver(slice: Deliverable): boolean {
		this.messages += slice.count;
		if (this.#ofSeveral) return this.#deliverOneOfSeveral(slice);
		this.#move(slice.topic, slice.last);
		return slice.count > 0 && this.#hold(slice.sse());
	}

	gap(gap: Gap): void {
		this.#move(gap.topic, gap.to);
		this.#hold(encodeSseEvent({ event: 'gap', id: this.#cursor(), data: JSON.stringify(gapObject(gap)) }));
	}

	topicDeleted(topic: string): void {
		this.#ended('topic_deleted', topic);
	}

	topicForbidden(topic: string): void {
		this.#ended('topic_forbidden', topic);
	}

	flush(): void {
		const held = this.#held;
		if (held.length === 0) return;
		// As in the WebSocket sink: the end of the write that filled the sink tells that it is writable again, `drain` may not.
		const onEnd = this.writable ? undefined : () => this.#written();
		this.#held = [];
		this.#heldBytes = 0;
		if (this.#response.writableEnded) return;
		const pieces = piecesOf(held);
		const last = pieces.pop() as Uint8Array;
		if (pieces.length === 0) {
			this.#response.write(last, onEnd);
			return;
		}
		this.#response.cork();
		for (const piece of pieces) this.#response.write(piece);
		this.#response.write(last, onEnd);
		this.#response.uncork();
	}

	/** Ends the stream because of what its credential is no longer; a reconnect is then answered as it deserves. */
	refuse(error: RelayError): void {
		this.#hold(encodeClosedEvent(error, this.#cursor()));
		this.flush();
		this.#response.end();
	}

	/** Ends the stream; one that is not open yet is refused by its route. */
	drain(reconnectAfterMs: number): void {
		if (!this.#response.headersSent) return;
		this.#hold(Buffer.from(`retry: ${reconnectAfterMs}\n\n`));
		this.flush();
		this.#response.end();
	}

	/** Keeps the connection from looking idle; a peer that does not even read those is found out by the socket. */
	beat(): void {
		if (this.writable) this.#response.write(SSE_HEARTBEAT);
	}

	/** With several topics each event's id covers them all, so it is this stream's own; the data is shared all the same (I7). */
	#deliverOneOfSeveral(slice: Deliverable): boolean {
		let first = false;
		slice.forEachEvent((id, data) => {
			this.#move(slice.topic, id);
			first = this.#hold(data) || first;
			this.#hold(Buffer.from(`id: ${this.#cursor()}\n\n`));
		});
		this.#move(slice.topic, slice.last);
		return first;
	}

	#move(topic: string, id: MessageId): void {
		this.#cursors.set(topic, id);
		this.#compact?.move(topic, id);
	}

	/** A topic is no longer followed; the stream ends with its last one. */
	#ended(event: string, topic: string): void {
		this.#hold(encodeSseEvent({ event, data: JSON.stringify({ topic }) }));
		this.#cursors.delete(topic);
		this.#compact?.drop(topic);
		if (this.#cursors.size > 0) return;
		this.flush();
		this.#response.end();
	}

	#cursor(): string {
		if (this.#compact !== null) return this.#compact.toString();
		if (this.#ofSeveral) return formatCursor(this.#cursors);
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

function namedLength(topics: Iterable<string>): number {
	let length = 0;
	for (const topic of topics) length += topic.length + NAMED_ID_LENGTH;
	return length;
}

/** What is held, in as few pieces as pay: small ones put together, large ones as they are, shared with other streams (I7). */
function piecesOf(held: readonly Uint8Array[]): Uint8Array[] {
	const [only] = held;
	if (held.length === 1 && only !== undefined) return [only];
	const pieces: Uint8Array[] = [];
	let start = 0;
	for (const [i, piece] of held.entries()) {
		if (piece.byteLength < SHARED_BYTES_MIN) continue;
		if (i > start) pieces.push(Buffer.concat(held.slice(start, i)));
		pieces.push(piece);
		start = i + 1;
	}
	if (start < held.length) pieces.push(Buffer.concat(held.slice(start)));
	return pieces;
}
