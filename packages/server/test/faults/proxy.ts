/** A TCP proxy between a relay and its store, to make a network that fails in ways a loopback does not. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface Address {
	readonly host: string;
	readonly port: number;
}

export interface TcpProxy extends Address {
	/** Connections open through it now. */
	readonly connections: number;
	/** Holds every byte back for so long, both ways. 0 = not at all. */
	delay(ms: number): void;
	/** Sends new connections to another address. */
	moveTo(target: Address): void;
	/** Refuses new connections, until {@link accept}; those that are open stay. */
	refuse(): Promise<void>;
	accept(): Promise<void>;
	/** Breaks the open connections, with a RST to both sides. */
	reset(): void;
	/**
	 * Leaves the open connections standing and carries nothing through them any more, as when a peer has gone without a FIN. New
	 * connections work.
	 */
	deaden(): void;
	/** On the open connections lets requests through and keeps back what is answered; the first answer kept back breaks the connection. */
	dropReplies(): void;
	/** Breaks the connection on which something is answered next, open now or not, and keeps the answer back; resolves when it has. */
	dropNextReply(): Promise<void>;
	/**
	 * Carries the first bytes of what is answered next, on whichever connection, and no more of that connection; resolves when it has. The
	 * sender of a long answer is then in the middle of it.
	 */
	stopInNextReply(): Promise<void>;
	close(): Promise<void>;
	[Symbol.asyncDispose](): Promise<void>;
}

const HOST = '127.0.0.1';

/** Starts a proxy on a free port. */
export async function startProxy(target: Address): Promise<TcpProxy> {
	const proxy = new RunningProxy(target);
	await proxy.accept();
	return proxy;
}

class RunningProxy implements TcpProxy {
	readonly host = HOST;
	port = 0;
	#target: Address;
	#delayMs = 0;
	/** Called with the next answer instead of it being carried. */
	#dropped: (() => void) | null = null;
	/** Called when the first bytes of the next answer have been carried. */
	#stopped: (() => void) | null = null;
	#server: Server | null = null;
	readonly #pairs = new Set<Pair>();

	constructor(target: Address) {
		this.#target = target;
	}

	get connections(): number {
		return this.#pairs.size;
	}

	delay(ms: number): void {
		this.#delayMs = ms;
	}

	moveTo(target: Address): void {
		this.#target = target;
	}

	async refuse(): Promise<void> {
		// Its close event would wait for the connections, which stay.
		this.#server?.close();
		this.#server = null;
	}

	async accept(): Promise<void> {
		assert(this.#server === null, 'it accepts already');
		const server = createServer({ noDelay: true }, (client) => this.#carry(client));
		server.listen(this.port, HOST);
		await once(server, 'listening');
		this.port = (server.address() as AddressInfo).port;
		this.#server = server;
	}

	reset(): void {
		for (const pair of this.#pairs) pair.reset();
	}

	deaden(): void {
		for (const pair of this.#pairs) pair.deaden();
	}

	dropReplies(): void {
		for (const pair of this.#pairs) pair.dropReplies();
	}

	dropNextReply(): Promise<void> {
		return new Promise((resolve) => {
			this.#dropped = resolve;
		});
	}

	stopInNextReply(): Promise<void> {
		return new Promise((resolve) => {
			this.#stopped = resolve;
		});
	}

	async close(): Promise<void> {
		await this.refuse();
		await Promise.all(Array.from(this.#pairs, (pair) => pair.close()));
	}

	[Symbol.asyncDispose](): Promise<void> {
		return this.close();
	}

	#carry(client: Socket): void {
		const server = connect({ host: this.#target.host, port: this.#target.port, noDelay: true });
		const dropsReply = () => {
			const dropped = this.#dropped;
			this.#dropped = null;
			dropped?.();
			return dropped !== null;
		};
		const stopsInReply = () => {
			const stopped = this.#stopped;
			this.#stopped = null;
			stopped?.();
			return stopped !== null;
		};
		const pair = new Pair(client, server, { delayMs: () => this.#delayMs, dropsReply, stopsInReply });
		this.#pairs.add(pair);
		void pair.closed.then(() => this.#pairs.delete(pair));
	}
}

/** How the network is now. */
interface Network {
	readonly delayMs: () => number;
	/** Whether the answer at hand is the one to be kept back. */
	readonly dropsReply: () => boolean;
	/** Whether the answer at hand is the one of which only the first bytes are carried. */
	readonly stopsInReply: () => boolean;
}

/**
 * A connection through the proxy.
 *
 * - `carrying`: bytes go through. Leaves to any other.
 * - `deaf`: answers are kept back; the first one resets.
 * - `dead`: nothing goes through, and neither side hears of the other any more.
 */
class Pair {
	#state: 'carrying' | 'deaf' | 'dead' = 'carrying';
	readonly #client: Socket;
	readonly #server: Socket;
	readonly #network: Network;
	/** Resolves when both sides are closed. */
	readonly closed: Promise<unknown>;

	constructor(client: Socket, server: Socket, network: Network) {
		this.#client = client;
		this.#server = server;
		this.#network = network;
		this.closed = Promise.all([client, server].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
		this.#join(client, server, 'request');
		this.#join(server, client, 'reply');
	}

	/** Lets go of both sides at once, where a reset may wait for what is yet to be written. */
	async close(): Promise<void> {
		this.#client.destroy();
		this.#server.destroy();
		await this.closed;
	}

	reset(): void {
		this.#client.resetAndDestroy();
		this.#server.resetAndDestroy();
	}

	deaden(): void {
		this.#state = 'dead';
		this.#client.pause();
		this.#server.pause();
	}

	dropReplies(): void {
		this.#state = 'deaf';
	}

	#join(from: Socket, to: Socket, direction: 'request' | 'reply'): void {
		const later = inOrder(this.#network.delayMs);
		from.on('data', (chunk: Buffer) =>
			later(() => {
				if (this.#state === 'dead') return;
				if (direction === 'reply' && (this.#state === 'deaf' || this.#network.dropsReply())) this.reset();
				else if (!to.destroyed && !to.write(chunk)) from.pause();
				if (direction === 'reply' && this.#network.stopsInReply()) this.deaden();
			}),
		);
		to.on('drain', () => {
			if (this.#state !== 'dead') from.resume();
		});
		from.on('end', () => later(() => this.#state !== 'dead' && to.end()));
		// What became of a broken connection its other side is told by its close.
		from.on('error', () => {});
		from.on('close', () => {
			if (this.#state !== 'dead') later(() => to.destroy());
		});
	}
}

/** Runs each act after the delay of the moment, and never before one that came earlier: bytes must not overtake each other. */
function inOrder(delayMs: () => number): (act: () => void) => void {
	const waiting: { readonly dueMs: number; readonly act: () => void }[] = [];
	const runDue = () => {
		for (let next = waiting[0]; next !== undefined; next = waiting[0]) {
			const leftMs = next.dueMs - performance.now();
			if (leftMs > 0) {
				setTimeout(runDue, leftMs);
				return;
			}
			next.act();
			waiting.shift();
		}
	};
	return (act) => {
		const delay = delayMs();
		if (delay === 0 && waiting.length === 0) {
			act();
			return;
		}
		waiting.push({ dueMs: performance.now() + delay, act });
		if (waiting.length === 1) setTimeout(runDue, delay);
	};
}
