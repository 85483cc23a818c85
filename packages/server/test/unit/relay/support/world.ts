/**
 * A relay over a hostile store, with clients that come, go, stall and poll, and a test that decides what happens when. Everything
 * the clients are told is checked as it is told.
 */

import assert from 'node:assert/strict';
import { type ErrorCode, RelayError } from '@pulsar-relay/protocol/errors';
import { compareMessageIds, type MessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { HotTierLimits } from '../../../../src/relay/hot-tier.ts';
import type { PollAnswer } from '../../../../src/relay/poll.ts';
import { Relay } from '../../../../src/relay/relay.ts';
import type { Start } from '../../../../src/relay/start.ts';
import { createMemoryStore } from '../../../../src/stores/memory/store.ts';
import { Client, checkPollAnswer, type Moment } from './client.ts';
import { type Counts, createCountingObserver } from './counting-observer.ts';
import { HostileStore, NO_FAULTS } from './hostile-store.ts';
import { seededPick } from './random.ts';
import { RecordingSink } from './recording-sink.ts';
import { Truth } from './truth.ts';
import { createTurnClock, settled, type TurnClock } from './turns.ts';

export const TOPICS = ['a', 'b', 'c'] as const;
/** Turns after which a relay that is left alone must have come to rest. */
const TURNS_TO_REST_MAX = 3000;
/** Idle turns after which it has. Background work wakes up in between. */
const IDLE_TURNS = 10;

interface OpenPoll {
	readonly starts: ReadonlyMap<string, Start>;
	readonly moment: Moment;
	readonly abort: AbortController;
	/** The earliest that the wall clock has shown since the poll began. */
	oldestMs: number;
	readonly dueMs: number;
}

export interface WorldOptions {
	readonly seed: number;
	readonly hotTier: HotTierLimits;
}

export class World {
	readonly clock: TurnClock;
	readonly truth: Truth;
	readonly hostile: HostileStore;
	readonly relay: Relay;
	readonly observer: Counts = createCountingObserver();
	readonly clients: Client[] = [];
	readonly polls: OpenPoll[] = [];
	/** Cursors that were seen somewhere, on whichever transport. */
	readonly remembered: { readonly topic: string; readonly id: MessageId }[] = [];
	readonly pick: (below: number) => number;
	readonly #acked = new Map<string, MessageId>();
	#everLossy = false;
	#failure: unknown = null;

	constructor({ seed, hotTier }: WorldOptions) {
		this.pick = seededPick(seed);
		this.clock = createTurnClock(() => this.pick(3) / 4);
		this.truth = new Truth(this.clock);
		const memory = createMemoryStore({ topicsMax: 100, clock: this.clock });
		this.hostile = new HostileStore(memory, this.truth, this.pick);
		this.relay = new Relay({
			store: this.hostile.store,
			clock: this.clock,
			ageClock: this.clock,
			observer: this.observer,
			hotTier,
			publishQueueBytesMax: 1e9,
			connectionsMax: 100,
			subscriptionsPerConnectionMax: TOPICS.length,
			waitingPollsMax: 100,
			retention: { defaultMaxAgeS: 3600, defaultMaxMessages: 60, idempotencyWindowS: 60, idempotencyKeysMax: 100 },
		});
	}

	/** Throws what went wrong inside the relay's own turns. */
	check(): void {
		if (this.#failure !== null) throw this.#failure;
		assert.deepEqual(this.observer.counts.housekeepingFailures, []);
	}

	publish(topic: string, payloads: readonly string[], ttlMs: number): void {
		const expiresAtMs = ttlMs === 0 ? 0 : this.clock.nowMs() + ttlMs;
		const publications = payloads.map((payload) => ({
			topic,
			entry: { payload: Buffer.from(payload), metadata: null, expiresAtMs, dedupe: null },
		}));
		this.#watch(
			this.relay.publish(publications).then((outcomes) => {
				assert.equal(outcomes.length, payloads.length);
				outcomes.forEach((outcome, i) => {
					assert.equal(outcome.status, 'appended');
					if (outcome.status !== 'appended') return;
					const log = this.truth.topic(topic);
					const stored = log.messages[log.indexAfter(outcome.id) - 1];
					assert.deepEqual(stored?.id, outcome.id, 'what is acknowledged is stored (I2)');
					assert.ok(stored?.json.includes(`"payload":${payloads[i]},`), 'and is this message');
					this.#acked.set(topic, outcome.id);
				});
			}),
		);
	}

	attach(options: { transport: 'websocket' | 'sse'; bufferBytesMax: number; drainsInside: boolean }): Client {
		const sink = new RecordingSink({
			transport: options.transport,
			bufferBytesMax: options.bufferBytesMax,
			...(options.drainsInside ? {} : { later: this.clock.soon }),
			hear: (told) => this.#guard(() => client.hear(told)),
		});
		const client = new Client({ sink, session: this.relay.attach(sink), truth: this.truth, remembered: this.remembered });
		this.clients.push(client);
		return client;
	}

	detach(client: Client): void {
		client.session.close();
		client.gone = true;
		this.clients.splice(this.clients.indexOf(client), 1);
	}

	subscribe(client: Client, starts: ReadonlyMap<string, Start>): void {
		const moment = this.#moment();
		const subscribed = client.session.subscribe(starts, (cursors) => client.ready(starts, cursors, this.#lossier(moment)));
		this.#watch(subscribed, () => (client.gone ? ['shutting_down', 'storage_unavailable'] : ['storage_unavailable']));
	}

	unsubscribe(client: Client, topic: string): void {
		if (client.session.unsubscribe(topic)) client.unsubscribed(topic);
	}

	poll(
		starts: ReadonlyMap<string, Start>,
		limits: { waitMs: number; messagesMax: number; messagesPerTopicMax: number; bytesMax: number },
	): void {
		const poll: OpenPoll = {
			starts,
			moment: this.#moment(),
			abort: new AbortController(),
			oldestMs: this.clock.nowMs(),
			dueMs: this.clock.monotonicMs() + limits.waitMs,
		};
		this.polls.push(poll);
		const answered = this.relay.poll({ starts, ...limits, signal: poll.abort.signal }).then((answer) => {
			let messages = 0;
			for (const slice of answer.slices) messages += slice.count;
			assert.ok(messages <= limits.messagesMax);
			const over = poll.abort.signal.aborted || this.relay.draining || this.clock.monotonicMs() >= poll.dueMs;
			assert.ok(over || messages > 0 || answer.gaps.length > 0, 'an empty answer comes only when the time is up');
			this.#checkAnswer(poll, answer);
		});
		this.#watch(
			answered.finally(() => this.polls.splice(this.polls.indexOf(poll), 1)),
			() => ['storage_unavailable'],
		);
	}

	/** Trims everything that is older, or more, than said. */
	trim(defaultMaxAgeS: number, defaultMaxMessages: number): void {
		this.#watch(this.hostile.store.trim({ nowMs: this.clock.nowMs(), defaultMaxAgeS, defaultMaxMessages, blocksMax: 1000 }));
	}

	delete(topic: string): void {
		this.#watch(this.relay.topics.deleteTopic(topic));
	}

	moveClock(ms: number): void {
		this.clock.setNowMs(this.clock.nowMs() + ms);
		this.truth.latestMs();
		for (const poll of this.polls) poll.oldestMs = Math.min(poll.oldestMs, this.clock.nowMs());
	}

	loseAnnouncements(percent: number): void {
		this.hostile.faults.lostPercent = percent;
		if (percent > 0) this.#everLossy = true;
	}

	/** Lets everything arrive and be done until, time after time, nothing waits but timers. */
	async rest(): Promise<void> {
		let idleTurns = 0;
		for (let turns = 0; idleTurns < IDLE_TURNS; turns++) {
			assert.ok(turns < TURNS_TO_REST_MAX, 'the relay comes to rest');
			await settled();
			const idle = this.hostile.pending === 0 && this.clock.waiting === 0;
			if (idle) idleTurns++;
			this.hostile.deliver(1 + this.pick(5));
			this.clock.turn(1 + this.pick(3));
			// When idle, long enough for whoever waits before asking a failed store again.
			this.clock.advance(idle ? 600 : 1);
			this.truth.latestMs();
			this.check();
		}
	}

	/** Ends the faults, wakes everybody, and checks that nobody was left behind and nothing is left over. */
	async finish(): Promise<void> {
		Object.assign(this.hostile.faults, NO_FAULTS);
		for (const { sink } of this.clients) sink.resume();
		await this.rest();
		// A lost announcement is noticed with the next one.
		if (this.#everLossy) for (const topic of TOPICS) this.publish(topic, ['"the last"'], 0);
		await this.rest();
		for (const client of this.clients) {
			client.checkComplete();
			assert.equal(client.sink.deliveredUnasked, 0, 'nothing is delivered to a sink that is not writable (I5)');
		}
		const drained = this.relay.drain();
		await this.rest();
		await drained;
		assert.equal(this.polls.length, 0, 'every poll is answered when the node drains');
		for (const client of [...this.clients]) this.detach(client);
		assert.equal(this.observer.counts.behind, 0, 'the number of subscriptions behind adds up');
		this.clock.advance(3_600_000);
		await this.rest();
		assert.equal(this.relay.load.hotBytes, 0);
		assert.equal(this.relay.load.sessions, 0);
		assert.deepEqual([...this.hostile.watched], [], 'what nobody follows is not watched');
	}

	close(): void {
		this.relay.close();
	}

	#checkAnswer(poll: OpenPoll, answer: PollAnswer): void {
		const moment = this.#lossier(poll.moment);
		assert.deepEqual([...answer.cursors.keys()], [...poll.starts.keys()]);
		for (const [name, start] of poll.starts) {
			checkPollAnswer(this.truth, name, { start, answer, moment, oldestMs: poll.oldestMs });
			this.remembered.push({ topic: name, id: answer.cursors.get(name) ?? ZERO_ID });
		}
		const behind = [...answer.cursors].some(([name, id]) => compareMessageIds(id, this.truth.topic(name).tip) < 0);
		assert.ok(behind || !answer.hasMore, 'there is more when the answer says so');
	}

	#moment(): Moment {
		const topics = new Map(
			TOPICS.map((name) => {
				const { tip } = this.truth.topic(name);
				const deletionsHeard = this.hostile.deletionsHeard.get(name) ?? 0;
				return [name, { tip, deletionsHeard, acked: this.#acked.get(name) ?? ZERO_ID }];
			}),
		);
		return { topics, lossy: this.#everLossy };
	}

	#lossier(moment: Moment): Moment {
		return this.#everLossy ? { ...moment, lossy: true } : moment;
	}

	/** Keeps the first failure, and expects no rejection but those with an allowed code. */
	#watch(promise: Promise<unknown>, allowed: () => readonly ErrorCode[] = () => []): void {
		promise.catch((error: unknown) => {
			if (error instanceof RelayError && allowed().includes(error.code)) return;
			this.#failure ??= error;
		});
	}

	#guard(run: () => void): void {
		try {
			run();
		} catch (error) {
			this.#failure ??= error;
		}
	}
}
