/**
 * What a client makes of the bytes that the relay writes: WebSocket frames by RFC 6455, events by the parsing rules of
 * EventSource. Written from those documents and not from the encoders, and strict: a byte too many or too few is an error.
 */

import assert from 'node:assert/strict';

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The texts of unmasked, unfragmented text frames that lie back to back. */
export function decodeTextFrames(bytes: Uint8Array): string[] {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const texts: string[] = [];
	let at = 0;
	while (at < bytes.byteLength) {
		assert.equal(view.getUint8(at), 0x81, 'FIN, no extension bits, opcode text');
		const short = view.getUint8(at + 1);
		assert.ok(short < 128, 'a server does not mask');
		let length = short;
		let start = at + 2;
		if (short === 126) {
			length = view.getUint16(start);
			start += 2;
			assert.ok(length >= 126, 'the shortest form of the length is the only one');
		} else if (short === 127) {
			length = Number(view.getBigUint64(start));
			start += 8;
			assert.ok(length >= 65_536, 'the shortest form of the length is the only one');
		}
		at = start + length;
		assert.ok(at <= bytes.byteLength, 'the frame is whole');
		texts.push(utf8.decode(bytes.subarray(start, at)));
	}
	return texts;
}

/** An event as an EventSource dispatches it. */
export interface ServerEvent {
	readonly type: string;
	readonly data: string;
	readonly lastEventId: string;
}

/** An EventSource without the connection: takes the stream in whatever pieces it comes. */
export class EventStream {
	readonly #decoder = new TextDecoder('utf-8', { fatal: true });
	#text = '';
	/** A CR ended the last line: an LF that follows belongs to it. */
	#afterCr = false;
	#type = '';
	#data = '';
	#lastEventId = '';
	/** The last `retry` field, in ms. */
	retryMs: number | null = null;

	/** Takes bytes of the stream and gives the events that they complete. */
	take(bytes: Uint8Array): ServerEvent[] {
		const events: ServerEvent[] = [];
		for (const char of this.#decoder.decode(bytes, { stream: true })) {
			const lf = char === '\n';
			if (lf && this.#afterCr) {
				this.#afterCr = false;
				continue;
			}
			this.#afterCr = char === '\r';
			if (lf || this.#afterCr) {
				this.#line(this.#text, events);
				this.#text = '';
			} else this.#text += char;
		}
		return events;
	}

	/** Whether the stream stands between two events, with nothing begun. */
	get between(): boolean {
		return this.#text === '' && this.#data === '' && this.#type === '';
	}

	#line(line: string, events: ServerEvent[]): void {
		if (line === '') {
			if (this.#data !== '') {
				events.push({ type: this.#type || 'message', data: this.#data.slice(0, -1), lastEventId: this.#lastEventId });
			}
			this.#type = '';
			this.#data = '';
			return;
		}
		const colon = line.indexOf(':');
		if (colon === 0) return;
		const field = colon < 0 ? line : line.slice(0, colon);
		const rest = colon < 0 ? '' : line.slice(colon + 1);
		const value = rest.startsWith(' ') ? rest.slice(1) : rest;
		if (field === 'data') this.#data += `${value}\n`;
		else if (field === 'event') this.#type = value;
		else if (field === 'id' && !value.includes('\0')) this.#lastEventId = value;
		else if (field === 'retry' && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
	}
}
