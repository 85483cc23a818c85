/**
 * What the server is really set up to do: read at the start and every 10 s, since anybody may change it (I2). Facts behind the
 * mapping (docs/operations.md, "What an acknowledgement survives"): only `always` syncs before it answers; `no` writes before it answers,
 * and lost nothing by kill -9; `everysec` holds writes back for up to 2 s while a flush is under way and acknowledges them all the same, and so
 * is a level of its own; WAITAOF is not to be trusted under `everysec`; an `allkeys-*` policy throws away whole streams.
 */

import type { Durability } from '../../ports/store.ts';
import type { Connection } from './connection.ts';
import { isForbidden } from './failure.ts';
import type { Reply } from './glide.ts';

/** What the relay was told to expect. */
export interface ServerDemands {
	/** What an acknowledgement must survive: any of these will do. */
	readonly durability: readonly Durability[];
	/** What to believe of a server that does not let its settings be read; null = refuse such a server. */
	readonly assumeDurability: Durability | null;
	readonly allowEviction: boolean;
	/** Replicas that are waited for. */
	readonly replicas: number;
}

export type ServerFinding =
	| { readonly status: 'ok'; readonly durability: Durability; readonly warnings: readonly string[] }
	/** `fatal`: at the start no reason to go on. */
	| { readonly status: 'unfit'; readonly reason: string; readonly fatal: boolean };

/** What each level gives besides itself. `process` is not more than `everysec`: without any flush, power loss takes half a minute. */
const GIVES: Readonly<Record<Durability, readonly Durability[]>> = {
	disk: ['disk', 'process', 'everysec', 'memory'],
	process: ['process', 'memory'],
	everysec: ['everysec', 'memory'],
	memory: ['memory'],
};
const SETTINGS: Readonly<Record<Durability, string>> = {
	disk: 'appendonly yes and appendfsync always',
	process: 'appendonly yes and appendfsync always or no',
	everysec: 'appendonly yes and appendfsync always or everysec',
	memory: 'nothing',
};
const VERSION_MAJOR_MIN = 7;

/** Looks at every primary; the worst counts. Rejects when the server cannot be asked. */
export async function checkServer(connection: Connection, demands: ServerDemands): Promise<ServerFinding> {
	const problem = (await checkVersion(connection)) ?? (await checkDisk(connection));
	if (problem !== null) return problem;
	let settings: readonly ReadonlyMap<string, string>[] | null = null;
	try {
		settings = (await connection.runEverywhere(['CONFIG', 'GET', '*append*', 'maxmemory*'])).map(toSettings);
	} catch (error) {
		const { assumeDurability } = demands;
		if (!isForbidden(error) && !isRenamed(error)) throw error;
		if (assumeDurability === null) {
			return unfit(
				'CONFIG GET is forbidden, so what an acknowledgement survives is unknown; set PULSAR_VALKEY_ASSUME_DURABILITY',
				true,
			);
		}
		return judge(assumeDurability, demands, []);
	}
	return judgeSettings(settings, demands);
}

async function checkVersion(connection: Connection): Promise<ServerFinding | null> {
	for (const text of (await connection.runEverywhere(['INFO', 'server'])).map(String)) {
		// Valkey says here which Redis it is compatible with, 7.2 and above.
		const version = /^redis_version:((\d+)\.\S*)/m.exec(text);
		if (version !== null && Number(version[2]) < VERSION_MAJOR_MIN) {
			return unfit(`the server is version ${version[1]}; the relay needs Valkey, or Redis 7 or newer`, true);
		}
	}
	return null;
}

/** Since the last write failed the server refuses every other one; so would the relay. */
async function checkDisk(connection: Connection): Promise<ServerFinding | null> {
	const failing = (await connection.runEverywhere(['INFO', 'persistence'])).some((text) =>
		/^aof_last_write_status:err/m.test(String(text)),
	);
	return failing ? unfit('the store cannot write to its disk (aof_last_write_status)', false) : null;
}

/**
 * Whether there are as many replicas as are to be waited for; null when there are. Only at the start: later on an append finds out by
 * itself, and finds a replica that has come back at once.
 */
export async function checkReplicas(connection: Connection, wanted: number): Promise<string | null> {
	if (wanted === 0) return null;
	const [text] = await connection.runEverywhere(['INFO', 'replication']);
	const connected = Number(/^connected_slaves:(\d+)/m.exec(String(text))?.[1] ?? 0);
	if (connected >= wanted) return null;
	return `the server has ${connected} replicas, and PULSAR_DURABILITY asks for ${wanted}`;
}

function judgeSettings(settings: readonly ReadonlyMap<string, string>[], demands: ServerDemands): ServerFinding {
	const warnings: string[] = [];
	for (const server of settings) {
		const policy = server.get('maxmemory-policy') ?? 'noeviction';
		if (!policy.startsWith('allkeys-')) continue;
		const problem = `maxmemory-policy is ${policy}, which throws away whole topics when memory is short`;
		if (!demands.allowEviction) return unfit(`${problem}; set it to noeviction`, false);
		warnings.push(problem);
	}
	const given = settings.map(durabilityOf);
	const common = GIVES.disk.find((level) => given.every((one) => GIVES[one].includes(level))) ?? 'memory';
	return judge(common, demands, warnings);
}

function durabilityOf(server: ReadonlyMap<string, string>): Durability {
	if (server.get('appendonly') !== 'yes') return 'memory';
	const policy = server.get('appendfsync');
	if (policy === 'everysec') return 'everysec';
	// With the other setting, no file is synced while one is rewritten.
	return policy === 'always' && server.get('no-appendfsync-on-rewrite') !== 'yes' ? 'disk' : 'process';
}

function judge(durability: Durability, demands: ServerDemands, warnings: readonly string[]): ServerFinding {
	const [wanted] = demands.durability;
	if (wanted === undefined || demands.durability.some((level) => GIVES[durability].includes(level))) {
		return { status: 'ok', durability, warnings };
	}
	const reason = `the server gives durability ${durability}, and PULSAR_DURABILITY asks for ${wanted}; it needs ${SETTINGS[wanted]}`;
	return unfit(reason, true);
}

function unfit(reason: string, fatal: boolean): ServerFinding {
	return { status: 'unfit', reason, fatal };
}

/** Managed services, and operators who want to be sure, take the command away. */
function isRenamed(error: unknown): boolean {
	return error instanceof Error && /unknown command/i.test(error.message);
}

function toSettings(reply: Reply): ReadonlyMap<string, string> {
	const pairs = reply as unknown as readonly { readonly key: unknown; readonly value: unknown }[];
	return new Map(pairs.map(({ key, value }) => [String(key), String(value)]));
}
