/** What SSE and long-polling share: topics in chunks, a running request for each, and a new start when the topics change. */

import { RelayError } from '../errors.ts';
import { type Chunk, chunksOf } from './chunks.ts';
import type { Link, LinkEnd, LinkEvents, LinkOptions, TransportKind } from './link.ts';

/** What a running request may say; nothing is passed on once its link was closed or has asked anew. */
export interface Run extends Omit<LinkEvents, 'ended'> {
	readonly chunk: Chunk;
	readonly signal: AbortSignal;
}

/** Runs requests for a chunk until there is an end to it. Rejects with a {@link RelayError}, or with the signal's reason. */
export type RunChunk = (run: Run) => Promise<LinkEnd>;

export class RequestLink implements Link {
	readonly kind: TransportKind;
	readonly #options: LinkOptions;
	readonly #runChunk: RunChunk;
	readonly #topics = new Set<string>();
	#running = new AbortController();
	#startDue = false;
	#over = false;

	constructor(kind: TransportKind, options: LinkOptions, runChunk: RunChunk) {
		this.kind = kind;
		this.#options = options;
		this.#runChunk = runChunk;
	}

	follow(topics: readonly string[]): void {
		for (const topic of topics) this.#topics.add(topic);
		this.#startSoon();
	}

	unfollow(topics: readonly string[]): void {
		for (const topic of topics) this.#topics.delete(topic);
		this.#startSoon();
	}

	probe(): void {
		// A request that is waiting cannot be asked: a new one shows whether the relay answers, and loses nothing.
		this.#startSoon();
	}

	refresh(): void {
		// The next request takes the new token; the relay ends the one under way in time.
	}

	close(): void {
		this.#over = true;
		this.#running.abort();
	}

	/** One start for all changes of a turn. */
	#startSoon(): void {
		this.#running.abort();
		if (this.#startDue) return;
		this.#startDue = true;
		queueMicrotask(() => {
			this.#startDue = false;
			if (!this.#over) this.#start();
		});
	}

	#start(): void {
		this.#running = new AbortController();
		this.#run(chunksOf(this.#topics, this.#options.positionOf), this.#running.signal);
	}

	#run(chunks: readonly Chunk[], signal: AbortSignal): void {
		const { events } = this.#options;
		const live = () => !signal.aborted;
		for (const chunk of chunks) {
			const run: Run = {
				chunk,
				signal,
				alive: () => live() && events.alive(),
				following: (cursors) => live() && events.following(cursors),
				message: (text) => live() && events.message(text),
				gap: (gap) => live() && events.gap(gap),
				topicEnded: (topic, error) => {
					if (live() && this.#topics.delete(topic)) events.topicEnded(topic, error);
				},
			};
			this.#runChunk(run).then(
				(end) => this.#end(signal, end),
				(error: unknown) => this.#onFailure(run, error),
			);
		}
	}

	/** A refusal that is about topics ends those; which one of several it is about shows when each is asked for alone. */
	#onFailure(run: Run, thrown: unknown): void {
		if (run.signal.aborted) return;
		const end = endOf(thrown);
		if (end.kind !== 'refused' || !isAboutTopics(end.error)) {
			this.#end(run.signal, end);
			return;
		}
		const { topics } = run.chunk;
		const [topic] = topics;
		if (topics.length === 1 && topic !== undefined) run.topicEnded(topic, end.error);
		else for (const each of topics) this.#run(chunksOf([each], this.#options.positionOf), run.signal);
	}

	#end(signal: AbortSignal, end: LinkEnd): void {
		if (signal.aborted || this.#over) return;
		this.close();
		this.#options.events.ended(end);
	}
}

/** What the relay answers when a name is wrong or not for this reader, and not when the whole client is refused. */
function isAboutTopics({ code, status }: RelayError): boolean {
	return status === 404 || status === 422 || status === 400 || code === 'forbidden';
}

function endOf(thrown: unknown): LinkEnd {
	const error = thrown instanceof RelayError ? thrown : new RelayError('unreachable', 'the request failed', { cause: thrown });
	if (error.code === 'unreachable') return { kind: 'unreachable', error };
	return { kind: error.code === 'not_a_relay' ? 'lost' : 'refused', error };
}
