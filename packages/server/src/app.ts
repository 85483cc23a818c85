/**
 * The composition root: config → store → relay → transports, wired by hand. The only file that sees both ends.
 */

import { randomBytes } from 'node:crypto';
import type { Server as HttpServer } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import packageJson from '../package.json' with { type: 'json' };
import { Auth, type AuthOptions } from './auth/auth.ts';
import { UNOWNED_ID } from './auth/topic-access.ts';
import type { Config } from './config/schema.ts';
import { systemClock } from './ops/clock.ts';
import type { Logger } from './ops/logger.ts';
import { createMetrics } from './ops/metrics.ts';
import type { Report } from './ops/report.ts';
import type { Clock } from './ports/clock.ts';
import type { Records } from './ports/records.ts';
import type { Store } from './ports/store.ts';
import { AgeClock } from './relay/age-clock.ts';
import { Relay, type RelayOptions } from './relay/relay.ts';
import { openEmbeddedStore } from './stores/embedded/store.ts';
import { createMemoryRecords } from './stores/memory/records.ts';
import { createMemoryStore } from './stores/memory/store.ts';
import { openValkeyStore } from './stores/valkey/store.ts';
import { peerCounts } from './transports/http/client-address.ts';
import { boundConnections } from './transports/http/connection-bound.ts';
import type { EdgeOptions } from './transports/http/deps.ts';
import { MetricsToken } from './transports/http/metrics-token.ts';
import { createHttpServer } from './transports/http/server.ts';
import { registerLongPoll } from './transports/long-poll/route.ts';
import { registerSse } from './transports/sse/route.ts';
import { serveWebSockets } from './transports/websocket/handler.ts';
import { registerUpgradeRequired } from './transports/websocket/upgrade-required.ts';
import { warnOfAccess } from './wiring/access-warnings.ts';
import { pollStartsOf } from './wiring/compat.ts';
import { edgeOf, reachable, tlsOf } from './wiring/edge.ts';
import { openLimits } from './wiring/limits.ts';
import { openOperations } from './wiring/operations.ts';
import { signInOf } from './wiring/sign-in.ts';
import { valkeyDemands, valkeyServer } from './wiring/valkey.ts';
import { openWhenReachable, type WaitingListener } from './wiring/waiting.ts';

/** Connections of publishers and operators, beside those of subscribers and polls. */
const OTHER_CONNECTIONS_MAX = 10_000;

export interface AppOptions {
	readonly config: Config;
	readonly logger: Logger;
	/** Files that the process may have open; null = no limit is known. */
	readonly openFilesMax: number | null;
	/** Gives how many lines of the log were lost so far. */
	readonly lostLogLines: () => number;
	/** Ends the waiting for a store that is not there yet: {@link createApp} then rejects. */
	readonly stopping?: AbortSignal;
	/** Gives the metrics of the whole relay as a text, when this is one of its workers. */
	readonly metricsOfAll?: () => Promise<string>;
}

/** A relay, ready to listen. */
export interface App {
	/** What an acknowledgement survives, as the store really gives it. */
	readonly durability: string;
	/** The metrics of this process. */
	report(): Promise<Report>;
	/** Starts serving; resolves with the URLs. Rejects when the address cannot be had. */
	listen(): Promise<{ readonly url: string; readonly metricsUrl: string }>;
	/** Logs what would otherwise look like a loss of data or a locked door. Never rejects. */
	warnOfAccess(): Promise<void>;
	/** Reads the certificates again, for connections from now on; keeps those it has, and logs why, when they are of no use. */
	reloadCertificates(): void;
	/** Stops listening, answers what comes on open connections, sends subscribers away; after the drain timeout closes what is left. */
	drain(): Promise<void>;
	/** Lets go of everything, at once. Idempotent, and part of {@link drain}. */
	close(): Promise<void>;
}

/** Opens the store, once it is there, and builds the relay over it. Rejects when the store cannot be opened. */
export async function createApp(options: AppOptions): Promise<App> {
	const { config, logger, stopping = NEVER } = options;
	const clock = systemClock;
	const edge = edgeOf(config, logger, clock);
	const open = () => openStorage(config, clock, logger);
	const { opened, waiting } = await openWhenReachable(open, { config, logger, clock, edge, stopping });
	return buildApp(options, { clock, edge, waiting, ...opened }).catch(async (error: unknown) => {
		await waiting?.close();
		throw error;
	});
}

const NEVER = new AbortController().signal;

