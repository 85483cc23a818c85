/** Whether the user of the server may do what the relay does: found out at the start, not by the first publish. */

import type { Connection } from './connection.ts';
import { isForbidden, unavailable } from './failure.ts';

/** Every command that the scripts and the relay use, in a form that leaves nothing behind. */
function commandsOn(probe: string): readonly (readonly string[])[] {
	return [
		['XADD', probe, 'NOMKSTREAM', '*', 'a', 'b'],
		['XLEN', probe],
		['XRANGE', probe, '-', '+'],
		['XREVRANGE', probe, '+', '-'],
		['XREAD', 'COUNT', '1', 'STREAMS', probe, '0-0'],
		['XTRIM', probe, 'MAXLEN', '0'],
		['XINFO', 'STREAM', probe],
		['EXISTS', probe],
		['HSET', probe, 'a', 'b'],
		['HGET', probe, 'a'],
		['HMGET', probe, 'a'],
		['HEXISTS', probe, 'a'],
		['HLEN', probe],
		['HDEL', probe, 'b'],
		['DEL', probe],
		['ZADD', probe, '0', 'a'],
		['ZCARD', probe],
		['ZSCORE', probe, 'a'],
		['ZRANGE', probe, '0', '-1'],
		['ZINCRBY', probe, '0', 'a'],
		['ZREM', probe, 'a'],
		['ZREMRANGEBYSCORE', probe, '0', '0'],
		['PEXPIRE', probe, '1'],
		['RPUSH', probe, 'a'],
		['LLEN', probe],
		['LINDEX', probe, '0'],
		['LRANGE', probe, '0', '0'],
		['LPOP', probe],
		['LPUSH', probe, 'a'],
		['RPOP', probe],
		['GET', probe],
		['SET', probe, '', 'XX', 'PX', '1'],
		['TIME'],
		['PUBLISH', probe, ''],
		['EVAL', 'return 1', '1', probe],
		['EVALSHA', '0'.repeat(40), '1', probe],
	];
}

/** Rejects with what is missing. Other failures of the probe show where they matter. */
export async function checkPermissions(connection: Connection, announcements: Connection): Promise<void> {
	const { probe } = connection.keys;
	const commands = commandsOn(probe);
	const replies = await connection.run(commands);
	const forbidden = commands.filter((_, i) => isForbidden(replies[i])).map(([name]) => name);
	if (forbidden.length > 0) throw unavailable(`the user lacks the permission for ${forbidden.join(', ')}`);
	try {
		await announcements.subscribe([probe]);
	} catch (error) {
		// The library hears the refusal, keeps it to itself and tries again until the time is up.
		throw unavailable(
			'the server confirms no subscription; the user may lack the permission for SUBSCRIBE, or for channels',
			error,
		);
	}
	announcements.unsubscribe([probe]);
}
