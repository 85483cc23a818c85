/**
 * The queue of writes on the main thread. Calls that arrive while the writer is busy wait together and become its next batch, so
 * the busier the disk, the more messages share an fsync; on an idle relay nothing waits. Appends of one topic become one run of
 * blocks. Answers are announced and settled in the order of the calls.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import { lastIdOf, messageBytes } from '../../log/block.ts';
import { packRuns } from '../../log/packing.ts';
import type { Clock } from '../../ports/clock.ts';
import type { AppendEntry, AppendOutcome, LogListener } from '../../ports/store.ts';
import { unavailable } from './failure.ts';
import {
	APPENDED,
	type AppendResult,
	type BatchReply,
	type BatchRequest,
	CONFLICT,
	type ControlOp,
	type ControlResult,
	type ControlResults,
	type EntryOutcomes,
	isLook,
	type StoreFailure,
	type WriteOp,
} from './messages.ts';

/** One batch is written, the next is at hand when it is done. More would only make batches smaller. */
const IN_FLIGHT_MAX = 2;
/** A batch is closed at so many messages or payload and metadata bytes, unless a single call is larger. */
const BATCH_MESSAGES_MAX = 65_536;
const BATCH_BYTES_MAX = 16 * 1024 * 1024;

interface AppendCall {
	readonly count: number;
	readonly resolve: (outcomes: readonly AppendOutcome[]) => void;
	readonly reject: (error: RelayError) => void;
}

/** Calls of one topic that will be appended in one piece. */
interface QueuedAppend {
	readonly kind: 'append';
	readonly topic: string;
	readonly entries: AppendEntry[];
	readonly calls: AppendCall[];
	/** Whether an entry has an idempotency key. */
	keyed: boolean;
}

interface QueuedControl {
	readonly kind: 'control';
	readonly op: ControlOp;
	/** Takes the result; announces first what there is to announce. */
	readonly settle: (result: ControlResult) => void;
	readonly reject: (error: RelayError) => void;
}

interface QueuedBatch {
	readonly ops: (QueuedAppend | QueuedControl)[];
	/** The append op of each topic that later calls may still join. */
	readonly joinable: Map<string, QueuedAppend>;
	messages: number;
	bytes: number;
}

export interface WriteQueueOptions {
	readonly clock: Clock;
	/** For the error only; the writer keeps the limit. */
	readonly topicsMax: number;
	/** Hands a batch to the writer. */
	readonly post: (request: BatchRequest, transfer: ArrayBuffer[]) => void;
}

export class WriteQueue {
	readonly #clock: Clock;
	readonly #topicsMax: number;
	readonly #post: WriteQueueOptions['post'];
	readonly #inFlight: QueuedBatch[] = [];
	/** Batches that wait; calls join the last. */
	readonly #waiting: QueuedBatch[] = [];
	readonly #idleWaiters: (() => void)[] = [];
	#listener: LogListener | null = null;
	#flushDue = false;

	constructor({ clock, topicsMax, post }: WriteQueueOptions) {
		this.#clock = clock;
		this.#topicsMax = topicsMax;
		this.#post = post;
	}

	listen(listener: LogListener): void {
		this.#listener = listener;
	}

	/** Queues an append. The entries' bytes are read later and must not change until the promise settles. */
	append(topic: string, entries: readonly AppendEntry[]): Promise<readonly AppendOutcome[]> {
		let bytes = 0;
		let keyed = false;
		for (const entry of entries) {
			bytes += messageBytes(entry);
			if (entry.dedupe !== null) keyed = true;
		}
		const batch = this.#batchFor(entries.length, bytes);
		batch.messages += entries.length;
		batch.bytes += bytes;
		let op = batch.joinable.get(topic);
		if (op === undefined) {
			op = { kind: 'append', topic, entries: [], calls: [], keyed: false };
			batch.joinable.set(topic, op);
			batch.ops.push(op);
		}
		for (const entry of entries) op.entries.push(entry);
		if (keyed) op.keyed = true;
		const { calls } = op;
		this.#flushSoon();
		return new Promise((resolve, reject) => {
			calls.push({ count: entries.length, resolve, reject });
		});
	}

