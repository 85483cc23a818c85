/**
 * The load on the subscribing side: many WebSockets that count what they get. One in `sampleEvery` also reads each message for
 * its time of sending, and fails on a gap or an error.
 */

import { connect, type Socket } from 'node:net';
import { Samples } from '../statistics.ts';
import { nowMs } from '../timing.ts';
import { FrameCounter } from './frame-counter.ts';
import { readTime } from './payload.ts';

export interface SubscribeJob {
	readonly url: string;
	readonly sockets: number;
	/** Socket i follows topic i modulo their number. */
	readonly topics: readonly string[];
	readonly offset: 'last' | 'earliest';
	readonly sampleEvery: number | null;
	/** Bearer token; default none. */
	readonly token?: string;
}

/** What has been received. */
export interface SubscribeMark {
	readonly atMs: number;
	/** Since the start, over all sockets. */
	readonly messages: number;
	/** From sending to receiving, since the last mark, of the sampled sockets. */
	readonly latenciesMs: Float64Array;
}

/** How far a wait for messages has got. */
export interface Received {
	/** False when the wait was given up. */
	readonly complete: boolean;
	/** Over all sockets, at the end. */
	readonly messages: number;
	/** Since the subscribe frames were sent. */
	readonly elapsedMs: number;
}

/** Handshakes under way at once, below any usual listen backlog. */
const HANDSHAKES_MAX = 100;
/** All sockets of the process read into the same memory: nothing of it is kept. */
const READ_BUFFER_BYTES = 256 * 1024;
/** A masked pong without content. The mask is zero: masking is for browsers. */
const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0]);

interface Subscriber {
	readonly socket: Socket;
	readonly frames: FrameCounter;
}

export class Subscribers {
	readonly #job: SubscribeJob;
	readonly #subscribers: Subscriber[] = [];
	readonly #latencies = new Samples();
	readonly #buffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
	#subscribedAtMs = 0;
	#failure: Error | null = null;
	/** Called after each read while somebody waits for messages. */
	#watch: (() => void) | null = null;

	private constructor(job: SubscribeJob) {
		this.#job = job;
	}

	/** Connects all sockets, then subscribes them all. */
	static async start(job: SubscribeJob): Promise<Subscribers> {
		const subscribers = new Subscribers(job);
		for (let opened = 0; opened < job.sockets; opened += HANDSHAKES_MAX) {
			const count = Math.min(HANDSHAKES_MAX, job.sockets - opened);
			subscribers.#subscribers.push(
				...(await Promise.all(Array.from({ length: count }, (_, i) => subscribers.#open(opened + i)))),
			);
		}
		subscribers.#subscribedAtMs = nowMs();
		subscribers.#subscribers.forEach(({ socket }, index) => {
			const topic = job.topics[index % job.topics.length];
			socket.write(textFrame(JSON.stringify({ type: 'subscribe', topics: [topic], offset: job.offset })));
		});
		const { complete } = await subscribers.received(0, 30_000);
		if (!complete) throw new Error('not every socket was answered `subscribed`');
		return subscribers;
	}

	/** Messages that the socket with the fewest has received. The first text frame is the answer to the subscribe. */
	get slowest(): number {
		let fewest = Number.POSITIVE_INFINITY;
		for (const { frames } of this.#subscribers) if (frames.texts < fewest) fewest = frames.texts;
		return fewest - 1;
	}

	/** Throws when a socket has failed. */
	mark(): SubscribeMark {
		if (this.#failure !== null) throw this.#failure;
		return { atMs: nowMs(), messages: this.#messages(), latenciesMs: this.#latencies.take() };
	}

	/** Resolves when each socket has received `each` messages, or the time is up. Rejects when a socket fails. */
	received(each: number, timeoutMs: number): Promise<Received> {
		return new Promise((resolve, reject) => {
			// Sockets complete one after the other: the ones before this index have.
			let complete = 0;
			const finish = () => {
				clearTimeout(timer);
				this.#watch = null;
				if (this.#failure !== null) reject(this.#failure);
				else
					resolve({
						complete: complete === this.#subscribers.length,
						messages: this.#messages(),
						elapsedMs: nowMs() - this.#subscribedAtMs,
					});
			};
			const timer = setTimeout(finish, timeoutMs);
			this.#watch = () => {
				while (complete < this.#subscribers.length && (this.#subscribers[complete]?.frames.texts ?? 0) > each) complete++;
				if (complete === this.#subscribers.length || this.#failure !== null) finish();
			};
			this.#watch();
		});
	}

	/** Ends all connections by a reset: closed ones would each keep their port for a minute. */
	close(): void {
		for (const { socket } of this.#subscribers) socket.resetAndDestroy();
	}

	#messages(): number {
		let texts = 0;
		for (const { frames } of this.#subscribers) texts += frames.texts;
		return texts - this.#subscribers.length;
	}

	#fail(what: string): void {
		this.#failure ??= new Error(what);
		this.#watch?.();
	}

	#open(index: number): Promise<Subscriber> {
		const { url, sampleEvery } = this.#job;
		const { hostname, port, host } = new URL(url);
		const sampled = sampleEvery !== null && index % sampleEvery === 0;
		const frames = new FrameCounter({
			text: sampled ? (content) => this.#read(content) : null,
			ping: () => socket.write(PONG),
			close: (code, reason) => this.#fail(`the server closed a WebSocket: ${code} ${reason}`),
		});
		const { promise, resolve, reject } = Promise.withResolvers<Subscriber>();
		let head: string | null = '';
		const read = (count: number) => {
			const data = this.#buffer.subarray(0, count);
			if (head === null) {
				frames.take(data);
				this.#watch?.();
				return true;
			}
			head += data.toString('latin1');
			const end = head.indexOf('\r\n\r\n');
			if (end < 0) return true;
			if (head.startsWith('HTTP/1.1 101 ')) resolve({ socket, frames });
			else reject(new Error(`no WebSocket: ${head.slice(0, 200)}`));
			const rest = head.slice(end + 4);
			head = null;
			if (rest !== '') frames.take(Buffer.from(rest, 'latin1'));
			return true;
		};
		const socket = connect({
			host: hostname,
			port: Number(port),
			noDelay: true,
			onread: { buffer: this.#buffer, callback: read },
		});
		const fail = (error: Error) => {
			reject(error);
			this.#fail(`a WebSocket failed: ${error.message}`);
		};
		socket.on('error', fail);
		socket.on('close', () => fail(new Error('closed by the server')));
		const { token } = this.#job;
		const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`;
		socket.write(
			`GET /ws HTTP/1.1\r\nHost: ${host}\r\n${authorization}Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
		);
		return promise;
	}

	#read(content: Buffer): void {
		const sentMs = readTime(content);
		if (!Number.isNaN(sentMs)) this.#latencies.add(nowMs() - sentMs);
		else if (!content.includes('"subscribed"')) this.#fail(`unexpected frame: ${content.toString('utf8', 0, 300)}`);
	}
}

function textFrame(content: string): Buffer {
	const body = Buffer.from(content);
	const header = body.length < 126 ? [0x81, 0x80 | body.length] : [0x81, 0x80 | 126, body.length >>> 8, body.length & 0xff];
	return Buffer.concat([Buffer.from([...header, 0, 0, 0, 0]), body]);
}
