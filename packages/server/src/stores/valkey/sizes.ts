/** What each topic holds, as far as this node knows; its own writes at once, those of others with the next count. */
export class Sizes {
	readonly #topics = new Map<string, { readonly messages: number; readonly bytes: number }>();
	#messages = 0;
	#bytes = 0;

	set(topic: string, messages: number, bytes: number): void {
		this.delete(topic);
		this.#topics.set(topic, { messages, bytes });
		this.#messages += messages;
		this.#bytes += bytes;
	}

	delete(topic: string): void {
		const known = this.#topics.get(topic);
		if (known === undefined) return;
		this.#topics.delete(topic);
		this.#messages -= known.messages;
		this.#bytes -= known.bytes;
	}

	get totals(): { readonly topics: number; readonly messages: number; readonly bytes: number } {
		return { topics: this.#topics.size, messages: this.#messages, bytes: this.#bytes };
	}
}
