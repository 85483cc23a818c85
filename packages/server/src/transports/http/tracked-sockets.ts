/**
 * Sockets, each with what is known of it. Those that have closed are found by looking now and then, and not by a listener: with one more
 * listener for `close` on the sockets of HTTP, garbage of requests outlives the young generation in about four of ten starts of Node 26, without it
 * in one of six, and publishing then costs half as much again (bench: single).
 */

import type { Socket } from 'node:net';

/** Sockets up to which it is not worth looking. */
const UNLOOKED_MAX = 128;

export class TrackedSockets<T> {
	readonly #sockets = new Map<Socket, T>();
	readonly #onClosed: (known: T) => void;
	#lookAtSize = UNLOOKED_MAX;

	/** @param onClosed called with what was known of a socket, once it is found to have closed */
	constructor(onClosed: (known: T) => void = () => {}) {
		this.#onClosed = onClosed;
	}

	add(socket: Socket, known: T): void {
		// Each look finds half of them closed, or doubles the size at which the next one is due: the cost for each socket is constant.
		if (this.#sockets.size >= this.#lookAtSize) {
			this.look();
			this.#lookAtSize = Math.max(UNLOOKED_MAX, 2 * this.#sockets.size);
		}
		this.#sockets.set(socket, known);
	}

	/** Those that have closed may be among them. */
	get size(): number {
		return this.#sockets.size;
	}

	get(socket: Socket): T | undefined {
		return this.#sockets.get(socket);
	}

	/** Forgets a socket, without a word. */
	delete(socket: Socket): void {
		this.#sockets.delete(socket);
	}

	/** Forgets those that have closed. Returns those that are left. */
	look(): ReadonlyMap<Socket, T> {
		for (const [socket, known] of this.#sockets) {
			if (!socket.destroyed) continue;
			this.#sockets.delete(socket);
			this.#onClosed(known);
		}
		return this.#sockets;
	}
}
