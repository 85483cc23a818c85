/**
 * What is remembered of polls without cursors, as pure functions over the entries of one shelf. Accounts are spread over a fixed number of
 * shelves, each one record of bounded size, so the whole is bounded without counting anything.
 */

import { hash } from 'node:crypto';
import { compareMessageIds, formatMessageId, type MessageId, parseMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { RecordValue } from '../ports/records.ts';

/** Shelves there are. A record has 256 KiB at most, so all of them together have 64 MiB at most, and usually a hundredth of that. */
const SHELVES = 256;
/** Entries on one shelf, which fit into a record however long they are; the account with most of them loses its oldest first. */
export const ENTRIES_MAX = 120;
/** Sets of topics of one session or key. */
export const TOPIC_SETS_MAX = 20;
/** How long an entry lives without a poll. Longer than messages usually do, so an outage of hours loses nothing. */
export const LIFETIME_MS = 24 * 3_600_000;
/** An entry that is polled gets its full lifetime back this often at most. */
const RENEWAL_MS = 3_600_000;
/** How long an entry waits for the other pollers once one of them has its messages. */
const OTHER_POLLERS_MS = 600_000;
/** A client of 0.2 uses no access token that has less left than this: it signs in again, as a new session. */
const TOKEN_MARGIN_MS = 300_000;
/** How long after the end of its token a session may still be succeeded. */
const SUCCESSION_MS = 600_000;

/** Who polls: a sign-in session or an API key of an account. */
export interface PollClient {
	readonly accountId: string;
	readonly kind: 'session' | 'key';
	readonly id: string;
	/** When the access token of a session ends, Unix time in ms; null for a key. */
	readonly tokenEndsAtMs: number | null;
}

/** A client and the topics that it polls together. */
export interface PollKey {
	readonly client: PollClient;
	/** As they are in the store, sorted, each once. */
	readonly topics: readonly string[];
	/** A digest of the topics. */
	readonly topicSet: string;
	/** Names client and topics. */
	readonly name: string;
	/** The shelf of its account. */
	readonly shelf: string;
}

/** Where polls of a client began that was not delivered anything since. */
export interface Entry {
	readonly name: string;
	readonly accountId: string;
	readonly clientId: string;
	readonly topicSet: string;
	/** The message ids after which they began, in the order of the topics. */
	readonly from: readonly string[];
	readonly expiresAtMs: number;
	readonly tokenEndsAtMs: number | null;
	/** Who signed that token; see {@link Seen}. */
	readonly signer: string;
	/** Whether a new session has begun where this one did. It stays for a while, as nothing tells that its client is gone. */
	readonly followed: boolean;
	/** Polls of this client and these topics that were seen waiting at the same time: so many clients share the credential. */
	readonly pollers: number;
	/** The node that opened the last poll. */
	readonly node: string;
	/** The answer that is not known to have arrived: up to which id, by topic (null: it had none of that), and how often it was sent. */
	readonly answer: { readonly to: readonly (string | null)[]; readonly times: number } | null;
}

type Entries = readonly Entry[];

/** Who changes a shelf, and when. */
export interface Seen {
	readonly node: string;
	/** Names the key that access tokens are signed with: those of another are good no longer. */
	readonly signer: string;
	readonly nowMs: number;
	/** Whether a poll waits on this node, by the name of its key. */
	readonly isWaiting: (name: string) => boolean;
}

/** The key of a poll. */
export function pollKey(client: PollClient, names: Iterable<string>): PollKey {
	const topics = [...new Set(names)].sort();
	const topicSet = hash('sha256', topics.join('\n'), 'base64url').slice(0, 22);
	const name = `${client.kind}:${client.id}/${topicSet}`;
	return { client, topics, topicSet, name, shelf: shelfOf(client.accountId) };
}

/** The shelf of an account. */
export function shelfOf(accountId: string): string {
	let sum = 0;
	for (let at = 0; at < accountId.length; at++) sum = (sum * 31 + accountId.charCodeAt(at)) | 0;
	return String((sum >>> 0) % SHELVES);
}

/** The entries of a shelf's record that have not expired. */
export function entriesOf(value: RecordValue | undefined, nowMs: number): Entries {
	const { entries = [] } = (value ?? {}) as { readonly entries?: Entries };
	return entries.filter(({ expiresAtMs }) => expiresAtMs > nowMs);
}

/** The entry of a poll, or undefined. */
export function entryFor(entries: Entries, { name }: PollKey): Entry | undefined {
	return entries.find((entry) => entry.name === name);
}

/** The positions of an entry. */
export function positionsOf({ from }: Entry, { topics }: PollKey): ReadonlyMap<string, MessageId> {
	return new Map(topics.map((topic, at) => [topic, idOf(from[at])]));
}

/** What a poll that continues changes on the shelf; the same entries when it changes nothing. */
export function continued(entries: Entries, key: PollKey, seen: Seen): Entries {
	const own = entryFor(entries, key);
	if (own === undefined) return key.client.kind === 'session' ? succeeded(entries, key, seen) : entries;
	const { node, signer, nowMs } = seen;
	const { tokenEndsAtMs } = key.client;
	const isOld = own.followed || own.expiresAtMs < nowMs + LIFETIME_MS - RENEWAL_MS;
	if (!isOld && own.node === node && own.tokenEndsAtMs === tokenEndsAtMs && own.signer === signer) return entries;
	const expiresAtMs = isOld ? nowMs + LIFETIME_MS : own.expiresAtMs;
	return replaced(entries, { ...own, node, tokenEndsAtMs, signer, followed: false, expiresAtMs });
}

/**
 * A client that signs in by password is a new session every few minutes. It begins where a session of its account did whose token it would
 * not use any more. Where there are several, nothing tells which was its own: it begins at the earliest, and so do they.
 */
function succeeded(entries: Entries, key: PollKey, seen: Seen): Entries {
	const { accountId } = key.client;
	const before = entries.filter(
		(entry) => entry.accountId === accountId && entry.topicSet === key.topicSet && isLeft(entry, seen),
	);
	const [first, ...others] = before;
	if (first === undefined) return entries;
	const from = others.reduce((earliest, entry) => earlier(earliest, entry.from), first.from);
	const expiresAtMs = seen.nowMs + SUCCESSION_MS;
	const rest = entries.flatMap((entry) => {
		if (!before.includes(entry) || seen.isWaiting(entry.name)) return [entry];
		// Followed a second time, without a poll of its own in between: its client is gone.
		return entry.followed ? [] : [{ ...entry, from, followed: true, expiresAtMs: Math.min(entry.expiresAtMs, expiresAtMs) }];
	});
	return [...withRoom(rest, key), newEntry(key, from, seen)];
}

/** Whether a client of 0.2 would not use the token of a session any more. */
function isLeft({ tokenEndsAtMs, signer }: Entry, seen: Seen): boolean {
	if (tokenEndsAtMs === null) return false;
	if (signer !== seen.signer) return true;
	return tokenEndsAtMs - TOKEN_MARGIN_MS <= seen.nowMs && seen.nowMs < tokenEndsAtMs + SUCCESSION_MS;
}

/** The shelf with the start of a first poll. Of two that began at once the earlier start counts. */
export function begun(entries: Entries, key: PollKey, cursors: ReadonlyMap<string, MessageId>, seen: Seen): Entries {
	const from = textsOf(cursors, key);
	const own = entryFor(entries, key);
	if (own !== undefined) return replaced(entries, { ...own, from: earlier(own.from, from) });
	return [...withRoom(entries, key), newEntry(key, from, seen)];
}

/** The shelf with an answer that goes out now, to a poll that began after those ids. */
export function answering(
	entries: Entries,
	key: PollKey,
	{ from, to }: { readonly from: ReadonlyMap<string, MessageId>; readonly to: ReadonlyMap<string, MessageId> },
	seen: Seen,
): Entries {
	// It may be gone when another client with the same credential was delivered something meanwhile.
	const own = entryFor(entries, key) ?? newEntry(key, textsOf(from, key), seen);
	const ids = key.topics.map((topic) => {
		const id = to.get(topic);
		return id === undefined ? null : formatMessageId(id);
	});
	const answered = { ...own, answer: { to: ids, times: (own.answer?.times ?? 0) + 1 } };
	return entries.includes(own) ? replaced(entries, answered) : [...withRoom(entries, key), answered];
}

/** The shelf after one poller has its messages. The entry stays for the others that were seen, for a while. */
export function delivered(entries: Entries, key: PollKey, nowMs: number): Entries {
	const own = entryFor(entries, key);
	// A delivered answer is noted once: whichever sign of it comes second finds none.
	if (own === undefined || own.answer === null) return entries;
	if (own.pollers <= 1) return entries.filter((entry) => entry !== own);
	const expiresAtMs = Math.min(own.expiresAtMs, nowMs + OTHER_POLLERS_MS);
	return replaced(entries, { ...own, pollers: own.pollers - 1, answer: null, expiresAtMs });
}

/**
 * The shelf once polls have waited side by side on a node: so many on that node, and one more where another node has opened the last.
 *
 * @param waiting how many wait on the node, by the name of their key
 */
export function sideBySide(entries: Entries, waiting: ReadonlyMap<string, number>, node: string): Entries {
	const pollersOf = (entry: Entry) => {
		const here = waiting.get(entry.name) ?? 0;
		return here > 0 && entry.node !== node ? here + 1 : here;
	};
	if (entries.every((entry) => pollersOf(entry) <= entry.pollers)) return entries;
	return entries.map((entry) => ({ ...entry, pollers: Math.max(entry.pollers, pollersOf(entry)) }));
}

/** Whether cursors come from the answer that is noted, or are beyond it. */
export function comesAfter({ answer }: Entry, { topics }: PollKey, cursors: ReadonlyMap<string, unknown>): boolean {
	return topics.some((topic, at) => {
		const to = answer?.to[at] ?? null;
		const cursor = cursors.get(topic);
		return to !== null && isId(cursor) && compareMessageIds(cursor, idOf(to)) >= 0;
	});
}

function isId(cursor: unknown): cursor is MessageId {
	return typeof cursor === 'object' && cursor !== null;
}

function newEntry({ name, client, topicSet }: PollKey, from: readonly string[], { node, signer, nowMs }: Seen): Entry {
	const { accountId, id: clientId, tokenEndsAtMs } = client;
	return {
		name,
		accountId,
		clientId,
		topicSet,
		from,
		expiresAtMs: nowMs + LIFETIME_MS,
		tokenEndsAtMs,
		signer,
		followed: false,
		pollers: 1,
		node,
		answer: null,
	};
}

/** The entries without what must give way to one more of this client. */
function withRoom(entries: Entries, { client }: PollKey): Entries {
	const ofClient = entries.filter(({ clientId }) => clientId === client.id);
	if (ofClient.length >= TOPIC_SETS_MAX) return without(entries, ofClient);
	if (entries.length < ENTRIES_MAX) return entries;
	const held = new Map<string, Entry[]>();
	for (const entry of entries) held.set(entry.accountId, [...(held.get(entry.accountId) ?? []), entry]);
	const most = [...held.values()].reduce((a, b) => (b.length > a.length ? b : a));
	return without(entries, most);
}

/** The entries without the one of some that expires first. */
function without(entries: Entries, some: Entries): Entries {
	const oldest = some.reduce((a, b) => (b.expiresAtMs < a.expiresAtMs ? b : a));
	return entries.filter((entry) => entry !== oldest);
}

function replaced(entries: Entries, by: Entry): Entries {
	return entries.map((entry) => (entry.name === by.name ? by : entry));
}

/** Positions as they are stored: in the order of the topics. */
function textsOf(positions: ReadonlyMap<string, MessageId>, { topics }: PollKey): readonly string[] {
	return topics.map((topic) => formatMessageId(positions.get(topic) ?? ZERO_ID));
}

/** The earlier of two starts, topic by topic. */
function earlier(a: readonly string[], b: readonly string[]): readonly string[] {
	return a.map((id, at) => (compareMessageIds(idOf(id), idOf(b[at])) <= 0 ? id : (b[at] ?? id)));
}

/** Only ids are ever stored; anything else would be read from the beginning. */
function idOf(text: string | null | undefined): MessageId {
	return parseMessageId(text ?? '') ?? ZERO_ID;
}
