/** The calls that read pages, on the main thread: handed to the reader's thread, settled in whatever order it answers. */

import type { RelayError } from '@pulsar-relay/protocol/errors';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { ReadLimits } from '../../log/page.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Page } from '../../ports/store.ts';
import { unavailable } from './failure.ts';
import { unflattenBlocks } from './flat-blocks.ts';
import type { ReadReply, ReadRequest, StoreFailure, WorkerSetup } from './messages.ts';
import { SupervisedWorker } from './supervised-worker.ts';

interface ReadCall {
	readonly resolve: (page: Page) => void;
	readonly reject: (error: RelayError) => void;
}

export class Reads {
	readonly #reader: SupervisedWorker<null, ReadRequest, ReadReply>;
	readonly #calls = new Map<number, ReadCall>();
	#lastId = 0;
	#failure: StoreFailure | null = null;

	constructor(setup: WorkerSetup, clock: Clock) {
		this.#reader = new SupervisedWorker({
			module: new URL('./reader.ts', import.meta.url),
			setup,
			clock,
			listener: {
				ready: () => {
					this.#failure = null;
				},
				reply: (reply) => this.#settle(reply),
				died: (failure) => this.#died(failure),
			},
		});
	}

	/** Why nothing can be read, or null. */
	get failure(): StoreFailure | null {
		return this.#failure;
	}

	/** Starts the thread. Null when it serves, else why not. */
	open(): Promise<StoreFailure | null> {
		return this.#reader.start();
	}

	after(topic: string, after: MessageId, limits: ReadLimits): Promise<Page> {
		return this.#read({ kind: 'after', id: ++this.#lastId, topic, after, limits });
	}

	before(topic: string, before: MessageId | null, limits: ReadLimits): Promise<Page> {
		return this.#read({ kind: 'before', id: ++this.#lastId, topic, before, limits });
	}

	/** Ends the thread; what was asked before is answered. */
	close(): Promise<void> {
		return this.#reader.close();
	}

	#read(request: ReadRequest): Promise<Page> {
		if (this.#failure !== null) return Promise.reject(unavailable(this.#failure));
		return new Promise((resolve, reject) => {
			this.#calls.set(request.id, { resolve, reject });
			this.#reader.post(request, []);
		});
	}

	#settle(reply: ReadReply): void {
		const call = this.#calls.get(reply.id);
		this.#calls.delete(reply.id);
		if (reply.kind === 'page') call?.resolve({ ...reply.position, blocks: unflattenBlocks(reply.blocks) });
		else call?.reject(unavailable(reply.failure));
	}

	#died(failure: StoreFailure): void {
		this.#failure = failure;
		for (const call of this.#calls.values()) call.reject(unavailable(failure));
		this.#calls.clear();
	}
}
