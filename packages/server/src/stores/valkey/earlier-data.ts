/**
 * What pulsar-relay 0.2 keeps in Valkey, read and never written. Its keys and those of this relay (keys.ts) may lie side by side: an
 * earlier topic is the hash `topic:<owner>/<name>`, its messages the stream `stream:topic:<owner>/<name>`, and no name has a colon.
 */

import type { Clock } from '../../ports/clock.ts';
import type { EarlierData, EarlierHash, EarlierMessage, EarlierRecord, EarlierTopic } from '../../ports/earlier-data.ts';
import { Connection } from './connection.ts';
import { failureOf, isOfAnotherType, reasonOf, unavailable } from './failure.ts';
import type { Command, Reply, ServerOptions } from './glide.ts';

/** Keys that the server looks at for one answer. */
const SCAN_COUNT = 1000;
/** Records read at once. */
const RECORDS_MAX = 200;
/** A page of messages has about so many bytes: as many entries are asked for as that was the page before. */
const PAGE_BYTES = 8 * 1024 * 1024;
const PAGE_ENTRIES_FIRST = 16;
const PAGE_ENTRIES_MAX = 500;
const REQUEST_TIMEOUT_MS = 30_000;

const ACCOUNT_KEY = /^user:([^:]+)$/;
const TOPIC_KEY = /^topic:([^/:]+\/[^/:]+)$/;
const LEGACY_TOPIC_KEY = /^topic:[^/:]+$/;
/** Of the server itself, beside accounts. */
const INDEXES: ReadonlySet<string> = new Set(['username_index', 'fed_index']);

/** Connects. Rejects with one clear line when the server cannot be used. */
export async function openEarlierData(server: ServerOptions, clock: Clock): Promise<EarlierData> {
	const [at] = server.addresses;
	try {
		const options = { ...server, clock, requestTimeoutMs: REQUEST_TIMEOUT_MS, onState: () => {} };
		return new ValkeyEarlierData(await Connection.open(options));
	} catch (error) {
		throw unavailable(`cannot read the earlier data at ${at?.host}:${at?.port}: ${reasonOf(error)}`, error);
	}
}

class ValkeyEarlierData implements EarlierData {
	readonly #connection: Connection;

	constructor(connection: Connection) {
		this.#connection = connection;
	}

	async *accounts(): AsyncIterable<EarlierRecord> {
		for await (const keys of this.#scan('user:*')) {
			const ids = keys.map((key) => ACCOUNT_KEY.exec(key)?.[1] ?? '').filter((id) => id !== '' && !INDEXES.has(id));
			yield* await this.#records('user', ids);
		}
	}

	account(accountId: string): Promise<EarlierRecord> {
		return this.#record('user', accountId);
	}

	session(jti: string): Promise<EarlierRecord> {
		return this.#record('refresh:tok', jti);
	}

	async *sessionsOf(accountId: string): AsyncIterable<EarlierRecord> {
		for (let cursor = '0'; ; ) {
			const key = `refresh:user:${accountId}`;
			const [reply] = await this.#connection.run([['SSCAN', key, cursor, 'COUNT', String(RECORDS_MAX)]]);
			if (reply instanceof Error && isOfAnotherType(reply)) {
				yield { key, id: accountId, fields: null };
				return;
			}
			if (!Array.isArray(reply)) throw failureOf(reply);
			const [next, jtis] = reply as [Buffer, Buffer[]];
			for (const record of await this.#records('refresh:tok', jtis.map(String))) if (record.fields?.size !== 0) yield record;
			cursor = String(next);
			if (cursor === '0') return;
		}
	}

	async *topics(): AsyncIterable<EarlierTopic> {
		for await (const keys of this.#scan('topic:*')) {
			const ids = keys.map((key) => TOPIC_KEY.exec(key)?.[1] ?? '').filter((id) => id !== '');
			const records = await this.#records('topic', ids);
			const allowed = await this.#run(records.map(({ key }) => ['SMEMBERS', `${key}:allowed_users`]));
			for (const [i, record] of records.entries()) {
				const members = allowed[i];
				yield { ...record, allowedAccountIds: Array.isArray(members) ? members.map(String) : [] };
			}
		}
	}

	async *messages(topicId: string, after: string): AsyncIterable<readonly EarlierMessage[] | null> {
		const key = `stream:topic:${topicId}`;
		let count = PAGE_ENTRIES_FIRST;
		for (let last = after; ; ) {
			const [reply] = await this.#connection.run([['XRANGE', key, `(${last}`, '+', 'COUNT', String(count)]]);
			if (reply instanceof Error && isOfAnotherType(reply)) {
				yield null;
				return;
			}
			if (!Array.isArray(reply)) throw failureOf(reply);
			const entries = reply as unknown as readonly {
				readonly key: Buffer;
				readonly value: readonly (readonly [Buffer, Buffer])[];
			}[];
			if (entries.length === 0) return;
			const messages = entries.map(({ key: id, value }) => messageOf(String(id), value));
			yield messages;
			last = messages.at(-1)?.id ?? last;
			if (entries.length < count) return;
			const bytes = messages.reduce((sum, { payload, metadata }) => sum + (payload?.length ?? 0) + (metadata?.length ?? 0), 1);
			count = Math.max(1, Math.min(PAGE_ENTRIES_MAX, Math.floor((PAGE_BYTES * entries.length) / bytes)));
		}
	}

	async countLegacyTopics(): Promise<number> {
		let count = 0;
		for await (const keys of this.#scan('topic:*')) count += keys.filter((key) => LEGACY_TOPIC_KEY.test(key)).length;
		return count;
	}

	close(): void {
		this.#connection.close();
	}

	async *#scan(pattern: string): AsyncIterable<readonly string[]> {
		for (let cursor = '0'; ; ) {
			const [reply] = await this.#connection.run([['SCAN', cursor, 'MATCH', pattern, 'COUNT', String(SCAN_COUNT)]]);
			if (!Array.isArray(reply)) throw failureOf(reply);
			const [next, keys] = reply as [Buffer, Buffer[]];
			for (let at = 0; at < keys.length; at += RECORDS_MAX) yield keys.slice(at, at + RECORDS_MAX).map(String);
			cursor = String(next);
			if (cursor === '0') return;
		}
	}

	async #record(kind: string, id: string): Promise<EarlierRecord> {
		const [record] = await this.#records(kind, [id]);
		if (record === undefined) throw unavailable('the store gave no answer for a key');
		return record;
	}

	async #records(kind: string, ids: readonly string[]): Promise<readonly EarlierRecord[]> {
		const replies = await this.#run(ids.map((id) => ['HGETALL', `${kind}:${id}`]));
		return ids.map((id, i) => ({ key: `${kind}:${id}`, id, fields: hashOf(replies[i] ?? null) }));
	}

	async #run(commands: readonly Command[]): Promise<readonly Reply[]> {
		return commands.length === 0 ? [] : this.#connection.run(commands);
	}
}

/** Null when it is an error: the key holds another type of value. */
function hashOf(reply: Reply): EarlierHash | null {
	if (!Array.isArray(reply)) return null;
	const pairs = reply as unknown as readonly { readonly key: Buffer; readonly value: Buffer }[];
	return new Map(pairs.map(({ key, value }) => [String(key), String(value)]));
}

function messageOf(id: string, fields: readonly (readonly [Buffer, Buffer])[]): EarlierMessage {
	const field = (name: string) => fields.find(([known]) => String(known) === name)?.[1] ?? null;
	return { id, payload: field('payload'), metadata: field('metadata') };
}
