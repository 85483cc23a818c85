/**
 * Metrics: plain numbers counted on the hot path, given the form of Prometheus only when somebody asks. A registry per relay. No
 * label has values that clients can make up: topics are never labels.
 */

import { ERRORS, type ErrorCode } from '@pulsar-relay/protocol/errors';
import type { GapReason } from '@pulsar-relay/protocol/frames';
import { collectDefaultMetrics, type Metric, Registry } from 'prom-client';
import type { ConnectionMetrics, Observer } from '../ports/observer.ts';
import type { TransportName } from '../ports/sink.ts';
import type { Durability, Store } from '../ports/store.ts';
import { Distribution } from './distribution.ts';
import type { Logger } from './logger.ts';
import type { MetricType, Report, Sample } from './report.ts';

/** What the gauges show of the relay; see `Relay.load`. */
export interface RelayLoad {
	readonly hotBytes: number;
	readonly queuedBytes: number;
}

/** The numbers of one HTTP route. */
export interface RouteMetrics {
	/** A request was answered, or its answer ended, after `durationS`. */
	answered(status: number, durationS: number): void;
}

export interface Metrics extends Observer, ConnectionMetrics {
	/** The numbers of a route; `handler` is its pattern. Called once per route. */
	route(method: string, handler: string): RouteMetrics;
	/** Says where the load of the relay is read from; gauges of it are 0 before. */
	observeLoad(load: () => RelayLoad): void;
	/** What the store holds. */
	totals(): ReturnType<Store['stats']>;
	/** The `Content-Type` of {@link text}. */
	readonly contentType: string;
	/** All metrics in the text format; of all processes, when the relay has several. */
	text(): Promise<string>;
	/** The metrics of this process. */
	report(): Promise<Report>;
}

export interface MetricsOptions {
	readonly store: Pick<Store, 'stats' | 'health' | 'clocks' | 'space'>;
	/** Where failures of the background work are told; default nowhere, they are counted all the same. */
	readonly logger?: Pick<Logger, 'info' | 'warn' | 'error'>;
	/** Gives how many lines of the log were lost; default none. */
	readonly lostLogLines?: () => number;
	/** Whether the numbers of the process are among the metrics; default yes. */
	readonly process?: boolean;
	/** Gives the text for all processes of the relay; default this is the only one. */
	readonly textOfAll?: () => Promise<string>;
}

interface CountedError {
	readonly type: string;
	readonly code: ErrorCode;
	count: number;
}

