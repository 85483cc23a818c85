/**
 * Which changes of the records this node has heard of. Each is announced with the version of the change before it, so that they are a
 * chain; they come in any order, and a node's own twice: as the answer and as the announcement. A link that stays away was
 * lost, and so were changes when the server's counter is not where the chain leads (I10).
 */

/** Links that may wait for one before them; of more the node is told again, and finds a hole. */
const AHEAD_MAX = 10_000;

export class ChangeChain {
	/** Every change up to here was heard of. */
	#tip: number;
	/** Links that do not follow the tip yet: previous → version. */
	readonly #ahead = new Map<number, number>();
	/** Where the counter stood at the last look: by the next one that was heard of, or lost. */
	#awaited: number;

	constructor(version: number) {
		this.#tip = version;
		this.#awaited = version;
	}

	get tip(): number {
		return this.#tip;
	}

	/** A change was announced, or is the node's own. False when it has been heard of before. */
	hear(previous: number, version: number): boolean {
		if (version <= this.#tip || this.#ahead.get(previous) === version) return false;
		if (this.#ahead.size < AHEAD_MAX) this.#ahead.set(previous, version);
		this.#advance();
		return true;
	}

	/**
	 * The counter was seen. False when changes were missed; then the chain goes on from there.
	 *
	 * @param version of the last change
	 * @param tipBefore the tip when it was asked for
	 */
	look(version: number, tipBefore: number): boolean {
		// Behind what was announced: the server has lost changes.
		const heardAll = version >= tipBefore && this.#awaited <= this.#tip;
		if (!heardAll) this.restart(version);
		this.#awaited = version;
		return heardAll;
	}

	/** Goes on from a version, whatever was heard of. */
	restart(version: number): void {
		this.#tip = version;
		this.#awaited = version;
		for (const [previous, later] of this.#ahead) if (later <= version) this.#ahead.delete(previous);
		this.#advance();
	}

	#advance(): void {
		for (let next = this.#ahead.get(this.#tip); next !== undefined; next = this.#ahead.get(this.#tip)) {
			this.#ahead.delete(this.#tip);
			this.#tip = next;
		}
	}
}
