/** The load on the publishing side: four ways to publish, counted by what the server has acknowledged. */

import { Samples } from '../statistics.ts';
import { nowMs, sleep } from '../timing.ts';
import { connectTo, HttpConnection, type HttpResponse } from './http-connection.ts';
import { ResponseReader } from './http-response.ts';
import { payloadOf, timeOffset, writeTime } from './payload.ts';

/**
 * - `in turn`: each connection sends its next request, of `batch` messages, when the last one is answered.
 * - `stream`: each connection sends one endless NDJSON body as fast as the server takes it, or, with `aheadMax`, no more than that
 *   many messages ahead of the slowest subscriber of this process.
 * - `paced`: single messages by the clock, pipelined over the connections, without waiting for answers. Each carries its time.
 */
export type Load =
	| { readonly kind: 'in turn'; readonly batch: number }
	| { readonly kind: 'stream'; readonly aheadMax: number | null }
	| { readonly kind: 'paced'; readonly perSecond: number };

export interface PublishJob {
	readonly url: string;
	readonly topic: string;
	readonly load: Load;
	readonly connections: number;
	readonly payloadBytes: number;
	/** Stop by itself after this many; null = go on until told. A multiple of the batch, for a stream of {@link STREAM_LINES}. */
	readonly messagesMax: number | null;
	/** Bearer token; default none. */
	readonly token?: string;
}

/** What happened since the last mark. */
export interface PublishMark {
	readonly atMs: number;
	/** Messages acknowledged since the start. */
	readonly acked: number;
	/** Messages that a paced load left out since the start, because too many were unanswered. */
	readonly leftOut: number;
	/** Request latencies since the last mark. */
	readonly latenciesMs: Float64Array;
}

/** Messages in one write of a stream. */
const STREAM_LINES = 100;
/** Unanswered messages at which a paced load leaves out what is due. */
const UNANSWERED_MAX = 20_000;
const LF = 0x0a;

export class Publisher {
	readonly #job: PublishJob;
	/** Messages that the slowest subscriber of this process has received. */
	readonly #slowest: () => number;
	readonly #latencies = new Samples();
	#sent = 0;
	#acked = 0;
	#leftOut = 0;
	#stopped = false;
	readonly #lanes: Promise<void>[] = [];
	#failure: unknown = null;

	private constructor(job: PublishJob, slowest: () => number) {
		this.#job = job;
		this.#slowest = slowest;
	}

