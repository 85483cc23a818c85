/** A message as it is read. Nothing of it is parsed before it is asked for. */

import { memberSpans, type Span } from './json-spans.ts';

/** The head of a message object as relays write it; any other spelling is read member by member. */
const HEAD = /^\{"type":"message","message_id":"([0-9]+-[0-9]+)","topic":"([^"\\]+)"/;

export class Message {
	/** `<ms>-<n>`: the cursor to go on after this message. */
	readonly id: string;
	/** As the read names it. */
	readonly topic: string;
	readonly #text: string;
	#members: ReadonlyMap<string, Span> | null = null;

	/** @param text the message object (PROTOCOL.md, "The message object") */
	constructor(text: string) {
		this.#text = text;
		const head = HEAD.exec(text);
		this.id = head?.[1] ?? (this.#parse('message_id') as string);
		this.topic = head?.[2] ?? (this.#parse('topic') as string);
	}

	/** When the relay stored it. */
	get timestamp(): Date {
		return new Date(this.#parse('timestamp') as string);
	}

	get metadata(): Readonly<Record<string, string>> {
		return (this.#parse('metadata') ?? {}) as Record<string, string>;
	}

	/** The payload's JSON text, byte for byte as it was published, in UTF-8. */
	get raw(): Uint8Array {
		return new TextEncoder().encode(this.#slice('payload'));
	}

	/** The payload, parsed. Numbers beyond 2^53 are rounded, as JavaScript's are: take them from {@link raw}. */
	json<T = unknown>(): T {
		return this.#parse('payload') as T;
	}

	#parse(name: string): unknown {
		const text = this.#slice(name);
		return text === '' ? undefined : JSON.parse(text);
	}

	#slice(name: string): string {
		this.#members ??= memberSpans(this.#text);
		const span = this.#members.get(name);
		return span === undefined ? '' : this.#text.slice(span.start, span.end);
	}
}
