/**
 * A turn of appends: one script call per topic, all in one write; then the answers are announced and settled. Where appends wait for
 * replicas, a second write announces them to the other nodes once the replicas have them (ADR 0014).
 */

import { randomUUID } from 'node:crypto';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import { type Block, lastIdOf } from '../../log/block.ts';
import { type PackedRun, packRuns, pickFromRun } from '../../log/packing.ts';
import type { AppendEntry, AppendOutcome } from '../../ports/store.ts';
import { announcementOf } from './announcement.ts';
import { confirmCall } from './confirmations.ts';
import type { Connection, ScriptCall } from './connection.ts';
import { failureOf, unavailable } from './failure.ts';
import type { Reply } from './glide.ts';
import { publishCommand, type RecordKeys } from './keys.ts';
import { evaluateReplicated } from './replicas.ts';
import { SCRIPTS } from './scripts.ts';
import { listCommands, registerCall } from './topic-list.ts';
import type { AppendCall } from './turns.ts';

export interface AppendsOptions {
	readonly connection: Connection;
	readonly cluster: boolean;
	readonly topicsMax: number;
	/** Replicas that must have an append before it is acknowledged; 0 = none is waited for. */
	readonly replicas: number;
	/** Whether appends are announced once the replicas have them, and not by the script that makes them. */
	readonly announcesAfterWait: boolean;
	readonly nowMs: () => number;
	/** Hears each block before the calls are settled. */
	readonly onAppended: (topic: string, previous: MessageId, floor: MessageId, block: Block) => void;
	/** Hears what the topic holds now. */
	readonly onSize: (topic: string, messages: number, bytes: number) => void;
}

/** Some calls of one topic that are appended in one piece. */
interface Piece {
	readonly topic: string;
	readonly calls: readonly AppendCall[];
	readonly entries: readonly AppendEntry[];
	readonly runs: readonly PackedRun[];
}

/** Does a turn. Never rejects: failures go to the calls. */
export async function takeAppends(options: AppendsOptions, topics: ReadonlyMap<string, AppendCall[]>): Promise<void> {
	const pieces = Array.from(topics, ([topic, calls]) => pieceOf(topic, calls));
	try {
		const replies = await evaluate(options, pieces, (piece) => callOf(options, piece, ''));
		const created = await createMissing(options, pieces, replies);
		const done = pieces.map((piece, i) => outcomeOf(piece, created.get(piece) ?? replies[i] ?? null));
		const confirmed = options.announcesAfterWait ? await confirm(options, done) : done;
		for (const outcome of confirmed) settle(options, outcome);
	} catch (error) {
		for (const { calls } of pieces) for (const call of calls) call.reject(failureOf(error));
	}
}

function pieceOf(topic: string, calls: readonly AppendCall[]): Piece {
	const entries = calls.length === 1 ? (calls[0] as AppendCall).entries : calls.flatMap((call) => call.entries);
	return { topic, calls, entries, runs: packRuns(entries) };
}

/**
 * Creates the topics that the server said are missing: first into the list of topics, whose length is the limit, then with the
 * append. Gives their replies. Calls for which there is no room are settled one by one, as each may be all duplicates.
 */
