/** A load generator in a process of its own, seen from the benchmark. */

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Peer } from '../ipc.ts';
import { sleep } from '../timing.ts';
import type { PublishJob, PublishMark } from './publisher.ts';
import type { Received, SubscribeJob, SubscribeMark } from './subscribers.ts';

const CLOSE_TIMEOUT_MS = 1000;

/** Disposing of it ends the process. */
export class Client implements AsyncDisposable {
	readonly #child: ChildProcess;
	readonly #peer: Peer;

	constructor() {
		this.#child = fork(fileURLToPath(new URL('./process.ts', import.meta.url)), [], { execArgv: [], serialization: 'advanced' });
		this.#peer = new Peer('a load generator', this.#child);
	}

	/** Starts to publish; resolves when connected. */
	publish(job: PublishJob): Promise<void> {
		return this.#peer.ask('publish', job) as Promise<void>;
	}

	/** Starts to subscribe; resolves when every socket is subscribed. */
	subscribe(job: SubscribeJob): Promise<void> {
		return this.#peer.ask('subscribe', job) as Promise<void>;
	}

	publishMark(): Promise<PublishMark> {
		return this.#peer.ask('publishMark') as Promise<PublishMark>;
	}

	subscribeMark(): Promise<SubscribeMark> {
		return this.#peer.ask('subscribeMark') as Promise<SubscribeMark>;
	}

	/** Resolves when all messages of the job are acknowledged. */
	finish(): Promise<PublishMark> {
		return this.#peer.ask('finish') as Promise<PublishMark>;
	}

	/** Ends the publishing; resolves when what was sent is acknowledged. */
	stop(): Promise<PublishMark> {
		return this.#peer.ask('stop') as Promise<PublishMark>;
	}

	/** Waits until each socket has received `each` messages, at most `timeoutMs`. */
	received(each: number, timeoutMs: number): Promise<Received> {
		return this.#peer.ask('received', { each, timeoutMs }) as Promise<Received>;
	}

	async [Symbol.asyncDispose](): Promise<void> {
		if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
		// A generator that has failed or is stuck is ended all the same.
		await Promise.race([this.#peer.ask('close').catch(() => null), sleep(CLOSE_TIMEOUT_MS)]);
		const ended = once(this.#child, 'exit');
		this.#child.kill('SIGKILL');
		await ended;
	}
}
