/**
 * The Valkey store: all state on a server (or a Cluster) that any number of relays share. This file joins its parts: the connections,
 * what is watched, and what the server was found to be.
 *
 * Three connections: for writes, whose calls take turns; for reads, so that a reader of old messages does not hold up a publish; and for
 * announcements. That one carries nothing else: the server closes a subscribed connection to which more than 32 MiB wait to be
 * written, which a few pages would be, and GLIDE 2.5.2 was seen to take the confirmation of an unsubscribe for the reply of a batch.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds, formatMessageId, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import { lastIdOf } from '../../log/block.ts';
import type { ReadLimits } from '../../log/page.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Records } from '../../ports/records.ts';
import type {
	AppendEntry,
	AppendOutcome,
	LogListener,
	Page,
	Store,
	StoreHealth,
	Topic,
	TopicChange,
	TrimStep,
	WatchedPosition,
} from '../../ports/store.ts';
import { type AppendsOptions, takeAppends } from './appends.ts';
import { Confirmations } from './confirmations.ts';
import { Connection } from './connection.ts';
import { cannotStart, failureOf, NO_ANSWER, reasonOf, UNREACHABLE, unavailable } from './failure.ts';
import type { ServerAddress, ServerOptions } from './glide.ts';
import { Looking } from './looking.ts';
import { lowestLevel, NODE_LEVEL } from './nodes.ts';
import { readPage, type StrangeEntries } from './pages.ts';
import { checkPermissions } from './permissions.ts';
import { Places } from './places.ts';
import { whyUnreachable } from './reachability.ts';
import { ValkeyRecords } from './records.ts';
import { checkReplicas, checkServer, type ServerDemands, type ServerFinding } from './server-check.ts';
import { Sizes } from './sizes.ts';
import { StoreClock } from './store-clock.ts';
import { Sweep } from './sweep.ts';
import { unlist } from './topic-list.ts';
import { createTopic, deleteTopic, getTopic, listTopics, updateTopic } from './topics.ts';
import { rejectTurn, type Turn, Turns, type WatchCall } from './turns.ts';
import { Watches } from './watches.ts';

export interface ValkeyStoreOptions {
	readonly server: ServerOptions;
	readonly demands: ServerDemands;
	readonly topicsMax: number;
	readonly clock: Clock;
	/** `clock`: the time is that clock's alone, as for an import, which chooses the ids. Default: the server's. */
	readonly timeFrom?: 'server' | 'clock';
	/** Told what an operator should know, and nobody else is told. */
	readonly onWarning: (text: string, fields: Readonly<Record<string, unknown>>) => void;
}

/**
 * A publish that meets a dead server is answered within 2 s (PROTOCOL.md, "Errors"), also when the turn before its own has waited in vain for
 * replicas (REPLICAS_WAIT_MS): both together stay below that.
 */
const WRITE_TIMEOUT_MS = 1200;
/** A page of eight megabytes over a slow network. */
const READ_TIMEOUT_MS = 5000;
/** Enough to keep the server busy; their answers are some megabytes, which a beat waits behind. */
const READERS_AT_ONCE_MAX = 32;
const CHECK_INTERVAL_MS = 10_000;
/** How long a publish waits while the server, being back, is looked at: far longer than that takes, and little of the 2 s. */
const LOOKED_AT_WAIT_MS = 250;
/** Topics of which is remembered what was told of their entries; with more, it is told anew. */
const STRANGE_TOPICS_MAX = 1000;

/** A store whose server has the records, too. */
export interface ValkeyStore extends Store {
	/**
	 * Opens the records, over the connections of the store; once, and they are closed before it. Rejects with `storage_unavailable` when
	 * the server does not answer.
	 */
	openRecords(): Promise<Records>;
}

/**
 * Connects to the server and finds out what it is.
 *
 * @throws RelayError `storage_unavailable` with one clear line when it cannot be reached, refuses the relay, or is not fit
 */
export async function openValkeyStore(options: ValkeyStoreOptions): Promise<ValkeyStore> {
	const { addresses } = options.server;
	const at = addresses.map(shownAddress).join(', ');
	const store = new ServerStore(options);
	try {
		await store.open();
		return store;
	} catch (error) {
		await store.close();
		throw cannotStart(`cannot use Valkey at ${at}`, await startFailureOf(error, options.server), error);
	}
}

