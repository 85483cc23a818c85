/** Load on a proxy while a relay behind it ends. */

import { randomUUID } from 'node:crypto';
import { askOnce, type Front, type FrontAnswer, keepAliveAgent, publish } from './client.ts';

/** Of one publish. */
const ATTEMPTS_MAX = 100;

/** Clients that publish and poll without a pause, on connections that they keep; a publish that got 502 is repeated with its key. */
export class Load {
	/** What was answered otherwise than it should be. */
	readonly failures: string[] = [];
	/** Publishes that got 502 and were sent again. */
	repeated = 0;
	readonly #front: Front;
	readonly #agent = keepAliveAgent(12);
	readonly #clients: readonly Promise<void>[];
	readonly #stopped = new AbortController();
	readonly #waiting = new Set<() => void>();
	#published = 0;

	constructor(front: Front, topic: string) {
		this.#front = front;
		this.#clients = Array.from({ length: 12 }, (_, n) => this.#client(topic, n % 3 === 0));
	}

	/** Resolves once so many more requests have been answered. */
	async answers(count: number): Promise<void> {
		for (let i = 0; i < count; i++) await new Promise<void>((resolve) => this.#waiting.add(resolve));
	}

	/** Resolves with how many messages were published. */
	async stop(): Promise<number> {
		this.#stopped.abort();
		await Promise.all(this.#clients);
		this.#agent.destroy();
		return this.#published;
	}

	async #client(topic: string, polls: boolean): Promise<void> {
		while (!this.#stopped.signal.aborted) {
			const answer = await (polls ? this.#poll(topic) : this.#publish(topic)).catch(String);
			if (typeof answer === 'string') this.failures.push(answer);
			else if (answer.status !== (polls ? 200 : 201)) this.failures.push(`${answer.status} ${answer.body}`);
			for (const resolve of this.#waiting) resolve();
			this.#waiting.clear();
		}
	}

	#poll(topic: string): Promise<FrontAnswer> {
		return askOnce(this.#front, `/api/v1/poll?topics=${topic}&timeout=1`, { agent: this.#agent });
	}

	async #publish(topic: string): Promise<FrontAnswer> {
		const headers = { 'idempotency-key': randomUUID() };
		this.#published++;
		for (let attempt = 1; ; attempt++) {
			const answer = await publish(this.#front, topic, 1, { agent: this.#agent, headers });
			if (answer.status !== 502 || attempt === ATTEMPTS_MAX) return answer;
			this.repeated++;
		}
	}
}
