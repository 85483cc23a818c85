/** A Valkey Cluster on one machine, for tests: real servers that know each other and serve all 16,384 slots together. */

import assert from 'node:assert/strict';
import { freePort, startValkey, untilAnswer, type Valkey, type ValkeySettings } from './valkey.ts';

export interface ValkeyCluster {
	/** In the order of their slots at the start. */
	readonly primaries: readonly Valkey[];
	/** The first replica of the first primary, and so on; empty without replicas. */
	readonly replicas: readonly Valkey[];
	/** The settings of a relay on this Cluster. */
	readonly relayEnv: Readonly<Record<string, string>>;
	/** The slot of a key. */
	slotOf(key: string): Promise<number>;
	/** The server that serves a slot now. */
	ownerOf(slot: number): Promise<Valkey>;
	/** Makes a replica take over from its primary (`CLUSTER FAILOVER`), and resolves once it is the primary. */
	failover(replica: Valkey): Promise<void>;
	/** Moves a slot with its keys to another primary, as `valkey-cli --cluster reshard` does, while it is being used. */
	moveSlot(slot: number, to: Valkey): Promise<void>;
	stop(): Promise<void>;
	[Symbol.asyncDispose](): Promise<void>;
}

export interface ValkeyClusterOptions {
	readonly primaries?: number;
	readonly replicasPerPrimary?: number;
	readonly settings?: ValkeySettings;
}

const SLOTS = 16_384;
/** How long a server is silent before the others take it for dead. */
const NODE_TIMEOUT_MS = '2000';
const KEYS_PER_MOVE = '100';
const MIGRATE_TIMEOUT_MS = '5000';

/** Starts a Cluster and resolves once each of its servers finds it whole. */
export async function startCluster(options: ValkeyClusterOptions = {}): Promise<ValkeyCluster> {
	const { primaries: primaryCount = 3, replicasPerPrimary = 0 } = options;
	const nodes: Valkey[] = [];
	const stop = async () => {
		await Promise.all(nodes.map((node) => node.stop()));
	};
	try {
		while (nodes.length < primaryCount * (1 + replicasPerPrimary)) nodes.push(await startNode(options.settings));
		const primaries = nodes.slice(0, primaryCount);
		const replicas = nodes.slice(primaryCount);
		await join(nodes);
		await shareSlots(primaries);
		await follow(primaries, replicas);
		await untilWhole(nodes);
		return new Cluster(primaries, replicas, stop);
	} catch (error) {
		await stop();
		throw error;
	}
}

async function startNode(settings: ValkeySettings = {}): Promise<Valkey> {
	return startValkey({
		settings: {
			...settings,
			'cluster-enabled': 'yes',
			'cluster-announce-ip': '127.0.0.1',
			'cluster-port': String(await freePort()),
			'cluster-node-timeout': NODE_TIMEOUT_MS,
			'cluster-replica-validity-factor': '0',
		},
	});
}

