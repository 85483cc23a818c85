/**
 * Places for the calls of readers, who are as many as there are connections to the relay. With thousands of calls at once a beat waits behind
 * their answers for so long that a server in good health is taken for a dead one: seen with 9,000 pages of one message.
 */
export class Places {
	readonly #max: number;
	#taken = 0;
	/** Oldest first; each is given the place that has become free. */
	readonly #waiting: (() => void)[] = [];

	/** @param max calls under way at once */
	constructor(max: number) {
		this.#max = max;
	}

	/** Makes a call once there is a place for it, in the order in which they came. */
	async run<Result>(call: () => Promise<Result>): Promise<Result> {
		if (this.#taken < this.#max) this.#taken++;
		else await new Promise<void>((resolve) => this.#waiting.push(resolve));
		try {
			return await call();
		} finally {
			const next = this.#waiting.shift();
			if (next === undefined) this.#taken--;
			else next();
		}
	}
}
