/** The topics themselves: create, change, read, list, delete. */

import { randomUUID } from 'node:crypto';
import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { Topic, TopicChange } from '../../ports/store.ts';
import { topicLimit } from './appends.ts';
import type { Connection } from './connection.ts';
import { failureOf, isOfAnotherType, unavailable } from './failure.ts';
import type { Reply } from './glide.ts';
import { publishCommand } from './keys.ts';
import { SCRIPTS } from './scripts.ts';
import { getCall } from './sweep.ts';
import { listCommands, registerCall, topicNames, unlist } from './topic-list.ts';

/** A topic, and whether the call made it. */
interface TopicAnswer {
	readonly created: boolean;
	readonly topic: Topic;
}

export async function createTopic(
	connection: Connection,
	name: string,
	change: TopicChange,
	{ nowMs, topicsMax }: { readonly nowMs: number; readonly topicsMax: number },
): Promise<TopicAnswer> {
	const [room] = await connection.evaluate([registerCall(connection.keys, name, topicsMax)]);
	if (room instanceof Error) throw failureOf(room);
	if (String(room) === 'full') throw topicLimit(topicsMax);
	const answer = await ask(connection, name, ['create', randomUUID(), String(nowMs), ...fieldsOf(change)]);
	if (answer === undefined) throw unavailable('the store gave an answer that makes no sense');
	await connection.run(listCommands(connection.keys, name));
	return answer;
}

export async function getTopic(connection: Connection, name: string): Promise<Topic | undefined> {
	return (await ask(connection, name, ['get', '', '']))?.topic;
}

export async function updateTopic(connection: Connection, name: string, change: TopicChange): Promise<Topic | undefined> {
	return (await ask(connection, name, ['update', '', '', ...fieldsOf(change)]))?.topic;
}

/**
 * In the order of names. A topic that is deleted meanwhile, or that cannot be read (its stream is of another type), is left out and the
 * next one taken instead.
 */
export async function listTopics(connection: Connection, after: string | null, limit: number): Promise<readonly Topic[]> {
	const topics: Topic[] = [];
	for (let from = after; topics.length < limit; ) {
		const wanted = limit - topics.length;
		const names = await topicNames(connection, from, wanted);
		const replies = await connection.evaluate(names.map((name) => getCall(connection.keys, name)));
		for (const [i, name] of names.entries()) {
			const reply = replies[i] ?? null;
			const answer = reply instanceof Error && isOfAnotherType(reply) ? undefined : toAnswer(name, reply);
			if (answer !== undefined) topics.push(answer.topic);
		}
		if (names.length < wanted) break;
		from = names.at(-1) ?? null;
	}
	return topics;
}

/** Deletes a topic. Gives where it ended and which one it was; undefined when there was none. */
export async function deleteTopic(
	connection: Connection,
	name: string,
	{ nowMs, cluster }: { readonly nowMs: number; readonly cluster: boolean },
): Promise<{ readonly tip: MessageId; readonly topicId: string } | undefined> {
	const { stream, meta, channel } = connection.keys.topic(name);
	const args = [publishCommand(cluster), channel];
	const [reply] = await connection.evaluate([{ script: SCRIPTS.delete, keys: [stream, meta], args }]);
	if (reply instanceof Error) throw failureOf(reply);
	if (!Array.isArray(reply)) return undefined;
	await unlist(connection, [name], nowMs);
	return { tip: toId(reply[0] ?? null), topicId: String(reply[1]) };
}

async function ask(connection: Connection, name: string, args: readonly string[]): Promise<TopicAnswer | undefined> {
	const { stream, meta } = connection.keys.topic(name);
	const [reply] = await connection.evaluate([{ script: SCRIPTS.topic, keys: [stream, meta], args }]);
	return toAnswer(name, reply ?? null);
}

function toAnswer(name: string, reply: Reply): TopicAnswer | undefined {
	if (reply instanceof Error) throw failureOf(reply);
	if (!Array.isArray(reply)) return undefined;
	const [id, createdAt, description, maxAgeS, maxMessages, maxBytes] = reply.slice(1, 7).map(String) as string[];
	const number = (text = '') => (text === '' ? null : Number(text));
	const topic: Topic = {
		name,
		exists: true,
		topicId: id ?? '',
		description: description === undefined || description === '' ? null : description.slice(1),
		createdAtMs: Number(createdAt),
		retention: { maxAgeS: number(maxAgeS), maxMessages: number(maxMessages), maxBytes: number(maxBytes) },
		tip: toId(reply[7] ?? null),
		floor: toId(reply[8] ?? null),
		messages: Number(reply[9]),
		bytes: Number(reply[10]),
	};
	return { created: reply[0] === 1, topic };
}

function toId(reply: Reply): MessageId {
	const id = parseMessageId(String(reply));
	if (id === undefined) throw unavailable('the topic has no message ids left');
	return id;
}

/** Names and values for the script; an empty value removes the field. */
function fieldsOf({ description, retention }: TopicChange): string[] {
	const fields: string[] = [];
	if (description !== undefined) fields.push('description', description === null ? '' : `=${description}`);
	const numbers = { max_age_s: retention?.maxAgeS, max_messages: retention?.maxMessages, max_bytes: retention?.maxBytes };
	for (const [field, value] of Object.entries(numbers)) {
		if (value !== undefined) fields.push(field, value === null ? '' : String(value));
	}
	return fields;
}
