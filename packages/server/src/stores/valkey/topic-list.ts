/**
 * The list of topics that exist, whose length is the limit. On a Cluster it is on another server than the topics, so that no step changes
 * both: a topic is listed before it is created and taken off after it was deleted, and what nodes do at the same time could leave
 * one that exists off the list, where no trimming would find it. So whoever creates lists once more afterwards, and whoever
 * takes off looks again. The other way round, a topic on the list that is none, is found by the sweep.
 */

import { formatMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { Connection, ScriptCall } from './connection.ts';
import { failureOf } from './failure.ts';
import type { Command, Reply } from './glide.ts';
import type { KeySpace } from './keys.ts';
import { SCRIPTS } from './scripts.ts';

/** Lists a topic that is about to be created, if there is room. */
export function registerCall(keys: KeySpace, name: string, topicsMax: number): ScriptCall {
	return { script: SCRIPTS.register, keys: [keys.topics, keys.endings], args: [name, String(topicsMax)] };
}

/** List a topic that exists. */
export function listCommands(keys: KeySpace, name: string): readonly Command[] {
	return [
		['ZADD', keys.topics, '0', name],
		['ZREM', keys.endings, name],
	];
}

/** Takes topics that do not exist off the list, and remembers that they ended. */
export async function unlist(connection: Connection, names: readonly string[], nowMs: number): Promise<void> {
	const { keys } = connection;
	const gone = await connection.evaluate(
		names.map((name) => ({ script: SCRIPTS.unregister, keys: [keys.topics, keys.endings], args: [name, String(nowMs)] })),
	);
	for (const reply of gone) if (reply instanceof Error) throw failureOf(reply);
	const positions = await connection.evaluate(names.map((name) => positionCall(keys, name)));
	const back = names.filter((_, i) => exists(positions[i]));
	await connection.run(back.flatMap((name) => listCommands(keys, name)));
}

/** Names of topics in the order of their bytes, after the name `after`. */
export async function topicNames(connection: Connection, after: string | null, limit: number): Promise<readonly string[]> {
	const from = after === null ? '-' : `(${after}`;
	const [reply] = await connection.run([['ZRANGE', connection.keys.topics, from, '+', 'BYLEX', 'LIMIT', '0', String(limit)]]);
	if (reply instanceof Error) throw failureOf(reply);
	return toNames(reply);
}

export function toNames(reply: Reply | undefined): readonly string[] {
	return Array.isArray(reply) ? reply.map(String) : [];
}

function positionCall(keys: KeySpace, name: string): ScriptCall {
	const { stream, meta } = keys.topic(name);
	return { script: SCRIPTS.position, keys: [stream, meta], args: [formatMessageId(ZERO_ID)] };
}

/** Also when it cannot be told: a topic that is on the list by mistake is found again. */
function exists(position: Reply | undefined): boolean {
	return !Array.isArray(position) || position[0] === 1;
}