/** What there is before the relay is built. */
interface Opened extends Storage {
	readonly clock: Clock;
	readonly edge: EdgeOptions;
	/** What has answered while the store was not there. */
	readonly waiting: WaitingListener | null;
}

async function buildApp(
	{ config, logger, openFilesMax, lostLogLines, metricsOfAll }: AppOptions,
	{ clock, edge, waiting, store, openRecords }: Opened,
): Promise<App> {
	const metrics = createMetrics({
		store,
		logger,
		lostLogLines,
		...(metricsOfAll === undefined ? {} : { textOfAll: metricsOfAll }),
	});
	const ageClock = new AgeClock({ clock, lastKnownMs: store.lastKnownMs, observer: metrics });
	const identity = await openIdentity(config, clock, logger, { store, openRecords, mayPurge: () => !ageClock.doubts });
	const auth = identity?.auth ?? null;
	const shared = config.storageBackend === 'valkey' ? valkeyServer(config) : null;
	const limits = await openLimits(config, { store, clock, logger, auth, server: shared }).catch(async (error: unknown) => {
		auth?.close();
		await identity?.records.close();
		await store.close();
		throw error;
	});
	const { limiting, caps, usage, rights, budgets, partyOf } = limits;
	const metricsToken = config.metricsToken === null ? null : new MetricsToken(config.metricsToken);
	const access = { auth, limiting, caps, usage, rights, budgets, partyOf, edge, metricsToken };
	const relay = createRelay(config, { store, clock, ageClock, observer: metrics });
	metrics.observeLoad(() => relay.load);
	const server = await createHttpServer({
		relay,
		metrics,
		logger,
		clock,
		limits: {
			maxBodyBytes: config.maxBodyBytes,
			maxPayloadDepth: config.maxPayloadDepth,
			bodyTimeoutS: config.bodyTimeoutS,
			keepAliveTimeoutS: config.keepAliveTimeoutS,
		},
		version: packageJson.version,
		appName: config.appName,
		ownerId: UNOWNED_ID,
		servesMetrics: config.metricsAddress === null,
		...access,
	});
	const forOperators = { relay, metrics, logger, clock, version: packageJson.version, metricsToken };
	const operations = openOperations(config, forOperators, edge);
	// Subscribers and polls have bounds that answer; this one, for connections that are neither, only cuts off.
	const connectionsMax = config.maxConnections + config.maxWaitingPolls + OTHER_CONNECTIONS_MAX;
	boundConnections(server.server, {
		connectionsMax,
		openFilesMax,
		peerOf: peerCounts(config.trustedProxies),
		clock,
		logger,
		metrics,
	});
	const pollStarts = identity === null ? null : pollStartsOf(config, { records: identity.records, clock, logger });
	registerLongPoll(server, { relay, metrics, clock, pollStarts, ownerId: UNOWNED_ID, ...access });
	const stopSse = registerSse(server, {
		relay,
		clock,
		metrics,
		socketBufferBytes: config.socketBufferBytes,
		heartbeatIntervalS: config.sseHeartbeatIntervalS,
		...access,
	});
	registerUpgradeRequired(server, { relay, metrics, logger, ...access });
	const terminateWebSockets = serveWebSockets(server.server, {
		relay,
		clock,
		logger,
		metrics,
		messageBytesMax: config.wsMaxMessageBytes,
		payloadDepthMax: config.maxPayloadDepth,
		socketBufferBytes: config.socketBufferBytes,
		pingIntervalS: config.wsPingIntervalS,
		...access,
	});
	const health = relay.health();

	let closing: Promise<void> | null = null;
	const close = () => {
		closing ??= closeAll();
		return closing;
	};
	const closeAll = async () => {
		terminateWebSockets();
		stopSse();
		await waiting?.close();
		server.server.closeAllConnections();
		await server.close();
		await operations?.close();
		relay.close();
		limits.close();
		pollStarts?.close();
		identity?.auth.close();
		await identity?.records.close();
		await store.close();
	};
	return {
		durability: health.status === 'ok' ? health.durability : health.reason,
		report: () => metrics.report(),
		async listen() {
			await waiting?.close();
			await server.listen({ host: config.host, port: waiting?.port ?? config.port });
			const { port } = server.server.address() as AddressInfo;
			const url = `${edge.tls === null ? 'http' : 'https'}://${reachable(config.host)}:${port}`;
			return { url, metricsUrl: `${(await operations?.listen()) ?? url}/metrics` };
		},
		warnOfAccess: () => warnOfAccess({ topics: relay.topics, accounts: auth?.accounts ?? null, logger }),
		reloadCertificates() {
			try {
				const tls = tlsOf(config);
				// There was a certificate at the start, so it is this kind of server.
				if (tls !== null) (server.server as HttpServer as HttpsServer).setSecureContext(tls);
				logger.info('the certificates were read again');
			} catch (error) {
				logger.error({ err: error }, 'the certificates could not be read again; those from before stay in use');
			}
		},
		async drain() {
			const deadline = new Promise<void>((resolve) => clock.after(config.drainTimeoutS * 1000, resolve));
			await Promise.race([deadline, Promise.all([relay.drain(), server.openConnections.close()])]);
			await close();
		},
		close,
	};
}

