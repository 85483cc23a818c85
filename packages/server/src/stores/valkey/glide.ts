/**
 * The client library, GLIDE: connecting, running commands, subscribing. The only file that knows it. Credentials and certificates are asked
 * for at each attempt to connect, because they may be rotated while the relay runs.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import {
	Batch,
	ClusterBatch,
	Decoder,
	GlideClient,
	GlideClusterClient,
	Logger as GlideLogger,
	type GlideReturnType,
	type GlideString,
	type PubSubMsg,
} from '@valkey/valkey-glide';
import type { Clock } from '../../ports/clock.ts';
import { TWO_PRIMARIES, unavailable } from './failure.ts';
import { clientNameOf } from './nodes.ts';

export interface ServerAddress {
	readonly host: string;
	readonly port: number;
}

/** PEM texts for TLS. */
export interface ServerTls {
	/** Certificates to trust instead of the system's; null = the system's. */
	readonly ca: Buffer | null;
	/** What the relay shows to a server that asks for a certificate; null = none. */
	readonly own: { readonly certificate: Buffer; readonly key: Buffer } | null;
}

/** How to reach the server, or the servers of a Cluster, and which of its keys are the relay's. */
export interface ServerOptions {
	/** Of one server with its replicas: all of them, or the primary. Of a Cluster: some. */
	readonly addresses: readonly ServerAddress[];
	readonly cluster: boolean;
	/** Null = no TLS. Throws `storage_unavailable` when a file cannot be read. */
	readonly tls: (() => ServerTls) | null;
	readonly username: string | null;
	/** Null = none. Throws as `tls` does. */
	readonly password: () => string | null;
	/** In front of every key and channel. */
	readonly keyPrefix: string;
}

export interface ClientOptions extends ServerOptions {
	readonly clock: Clock;
	/** How long a call may take. */
	readonly requestTimeoutMs: number;
	readonly onMessage?: (channel: string, message: Uint8Array) => void;
}

/** It writes to standard error by itself; the relay logs what an operator needs. */
export function silenceLibrary(): void {
	GlideLogger.setLoggerConfig('off');
}

/** A command as its words. */
export type Command = readonly GlideString[];
export type Reply = GlideReturnType;
export type Client = GlideClient | GlideClusterClient;

const CONNECT_TIMEOUT_MS = 1000;
/** How long the other addresses may take to say that they are primaries, too, once one has. */
const OTHER_PRIMARY_WAIT_MS = 300;
/** Channels in one subscribe call. */
const CHANNELS_PER_CALL = 500;
/** Calls that may be under way; the relay's own bounds are far below. */
const IN_FLIGHT_MAX = 10_000;

export function isCluster(client: Client): client is GlideClusterClient {
	return client instanceof GlideClusterClient;
}

/**
 * Connects to the Cluster, to the server, or to that one of several which is the primary. Each is tried by itself: the library, given
 * all of them, sends some commands to each, and with a dead one among them recovery from a failover took it up to 12 s. Two primaries
 * are two logs: neither is used.
 */
export async function connect(options: ClientOptions): Promise<Client> {
	const { addresses, cluster } = options;
	if (cluster || addresses.length === 1) return createClient(options, addresses);
	const found: Primary[] = [];
	let over = false;
	const tries = addresses.map(async (address) => {
		const primary = await connectToPrimary(options, address);
		if (over) closeSoon(primary.client);
		else found.push(primary);
	});
	try {
		await Promise.any(tries);
		const others = Promise.withResolvers<void>();
		const cancel = options.clock.after(OTHER_PRIMARY_WAIT_MS, others.resolve);
		await Promise.race([Promise.allSettled(tries), others.promise]).finally(cancel);
	} catch (error) {
		// The reasons of servers that answered say more than that another one did not.
		const reasons = error instanceof AggregateError ? error.errors : [error];
		throw reasons.find((reason) => reason instanceof RelayError) ?? reasons[0];
	} finally {
		over = true;
	}
	const [chosen, ...rest] = found as [Primary, ...Primary[]];
	for (const { client } of rest) closeSoon(client);
	// One server may have two addresses.
	if (rest.every(({ run }) => run === chosen.run)) return chosen.client;
	closeSoon(chosen.client);
	throw unavailable(TWO_PRIMARIES);
}

interface Primary {
	readonly client: Client;
	/** Which run of which server it is. */
	readonly run: string | undefined;
}

async function connectToPrimary(options: ClientOptions, address: ServerAddress): Promise<Primary> {
	const client = await createClient(options, [address]);
	try {
		return { client, run: (await identify(client)).split(' ')[0] };
	} catch (error) {
		closeSoon(client);
		throw error;
	}
}

