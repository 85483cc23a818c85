/** The HTTP server alone, over a relay on the memory store or on a store that the test brings, listening on a free port. */

import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import type { FastifyInstance } from 'fastify';
import { OPEN_RIGHTS } from '../../src/auth/topic-access.ts';
import { Budgets } from '../../src/limits/budgets.ts';
import { systemClock } from '../../src/ops/clock.ts';
import { createLogger } from '../../src/ops/logger.ts';
import { createMetrics, type Metrics } from '../../src/ops/metrics.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Store } from '../../src/ports/store.ts';
import { Relay } from '../../src/relay/relay.ts';
import { createMemoryStore } from '../../src/stores/memory/store.ts';
import { clientAddresses } from '../../src/transports/http/client-address.ts';
import type { EdgeOptions, HttpLimits } from '../../src/transports/http/deps.ts';
import type { Limiting } from '../../src/transports/http/limiting.ts';
import { Origins } from '../../src/transports/http/origins.ts';
import { type PartyOf, parties } from '../../src/transports/http/party-of.ts';
import { createHttpServer } from '../../src/transports/http/server.ts';
import { TrafficLog } from '../../src/transports/http/traffic-log.ts';

export const OWNER_ID = '00000000-0000-0000-0000-000000000000';
export const VERSION = '1.2.3';
/** Reached under any name, by no foreign page, without TLS. */
export const PLAIN_EDGE: EdgeOptions = {
	traffic: new TrafficLog(createLogger({ level: 'critical', format: 'json', to: new PassThrough() }), () => ''),
	trustsHost: () => true,
	origins: new Origins([], () => {}),
	logRefusal: () => {},
	tls: null,
};

export interface HttpUnderTest {
	readonly port: number;
	readonly url: string;
	readonly server: FastifyInstance;
	readonly relay: Relay;
	readonly store: Store;
	readonly metrics: Metrics;
	readonly budgets: Budgets;
	readonly partyOf: PartyOf;
	/** What was logged so far. */
	log(): string;
	/** The first logged line that contains the text; empty when there is none. */
	logLine(containing: string): string;
	close(): Promise<void>;
}

export interface HttpTestOptions {
	readonly limits?: Partial<HttpLimits>;
	/** Wraps the memory store, for example to make it fail. */
	readonly wrapStore?: (store: Store) => Store;
	readonly limiting?: Limiting;
	readonly topicsMax?: number;
	readonly publishQueueBytesMax?: number;
	/** Default: room for 8 bodies of the largest size. */
	readonly receivingBytesMax?: number;
	/** Default: the system's. */
	readonly clock?: Clock;
	/** Called before the server listens. */
	readonly addRoutes?: (server: FastifyInstance) => void;
}

const MIB = 1024 * 1024;

/** Starts a server. */
export async function startHttp(options: HttpTestOptions = {}): Promise<HttpUnderTest> {
	const clock = options.clock ?? systemClock;
	const memory = createMemoryStore({ topicsMax: options.topicsMax ?? 1000, clock });
	const store = options.wrapStore?.(memory) ?? memory;
	const to = new PassThrough();
	const lines: string[] = [];
	to.on('data', (chunk: Buffer) => lines.push(chunk.toString()));
	const logger = createLogger({ level: 'info', format: 'json', to });
	const metrics = createMetrics({ store, logger, process: false });
	const relay = new Relay({
		store,
		clock,
		ageClock: clock,
		observer: metrics,
		hotTier: { retentionMs: 60_000, bytesMax: 64 * MIB, messagesPerTopicMax: 100_000 },
		publishQueueBytesMax: options.publishQueueBytesMax ?? 64 * MIB,
		connectionsMax: 1000,
		subscriptionsPerConnectionMax: 1000,
		waitingPollsMax: 1000,
		retention: {
			defaultMaxAgeS: 86_400,
			defaultMaxMessages: 1_000_000,
			idempotencyWindowS: 86_400,
			idempotencyKeysMax: 1_000_000,
		},
	});
	metrics.observeLoad(() => relay.load);
	const limits = { maxBodyBytes: MIB, maxPayloadDepth: 64, bodyTimeoutS: 60, keepAliveTimeoutS: 75, ...options.limits };
	const budgets = new Budgets({
		clock,
		bytesMax: options.receivingBytesMax ?? 8 * limits.maxBodyBytes,
		shareBytesMax: options.receivingBytesMax ?? 8 * limits.maxBodyBytes,
		timeoutMs: limits.bodyTimeoutS * 1000,
	});
	const partyOf = parties(clientAddresses([]));
	const server = await createHttpServer({
		relay,
		metrics,
		logger,
		clock,
		limits,
		edge: PLAIN_EDGE,
		version: VERSION,
		appName: 'Relay under test',
		ownerId: OWNER_ID,
		auth: null,
		limiting: options.limiting ?? null,
		metricsToken: null,
		servesMetrics: true,
		usage: null,
		rights: OPEN_RIGHTS,
		budgets,
		partyOf,
	});
	options.addRoutes?.(server);
	await server.listen({ host: '127.0.0.1', port: 0 });
	const { port } = server.server.address() as AddressInfo;
	return {
		port,
		url: `http://127.0.0.1:${port}`,
		server,
		relay,
		store,
		metrics,
		budgets,
		partyOf,
		log: () => lines.join(''),
		logLine: (containing) =>
			lines
				.join('')
				.split('\n')
				.find((line) => line.includes(containing)) ?? '',
		async close() {
			server.server.closeAllConnections();
			await server.close();
			relay.close();
			await store.close();
		},
	};
}
