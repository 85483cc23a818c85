/**
 * Bytes that are held at a time, divided among those who hold them. There is a bound on all of them and one on each share. Where
 * the bound on all is reached, the share that holds most gives way first: nobody's share can be used up by others (I8).
 */

/** Something that holds bytes of a share. */
export interface Holding {
	/** What it holds now. */
	readonly bytes: number;
	/** Takes room for more; false, and nothing taken, when there is none. Others may have to give way for it. */
	take(bytes: number): boolean;
	/** Gives everything back. Idempotent. */
	release(): void;
}

/** A bound on what is below it: other shares, or holdings. */
export class ByteShare {
	readonly #bytesMax: number;
	readonly #parent: ByteShare | null;
	readonly #name: string;
	/** Shares below it that hold anything. */
	readonly #shares = new Map<string, ByteShare>();
	/** Holdings of it that hold anything. */
	readonly #holdings = new Set<HeldBytes>();
	#bytes = 0;

	constructor(bytesMax: number, parent: ByteShare | null = null, name = '') {
		this.#bytesMax = bytesMax;
		this.#parent = parent;
		this.#name = name;
	}

	/** Bytes held of it. */
	get bytes(): number {
		return this.#bytes;
	}

	/** A share below this one, of at most so many bytes. It is to be asked for each time: one that holds nothing is forgotten. */
	share(name: string, bytesMax: number): ByteShare {
		return this.#shares.get(name) ?? new ByteShare(bytesMax, this, name);
	}

	/** Whether there is room for more, which is then taken. */
	add(holding: HeldBytes, bytes: number): boolean {
		if (!this.#makeRoom(bytes, holding.bytes)) return false;
		this.#holdings.add(holding);
		this.#change(bytes);
		return true;
	}

	/** Gives back all that a holding holds. */
	remove(holding: HeldBytes): void {
		this.#holdings.delete(holding);
		this.#change(-holding.bytes);
	}

	/** The largest part of it gives way. */
	giveWay(): void {
		const largest = this.#largest();
		if (largest !== null) largest.giveWay();
		else [...this.#holdings].reduce((a, b) => (b.bytes > a.bytes ? b : a)).giveWay();
	}

	/** Holdings of one share do not compete: the one that comes last is refused. */
	#makeRoom(bytes: number, heldBytes: number): boolean {
		while (this.#bytes + bytes > this.#bytesMax) {
			const largest = this.#largest();
			if (largest === null || largest.bytes <= heldBytes + bytes) return false;
			largest.giveWay();
		}
		return this.#parent === null || this.#parent.#makeRoom(bytes, this.#bytes);
	}

	#largest(): ByteShare | null {
		let largest: ByteShare | null = null;
		for (const share of this.#shares.values()) if (largest === null || share.#bytes > largest.#bytes) largest = share;
		return largest;
	}

	#change(bytes: number): void {
		this.#bytes += bytes;
		const parent = this.#parent;
		if (parent === null) return;
		if (this.#bytes > 0) parent.#shares.set(this.#name, this);
		else parent.#shares.delete(this.#name);
		parent.#change(bytes);
	}
}

/** The one kind of {@link Holding}. */
export class HeldBytes implements Holding {
	bytes = 0;
	readonly #shareOf: () => ByteShare;
	readonly #onGiveWay: () => void;
	#share: ByteShare | null = null;

	/**
	 * @param shareOf finds the share when something is taken
	 * @param onGiveWay called when it had to give way to a smaller share; it holds nothing then
	 */
	constructor(shareOf: () => ByteShare, onGiveWay: () => void) {
		this.#shareOf = shareOf;
		this.#onGiveWay = onGiveWay;
	}

	take(bytes: number): boolean {
		const share = this.#share ?? this.#shareOf();
		if (!share.add(this, bytes)) return false;
		this.#share = share;
		this.bytes += bytes;
		return true;
	}

	release(): void {
		this.#share?.remove(this);
		this.#share = null;
		this.bytes = 0;
	}

	giveWay(): void {
		this.release();
		this.#onGiveWay();
	}
}