const TRANSPORTS: readonly TransportName[] = ['websocket', 'sse', 'longpoll'];
const DURABILITIES: readonly Durability[] = ['memory', 'everysec', 'process', 'disk'];
const GAP_REASONS: readonly GapReason[] = ['trimmed', 'ahead', 'unknown', 'deleted'];
/** Failures of the relay or its store, there from the start too: an alert on the first one must not miss it. */
const SERVER_ERRORS = (Object.keys(ERRORS) as ErrorCode[]).filter((code) => ERRORS[code].status >= 500);
const APPEND_BUCKETS_S = [0.001, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const DELAY_BUCKETS_S = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const REQUEST_BUCKETS_S = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** A number per label value, all there from the start, so that a rate over the first event is not lost. */
function tally<K extends string>(names: readonly K[]): Record<K, number> {
	return Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
}

class RelayMetrics implements Metrics {
	readonly #registry = new Registry();
	readonly #options: MetricsOptions;
	#load: () => RelayLoad = () => ({ hotBytes: 0, queuedBytes: 0 });
	#messagesReceived = 0;
	#bytesReceived = 0;
	readonly #delivered = tally(TRANSPORTS);
	readonly #gaps = tally(GAP_REASONS);
	readonly #opened = tally(TRANSPORTS);
	readonly #closed = tally(TRANSPORTS);
	#dropped = 0;
	#behind = 0;
	#clockDoubted = false;
	/** Whether the last append, of those that tell, was stored. */
	#storing = true;
	readonly #operations = tally(['append ok', 'append error', 'read ok', 'read error', 'housekeeping error']);
	readonly #errors = new Map<string, CountedError>();
	readonly #appendS = new Distribution(APPEND_BUCKETS_S);
	readonly #deliveryDelayS = new Distribution(DELAY_BUCKETS_S);
	readonly #routes: CountedRoute[] = [];

	constructor(options: MetricsOptions) {
		this.#options = options;
		for (const code of SERVER_ERRORS) for (const type of ['http', 'websocket'] as const) this.#error(type, code);
		this.#addMessages();
		this.#addConnections();
		this.#addStorage();
		this.#addRequests();
		this.#addLog();
		if (options.process !== false) collectDefaultMetrics({ register: this.#registry });
	}

	get contentType(): string {
		return this.#registry.contentType;
	}

	text(): Promise<string> {
		return this.#options.textOfAll?.() ?? this.#registry.metrics();
	}

	async report(): Promise<Report> {
		return (await this.#registry.getMetricsAsJSON()) as unknown as Report;
	}

	observeLoad(load: () => RelayLoad): void {
		this.#load = load;
	}

	totals(): ReturnType<Store['stats']> {
		return this.#options.store.stats();
	}

	route(method: string, handler: string): RouteMetrics {
		const route = new CountedRoute(method, handler);
		this.#routes.push(route);
		return route;
	}

	received(messages: number, bytes: number): void {
		this.#messagesReceived += messages;
		this.#bytesReceived += bytes;
	}

	appended(durationMs: number, stored: boolean): void {
		this.#operations[stored ? 'append ok' : 'append error']++;
		if (stored !== this.#storing) this.#noteOutage(stored);
		this.#appendS.add(durationMs / 1000);
	}

	/** Logs the beginning and the end of an outage, however many publishes are refused in between. */
	#noteOutage(stored: boolean): void {
		const { logger, store } = this.#options;
		const health = store.health();
		// A refusal that is not the store's failure, such as for one topic too many.
		if (!stored && health.status === 'ok') return;
		this.#storing = stored;
		if (stored) logger?.info('the store appends again');
		else logger?.error({ health }, 'the store refuses appends');
	}

	read(succeeded: boolean): void {
		this.#operations[succeeded ? 'read ok' : 'read error']++;
	}

	delivered(transport: TransportName, messages: number): void {
		this.#delivered[transport] += messages;
	}

	deliveryDelay(delayMs: number): void {
		this.#deliveryDelayS.add(delayMs / 1000);
	}

	gap(reason: GapReason): void {
		this.#gaps[reason]++;
	}

	behind(change: number): void {
		this.#behind += change;
	}

	housekeepingFailed(error: unknown): void {
		this.#operations['housekeeping error']++;
		this.#options.logger?.warn({ err: error }, 'a step of the background work failed; the next one tries again');
	}

	clockDoubted(aheadMs: number, graceMs: number): void {
		this.#clockDoubted = true;
		this.#options.logger?.warn(
			{ ahead_s: Math.round(aheadMs / 1000), grace_s: graceMs / 1000 },
			'the clock is far ahead of when this relay was last at work; nothing is removed for its age until that has lasted for the grace. ' +
				'After a long stop this is as it should be; if the clock is wrong, set it right before',
		);
	}

	clockBelieved(): void {
		this.#clockDoubted = false;
		this.#options.logger?.info('messages are removed by the clock again');
	}

	connectionOpened(transport: TransportName): void {
		this.#opened[transport]++;
	}

	connectionDropped(): void {
		this.#dropped++;
	}

	connectionClosed(transport: TransportName): void {
		this.#closed[transport]++;
	}

	errorAnswered(type: TransportName | 'http', code: ErrorCode): void {
		this.#error(type, code).count++;
	}

	#error(type: string, code: ErrorCode): CountedError {
		const key = `${type} ${code}`;
		const known = this.#errors.get(key);
		if (known !== undefined) return known;
		const first = { type, code, count: 0 };
		this.#errors.set(key, first);
		return first;
	}

	#addMessages(): void {
		const { stats } = this.#options.store;
		const totals = stats.bind(this.#options.store);
		this.#add('relay_messages_received_total', 'counter', 'Messages taken for publishing.', () => one(this.#messagesReceived));
		this.#add('relay_message_bytes_received_total', 'counter', 'Bytes of their payloads and metadata.', () =>
			one(this.#bytesReceived),
		);
		this.#add('relay_message_latency_seconds', 'histogram', 'Time of one append of a batch to the store.', (name) =>
			this.#appendS.samples(name, {}),
		);
		this.#add('relay_messages_delivered_total', 'counter', 'Messages written towards subscribers.', () =>
			labelled('delivery_type', this.#delivered),
		);
		this.#add(
			'relay_delivery_delay_seconds',
			'histogram',
			'Time from append to the write towards live subscribers, per topic and tick.',
			(name) => this.#deliveryDelayS.samples(name, {}),
		);
		this.#add('relay_gaps_total', 'counter', 'Holes that subscribers were told of.', () => labelled('reason', this.#gaps));
		this.#add('relay_topics', 'gauge', 'Topics.', () => one(totals().topics));
		this.#add('relay_topic_message_count', 'gauge', 'Messages kept, over all topics.', () => one(totals().messages));
		this.#add('relay_stored_messages', 'gauge', 'Messages kept, over all topics.', () => one(totals().messages));
		this.#add('relay_stored_bytes', 'gauge', 'Bytes of messages kept, over all topics.', () => one(totals().bytes));
		this.#add('relay_clock_doubted', 'gauge', 'Whether the clock is so far ahead that nothing is removed for its age yet.', () =>
			one(this.#clockDoubted ? 1 : 0),
		);
		this.#add('relay_hot_tier_bytes', 'gauge', 'Bytes in the hot tier.', () => one(this.#load().hotBytes));
		this.#add('relay_publish_queue_bytes', 'gauge', 'Bytes that wait to be stored.', () => one(this.#load().queuedBytes));
	}

	#addConnections(): void {
		const open = () => TRANSPORTS.map((type) => ({ labels: { type }, value: this.#opened[type] - this.#closed[type] }));
		this.#add('relay_connections', 'gauge', 'Open connections and waiting polls.', open);
		this.#add('relay_websocket_connections_active', 'gauge', 'Open WebSocket connections.', () =>
			one(this.#opened.websocket - this.#closed.websocket),
		);
		this.#add('relay_websocket_connections_total', 'counter', 'WebSocket connections opened.', () => one(this.#opened.websocket));
		this.#add('relay_websocket_disconnections_total', 'counter', 'WebSocket connections closed.', () =>
			one(this.#closed.websocket),
		);
		this.#add('relay_connections_dropped_total', 'counter', 'Connections cut off because there were too many.', () =>
			one(this.#dropped),
		);
		this.#add('relay_subscriptions_behind', 'gauge', 'Subscriptions that catch up, or whose peers do not read.', () =>
			one(this.#behind),
		);
		this.#add('relay_errors_total', 'counter', 'Failures answered.', () =>
			[...this.#errors.values()].map(({ type, code, count }) => ({ labels: { type, code }, value: count })),
		);
	}

	#addStorage(): void {
		this.#add('relay_storage_up', 'gauge', 'Whether an append would be stored.', () =>
			one(this.#options.store.health().status === 'ok' ? 1 : 0),
		);
		this.#add('relay_storage_durability', 'gauge', 'What an acknowledgement survives: 1 for the level in force.', () => {
			const health = this.#options.store.health();
			return DURABILITIES.map((level) => ({
				labels: { level },
				value: health.status === 'ok' && health.durability === level ? 1 : 0,
			}));
		});
		const { store } = this.#options;
		if (store.clocks?.().skewMs !== undefined) {
			this.#add('relay_storage_clock_skew_seconds', 'gauge', "By how much this machine's clock is ahead of the store's.", () =>
				one((store.clocks?.().skewMs ?? 0) / 1000),
			);
		}
		if (store.space !== undefined) {
			this.#add('relay_storage_file_bytes', 'gauge', 'Bytes that the store takes on the disk.', () =>
				one(store.space?.().fileBytes ?? 0),
			);
			this.#add('relay_storage_free_bytes', 'gauge', 'Bytes of them that are free to be used again.', () =>
				one(store.space?.().freeBytes ?? 0),
			);
		}
		if (store.clocks !== undefined) {
			this.#add('relay_topics_ahead_of_clock', 'gauge', 'Topics with ids more than a minute ahead of the clock.', () =>
				one(store.clocks?.().topicsAhead ?? 0),
			);
		}
		this.#add('relay_storage_operations_total', 'counter', 'Calls to the store.', () =>
			Object.entries(this.#operations).map(([key, value]) => {
				const [operation = '', status = ''] = key.split(' ');
				return { labels: { operation, status }, value };
			}),
		);
	}

	#addLog(): void {
		this.#add('relay_log_lines_lost_total', 'counter', 'Lines that standard output did not take.', () =>
			one(this.#options.lostLogLines?.() ?? 0),
		);
	}

	#addRequests(): void {
		this.#add('http_requests_total', 'counter', 'HTTP requests answered.', () => this.#routes.flatMap((route) => route.counts()));
		this.#add(
			'http_request_duration_seconds',
			'histogram',
			'Time from the headers of a request to the end of its answer.',
			(name) => this.#routes.flatMap((route) => route.durations(name)),
		);
	}

	#add(name: string, type: MetricType, help: string, samples: (name: string) => readonly Sample[]): void {
		const metric = {
			name,
			help,
			type,
			aggregator: 'sum',
			reset() {},
			get: async () => ({ name, help, type, aggregator: 'sum', values: samples(name) }),
		};
		// A registry asks a metric for its name and `get`, no more. The classes of prom-client hash the labels of every change, which
		// costs more than all else that is counted here.
		this.#registry.registerMetric(metric as unknown as Metric);
	}
}

