/**
 * The publishers of a fault run. They publish at a fixed rate as careful clients do: one message at a time per publisher and topic, and
 * each with an idempotency key again and again until it is acknowledged, on whichever relay answers.
 */

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import type { Publish, PublishOutcome } from './history.ts';

/** One try of a publish. */
export interface Attempt {
	/** Of the relay. */
	readonly url: string;
	readonly sentAtMs: number;
	readonly tookMs: number;
	/** Null when the connection was refused or broke, or no answer came in time. */
	readonly status: number | null;
	/**
	 * Whether a connection that the relay had served broke before the answer. One that was refused did not, nor one that the system resets since it
	 * still waits to be accepted when the listener closes: the relay has never seen it.
	 */
	readonly cut: boolean;
	readonly retryAfter: string | null;
}

export interface PublishersOptions {
	readonly urls: readonly string[];
	readonly topics: readonly string[];
	readonly publishers: number;
	/** Of all together. What cannot be sent because each of them waits for its acknowledgement is left out, not made up for. */
	readonly messagesPerS: number;
}

/** Longer than any answer may take: a try that takes so long is one that hangs. */
export const HANGS_MS = 10_000;
const TICK_MS = 10;
const RETRY_MIN_MS = 30;
const RETRY_MAX_MS = 90;
const FILLER = 'x'.repeat(100);

/** One publisher's messages to one topic: one at a time. */
interface Lane {
	readonly name: string;
	readonly topic: string;
	busy: boolean;
	count: number;
}

/** A publish whose outcome is filled in when it is known. */
type PublishRecord = Omit<Publish, 'outcome'> & { outcome: PublishOutcome };

/** Who waits for something of the tries and acknowledgements to come. */
interface Waiting {
	readonly isOver: (attempt: Attempt | null) => boolean;
	readonly resolve: () => void;
}

export class Publishers {
	readonly attempts: Attempt[] = [];
	readonly #options: PublishersOptions;
	readonly #lanes: readonly Lane[];
	readonly #publishes: PublishRecord[] = [];
	readonly #agent = new Agent({ keepAlive: true });
	#acked = 0;
	#waiting: Waiting[] = [];
	#underWay = 0;
	#timer: NodeJS.Timeout | undefined;
	#givenUp = false;
	#idle: () => void = () => {};

