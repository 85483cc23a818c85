/** Waiting for replicas to have what was written. */

import type { Connection, ScriptCall } from './connection.ts';
import { unavailable } from './failure.ts';
import type { Reply } from './glide.ts';

/** How long replicas may take: an append that waits behind another one is answered within 2 s, too (PROTOCOL.md, "Errors"). */
const REPLICAS_WAIT_MS = 500;

/**
 * Calls scripts, and waits for the replicas in the same write: WAIT knows what its own connection has written, and one that
 * the library makes anew in between has written nothing. For the same reason something is written besides, which replicas
 * get after everything else: what all duplicates repeat may not have reached them yet, and was written by another connection.
 *
 * @param replicas 0 = none is waited for
 */
export async function evaluateReplicated(
	connection: Connection,
	calls: readonly ScriptCall[],
	replicas: number,
): Promise<readonly Reply[]> {
	if (replicas === 0) return connection.evaluate(calls);
	const replies = await connection.evaluate(calls, [
		['PUBLISH', connection.keys.replicated, ''],
		['WAIT', String(replicas), String(REPLICAS_WAIT_MS)],
	]);
	const reached = replies.at(-1);
	if (typeof reached === 'number' && reached >= replicas) return replies;
	throw unavailable(`fewer than ${replicas} replicas have confirmed the write`);
}