/** As in a URL. */
function shownAddress({ host, port }: ServerAddress): string {
	return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

async function startFailureOf(error: unknown, { addresses, tls }: ServerOptions): Promise<string> {
	const reason = reasonOf(error);
	if (reason !== UNREACHABLE && reason !== NO_ANSWER) return reason;
	const found = await Promise.all(addresses.map((address) => whyUnreachable(address, tls?.() ?? null)));
	return found.find((why) => why !== null) ?? reason;
}

class ServerStore implements ValkeyStore {
	readonly #options: ValkeyStoreOptions;
	readonly #turns: Turns;
	readonly #watches: Watches;
	readonly #looking: Looking;
	readonly #confirmations: Confirmations;
	readonly #time: StoreClock;
	readonly #sizes = new Sizes();
	readonly #readers = new Places(READERS_AT_ONCE_MAX);
	#writes: Connection | null = null;
	#reads: Connection | null = null;
	#announcements: Connection | null = null;
	#records: ValkeyRecords | null = null;
	#sweep: Sweep | null = null;
	#finding: ServerFinding = { status: 'unfit', reason: 'the store has not been looked at yet', fatal: false };
	/** Set until the server and every watched topic have been looked at since the connections are what they are (I2, I10). */
	#behind: PromiseWithResolvers<void> | null = null;
	#catchingUp = false;
	/** The newest entry by topic that no relay wrote and that was told of. */
	/** Whether a node of an older version uses the same keys. */
	#hasOlderNodes = false;
	readonly #strangeTold = new Map<string, MessageId>();
	/** Times that the state of a connection has changed. */
	#changes = 0;
	#cancelCheck = () => {};
	readonly #underWay = new Set<Promise<unknown>>();
	#closed: Promise<void> | null = null;

	constructor(options: ValkeyStoreOptions) {
		this.#options = options;
		const { clock, onWarning, server, demands, timeFrom } = options;
		const connection = () => this.#reads as Connection;
		this.#time = new StoreClock({ clock, onWarning, connection: timeFrom === 'clock' ? null : connection });
		this.#turns = new Turns({ clock, take: (turn) => this.#take(turn) });
		this.#watches = new Watches({ clock, look: (topics) => void this.#looking.look(topics) });
		this.#looking = new Looking({
			connection,
			clock,
			watches: this.#watches,
			onWarning,
			ended: (topics) => this.#control((connection) => unlist(connection, topics, this.#time.nowMs())),
			onUnconfirmed: (topic, end) => this.#confirmations.note(topic, end),
			track: (call) => this.#tracked(call),
		});
		this.#confirmations = new Confirmations({
			clock,
			cluster: server.cluster,
			replicas: demands.replicas,
			inTurn: (run) => this.#control(run),
			look: (topics) => this.#looking.look(topics),
		});
	}

	async open(): Promise<void> {
		const { server, clock, topicsMax } = this.#options;
		const onState = (change: 'up' | 'down' | 'replaced') => this.#stateChanged(change);
		// Of what was changed meanwhile the records hear over the one connection, and read it over the other.
		const onRecordsState = (change: 'up' | 'down' | 'replaced') => {
			onState(change);
			if (change !== 'down') void this.#records?.interrupted();
		};
		this.#writes = await Connection.open({ ...server, clock, requestTimeoutMs: WRITE_TIMEOUT_MS, onState: onRecordsState });
		this.#reads = await Connection.open({ ...server, clock, requestTimeoutMs: READ_TIMEOUT_MS, onState });
		this.#announcements = await Connection.open({
			...server,
			clock,
			requestTimeoutMs: WRITE_TIMEOUT_MS,
			onState: onRecordsState,
			onMessage: (channel, message) => {
				const { keys } = this.#writes as Connection;
				if (channel === keys.recordsChannel) this.#records?.heard(message);
				else this.#watches.heard(keys.topicOf(channel), message);
			},
		});
		this.#finding = await checkServer(this.#writes, this.#options.demands);
		if (this.#finding.status === 'unfit' && this.#finding.fatal) throw unavailable(this.#finding.reason);
		const tooFew = await checkReplicas(this.#writes, this.#options.demands.replicas);
		// They may still be on their way.
		if (tooFew !== null) throw new RelayError('storage_unavailable', tooFew, { retryAfterS: 1 });
		await checkPermissions(this.#writes, this.#announcements);
		this.#tellFinding(null);
		await this.#findOlderNodes();
		await this.#time.open();
		this.#sweep = new Sweep({
			connection: this.#writes,
			clock,
			time: this.#time,
			cluster: server.cluster,
			topicsMax,
			sizes: this.#sizes,
			onTrimmed: (topic, floor) => this.#watches.trimmed(topic, floor),
			onWarning: this.#options.onWarning,
		});
		await this.#sweep.count();
		this.#checkLater();
		this.#looking.start();
	}

	async openRecords(): Promise<Records> {
		const { server, demands, clock } = this.#options;
		this.#records = await ValkeyRecords.open({
			writes: this.#writes as Connection,
			announcements: this.#announcements as Connection,
			cluster: server.cluster,
			replicas: demands.replicas,
			clock,
			nowMs: () => this.#time.nowMs(),
			inTurn: (run) => this.#control(run),
		});
		return this.#records;
	}

	listen(listener: LogListener): void {
		this.#watches.listen(listener);
	}

	append(topic: string, entries: readonly AppendEntry[]): Promise<readonly AppendOutcome[]> {
		const trouble = this.#trouble();
		if (trouble !== null) return Promise.reject(unavailable(trouble));
		if (entries.length === 0) return Promise.resolve([]);
		return this.#behind === null ? this.#turns.append(topic, entries) : this.#appendAfterwards(this.#behind, topic, entries);
	}

	/** A look takes some milliseconds: no reason to refuse anything. In the order of the calls. */
	async #appendAfterwards(
		{ promise }: PromiseWithResolvers<void>,
		topic: string,
		entries: readonly AppendEntry[],
	): Promise<readonly AppendOutcome[]> {
		const late = Promise.withResolvers<void>();
		const cancel = this.#options.clock.after(LOOKED_AT_WAIT_MS, late.resolve);
		await Promise.race([promise, late.promise]);
		cancel();
		const health = this.health();
		if (health.status !== 'ok') throw unavailable(health.reason);
		return this.#turns.append(topic, entries);
	}

	read(topic: string, after: MessageId, limits: ReadLimits): Promise<Page> {
		return this.#read(topic, 'after', after, limits);
	}

	readBefore(topic: string, before: MessageId | null, limits: ReadLimits): Promise<Page> {
		return this.#read(topic, 'before', before, limits);
	}

	watch(topic: string, seen: MessageId = ZERO_ID): Promise<WatchedPosition> {
		return this.#refusal() ?? this.#turns.watch(topic, seen);
	}

	readonly has = async (topic: string, id: MessageId): Promise<boolean> => {
		const ask = () => this.#looking.positions([[topic, id]], 'asked');
		const [position] = await (this.#refusal() ?? this.#tracked(this.#readers.run(ask)));
		if (position === undefined || position instanceof Error) throw failureOf(position);
		return position.intact;
	};

	unwatch(topic: string): void {
		this.#looking.unwatched(topic);
		this.#dropWatches([topic]);
	}

	createTopic(name: string, change: TopicChange): Promise<{ readonly status: 'created' | 'exists'; readonly topic: Topic }> {
		const { topicsMax } = this.#options;
		return this.#control(async (connection) => {
			const { created, topic } = await createTopic(connection, name, change, { nowMs: this.#time.nowMs(), topicsMax });
			this.#sizes.set(name, topic.messages, topic.bytes);
			return { status: created ? 'created' : 'exists', topic };
		});
	}

	getTopic(name: string): Promise<Topic | undefined> {
		return this.#control((connection) => getTopic(connection, name));
	}

	listTopics(after: string | null, limit: number): Promise<readonly Topic[]> {
		return this.#control((connection) => listTopics(connection, after, limit));
	}

	updateTopic(name: string, change: TopicChange): Promise<Topic | undefined> {
		return this.#control((connection) => updateTopic(connection, name, change));
	}

	deleteTopic(name: string): Promise<boolean> {
		const { server } = this.#options;
		return this.#control(async (connection) => {
			const ended = await deleteTopic(connection, name, { nowMs: this.#time.nowMs(), cluster: server.cluster });
			if (ended === undefined) return false;
			this.#sizes.delete(name);
			this.#watches.deleted(name, ended.tip, ended.topicId);
			return true;
		});
	}

	trim(step: TrimStep): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#control(() => (this.#sweep as Sweep).trim(step));
	}

	forgetKeys(beforeMs: number, keysMax: number): Promise<{ readonly removed: number; readonly more: boolean }> {
		return this.#control(() => (this.#sweep as Sweep).forgetKeys(beforeMs, keysMax));
	}

	health(): StoreHealth {
		const trouble = this.#trouble() ?? (this.#behind === null ? null : 'the store is back and is being looked at');
		const finding = this.#finding;
		if (trouble === null && finding.status === 'ok') return { status: 'ok', durability: finding.durability };
		return { status: 'unavailable', reason: trouble ?? 'the store has not been looked at' };
	}

	#trouble(): string | null {
		if (this.#closed !== null) return 'the store is closed';
		for (const connection of [this.#writes, this.#reads, this.#announcements]) {
			if (connection?.state.status === 'down') return connection.state.reason;
		}
		return this.#finding.status === 'unfit' ? this.#finding.reason : this.#time.trouble;
	}

	get lastKnownMs(): number | undefined {
		return this.#time.lastKnownMs;
	}

	readonly clocks = () => ({ skewMs: this.#time.skewMs, topicsAhead: this.#sweep?.topicsAhead ?? 0 });

	stats(): { readonly topics: number; readonly messages: number; readonly bytes: number } {
		return this.#sizes.totals;
	}

	close(): Promise<void> {
		this.#closed ??= this.#close();
		return this.#closed;
	}

	async #close(): Promise<void> {
		this.#cancelCheck();
		this.#looking.stop();
		this.#time.stop();
		this.#confirmations.stop();
		await this.#turns.idle();
		await Promise.allSettled(this.#underWay);
		this.#watches.close();
		this.#writes?.close();
		this.#reads?.close();
		this.#announcements?.close();
	}

	/** Why a call cannot be taken at all, as its answer; null when it can. */
	#refusal(): Promise<never> | null {
		return this.#closed === null ? null : Promise.reject(unavailable('the store is closed'));
	}

	#control<Result>(run: (connection: Connection) => Promise<Result>): Promise<Result> {
		return this.#refusal() ?? this.#turns.control(() => run(this.#writes as Connection));
	}

	#read(topic: string, direction: 'after' | 'before', cursor: MessageId | null, limits: ReadLimits): Promise<Page> {
		const refusal = this.#refusal();
		if (refusal !== null) return refusal;
		const options = {
			connection: this.#reads as Connection,
			onStrangeEntries: (name: string, strange: StrangeEntries) => this.#noteStrange(name, strange),
			onUnconfirmed: (name: string, end: MessageId | null) => this.#confirmations.note(name, end),
		};
		return this.#tracked(this.#readers.run(() => readPage(options, topic, direction, cursor, limits)).catch(rethrow));
	}

	/** Every reader passes over the same entries again; they are told of once. */
	#noteStrange(topic: string, { count, id, why }: StrangeEntries): void {
		const told = this.#strangeTold.get(topic);
		if (told !== undefined && compareMessageIds(id, told) <= 0) return;
		if (this.#strangeTold.size >= STRANGE_TOPICS_MAX) this.#strangeTold.clear();
		this.#strangeTold.set(topic, id);
		this.#options.onWarning('entries that no relay wrote are passed over', { topic, count, newest: formatMessageId(id), why });
	}

	/** Does a turn. Never rejects. */
	async #take(turn: Turn): Promise<void> {
		const refusal = this.#writes?.state.status === 'down' ? unavailable(this.#writes.state.reason) : null;
		if (refusal !== null) rejectTurn(turn, refusal);
		else if (turn.kind === 'append') await takeAppends(this.#appends(), turn.topics);
		else if (turn.kind === 'watch') await this.#takeWatches(turn.calls);
		else await turn.run();
	}

	#appends(): AppendsOptions {
		const { server, demands, topicsMax } = this.#options;
		return {
			connection: this.#writes as Connection,
			cluster: server.cluster,
			topicsMax,
			replicas: demands.replicas,
			announcesAfterWait: demands.replicas > 0 && !this.#hasOlderNodes,
			nowMs: () => this.#time.nowMs(),
			onAppended: (topic, previous, floor, block) => {
				this.#looking.appended(topic, lastIdOf(block));
				this.#watches.appended(topic, previous, floor, block);
			},
			onSize: (topic, messages, bytes) => this.#sizes.set(topic, messages, bytes),
		};
	}

	async #takeWatches(calls: readonly WatchCall[]): Promise<void> {
		const opened = [...new Set(calls.map(({ topic }) => topic))].filter((topic) => this.#watches.open(topic));
		const announcements = this.#announcements as Connection;
		try {
			if (opened.length > 0) await announcements.subscribe(opened.map((topic) => announcements.keys.topic(topic).channel));
			const positions = await this.#looking.positions(
				calls.map(({ topic, seen }) => [topic, seen]),
				'announced',
			);
			// What cannot be read is no reason to leave the others unwatched.
			const unreadable = new Set<string>();
			for (const [i, call] of calls.entries()) {
				const position = positions[i];
				if (position === undefined || position instanceof Error) {
					unreadable.add(call.topic);
					call.reject(failureOf(position));
					continue;
				}
				this.#watches.opened(call.topic, position);
				if (!position.intact) this.#watches.found(call.topic, call.seen, position);
				call.resolve(position);
			}
			this.#dropWatches(opened.filter((topic) => unreadable.has(topic)));
		} catch (error) {
			this.#dropWatches(opened);
			for (const call of calls) call.reject(failureOf(error));
		}
	}

	#dropWatches(topics: readonly string[]): void {
		this.#watches.drop(topics);
		const announcements = this.#announcements;
		announcements?.unsubscribe(topics.map((topic) => announcements.keys.topic(topic).channel));
	}

	#stateChanged(change: 'up' | 'down' | 'replaced'): void {
		this.#behind ??= Promise.withResolvers();
		this.#changes++;
		if (change === 'down') this.#turns.refuse(() => unavailable(this.#downReason()));
		else void this.#catchUp();
	}

	#downReason(): string {
		const health = this.health();
		return health.status === 'ok' ? 'the store cannot be reached' : health.reason;
	}

	/** Looks at the server and at every watched topic, until one whole look went through during which no connection changed. */
	async #catchUp(): Promise<void> {
		if (this.#catchingUp) return;
		this.#catchingUp = true;
		for (let changes = -1; changes !== this.#changes && this.#closed === null; ) {
			changes = this.#changes;
			await this.#check();
			// Not done, because a connection is down: its coming back is a change.
			const done = await this.#looking.lookAfterOutage();
			if (!done || changes !== this.#changes) continue;
			this.#behind?.resolve();
			this.#behind = null;
		}
		this.#catchingUp = false;
	}

	#checkLater(): void {
		this.#cancelCheck = this.#options.clock.after(CHECK_INTERVAL_MS, () => {
			void this.#check().then(() => {
				if (this.#closed === null) this.#checkLater();
			});
		});
	}

	/** Never rejects: a server that cannot be asked is down, and what it was found to be last stands. */
	async #check(): Promise<void> {
		const before = this.#finding;
		try {
			this.#finding = await this.#tracked(checkServer(this.#writes as Connection, this.#options.demands));
			this.#tellFinding(before);
			await this.#tracked(this.#findOlderNodes());
		} catch (error) {
			this.#options.onWarning('the server could not be asked for its settings', { why: reasonOf(error) });
		}
	}

	/** Only those matter that could break something: a list of all connections is long. */
	async #findOlderNodes(): Promise<void> {
		const { demands, onWarning } = this.#options;
		if (demands.replicas === 0) return;
		const had = this.#hasOlderNodes;
		this.#hasOlderNodes = (await lowestLevel(this.#writes as Connection)) < NODE_LEVEL;
		if (this.#hasOlderNodes === had) return;
		onWarning(
			had
				? 'no node of an older version is left: messages are delivered once the replicas have them'
				: 'a node of an older version uses this server: messages are delivered before the replicas have them until it is gone',
			{},
		);
	}

	#tellFinding(before: ServerFinding | null): void {
		const { onWarning } = this.#options;
		const finding = this.#finding;
		const told = finding.status === 'unfit' ? [finding.reason] : finding.warnings;
		const toldBefore = before === null ? [] : before.status === 'unfit' ? [before.reason] : before.warnings;
		for (const text of told) if (!toldBefore.includes(text)) onWarning(text, {});
	}

	#tracked<Result>(call: Promise<Result>): Promise<Result> {
		const tracked = call.finally(() => this.#underWay.delete(tracked));
		this.#underWay.add(tracked);
		return tracked;
	}
}

function rethrow(error: unknown): never {
	throw failureOf(error);
}
