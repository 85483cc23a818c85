/**
 * The WebSocket sink: writes ready-made frames to the socket, all that a tick brought in one write. `ws` writes its own
 * control frames to the same socket, each whole and at once, so frames never interleave.
 */

import type { Duplex } from 'node:stream';
import { ERRORS } from '@pulsar-relay/protocol/errors';
import { encodeTextFrame, type Gap, gapObject } from '@pulsar-relay/protocol/frames';
import type { Deliverable, Sink } from '../../ports/sink.ts';

/** The connection that a sink writes to. */
export interface SinkPeer {
	/** Sends a close frame. */
	close(code: number, reason: string): void;
	/** The sink was full, and is writable again. */
	onWritable(): void;
}

export class WebSocketSink implements Sink {
	readonly transport = 'websocket';
	onWritable: () => void = () => {};
	readonly socket: Duplex;
	/** Messages that were delivered. */
	messages = 0;
	readonly #bufferBytesMax: number;
	readonly #peer: SinkPeer;
	/** What is held since the last flush: the first piece, and the rest when there is more than one. */
	#held: Uint8Array | null = null;
	#heldMore: Uint8Array[] | null = null;
	#heldBytes = 0;
	/** It was not writable since the last time that it said so: the socket may have drained before what is held was written. */
	#wasFull = false;

	/**
	 * @param bufferBytesMax more bytes than this waiting for the peer make the sink not writable
	 */
	constructor(socket: Duplex, bufferBytesMax: number, peer: SinkPeer) {
		this.socket = socket;
		this.#bufferBytesMax = bufferBytesMax;
		this.#peer = peer;
	}

	get writable(): boolean {
		return this.#heldBytes + this.socket.writableLength < this.#bufferBytesMax;
	}

	deliver(slice: Deliverable): boolean {
		this.messages += slice.count;
		return slice.count > 0 && this.#hold(slice.websocket());
	}

	gap(gap: Gap): void {
		this.send({ type: 'gap', ...gapObject(gap) });
	}

	topicDeleted(topic: string): void {
		this.send({ type: 'error', code: 'topic_deleted', message: 'the topic was deleted', details: { topic } });
	}

	topicForbidden(topic: string): void {
		this.send({ type: 'error', code: 'forbidden', message: 'access to the topic was taken back', details: { topic } });
	}

	/** Holds one control frame. Returns true when it is the first thing held since the last flush. */
	send(frame: object): boolean {
		return this.sendText(JSON.stringify(frame));
	}

	/** As {@link send}, of a frame's JSON text. */
	sendText(text: string): boolean {
		return this.#hold(encodeTextFrame(text));
	}

	flush(): void {
		const held = this.#held;
		if (held === null) return;
		const more = this.#heldMore;
		// The socket's `drain` event does not tell of every return to writable: there is none when the kernel takes at once more than
		// the limit. The end of the write that filled the sink does.
		const onEnd = this.#wasFull || !this.writable ? () => this.#written() : undefined;
		this.#held = null;
		this.#heldMore = null;
		this.#heldBytes = 0;
		if (this.socket.destroyed || this.socket.writableEnded) return;
		if (more === null) {
			this.socket.write(held, onEnd);
			return;
		}
		const last = more.length - 1;
		this.socket.cork();
		this.socket.write(held);
		for (let i = 0; i < last; i++) this.socket.write(more[i]);
		this.socket.write(more[last], onEnd);
		this.socket.uncork();
	}

	drain(reconnectAfterMs: number): void {
		this.flush();
		this.#peer.close(ERRORS.shutting_down.closeCode, `restarting; reconnect after ${reconnectAfterMs} ms`);
	}

	/** A later write that filled the sink again tells when it has ended. */
	#written(): void {
		if (!this.writable) return;
		this.#wasFull = false;
		this.onWritable();
		this.#peer.onWritable();
	}

	#hold(bytes: Uint8Array): boolean {
		this.#heldBytes += bytes.byteLength;
		if (!this.writable) this.#wasFull = true;
		if (this.#held === null) {
			this.#held = bytes;
			return true;
		}
		if (this.#heldMore === null) this.#heldMore = [bytes];
		else this.#heldMore.push(bytes);
		return false;
	}
}