/** Introduces every server to every other, which is faster than to let them hear of each other. */
async function join(nodes: readonly Valkey[]): Promise<void> {
	// Different from the start, so that no two have to settle whose is newer.
	for (const [index, node] of nodes.entries()) await node.cli('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
	const busPorts = await Promise.all(nodes.map(async (node) => (await node.cli('CONFIG', 'GET', 'cluster-port')).split('\n')[1]));
	for (const node of nodes) {
		for (const [index, other] of nodes.entries()) {
			if (other !== node) await node.cli('CLUSTER', 'MEET', other.host, String(other.port), busPorts[index] ?? '');
		}
	}
	for (const node of nodes) {
		await untilAnswer(async () => {
			const known = (await node.cli('CLUSTER', 'NODES')).split('\n');
			return known.length === nodes.length && !known.some((line) => line.includes('handshake'));
		}, 'acquainted');
	}
}

async function shareSlots(primaries: readonly Valkey[]): Promise<void> {
	const boundary = (index: number) => Math.floor((SLOTS * index) / primaries.length);
	for (const [index, primary] of primaries.entries()) {
		await primary.cli('CLUSTER', 'ADDSLOTSRANGE', String(boundary(index)), String(boundary(index + 1) - 1));
	}
}

async function follow(primaries: readonly Valkey[], replicas: readonly Valkey[]): Promise<void> {
	for (const [index, replica] of replicas.entries()) {
		const primary = primaries[index % primaries.length];
		assert(primary !== undefined);
		await replica.cli('CLUSTER', 'REPLICATE', await primary.cli('CLUSTER', 'MYID'));
	}
	for (const replica of replicas) {
		await untilAnswer(async () => (await replica.cli('INFO', 'replication')).includes('master_link_status:up'), 'in sync');
	}
}

async function untilWhole(nodes: readonly Valkey[]): Promise<void> {
	for (const node of nodes) {
		await untilAnswer(async () => {
			const info = await node.cli('CLUSTER', 'INFO');
			return info.includes('cluster_state:ok') && info.includes(`cluster_slots_ok:${SLOTS}`);
		}, 'whole');
	}
}

class Cluster implements ValkeyCluster {
	readonly primaries: readonly Valkey[];
	readonly replicas: readonly Valkey[];
	readonly stop: () => Promise<void>;

	constructor(primaries: readonly Valkey[], replicas: readonly Valkey[], stop: () => Promise<void>) {
		this.primaries = primaries;
		this.replicas = replicas;
		this.stop = stop;
	}

	get relayEnv(): Readonly<Record<string, string>> {
		return { ...this.#any().relayEnv, PULSAR_VALKEY_CLUSTER: 'true' };
	}

	async slotOf(key: string): Promise<number> {
		return Number(await this.#any().cli('CLUSTER', 'KEYSLOT', key));
	}

	async ownerOf(slot: number): Promise<Valkey> {
		for (const node of this.#nodes()) if (await ownsSlot(node, slot)) return node;
		assert.fail(`nobody serves slot ${slot}`);
	}

	async failover(replica: Valkey): Promise<void> {
		await replica.cli('CLUSTER', 'FAILOVER');
		await untilAnswer(async () => (await replica.cli('ROLE')).startsWith('master'), 'the primary');
		await untilWhole(this.#nodes());
	}

	async moveSlot(slot: number, to: Valkey): Promise<void> {
		const from = await this.ownerOf(slot);
		assert(from !== to, 'the slot is there already');
		const [fromId, toId] = [await from.cli('CLUSTER', 'MYID'), await to.cli('CLUSTER', 'MYID')];
		await to.cli('CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', fromId);
		await from.cli('CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', toId);
		while (true) {
			const keys = (await from.cli('CLUSTER', 'GETKEYSINSLOT', String(slot), KEYS_PER_MOVE))
				.split('\n')
				.filter((key) => key !== '');
			if (keys.length === 0) break;
			await from.cli('MIGRATE', to.host, String(to.port), '', '0', MIGRATE_TIMEOUT_MS, 'KEYS', ...keys);
		}
		// The new owner first: a slot that neither serves would be lost, one that both serve for a moment is settled by the epoch.
		await to.cli('CLUSTER', 'SETSLOT', String(slot), 'NODE', toId);
		await from.cli('CLUSTER', 'SETSLOT', String(slot), 'NODE', toId);
		await untilWhole(this.#nodes());
	}

	[Symbol.asyncDispose](): Promise<void> {
		return this.stop();
	}

	#nodes(): readonly Valkey[] {
		return [...this.primaries, ...this.replicas];
	}

	#any(): Valkey {
		const [first] = this.primaries;
		assert(first !== undefined);
		return first;
	}
}

/** Whether a server serves a slot itself, by its own word. */
async function ownsSlot(node: Valkey, slot: number): Promise<boolean> {
	const nodes = await node.cli('CLUSTER', 'NODES');
	const own = nodes.split('\n').find((line) => line.includes('myself'));
	const ranges = own?.split(' ').slice(8) ?? [];
	return ranges.some((range) => {
		const [first = Number.NaN, last = first] = range.split('-').map(Number);
		return slot >= first && slot <= last;
	});
}