async function createMissing(options: AppendsOptions, pieces: readonly Piece[], replies: readonly Reply[]) {
	const created = new Map<Piece, Reply>();
	const missing = pieces.filter((_, i) => isMissing(replies[i]));
	if (missing.length === 0) return created;
	const { connection, topicsMax } = options;
	const registered = await connection.evaluate(missing.map(({ topic }) => registerCall(connection.keys, topic, topicsMax)));
	const calls: { readonly piece: Piece; readonly whole: Piece; readonly topicId: string }[] = [];
	for (const [i, piece] of missing.entries()) {
		const room = registered[i];
		if (room instanceof Error) created.set(piece, room);
		else if (String(room) === 'ok') calls.push({ piece, whole: piece, topicId: randomUUID() });
		else for (const call of piece.calls) calls.push({ piece: pieceOf(piece.topic, [call]), whole: piece, topicId: '' });
	}
	const again = await evaluate(options, calls, ({ piece, topicId }) => callOf(options, piece, topicId));
	await connection.run(
		calls.filter(({ topicId }) => topicId !== '').flatMap(({ piece }) => listCommands(connection.keys, piece.topic)),
	);
	for (const [i, { piece, whole }] of calls.entries()) {
		if (piece === whole) {
			created.set(piece, again[i] ?? null);
			continue;
		}
		const refused = isMissing(again[i]) ? topicLimit(topicsMax) : (again[i] ?? null);
		settle(options, outcomeOf(piece, refused));
		created.set(whole, SETTLED);
	}
	return created;
}

/** In place of the reply of a piece whose calls have been settled one by one. */
const SETTLED = 'settled';

function isMissing(reply: Reply | undefined): boolean {
	return !Array.isArray(reply) && !(reply instanceof Error) && String(reply) === 'missing';
}

/** The error of a call for which there is no room for one more topic. */
export function topicLimit(topicsMax: number): RelayError {
	return new RelayError('topic_limit', `the relay holds ${topicsMax} topics, its limit`);
}

/** @param topicId of the topic to create, '' = do not create */
function callOf(
	{ connection: { keys: names }, cluster, announcesAfterWait, nowMs }: AppendsOptions,
	{ topic, entries, runs }: Piece,
	topicId: string,
): ScriptCall {
	const { stream, meta, channel } = names.topic(topic);
	const { records, order, holders } = names.idempotency(cluster ? topic : null);
	const args: (string | Buffer)[] = [
		String(nowMs()),
		topicId,
		announcesAfterWait ? '' : publishCommand(cluster),
		channel,
		String(runs.length),
		...runs.map(({ packed }) => Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength)),
	];
	const unkeyed = args.length;
	for (const [place, { dedupe }] of entries.entries()) {
		if (dedupe !== null) args.push(String(place), String(dedupe.item), dedupe.key, dedupe.fingerprint);
	}
	// A server that is handing the slot over refuses calls of which it has some of the keys only: not those that are needed for nothing.
	const keys = args.length === unkeyed ? [stream, meta] : [stream, meta, ...keysOf({ records, order, holders })];
	return { script: SCRIPTS.append, keys, args };
}

/** Every key of idempotency records, as the scripts take them. */
export function keysOf({ records, order, holders }: RecordKeys): readonly string[] {
	return holders === null ? [records, order] : [records, order, holders.counts, holders.ages];
}

/** Calls a script per piece. */
function evaluate<Of>(
	{ connection, replicas }: AppendsOptions,
	pieces: readonly Of[],
	call: (piece: Of) => ScriptCall,
): Promise<readonly Reply[]> {
	return evaluateReplicated(connection, pieces.map(call), replicas);
}

/** What became of a piece: the script's answer with the blocks that were appended, an error, or nothing that is left to be done. */
type PieceOutcome =
	| { readonly kind: 'answered'; readonly piece: Piece; readonly answer: Answer; readonly appended: readonly Appended[] }
	| { readonly kind: 'failed'; readonly piece: Piece; readonly error: RelayError }
	| { readonly kind: 'settled' };

/** A block, and the message before it. */
interface Appended {
	readonly previous: MessageId;
	readonly block: Block;
}

function outcomeOf(piece: Piece, reply: Reply | RelayError): PieceOutcome {
	if (reply === SETTLED) return { kind: 'settled' };
	const answer = reply instanceof Error ? failureOf(reply) : parseAnswer(reply);
	if (answer instanceof RelayError) return { kind: 'failed', piece, error: answer };
	return { kind: 'answered', piece, answer, appended: appendedBy(piece, answer) };
}

