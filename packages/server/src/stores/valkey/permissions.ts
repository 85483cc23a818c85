/** Whether the user of the server may do what the relay does: found out at the start, not by the first publish. */

import type { Connection } from './connection.ts';
import { isForbidden, unavailable } from './failure.ts';

const PROBE = '{relay}:probe';

/** Every command that the scripts and the relay use, in a form that leaves nothing behind. */
const COMMANDS: readonly (readonly string[])[] = [
	['XADD', PROBE, 'NOMKSTREAM', '*', 'a', 'b'],
	['XLEN', PROBE],
	['XRANGE', PROBE, '-', '+'],
	['XREVRANGE', PROBE, '+', '-'],
	['XREAD', 'COUNT', '1', 'STREAMS', PROBE, '0-0'],
	['XTRIM', PROBE, 'MAXLEN', '0'],
	['XINFO', 'STREAM', PROBE],
	['EXISTS', PROBE],
	['HSET', PROBE, 'a', 'b'],
	['HGET', PROBE, 'a'],
	['HMGET', PROBE, 'a'],
	['HEXISTS', PROBE, 'a'],
	['HDEL', PROBE, 'b'],
	['DEL', PROBE],
	['ZADD', PROBE, '0', 'a'],
	['ZCARD', PROBE],
	['ZSCORE', PROBE, 'a'],
	['ZRANGE', PROBE, '0', '-1'],
	['ZREM', PROBE, 'a'],
	['ZREMRANGEBYSCORE', PROBE, '0', '0'],
	['PEXPIRE', PROBE, '1'],
	['RPUSH', PROBE, 'a'],
	['LLEN', PROBE],
	['LINDEX', PROBE, '0'],
	['LPOP', PROBE],
	['GET', PROBE],
	['SET', PROBE, '', 'XX', 'PX', '1'],
	['TIME'],
	['PUBLISH', PROBE, ''],
	['EVAL', 'return 1', '1', PROBE],
	['EVALSHA', '0'.repeat(40), '1', PROBE],
];

/** Rejects with what is missing. Other failures of the probe show where they matter. */
export async function checkPermissions(connection: Connection, announcements: Connection): Promise<void> {
	const replies = await connection.run(COMMANDS);
	const forbidden = COMMANDS.filter((_, i) => isForbidden(replies[i])).map(([name]) => name);
	if (forbidden.length > 0) throw unavailable(`the user lacks the permission for ${forbidden.join(', ')}`);
	try {
		await announcements.subscribe([PROBE]);
	} catch (error) {
		// The library hears the refusal, keeps it to itself and tries again until the time is up.
		throw unavailable(
			'the server confirms no subscription; the user may lack the permission for SUBSCRIBE, or for channels',
			error,
		);
	}
	announcements.unsubscribe([PROBE]);
}
