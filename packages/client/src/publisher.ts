/**
 * Publishing that is safe to repeat: each message has an idempotency key of the client's own making, waits in a bounded outbox, and is sent again
 * until the relay has answered. Messages of one topic are stored in the order of the calls, one request at a time; topics do not wait for
 * each other.
 */

import { Backoff } from './backoff.ts';
import type { Clock } from './clock.ts';
import { RelayError } from './errors.ts';
import { isPassing, type Requests } from './requests.ts';

/** A JSON text to publish as it is: what `JSON.stringify` would round or respell. */
export class RawJson {
	readonly text: string;

	/** @param text well-formed JSON; the relay refuses anything else */
	constructor(text: string) {
		this.text = text;
	}
}

export interface PublishOptions {
	/** Idempotency key; default a random one. The same key with the same message stores it once. */
	readonly key?: string;
	/** Seconds for which the message may be delivered. */
	readonly ttl?: number;
	readonly metadata?: Readonly<Record<string, string>>;
	/** Gives up: the promise rejects with its reason. Whether a message on its way was stored is not known then. */
	readonly signal?: AbortSignal;
}

/** What the relay stored. */
export interface Published {
	readonly id: string;
	readonly timestamp: Date;
}

interface Waiting {
	readonly topic: string;
	readonly key: string;
	/** The body of the request, without its topic's brackets. */
	readonly body: string;
	readonly resolve: (published: Published) => void;
	readonly reject: (error: unknown) => void;
	over: boolean;
}

const OUTBOX_MESSAGES_MAX = 10_000;
const OUTBOX_LENGTH_MAX = 16 * 1024 * 1024;

export class Publisher {
	readonly #requests: Requests;
	readonly #clock: Clock;
	/** By topic; the first is on its way. */
	readonly #queues = new Map<string, Waiting[]>();
	#messages = 0;
	#length = 0;
	#closed: RelayError | null = null;

	constructor(requests: Requests, clock: Clock) {
		this.#requests = requests;
		this.#clock = clock;
	}

	/** Rejects with the relay's error when it will not pass, `outbox_full`, or the signal's reason. */
	publish(topic: string, value: unknown, { key = randomKey(), ttl, metadata, signal }: PublishOptions = {}): Promise<Published> {
		if (this.#closed !== null) return Promise.reject(this.#closed);
		if (signal?.aborted === true) return Promise.reject(signal.reason);
		const payload = value instanceof RawJson ? value.text : JSON.stringify(value);
		if (payload === undefined)
			return Promise.reject(new RelayError('invalid_argument', 'the value has no JSON form: publish null instead'));
		const extras = `${ttl === undefined ? '' : `,"ttl":${JSON.stringify(ttl)}`}${metadata === undefined ? '' : `,"metadata":${JSON.stringify(metadata)}`}`;
		const body = `{"topic":${JSON.stringify(topic)},"payload":${payload}${extras}}`;
		if (this.#messages >= OUTBOX_MESSAGES_MAX || this.#length + body.length > OUTBOX_LENGTH_MAX) {
			const limit = `${OUTBOX_MESSAGES_MAX} messages or ${OUTBOX_LENGTH_MAX} characters`;
			return Promise.reject(
				new RelayError('outbox_full', `more than ${limit} wait to be published: await what publish() returns`),
			);
		}
		const { promise, resolve, reject } = Promise.withResolvers<Published>();
		const waiting: Waiting = { topic, key, body, resolve, reject, over: false };
		signal?.addEventListener('abort', () => this.#settle(waiting, () => reject(signal.reason)), { once: true });
		this.#messages++;
		this.#length += body.length;
		const queue = this.#queues.get(topic);
		if (queue !== undefined) queue.push(waiting);
		else {
			this.#queues.set(topic, [waiting]);
			void this.#drain(topic);
		}
		return promise;
	}

	/** Rejects everything that waits. */
	close(error: RelayError): void {
		this.#closed = error;
		for (const queue of this.#queues.values()) for (const waiting of queue) this.#settle(waiting, () => waiting.reject(error));
	}

	#settle(waiting: Waiting, how: () => void): void {
		if (waiting.over) return;
		waiting.over = true;
		this.#messages--;
		this.#length -= waiting.body.length;
		how();
	}

	async #drain(topic: string): Promise<void> {
		const queue = this.#queues.get(topic) ?? [];
		for (let next = queue[0]; next !== undefined; next = queue[0]) {
			if (!next.over) await this.#send(next);
			queue.shift();
		}
		this.#queues.delete(topic);
	}

	/** Sends one message until it is settled. */
	async #send(waiting: Waiting): Promise<void> {
		const backoff = new Backoff(this.#clock);
		while (!waiting.over) {
			try {
				const answer = JSON.parse(
					await this.#requests.text('/api/v1/messages', {
						method: 'POST',
						headers: { 'content-type': 'application/json', 'idempotency-key': waiting.key },
						body: waiting.body,
					}),
				) as { message_id: string; timestamp: string };
				this.#settle(waiting, () => waiting.resolve({ id: answer.message_id, timestamp: new Date(answer.timestamp) }));
			} catch (thrown) {
				const error =
					thrown instanceof RelayError ? thrown : new RelayError('not_a_relay', 'the answer is no JSON', { cause: thrown });
				if (!isPassing(error)) this.#settle(waiting, () => waiting.reject(error));
				else await this.#pause(error.retryAfterMs ?? backoff.next());
			}
		}
	}

	#pause(delayMs: number): Promise<void> {
		return new Promise((resolve) => {
			this.#clock.after(delayMs, resolve);
		});
	}
}

function randomKey(): string {
	return crypto.randomUUID();
}