	/** Queues a control operation. `announce` is called with its result, in turn with the announcements of appends. */
	control<Op extends ControlOp>(
		op: Op,
		announce?: (result: ControlResults[Op['kind']], listener: LogListener) => void,
	): Promise<ControlResults[Op['kind']]> {
		const batch = this.#batchFor(0, 0);
		// An append called after the deletion must come after it: the topic's calls so far are complete.
		if (op.kind === 'delete') batch.joinable.delete(op.topic);
		this.#flushSoon();
		return new Promise((resolve, reject) => {
			const settle = (settled: ControlResult) => {
				// The writer answers each kind of operation with that kind's result.
				const result = settled as ControlResults[Op['kind']];
				if (announce !== undefined && this.#listener !== null) announce(result, this.#listener);
				resolve(result);
			};
			batch.ops.push({ kind: 'control', op, settle, reject });
		});
	}

	/** Takes the writer's answer to the oldest batch in flight. */
	settle(reply: BatchReply): void {
		const batch = this.#inFlight.shift();
		if (batch === undefined) return;
		// First the writer gets its next batch, then the callers their answers.
		this.#flush();
		batch.ops.forEach((op, i) => {
			const result = reply.results[i];
			if (op.kind === 'append') this.#settleAppend(op, result as AppendResult, reply.failure);
			else if (reply.failure === null || isLook(op.op)) op.settle(result as ControlResult);
			else op.reject(unavailable(reply.failure));
		});
		this.#checkIdle();
	}

	/** Refuses the appends that wait, for a store that has just failed. Control operations still get their turn. */
	refuseAppends(failure: StoreFailure): void {
		for (const batch of this.#waiting.splice(0)) {
			const controls = batch.ops.filter((op) => op.kind === 'control');
			for (const op of batch.ops) if (op.kind === 'append') rejectCalls(op, unavailable(failure));
			if (controls.length > 0) this.#waiting.push({ ops: controls, joinable: new Map(), messages: 0, bytes: 0 });
		}
		this.#checkIdle();
	}

	/** Refuses everything, in flight and waiting: the writer is gone. */
	refuseAll(failure: StoreFailure): void {
		for (const batch of [...this.#inFlight.splice(0), ...this.#waiting.splice(0)]) {
			for (const op of batch.ops) {
				if (op.kind === 'append') rejectCalls(op, unavailable(failure));
				else op.reject(unavailable(failure));
			}
		}
		this.#checkIdle();
	}

	/** Whether nothing waits and nothing is in flight. */
	get isIdle(): boolean {
		return this.#inFlight.length === 0 && this.#waiting.length === 0;
	}

	/** Resolves when nothing waits and nothing is in flight. */
	idle(): Promise<void> {
		return new Promise((resolve) => {
			this.#idleWaiters.push(resolve);
			this.#checkIdle();
		});
	}

	#checkIdle(): void {
		if (!this.isIdle) return;
		for (const resolve of this.#idleWaiters.splice(0)) resolve();
	}

	/** The last waiting batch if it has room, else a new one. */
	#batchFor(messages: number, bytes: number): QueuedBatch {
		const last = this.#waiting.at(-1);
		const fits = last !== undefined && last.messages + messages <= BATCH_MESSAGES_MAX && last.bytes + bytes <= BATCH_BYTES_MAX;
		if (fits || last?.ops.length === 0) return last;
		const batch: QueuedBatch = { ops: [], joinable: new Map(), messages: 0, bytes: 0 };
		this.#waiting.push(batch);
		return batch;
	}

	/** Posts what waits once the turn's input has been taken in, so that requests which arrived together share a batch. */
	#flushSoon(): void {
		if (this.#flushDue || this.#inFlight.length >= IN_FLIGHT_MAX) return;
		this.#flushDue = true;
		this.#clock.soon(() => {
			this.#flushDue = false;
			this.#flush();
		});
	}

	#flush(): void {
		while (this.#inFlight.length < IN_FLIGHT_MAX) {
			const batch = this.#waiting.shift();
			if (batch === undefined) return;
			const transfer: ArrayBuffer[] = [];
			const ops = batch.ops.map((op) => (op.kind === 'append' ? encodeAppend(op, transfer) : op.op));
			this.#inFlight.push(batch);
			this.#post({ kind: 'batch', nowMs: this.#clock.nowMs(), ops }, transfer);
		}
	}

	#settleAppend(op: QueuedAppend, result: AppendResult, failure: StoreFailure | null): void {
		if (failure !== null) {
			rejectCalls(op, unavailable(failure));
			return;
		}
		let { previous } = result;
		for (const block of result.blocks) {
			this.#listener?.appended(op.topic, previous, result.floor, block);
			previous = lastIdOf(block);
		}
		const [first] = result.blocks;
		let start = 0;
		for (const call of op.calls) {
			const end = start + call.count;
			if (result.status === 'topic_limit' && wouldAppend(result.outcomes, start, end)) call.reject(topicLimit(this.#topicsMax));
			else if (result.outcomes !== null) call.resolve(outcomesOf(result.outcomes, start, end));
			else if (first !== undefined) call.resolve(appendedFrom(first.ms, first.n + start, call.count));
			start = end;
		}
	}
}

/** The error of a call for which there is no room for one more topic. */
export function topicLimit(topicsMax: number): RelayError {
	return new RelayError('topic_limit', `the relay holds ${topicsMax} topics, its limit`);
}

function encodeAppend(op: QueuedAppend, transfer: ArrayBuffer[]): WriteOp {
	const runs = packRuns(op.entries);
	for (const run of runs) transfer.push(run.packed.buffer as ArrayBuffer);
	return { kind: 'append', topic: op.topic, runs, dedupe: op.keyed ? op.entries.map((entry) => entry.dedupe) : null };
}

function rejectCalls(op: QueuedAppend, error: RelayError): void {
	for (const call of op.calls) call.reject(error);
}

function wouldAppend(outcomes: EntryOutcomes | null, start: number, end: number): boolean {
	return outcomes === null || outcomes.statuses.subarray(start, end).includes(APPENDED);
}

function appendedFrom(ms: number, n: number, count: number): AppendOutcome[] {
	const outcomes: AppendOutcome[] = [];
	for (let i = 0; i < count; i++) outcomes.push({ status: 'appended', id: { ms, n: n + i } });
	return outcomes;
}

function outcomesOf({ statuses, ids }: EntryOutcomes, start: number, end: number): AppendOutcome[] {
	const outcomes: AppendOutcome[] = [];
	for (let i = start; i < end; i++) {
		if (statuses[i] === CONFLICT) {
			outcomes.push({ status: 'conflict' });
			continue;
		}
		const id: MessageId = { ms: ids[2 * i] as number, n: ids[2 * i + 1] as number };
		outcomes.push({ status: statuses[i] === APPENDED ? 'appended' : 'duplicate', id });
	}
	return outcomes;
}