	/** Connects and starts to publish. */
	static async start(job: PublishJob, slowest: () => number): Promise<Publisher> {
		const publisher = new Publisher(job, slowest);
		const lanes = await publisher.#open();
		for (const lane of lanes) {
			publisher.#lanes.push(
				lane().catch((error: unknown) => {
					publisher.#failure ??= error;
				}),
			);
		}
		return publisher;
	}

	/** Throws when something has failed. */
	mark(): PublishMark {
		this.#throwFailure();
		return { atMs: nowMs(), acked: this.#acked, leftOut: this.#leftOut, latenciesMs: this.#latencies.take() };
	}

	/** Publishes to the end of the job; resolves when all of it is acknowledged. */
	async finish(): Promise<PublishMark> {
		await Promise.all(this.#lanes);
		return this.mark();
	}

	/** Publishes no more; resolves when what is under way is acknowledged. */
	stop(): Promise<PublishMark> {
		this.#stopped = true;
		return this.finish();
	}

	get #more(): boolean {
		return !this.#stopped && this.#failure === null && this.#sent < (this.#job.messagesMax ?? Number.POSITIVE_INFINITY);
	}

	async #open(): Promise<(() => Promise<void>)[]> {
		const { url, load, connections } = this.#job;
		const numbers = Array.from({ length: connections }, (_, index) => index);
		if (load.kind === 'stream') {
			const sockets = await Promise.all(numbers.map(() => connectTo(url)));
			return sockets.map((socket) => () => this.#stream(socket, load.aheadMax));
		}
		const opened = await Promise.all(numbers.map(() => HttpConnection.open(url)));
		if (load.kind === 'paced') return [() => this.#paced(opened, load.perSecond)];
		return opened.map((connection) => () => this.#inTurn(connection, load.batch));
	}

	async #inTurn(connection: HttpConnection, batch: number): Promise<void> {
		const message = messageOf(this.#job);
		const request =
			batch === 1
				? requestOf(this.#job, '/api/v1/messages', message)
				: requestOf(this.#job, '/api/v1/messages/bulk', `{"messages":[${Array(batch).fill(message).join(',')}]}`);
		while (this.#more) {
			this.#sent += batch;
			const sentMs = nowMs();
			expectAccepted(await connection.request(request), batch === 1 ? 201 : 207);
			this.#latencies.add(nowMs() - sentMs);
			this.#acked += batch;
		}
		connection.socket.destroy();
	}

	async #paced(connections: readonly HttpConnection[], perSecond: number): Promise<void> {
		const template = requestOf(this.#job, '/api/v1/messages', messageOf(this.#job));
		const offset = timeOffset(template);
		const answers = new Set<Promise<void>>();
		const startedMs = nowMs();
		let due = 0;
		while (this.#more) {
			due = Math.floor(((nowMs() - startedMs) / 1000) * perSecond);
			for (; this.#sent + this.#leftOut < due; ) {
				const connection = connections[this.#sent % connections.length];
				if (connection === undefined || answers.size >= UNANSWERED_MAX) {
					this.#leftOut++;
					continue;
				}
				this.#sent++;
				const request = Buffer.from(template);
				const sentMs = nowMs();
				writeTime(request, offset, sentMs);
				const answer: Promise<void> = connection
					.request(request)
					.then((response) => {
						expectAccepted(response, 201);
						this.#latencies.add(nowMs() - sentMs);
						this.#acked++;
					})
					.catch((error: unknown) => {
						this.#failure ??= error;
					})
					.finally(() => answers.delete(answer));
				answers.add(answer);
			}
			await sleep(1);
		}
		await Promise.all(answers);
		for (const { socket } of connections) socket.destroy();
	}

	/** One endless request. The server acknowledges with a line per message. */
	#stream(socket: Awaited<ReturnType<typeof connectTo>>, aheadMax: number | null): Promise<void> {
		const lines = Buffer.from(`${messageOf(this.#job)}\n`.repeat(STREAM_LINES));
		const chunk = Buffer.concat([Buffer.from(`${lines.length.toString(16)}\r\n`), lines, Buffer.from('\r\n')]);
		const { promise, resolve, reject } = Promise.withResolvers<void>();
		let status = 0;
		const reader = new ResponseReader({
			head: (answered) => {
				status = answered;
			},
			body: (part) => {
				if (status !== 200 || part.includes('"status":"rejected"'))
					reject(new Error(`a stream was refused: ${status} ${part.toString().slice(0, 300)}`));
				for (let at = part.indexOf(LF); at >= 0; at = part.indexOf(LF, at + 1)) this.#acked++;
			},
			end: () => {
				// The last line is a summary.
				this.#acked--;
				resolve();
				socket.destroy();
			},
		});
		const pump = () => {
			while (this.#more) {
				if (aheadMax !== null && this.#sent - this.#slowest() >= aheadMax) {
					setTimeout(pump, 1);
					return;
				}
				this.#sent += STREAM_LINES;
				if (!socket.write(chunk)) {
					socket.once('drain', pump);
					return;
				}
			}
			socket.write('0\r\n\r\n');
		};
		socket.on('data', (data: Buffer) => reader.take(data));
		socket.on('error', reject);
		socket.on('close', () => reject(new Error('the server closed a stream')));
		socket.write(
			`POST /api/v1/messages/stream HTTP/1.1\r\nHost: ${new URL(this.#job.url).host}\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n`,
		);
		pump();
		return promise;
	}

	#throwFailure(): void {
		if (this.#failure !== null) throw this.#failure;
	}
}

function messageOf({ topic, payloadBytes }: PublishJob): string {
	return `{"topic":"${topic}","payload":${payloadOf(payloadBytes)}}`;
}

function requestOf({ url, token }: PublishJob, path: string, body: string): Buffer {
	const { host } = new URL(url);
	const authorization = token === undefined ? '' : `Authorization: Bearer ${token}\r\n`;
	return Buffer.from(
		`POST ${path} HTTP/1.1\r\nHost: ${host}\r\n${authorization}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
	);
}

function expectAccepted({ status, body }: HttpResponse, expected: number): void {
	if (status !== expected || body.includes('"status":"rejected"')) {
		throw new Error(`a publish was refused: ${status} ${body.toString().slice(0, 300)}`);
	}
}