class CountedRoute implements RouteMetrics {
	readonly #method: string;
	readonly #handler: string;
	/** By the first digit of the status. */
	readonly #answers = new Float64Array(10);
	readonly #durationS = new Distribution(REQUEST_BUCKETS_S);

	constructor(method: string, handler: string) {
		this.#method = method;
		this.#handler = handler;
	}

	answered(status: number, durationS: number): void {
		const digit = Math.floor(status / 100);
		this.#answers[digit] = (this.#answers[digit] ?? 0) + 1;
		this.#durationS.add(durationS);
	}

	counts(): readonly Sample[] {
		const samples: Sample[] = [];
		for (const [digit, value] of this.#answers.entries()) {
			// Successes are there from the start, so that a rate over the first one is not lost.
			if (value === 0 && digit !== 2) continue;
			samples.push({ labels: { method: this.#method, status: `${digit}xx`, handler: this.#handler }, value });
		}
		return samples;
	}

	durations(name: string): readonly Sample[] {
		return this.#durationS.count === 0 ? [] : this.#durationS.samples(name, { method: this.#method, handler: this.#handler });
	}
}

function one(value: number): readonly Sample[] {
	return [{ labels: {}, value }];
}

function labelled(label: string, values: Readonly<Record<string, number>>): readonly Sample[] {
	return Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }));
}

/** Makes the metrics of one relay, all at zero. */
export function createMetrics(options: MetricsOptions): Metrics {
	return new RelayMetrics(options);
}