function appendedBy({ runs }: Piece, { flags, first, previous }: Answer): readonly Appended[] {
	const appended: Appended[] = [];
	let { n } = first;
	let before = previous;
	let seen = 0;
	for (const run of runs) {
		const offset = seen;
		seen += run.count;
		const picked = flags === '' ? run : pickFromRun(run, (i) => flags[offset + i] === 'a');
		if (picked === null) continue;
		const block = { ms: first.ms, n, count: picked.count, packed: picked.packed };
		appended.push({ previous: before, block });
		n += picked.count;
		before = lastIdOf(block);
	}
	return appended;
}

/**
 * Makes what replicas have readable, and announces it: before its calls are answered, as every node can read what was acknowledged. A
 * duplicate may be of a message that another node has not confirmed; its topic is confirmed up to where it ended.
 */
async function confirm(options: AppendsOptions, outcomes: readonly PieceOutcome[]): Promise<readonly PieceOutcome[]> {
	const { connection, cluster } = options;
	const answered = outcomes.filter((outcome) => outcome.kind === 'answered');
	const replies = await connection.evaluate(
		answered.map(({ piece: { topic }, answer: { previous, floor }, appended }) => {
			const newest = appended.at(-1);
			const id = newest === undefined ? previous : lastIdOf(newest.block);
			const announcements = appended.map((one) => announcementOf(one.previous, floor, one.block));
			return confirmCall(connection.keys, topic, id, publishCommand(cluster), announcements);
		}),
	);
	return outcomes.map((outcome) => {
		if (outcome.kind !== 'answered') return outcome;
		const reply = replies[answered.indexOf(outcome)] ?? null;
		if (String(reply) === 'ok') return outcome;
		const error = reply instanceof Error ? failureOf(reply) : unavailable('another server has become the primary meanwhile');
		return { kind: 'failed', piece: outcome.piece, error };
	});
}

/** Announces what was appended to this node, and answers the calls. */
function settle(options: AppendsOptions, outcome: PieceOutcome): void {
	if (outcome.kind === 'settled') return;
	const { piece } = outcome;
	if (outcome.kind === 'failed') {
		for (const call of piece.calls) call.reject(outcome.error);
		return;
	}
	const { answer, appended } = outcome;
	for (const { previous, block } of appended) options.onAppended(piece.topic, previous, answer.floor, block);
	if (appended.length > 0) options.onSize(piece.topic, answer.messages, answer.bytes);
	settleCalls(piece, answer);
}

interface Answer {
	readonly previous: MessageId;
	readonly floor: MessageId;
	readonly first: MessageId;
	readonly flags: string;
	readonly messages: number;
	readonly bytes: number;
	/** Of the duplicates, in order. */
	readonly known: readonly MessageId[];
}

function parseAnswer(reply: Reply): Answer | RelayError {
	if (!Array.isArray(reply)) return unavailable('the store gave an answer that makes no sense');
	const [previous, floor, first] = reply.slice(0, 3).map((text) => parseMessageId(String(text)));
	if (previous === undefined || floor === undefined || first === undefined)
		return unavailable('the topic has no message ids left');
	const known = reply.slice(6).map((text) => parseMessageId(String(text)) as MessageId);
	return { previous, floor, first, flags: String(reply[3]), messages: Number(reply[4]), bytes: Number(reply[5]), known };
}

function settleCalls({ calls }: Piece, { first, flags, known }: Answer): void {
	let place = 0;
	let { n } = first;
	let duplicates = 0;
	for (const call of calls) {
		const outcomes: AppendOutcome[] = [];
		for (let i = 0; i < call.entries.length; i++) {
			const flag = flags === '' ? 'a' : flags[place];
			place++;
			if (flag === 'a') outcomes.push({ status: 'appended', id: { ms: first.ms, n: n++ } });
			else if (flag === 'd') outcomes.push({ status: 'duplicate', id: known[duplicates++] ?? first });
			else outcomes.push({ status: 'conflict' });
		}
		call.resolve(outcomes);
	}
}
