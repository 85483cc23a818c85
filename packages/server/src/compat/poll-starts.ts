/**
 * Where polls without cursors go on (PROTOCOL.md, "POST /messages/poll"). A client of pulsar-relay 0.2 takes its cursors from messages only:
 * until it has got one, each of its polls comes without. What is published between two such polls must not be lost, so the place
 * where the first of them began is kept, durably and for all nodes, until something was delivered (ADR 0019).
 */

import { randomUUID } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { MessageId } from '@pulsar-relay/protocol/message-id';
import type { Clock } from '../ports/clock.ts';
import type { Records } from '../ports/records.ts';
import {
	answering,
	begun,
	comesAfter,
	continued,
	delivered,
	type Entry,
	entriesOf,
	entryFor,
	type PollClient,
	type PollKey,
	pollKey,
	positionsOf,
	type Seen,
	shelfOf,
	sideBySide,
} from './start-shelf.ts';

const POLL_STARTS = 'poll-starts';
const ATTEMPTS_MAX = 20;
/** Polls that wait side by side for so long are of two clients. A shorter time may be a broken connection that was not noticed yet. */
const SIDE_BY_SIDE_MS = 2000;

export interface PollStartsOptions {
	readonly records: Records;
	readonly clock: Clock;
	readonly log: { debug(fields: object, message: string): void };
	/** Names the key that access tokens are signed with, and is no secret. Tokens of another name are good no longer. */
	readonly signer: string;
}

/** One poll without cursors. */
export interface PollStart {
	/** After which message it goes on, by topic; null: it is the first, and begins now. */
	readonly positions: ReadonlyMap<string, MessageId> | null;
	/** Keeps where the first poll has begun. Rejects with `storage_unavailable`. */
	begun(cursors: ReadonlyMap<string, MessageId>): Promise<void>;
	/**
	 * Notes an answer before it is sent. Resolves with how often one was sent that is not known to have arrived, this one included. Rejects
	 * with `storage_unavailable`.
	 *
	 * @param to the last id that the answer has of a topic, for the topics of which it has messages
	 */
	answering(to: ReadonlyMap<string, MessageId>): Promise<number>;
	/** The client has the answer. */
	delivered(): void;
	/** The poll waits no longer. Idempotent. */
	end(): void;
}

/** What a node knows of a shelf: to whom answers are under way. */
interface Awaited {
	readonly clients: ReadonlySet<string>;
	readonly names: ReadonlySet<string>;
}

type Change = (entries: readonly Entry[], seen: Seen) => readonly Entry[];

export class PollStarts {
	readonly #options: PollStartsOptions;
	readonly #node = randomUUID();
	/** By shelf, at most as many as there are shelves; what is not here must be read. */
	readonly #awaited = new Map<string, Awaited>();
	/** Reads under way; one that a change has overtaken is not here any more. */
	readonly #reads = new Map<string, Promise<Awaited>>();
	/** The last change of each shelf that has one under way. */
	readonly #changes = new Map<string, Promise<unknown>>();
	/** How many polls wait, by shelf and the name of their key. */
	readonly #waiting = new Map<string, Map<string, number>>();
	/** Shelves that will be looked at for clients that share a credential. */
	readonly #looks = new Set<string>();
	readonly #stop: () => void;

