/**
 * Which nodes use the server, and of what version. Each connection has a name that says so, and the server lists its connections: that is
 * the register of nodes, and it is never out of date. A node from before names had a version is called `pulsar-relay` and nothing more.
 *
 * A feature that an older node on the same keys would break stays off while there is one (ADR 0014).
 */

import { isForbidden } from './failure.ts';
import type { KeySpace } from './keys.ts';

/**
 * What the nodes of one relay must have in common. 1: versions up to 0.3. 2: messages are announced once replicas have them. Rises with each
 * feature that a node without it would break.
 */
export const NODE_LEVEL = 2;

const NAME = /(?:^| )name=pulsar-relay(?:\/(\d+)\/(\S*))?(?: |$)/;

/** As much of a connection as it takes to ask who else is connected. */
interface Asking {
	readonly keys: KeySpace;
	runEverywhere(command: readonly string[]): Promise<readonly unknown[]>;
}

/** The name of a connection. */
export function clientNameOf(keyPrefix: string): string {
	return `pulsar-relay/${NODE_LEVEL}/${keyPrefix}`;
}

/**
 * The lowest level of the nodes that share this node's keys. Rejects when the server cannot be asked; a server that does not let its
 * connections be listed gives this node's own level.
 */
export async function lowestLevel(connection: Asking): Promise<number> {
	let lists: readonly string[];
	try {
		lists = (await connection.runEverywhere(['CLIENT', 'LIST', 'TYPE', 'NORMAL'])).map(String);
	} catch (error) {
		if (isForbidden(error)) return NODE_LEVEL;
		throw error;
	}
	return lowestOf(lists, connection.keys.prefix);
}

/** @param lists what CLIENT LIST says, of each server */
export function lowestOf(lists: readonly string[], keyPrefix: string): number {
	let lowest = NODE_LEVEL;
	for (const line of lists.flatMap((list) => list.split('\n'))) {
		const [name, level = '1', prefix = ''] = NAME.exec(line) ?? [];
		if (name !== undefined && prefix === keyPrefix) lowest = Math.min(lowest, Number(level));
	}
	return lowest;
}