async function createClient(options: ClientOptions, addresses: readonly ServerAddress[]): Promise<Client> {
	const { onMessage, username } = options;
	const tls = options.tls?.() ?? null;
	const password = options.password();
	const configuration = {
		addresses: addresses.map(({ host, port }) => ({ host, port })),
		requestTimeout: options.requestTimeoutMs,
		inflightRequestsLimit: IN_FLIGHT_MAX,
		defaultDecoder: Decoder.Bytes,
		clientName: clientNameOf(options.keyPrefix),
		useTLS: tls !== null,
		...(password === null ? {} : { credentials: { password, ...(username === null ? {} : { username }) } }),
		advancedConfiguration: {
			connectionTimeout: CONNECT_TIMEOUT_MS,
			...(tls === null || tls.ca === null ? {} : { tlsAdvancedConfiguration: { rootCertificates: tls.ca } }),
		},
		pubsubSubscriptions: {
			channelsAndPatterns: {},
			callback: (message: PubSubMsg) => onMessage?.(String(message.channel), message.message as Uint8Array),
		},
	};
	if (tls !== null && tls.own !== null) return createWithCertificate(options.cluster, configuration, tls.own);
	return options.cluster ? GlideClusterClient.createClient(configuration) : GlideClient.createClient(configuration);
}

/** What the library (2.5.2) has no option for: its request to connect has fields for a certificate of the client. */
interface LibraryClient {
	createClientRequest(options: object): object;
}
interface LibraryKind {
	new (socket: object, options: object): LibraryClient;
	createClientInternal(options: object, construct: (socket: object, options: object) => LibraryClient): Promise<Client>;
}

function createWithCertificate(
	cluster: boolean,
	configuration: object,
	{ certificate, key }: NonNullable<ServerTls['own']>,
): Promise<Client> {
	const Kind = (cluster ? GlideClusterClient : GlideClient) as unknown as LibraryKind;
	return Kind.createClientInternal(configuration, (socket, options) => {
		const client = new Kind(socket, options);
		const createRequest = client.createClientRequest.bind(client);
		client.createClientRequest = (of) => ({ ...createRequest(of), clientCert: certificate, clientKey: key });
		return client;
	});
}

export async function runOn(client: Client, commands: readonly Command[], timeoutMs: number): Promise<readonly Reply[]> {
	const batch = isCluster(client) ? new ClusterBatch(false) : new Batch(false);
	for (const command of commands) batch.customCommand([...command]);
	const replies = isCluster(client)
		? await client.exec(batch as ClusterBatch, false, { timeout: timeoutMs })
		: await client.exec(batch as Batch, false, { timeout: timeoutMs });
	return replies ?? [];
}

export async function everywhere(client: Client, command: Command): Promise<readonly Reply[]> {
	if (!isCluster(client)) return [await client.customCommand([...command])];
	const replies = await client.customCommand([...command], { route: 'allPrimaries' });
	return (replies as unknown as { readonly value: Reply }[]).map(({ value }) => value);
}

export async function subscribeOn(client: Client, channels: readonly string[], timeoutMs: number): Promise<void> {
	for (let at = 0; at < channels.length; at += CHANNELS_PER_CALL) {
		const some = channels.slice(at, at + CHANNELS_PER_CALL);
		await (isCluster(client) ? client.ssubscribe(some, timeoutMs) : client.subscribe(some, timeoutMs));
	}
}

/** Which runs of which servers answer, over which connections. Rejects when they do not in time, or when one must not be used. */
export async function identify(client: Client): Promise<string> {
	const [connections, servers, replications, persistences] = await Promise.all(
		[
			['CLIENT', 'ID'],
			['INFO', 'server'],
			['INFO', 'replication'],
			['INFO', 'persistence'],
		].map((command) => everywhere(client, command)),
	);
	if (persistences?.some((text) => /^loading:1/m.test(String(text)))) throw unavailable('the store is loading its data');
	if (replications?.some((text) => /^role:slave/m.test(String(text)))) throw unavailable('the store is a read-only replica');
	const runs = servers?.map((text) => /^run_id:(\w+)/m.exec(String(text))?.[1]) ?? [];
	// Replies that are not those to these commands: the library has lost count, and the connection is of no use any more.
	if (runs.includes(undefined) || !connections?.every((id) => typeof id === 'number'))
		throw unavailable('unexpected reply from Valkey');
	return `${runs.sort().join()} ${connections.map(String).sort().join()}`;
}

/**
 * Closes a client once the calls that were just made are written: the library writes them in a later turn, and what it then finds
 * closed it tells standard error.
 */
export function closeSoon(client: Client): void {
	setImmediate(() => setImmediate(() => client.close()));
}
