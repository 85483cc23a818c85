/**
 * Reads HTTP/1.1 responses from a byte stream: just enough of it for a load generator that must cost less than the server it
 * loads. Bodies come by Content-Length or in chunks.
 */

/** Told what arrives, in order; `body` any number of times per response. */
export interface ResponseEvents {
	head(status: number): void;
	body(part: Buffer): void;
	end(): void;
}

type State =
	| { readonly at: 'head' }
	| { readonly at: 'sized'; remaining: number }
	| { readonly at: 'chunk size' }
	| { readonly at: 'chunk'; remaining: number }
	| { readonly at: 'chunk end'; readonly last: boolean };

const HEAD: State = { at: 'head' };
const CHUNK_SIZE: State = { at: 'chunk size' };
const STATUS_AT = 'HTTP/1.1 '.length;

export class ResponseReader {
	readonly #events: ResponseEvents;
	#state: State = HEAD;
	/** A head or chunk line that is not complete yet. */
	#carry: Buffer | null = null;

	constructor(events: ResponseEvents) {
		this.#events = events;
	}

	/** Takes what the socket brought. Throws when it is not HTTP. */
	take(data: Buffer): void {
		const bytes = this.#carry === null ? data : Buffer.concat([this.#carry, data]);
		this.#carry = null;
		let at = 0;
		while (at < bytes.length) {
			const next = this.#step(bytes, at);
			if (next < 0) {
				// The socket may read its next bytes into the same memory.
				this.#carry = Buffer.from(bytes.subarray(at));
				return;
			}
			at = next;
		}
	}

	/** Reads one part from `at` on. Returns where it ends, or -1 when more bytes are needed. */
	#step(bytes: Buffer, at: number): number {
		const state = this.#state;
		switch (state.at) {
			case 'head':
				return this.#head(bytes, at);
			case 'sized': {
				const end = Math.min(bytes.length, at + state.remaining);
				this.#events.body(bytes.subarray(at, end));
				state.remaining -= end - at;
				if (state.remaining === 0) this.#finish();
				return end;
			}
			case 'chunk size': {
				const lineEnd = bytes.indexOf('\r\n', at, 'latin1');
				if (lineEnd < 0) return -1;
				const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
				if (Number.isNaN(size)) throw new Error('the response has a chunk without a size');
				this.#state = size === 0 ? { at: 'chunk end', last: true } : { at: 'chunk', remaining: size };
				return lineEnd + 2;
			}
			case 'chunk': {
				const end = Math.min(bytes.length, at + state.remaining);
				this.#events.body(bytes.subarray(at, end));
				state.remaining -= end - at;
				if (state.remaining === 0) this.#state = { at: 'chunk end', last: false };
				return end;
			}
			case 'chunk end':
				if (bytes.length - at < 2) return -1;
				if (state.last) this.#finish();
				else this.#state = CHUNK_SIZE;
				return at + 2;
		}
	}

	#head(bytes: Buffer, at: number): number {
		const end = bytes.indexOf('\r\n\r\n', at, 'latin1');
		if (end < 0) return -1;
		const head = bytes.toString('latin1', at, end);
		const status = Number(head.slice(STATUS_AT, STATUS_AT + 3));
		if (!head.startsWith('HTTP/1.1 ') || Number.isNaN(status)) throw new Error('the server does not answer with HTTP');
		this.#events.head(status);
		const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
		if (length !== undefined) this.#state = { at: 'sized', remaining: Number(length) };
		else if (/\r\ntransfer-encoding: *chunked/i.test(head)) this.#state = CHUNK_SIZE;
		else throw new Error('the response has neither a length nor chunks');
		if (length === '0') this.#finish();
		return end + 4;
	}

	#finish(): void {
		this.#state = HEAD;
		this.#events.end();
	}
}
