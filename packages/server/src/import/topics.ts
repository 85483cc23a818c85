/** Topics, who may use them, and their messages. */

import { compareMessageIds, formatMessageId, type MessageId } from '@pulsar-relay/protocol/message-id';
import { idAt } from '../log/block.ts';
import type { EarlierMessage, EarlierTopic } from '../ports/earlier-data.ts';
import type { AppendEntry, Store } from '../ports/store.ts';
import { type DecodedMessage, type DecodedTopic, decodeAccount, decodeMessage, decodeTopic } from './decode.ts';
import { planId } from './ids.ts';
import { readTopicMark, type TopicMark, UNTOUCHED, writeTopicMark } from './marks.ts';
import type { Import } from './work.ts';

const READ_BYTES_MAX = 8 * 1024 * 1024;

/** Takes over one topic, or what an import before has left of it. */
export async function importTopic(work: Import, topic: EarlierTopic): Promise<void> {
	const { report, records, store, dryRun } = work;
	const decoded = decodeTopic(topic);
	if (decoded.status === 'malformed') return report.skipped('topics', topic.key, decoded.why);
	if (!(await hasOwner(work, decoded.value.ownerId))) return report.skipped('topics', topic.key, 'its owner has no account here');
	const mark = await readTopicMark(records, topic.id);
	if (mark === null) {
		if (!dryRun) await makeTopic(work, topic.id, decoded.value);
		report.taken('topics');
	} else {
		report.before('topics');
		// It has been deleted here.
		if ((await store.getTopic(topic.id)) === undefined) return;
	}
	const messages = new Messages(work, topic.id, mark ?? UNTOUCHED);
	for await (const page of work.source.messages(topic.id, formatMessageId((mark ?? UNTOUCHED).upTo))) {
		if (page === null) report.skipped('messages', topic.id, 'they are in no stream');
		else await messages.take(page);
	}
}

/** In a dry run the accounts have not been made. */
async function hasOwner({ accounts, source, dryRun }: Import, ownerId: string): Promise<boolean> {
	if ((await accounts.get(ownerId)) !== null) return true;
	return dryRun && decodeAccount(await source.account(ownerId)).status === 'ok';
}

async function makeTopic({ store, clock, topics, accounts, records }: Import, id: string, topic: DecodedTopic): Promise<void> {
	await clock.at(topic.createdAtMs, () => store.createTopic(id, { description: topic.description }));
	if (topic.isPublic) await topics.setPublic(id, true);
	for (const accountId of topic.allowedAccountIds) {
		if (accountId === topic.ownerId || (await accounts.get(accountId)) === null) continue;
		await topics.grant(id, accountId, 'read');
		await topics.grant(id, accountId, 'write');
	}
	await writeTopicMark(records, id, UNTOUCHED);
}

/**
 * The messages of one topic. An import that was interrupted has stored up to a page more than its mark says: those are looked for, under the
 * ids they must have got, before anything is stored.
 *
 * - `looking`: every message so far was there. Leaves to `storing` at the first that is not.
 * - `storing`: the rest.
 */
class Messages {
	readonly #work: Import;
	readonly #topic: string;
	#state: 'looking' | 'storing' = 'looking';
	/** The id of the message before. */
	#tip: MessageId;

	constructor(work: Import, topic: string, { as }: TopicMark) {
		this.#work = work;
		this.#topic = topic;
		this.#tip = as;
	}

	async take(page: readonly EarlierMessage[]): Promise<void> {
		const { report, records, store, dryRun } = this.#work;
		const messages: DecodedMessage[] = [];
		for (const message of page) {
			const decoded = decodeMessage(message);
			if (decoded.status === 'ok') messages.push(decoded.value);
			else report.skipped('messages', `${this.#topic} ${message.id}`, decoded.why);
		}
		const last = messages.at(-1);
		if (last === undefined) return;
		if (dryRun) return report.taken('messages', messages.length);
		let stored = 0;
		if (this.#state === 'looking') {
			stored = await this.#lookFor(messages);
			if (stored < messages.length) {
				this.#state = 'storing';
				this.#tip = (await store.read(this.#topic, this.#tip, { messagesMax: 1, bytesMax: 0 })).tip;
			}
		}
		await this.#store(messages.slice(stored));
		await writeTopicMark(records, this.#topic, { upTo: last.id, as: this.#tip });
	}

	/** How many of the messages, from the first on, are there. */
	async #lookFor(messages: readonly DecodedMessage[]): Promise<number> {
		const { report } = this.#work;
		const { floor, ids } = await idsAfter(this.#work.store, this.#topic, this.#tip, messages.length);
		for (const [i, { id: had }] of messages.entries()) {
			const { id } = planId(this.#tip, had);
			// What is not above the floor has been there, and retention has removed it.
			if (compareMessageIds(id, floor) > 0 && !ids.has(formatMessageId(id))) return i;
			this.#tip = id;
			report.before('messages');
		}
		return messages.length;
	}

	async #store(messages: readonly DecodedMessage[]): Promise<void> {
		for (let start = 0; start < messages.length; ) {
			const { atMs, id } = planId(this.#tip, (messages[start] as DecodedMessage).id);
			let end = start + 1;
			while (end < messages.length && follows(id, end - start, (messages[end] as DecodedMessage).id)) end++;
			await this.#append(atMs, messages.slice(start, end));
			start = end;
		}
	}

	async #append(atMs: number, messages: readonly DecodedMessage[]): Promise<void> {
		const { clock, store, report } = this.#work;
		const entries = messages.map(({ message }): AppendEntry => ({ ...message, dedupe: null }));
		const outcomes = await clock.at(atMs, () => store.append(this.#topic, entries));
		for (const [i, outcome] of outcomes.entries()) {
			if (outcome.status !== 'appended') throw new Error('a message without a key was not appended');
			this.#tip = outcome.id;
			if (compareMessageIds(outcome.id, (messages[i] as DecodedMessage).id) !== 0) report.counts.renumbered++;
		}
		report.taken('messages', messages.length);
	}
}

/** Whether a message, stored at once with the `place` messages before it, the first of which gets `first`, gets what it must. */
function follows(first: MessageId, place: number, had: MessageId): boolean {
	const { id } = planId({ ms: first.ms, n: first.n + place - 1 }, had);
	return id.ms === first.ms && id.n === first.n + place;
}

/** The ids of the messages after one, up to a count, and where the log begins. */
async function idsAfter(store: Store, topic: string, after: MessageId, count: number) {
	const ids = new Set<string>();
	for (let last = after; ; ) {
		const { blocks, floor } = await store.read(topic, last, { messagesMax: count - ids.size, bytesMax: READ_BYTES_MAX });
		for (const block of blocks) {
			for (let i = 0; i < block.count; i++) {
				last = idAt(block, i);
				ids.add(formatMessageId(last));
			}
		}
		if (blocks.length === 0 || ids.size >= count) return { floor, ids };
	}
}
