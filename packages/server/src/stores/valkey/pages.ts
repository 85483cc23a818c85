/** Pages of the log: what the read script answers, as blocks. */

import { scanDocument } from '@pulsar-relay/protocol/json-scan';
import { formatMessageId, type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, type NewMessage, packMessages } from '../../log/block.ts';
import type { Loss } from '../../log/losses.ts';
import { PageBuilder, type ReadLimits } from '../../log/page.ts';
import type { Page, TopicPosition } from '../../ports/store.ts';
import type { Connection } from './connection.ts';
import { failureOf, unavailable } from './failure.ts';
import type { Reply } from './glide.ts';
import { SCRIPTS } from './scripts.ts';

export interface PagesOptions {
	readonly connection: Connection;
	/** Entries that no relay wrote and that cannot be delivered were passed over. */
	readonly onStrangeEntries: (topic: string, strange: StrangeEntries) => void;
	/** The topic ends with messages up to this one that are not confirmed (confirmations.ts), and that the page is without; null = with none. */
	readonly onUnconfirmed: (topic: string, end: MessageId | null) => void;
}

/** Entries of one read that were passed over. */
export interface StrangeEntries {
	readonly count: number;
	/** The newest of them, and what is wrong with it. */
	readonly id: MessageId;
	readonly why: string;
}

interface Entry extends NewMessage {
	readonly id: MessageId;
}

/** What a read of the store gave. */
interface Answer extends TopicPosition {
	/** Oldest first, without those that cannot be delivered. */
	readonly entries: readonly Entry[];
	/** The last one that was read, delivered or not; null when none was. */
	readonly reached: string | null;
	readonly more: boolean;
}

/** Entries in one read at most; what the limits leave is for the next. */
const ENTRIES_PER_READ_MAX = 1024;
/** Messages in a block. */
const BLOCK_MESSAGES_MAX = 1024;
/** Levels of JSON that an entry written by hand may have: the most that a relay can be set to take. */
const DEPTH_MAX = 4096;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Reads a page in either direction. `cursor` null = from the end. */
export async function readPage(
	options: PagesOptions,
	topic: string,
	direction: 'after' | 'before',
	cursor: MessageId | null,
	limits: ReadLimits,
): Promise<Page> {
	const page = new PageBuilder(limits);
	let at = cursor === null ? '+' : formatMessageId(cursor);
	let left = Math.max(1, limits.messagesMax);
	for (;;) {
		const answer = await readOnce(options, topic, direction, at, Math.min(left, ENTRIES_PER_READ_MAX), limits.bytesMax);
		const backwards = direction === 'before';
		const blocks = blocksOf(answer.entries);
		if (backwards) blocks.reverse();
		const full = !blocks.every((block) => page.take(block, 0, block.count, backwards));
		left -= answer.entries.length;
		if (full || !answer.more || left <= 0 || answer.reached === null) {
			const { entries, reached, more, ...position } = answer;
			return { ...position, blocks: backwards ? page.blocks.reverse() : page.blocks };
		}
		at = answer.reached;
	}
}

async function readOnce(
	{ connection, onStrangeEntries, onUnconfirmed }: PagesOptions,
	topic: string,
	direction: 'after' | 'before',
	at: string,
	entriesMax: number,
	bytesMax: number,
): Promise<Answer> {
	const { stream, meta } = connection.keys.topic(topic);
	const args = [direction, at, String(entriesMax), String(bytesMax)];
	const [reply] = await connection.evaluate([{ script: SCRIPTS.read, keys: [stream, meta], args }]);
	if (!Array.isArray(reply)) throw failureOf(reply);
	const position = positionOf(reply);
	onUnconfirmed(topic, parseMessageId(String(reply[6])) ?? null);
	const entries: Entry[] = [];
	let reached: string | null = null;
	const strange: { readonly id: MessageId; readonly why: string }[] = [];
	for (const one of reply[4] as Reply[]) {
		const [idText, fields] = one as [Buffer, Buffer[]];
		reached = String(idText);
		const id = parseMessageId(reached);
		// With such an id in it a topic has no tip that a relay knows; only while it is being added does a read get here.
		if (id === undefined) continue;
		const entry = entryOf(id, fields);
		if (typeof entry !== 'string') entries.push(entry);
		else strange.push({ id, why: entry });
	}
	if (direction === 'before') strange.reverse();
	const newest = strange.at(-1);
	if (newest !== undefined) onStrangeEntries(topic, { count: strange.length, ...newest });
	if (direction === 'before') entries.reverse();
	return { ...position, entries, reached, more: reply[5] === 1 };
}

/** The first four parts of an answer. */
export function positionOf(reply: readonly Reply[]): TopicPosition {
	const [tip, floor] = [reply[1], reply[2]].map((text) => parseMessageId(String(text)));
	if (tip === undefined || floor === undefined) throw unavailable('the topic has no message ids left');
	const losses = lossesOf(String(reply[3]));
	return { exists: reply[0] === 1, tip, floor, ...(losses.length === 0 ? {} : { losses }) };
}

function lossesOf(text: string): readonly Loss[] {
	return Array.from(text.matchAll(/ (\d+-\d+):(\d+-\d+)(!?)/g), ([, afterText, toText, removed]) => {
		const [after, to] = [afterText, toText].map((id) => parseMessageId(String(id)));
		if (after === undefined || to === undefined) throw unavailable('the topic has a loss without an end');
		return { after, to, ...(removed === '!' ? { removed: true as const } : {}) };
	});
}

/** An entry, or why it cannot be delivered. What relays wrote passes; what was written by hand is checked like a publish. */
function entryOf(id: MessageId, fields: readonly Buffer[]): Entry | string {
	let payload: Buffer | null = null;
	let metadata: Buffer | null = null;
	let expiresAtMs = 0;
	let written = false;
	for (let i = 0; i + 1 < fields.length; i += 2) {
		const value = fields[i + 1] as Buffer;
		switch (String(fields[i])) {
			case 'v':
				written = String(value) === '1';
				break;
			case 'payload':
				payload = value;
				break;
			case 'metadata':
				metadata = value;
				break;
			case 'expires':
				expiresAtMs = Number(value);
		}
	}
	if (payload === null) return 'it has no field payload';
	if (!written && !isJson(payload)) return 'its payload is not JSON';
	if (!written && metadata !== null && !isJson(metadata)) return 'its metadata is not JSON';
	return { id, payload, metadata, expiresAtMs };
}

/** Whether it is a JSON text that can stand in a frame. The scanner is stricter than that: it refuses unpaired surrogate escapes. */
function isJson(bytes: Uint8Array): boolean {
	if (scanDocument(bytes, 0, bytes.byteLength, DEPTH_MAX).status === 'ok') return true;
	try {
		JSON.parse(utf8.decode(bytes));
		return true;
	} catch {
		return false;
	}
}

/** Packs runs of consecutive ids. */
function blocksOf(entries: readonly Entry[]): Block[] {
	const blocks: Block[] = [];
	for (let start = 0; start < entries.length; ) {
		const { ms, n } = (entries[start] as Entry).id;
		let end = start + 1;
		while (end < entries.length && end - start < BLOCK_MESSAGES_MAX && follows((entries[end] as Entry).id, ms, n + end - start))
			end++;
		blocks.push({ ms, n, count: end - start, packed: packMessages(entries.slice(start, end)) });
		start = end;
	}
	return blocks;
}

function follows(id: MessageId, ms: number, n: number): boolean {
	return id.ms === ms && id.n === n;
}