	constructor(options: PollStartsOptions) {
		this.#options = options;
		this.#stop = options.records.listen({
			changed: (kind, shelf) => {
				if (kind !== POLL_STARTS) return;
				this.#awaited.delete(shelf);
				this.#reads.delete(shelf);
				// By another node, perhaps, for a client that waits here as well.
				if (this.#waiting.has(shelf)) this.#lookLater(shelf);
			},
			missed: () => {
				this.#awaited.clear();
				this.#reads.clear();
			},
		});
	}

	/** Opens a poll without cursors; it must be ended. Rejects with `storage_unavailable` when it cannot be found out where it goes on. */
	async open(client: PollClient, topics: Iterable<string>): Promise<PollStart> {
		const key = pollKey(client, topics);
		this.#enter(key);
		let ended = false;
		const end = () => {
			if (!ended) this.#leave(key);
			ended = true;
		};
		try {
			const entries = await this.#change(key.shelf, (stored, seen) => continued(stored, key, seen));
			const own = entryFor(entries, key);
			const positions = own === undefined ? null : positionsOf(own, key);
			let from = positions ?? new Map<string, MessageId>();
			return {
				positions,
				begun: async (cursors) => {
					from = cursors;
					await this.#change(key.shelf, (stored, seen) => begun(stored, key, cursors, seen));
				},
				answering: async (to) => {
					const noted = await this.#change(key.shelf, (stored, seen) => answering(stored, key, { from, to }, seen));
					return entryFor(noted, key)?.answer?.times ?? 1;
				},
				delivered: () => this.#inBackground(this.#change(key.shelf, (stored, { nowMs }) => delivered(stored, key, nowMs))),
				end,
			};
		} catch (error) {
			end();
			throw error;
		}
	}

	/** A client came with cursors: if they are from an answer that is under way to it, that has arrived. Costs nothing while there is none. */
	cameWith(client: PollClient, cursors: ReadonlyMap<string, unknown>): void {
		const shelf = shelfOf(client.accountId);
		const awaited = this.#awaited.get(shelf);
		if (awaited === undefined) this.#inBackground(this.#readOnce(shelf).then((read) => this.#compare(read, client, cursors)));
		else if (awaited.clients.has(client.id)) this.#inBackground(this.#compare(awaited, client, cursors));
	}

	/** Stops listening. The records are closed by whoever opened them. */
	close(): void {
		this.#stop();
		this.#waiting.clear();
	}

	async #compare(awaited: Awaited, client: PollClient, cursors: ReadonlyMap<string, unknown>): Promise<void> {
		if (!awaited.clients.has(client.id)) return;
		const key = pollKey(client, cursors.keys());
		if (!awaited.names.has(key.name)) return;
		await this.#change(key.shelf, (stored, { nowMs }) => {
			const own = entryFor(stored, key);
			return own !== undefined && comesAfter(own, key, cursors) ? delivered(stored, key, nowMs) : stored;
		});
	}

	/** Changes a shelf, after the changes of it that are under way here. Resolves with its entries afterwards. */
	#change(shelf: string, change: Change): Promise<readonly Entry[]> {
		const before = this.#changes.get(shelf) ?? Promise.resolve();
		const changing = before.then(() => this.#changeNow(shelf, change));
		const settled = changing.then(
			() => {},
			() => {},
		);
		const last = settled.then(() => {
			if (this.#changes.get(shelf) === last) this.#changes.delete(shelf);
		});
		this.#changes.set(shelf, last);
		return changing;
	}

	async #changeNow(shelf: string, change: Change): Promise<readonly Entry[]> {
		const { records, clock, signer } = this.#options;
		const isWaiting = (name: string) => this.#waiting.get(shelf)?.has(name) === true;
		for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
			const record = await records.get(POLL_STARTS, shelf);
			const nowMs = clock.nowMs();
			const entries = entriesOf(record?.value, nowMs);
			const changed = change(entries, { node: this.#node, signer, nowMs, isWaiting });
			if (changed === entries) return entries;
			const expected = record?.version ?? 'absent';
			const at = { kind: POLL_STARTS, id: shelf, expected } as const;
			const expiresAtMs = Math.max(...changed.map((entry) => entry.expiresAtMs));
			const outcome = await records.write([
				changed.length === 0 ? { op: 'delete', ...at } : { op: 'put', ...at, value: { entries: changed }, expiresAtMs },
			]);
			if (outcome.status === 'ok') return changed;
		}
		throw new RelayError('overloaded', 'too many polls without `since` begin at once');
	}

	#readOnce(shelf: string): Promise<Awaited> {
		const underWay = this.#reads.get(shelf);
		if (underWay !== undefined) return underWay;
		const read = this.#read(shelf, () => this.#reads.get(shelf) === read);
		this.#reads.set(shelf, read);
		return read;
	}

	async #read(shelf: string, isCurrent: () => boolean): Promise<Awaited> {
		const { records, clock } = this.#options;
		// The caller enters the promise of this call before it goes on.
		await Promise.resolve();
		try {
			const entries = entriesOf((await records.get(POLL_STARTS, shelf))?.value, clock.nowMs());
			const answered = entries.filter(({ answer }) => answer !== null);
			const awaited = {
				clients: new Set(answered.map(({ clientId }) => clientId)),
				names: new Set(answered.map(({ name }) => name)),
			};
			if (isCurrent()) this.#awaited.set(shelf, awaited);
			return awaited;
		} finally {
			if (isCurrent()) this.#reads.delete(shelf);
		}
	}

	#enter({ shelf, name }: PollKey): void {
		const waiting = this.#waiting.get(shelf) ?? new Map<string, number>();
		const count = (waiting.get(name) ?? 0) + 1;
		this.#waiting.set(shelf, waiting.set(name, count));
		if (count > 1) this.#lookLater(shelf);
	}

	#leave({ shelf, name }: PollKey): void {
		const waiting = this.#waiting.get(shelf);
		const count = (waiting?.get(name) ?? 1) - 1;
		if (count > 0) waiting?.set(name, count);
		else waiting?.delete(name);
		if (waiting?.size === 0) this.#waiting.delete(shelf);
	}

	/** Finds clients that share a credential: one that comes once more has left its other poll within so short a time. */
	#lookLater(shelf: string): void {
		if (this.#looks.has(shelf)) return;
		this.#looks.add(shelf);
		this.#options.clock.after(SIDE_BY_SIDE_MS, () => {
			this.#looks.delete(shelf);
			const waiting = this.#waiting.get(shelf);
			if (waiting !== undefined) this.#inBackground(this.#change(shelf, (stored, { node }) => sideBySide(stored, waiting, node)));
		});
	}

	/** What fails here only makes a client get a message twice. */
	#inBackground(change: Promise<unknown>): void {
		change.catch((error: unknown) =>
			this.#options.log.debug({ err: error }, 'a delivered poll could not be noted; its messages may be delivered again'),
		);
	}
}
