/** What each topic holds, as far as this node knows; its own writes at once, those of others with the next count. */
export class Sizes {
	readonly #topics = new Map<string, { readonly messages: number; readonly bytes: number; readonly count: number }>();
	/** Counts begun. */
	#count = 0;
	#messages = 0;
	#bytes = 0;

	set(topic: string, messages: number, bytes: number): void {
		this.delete(topic);
		this.#topics.set(topic, { messages, bytes, count: this.#count });
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

	/** A count of all topics begins. */
	beginCount(): void {
		this.#count++;
	}

	/** It has ended: what it has not come across is gone, deleted by another node. */
	endCount(): void {
		for (const [topic, { count }] of this.#topics) if (count < this.#count) this.delete(topic);
	}

	get totals(): { readonly topics: number; readonly messages: number; readonly bytes: number } {
		return { topics: this.#topics.size, messages: this.#messages, bytes: this.#bytes };
	}
}