export interface Storage {
	readonly store: Store;
	/** Opens what is stored besides the log. */
	readonly openRecords: () => Promise<Records>;
}

/**
 * The configured store, and how its records are opened once it is.
 *
 * @param timeFrom of a store that has a clock of its own: whether that or `clock` tells the time
 */
export async function openStorage(
	config: Config,
	clock: Clock,
	logger: Logger,
	timeFrom: 'server' | 'clock' = 'server',
): Promise<Storage> {
	const { dataDir, maxTopics: topicsMax } = config;
	switch (config.storageBackend) {
		case 'memory':
			return { store: createMemoryStore({ topicsMax, clock }), openRecords: async () => createMemoryRecords({ clock }) };
		case 'embedded': {
			const store = await openEmbeddedStore({
				dataDir,
				topicsMax,
				clock,
				onWarning: (text, fields) => logger.warn(fields, text),
				onNotice: (text, fields) => logger.info(fields, text),
			});
			return { store, openRecords: () => store.openRecords() };
		}
		case 'valkey': {
			const store = await openValkeyStore({
				server: valkeyServer(config),
				demands: valkeyDemands(config),
				topicsMax,
				clock,
				timeFrom,
				onWarning: (text, fields) => logger.warn(fields, text),
			});
			return { store, openRecords: () => store.openRecords() };
		}
	}
}

interface Identity {
	readonly auth: Auth;
	readonly records: Records;
}

/** Accounts and what belongs to them; null where nobody is asked for credentials. The store, which holds the data directory's lock, is open. */
async function openIdentity(
	config: Config,
	clock: Clock,
	logger: Logger,
	{ store, openRecords, mayPurge }: Storage & Required<Pick<AuthOptions, 'mayPurge'>>,
): Promise<Identity | null> {
	if (config.auth === 'open') return null;
	let records: Records | null = null;
	try {
		records = await openRecords();
		const auth = new Auth({
			records,
			clock,
			mayPurge,
			log: logger,
			// One of this process alone; the start has warned that tokens end with it.
			jwtSecret: config.jwtSecretKey ?? randomBytes(32).toString('base64url'),
			accessTokenLifetimeS: config.accessTokenExpireMinutes * 60,
			refreshTokenLifetimeS: config.refreshTokenTtlDays * 86_400,
			refreshGraceS: config.refreshGraceS,
			...signInOf(config),
		});
		const { bootstrapAdminUsername: username, bootstrapAdminPassword: password, bootstrapAdminEmail: email } = config;
		await auth.prepare(username === null || password === null ? null : { username, password, email });
		return { auth, records };
	} catch (error) {
		await records?.close();
		await store.close();
		throw error;
	}
}

function createRelay(config: Config, parts: Pick<RelayOptions, 'store' | 'clock' | 'ageClock' | 'observer'>): Relay {
	return new Relay({
		...parts,
		hotTier: {
			retentionMs: config.hotTierRetentionS * 1000,
			bytesMax: config.hotTierMaxBytes,
			messagesPerTopicMax: config.hotTierMaxMessagesPerTopic,
		},
		publishQueueBytesMax: config.maxPublishQueueBytes,
		connectionsMax: config.maxConnections,
		subscriptionsPerConnectionMax: config.maxSubscriptionsPerConnection,
		waitingPollsMax: config.maxWaitingPolls,
		retention: {
			defaultMaxAgeS: config.persistentTierRetentionS,
			defaultMaxMessages: config.maxMessagesPerTopic,
			idempotencyWindowS: config.idempotencyWindowS,
			idempotencyKeysMax: config.idempotencyMaxKeys,
		},
	});
}