	constructor(options: PublishersOptions) {
		this.#options = options;
		this.#lanes = Array.from({ length: options.publishers }, (_, publisher) =>
			options.topics.map((topic) => ({ name: `p${publisher}`, topic, busy: false, count: 0 })),
		).flat();
	}

	get acked(): number {
		return this.#acked;
	}

	get publishes(): readonly Publish[] {
		return this.#publishes;
	}

	start(): void {
		let last = performance.now();
		let due = 0;
		this.#timer = setInterval(() => {
			const now = performance.now();
			due += ((now - last) * this.#options.messagesPerS) / 1000;
			last = now;
			const free = this.#lanes.filter(({ busy }) => !busy);
			for (; due >= 1 && free.length > 0; due--) {
				const [lane] = free.splice(Math.floor(Math.random() * free.length), 1);
				if (lane !== undefined) void this.#publish(lane);
			}
			if (due > 1) due = 1;
		}, TICK_MS);
	}

	/** Resolves when so many have been acknowledged since the start. */
	untilAcked(count: number): Promise<void> {
		return this.#until(() => this.#acked >= count);
	}

	/** Resolves when so many more tries have ended like that. */
	untilTried(isLikeThat: (attempt: Attempt) => boolean, count = 1): Promise<void> {
		let seen = 0;
		return this.#until((attempt) => attempt !== null && isLikeThat(attempt) && ++seen >= count);
	}

	/** Starts no more, and resolves when what is under way is acknowledged, or given up after the time. */
	async stop(patienceMs: number): Promise<void> {
		clearInterval(this.#timer);
		const timer = setTimeout(() => {
			this.#givenUp = true;
		}, patienceMs);
		if (this.#underWay > 0) await new Promise<void>((resolve) => (this.#idle = resolve));
		clearTimeout(timer);
		this.#agent.destroy();
	}

	async #publish(lane: Lane): Promise<void> {
		lane.busy = true;
		this.#underWay++;
		const key = `${lane.name}-${lane.topic}-${lane.count++}`;
		const payload = JSON.stringify(`${key} ${FILLER}`);
		const record: PublishRecord = { topic: lane.topic, key, lane: lane.name, payload, outcome: { status: 'unknown' } };
		this.#publishes.push(record);
		record.outcome = await this.#untilSettled(key, `{"topic":${JSON.stringify(lane.topic)},"payload":${payload}}`);
		lane.busy = false;
		this.#underWay--;
		if (record.outcome.status === 'acked') this.#acked++;
		this.#look(null);
		if (this.#underWay === 0) this.#idle();
	}

	#until(isOver: Waiting['isOver']): Promise<void> {
		if (isOver(null)) return Promise.resolve();
		return new Promise((resolve) => this.#waiting.push({ isOver, resolve }));
	}

	#noteAttempt(attempt: Attempt): void {
		this.attempts.push(attempt);
		this.#look(attempt);
	}

	#look(attempt: Attempt | null): void {
		this.#waiting = this.#waiting.filter(({ isOver, resolve }) => {
			if (!isOver(attempt)) return true;
			resolve();
			return false;
		});
	}

	async #untilSettled(key: string, body: string): Promise<PublishOutcome> {
		while (!this.#givenUp) {
			const answer = await this.#post(key, body);
			if (answer?.status === 201) {
				const { message_id: id } = JSON.parse(answer.text) as { message_id: string };
				return { status: 'acked', id, atMs: performance.now() };
			}
			if (answer !== null && answer.status < 500 && answer.status !== 429) return { status: 'refused' };
			await new Promise((resolve) => setTimeout(resolve, RETRY_MIN_MS + Math.random() * (RETRY_MAX_MS - RETRY_MIN_MS)));
		}
		return { status: 'unknown' };
	}

	/** Null without an answer. */
	async #post(key: string, body: string): Promise<{ readonly status: number; readonly text: string } | null> {
		const { urls } = this.#options;
		const url = urls[Math.floor(Math.random() * urls.length)];
		assert(url !== undefined);
		const sentAtMs = performance.now();
		let cut = false;
		const answer = await post(this.#agent, `${url}/api/v1/messages`, key, body).catch((error: unknown) => {
			cut = error instanceof CutOff;
			return null;
		});
		this.#noteAttempt({
			url,
			sentAtMs,
			tookMs: performance.now() - sentAtMs,
			status: answer?.status ?? null,
			cut,
			retryAfter: answer?.retryAfter ?? null,
		});
		return answer;
	}
}

interface PostAnswer {
	readonly status: number;
	readonly retryAfter: string | null;
	readonly text: string;
}

/** See {@link Attempt.cut}. */
class CutOff extends Error {}

/** Sends a publish; a plain request, since fetch would take the processor from the relay under test. */
function post(agent: Agent, url: string, key: string, body: string): Promise<PostAnswer> {
	return new Promise((resolve, reject) => {
		const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), 'idempotency-key': key };
		const sent = request(url, { agent, method: 'POST', headers, timeout: HANGS_MS }, (response) => {
			const chunks: Buffer[] = [];
			response.on('data', (chunk: Buffer) => chunks.push(chunk));
			response.on('error', reject);
			response.on('end', () =>
				resolve({
					status: response.statusCode ?? 0,
					retryAfter: response.headers['retry-after'] ?? null,
					text: Buffer.concat(chunks).toString(),
				}),
			);
		});
		sent.on('timeout', () => sent.destroy(new Error('no answer')));
		sent.on('error', (error: NodeJS.ErrnoException) => {
			const broke = error.code === 'ECONNRESET' || error.code === 'EPIPE';
			reject(broke && sent.reusedSocket ? new CutOff('the connection broke', { cause: error }) : error);
		});
		sent.end(body);
	});
}
