/** A client with one connection, and a poll: what they asked for, what they were told, and whether that is right. */

import assert from 'node:assert/strict';
import type { Gap } from '@pulsar-relay/protocol/frames';
import { compareMessageIds, formatMessageId, type MessageId, parseMessageId, ZERO_ID } from '@pulsar-relay/protocol/message-id';
import type { PollAnswer } from '../../../../src/relay/poll.ts';
import type { Session } from '../../../../src/relay/session.ts';
import type { Start } from '../../../../src/relay/start.ts';
import { messagesIn } from './blocks.ts';
import type { RecordingSink, Told } from './recording-sink.ts';
import { Trace, type Truth } from './truth.ts';

/** How things stood when something was asked. */
export interface Moment {
	/** Of each topic the newest message, the newest acknowledged one, and of how many deletions the relay knew. */
	readonly topics: ReadonlyMap<string, { readonly tip: MessageId; readonly acked: MessageId; readonly deletionsHeard: number }>;
	/** Whether announcements may be lost: then `last` can only be as new as what was not lost. */
	readonly lossy: boolean;
}

interface Ask {
	readonly starts: ReadonlyMap<string, Start>;
	readonly moment: Moment;
	readonly cursors: ReadonlyMap<string, MessageId>;
}

interface Following {
	readonly trace: Trace;
	/** The gap that has to come before anything else. */
	startGap: { readonly reason: Gap['reason']; readonly from: MessageId | null } | null;
	readonly deletionsBefore: number;
}

export class Client {
	readonly sink: RecordingSink;
	readonly session: Session;
	readonly following = new Map<string, Following>();
	/** Cursors that the client could come back with. */
	readonly remembered: { readonly topic: string; readonly id: MessageId }[];
	gone = false;
	readonly #truth: Truth;
	readonly #asks: Ask[] = [];

	constructor(options: { sink: RecordingSink; session: Session; truth: Truth; remembered: Client['remembered'] }) {
		this.sink = options.sink;
		this.session = options.session;
		this.remembered = options.remembered;
		this.#truth = options.truth;
	}

	/** Called when the subscription is ready, in its place among what is sent. */
	ready(starts: ReadonlyMap<string, Start>, cursors: ReadonlyMap<string, MessageId>, moment: Moment): void {
		assert.deepEqual([...cursors.keys()], [...starts.keys()]);
		this.sink.note(`subscribed ${this.#asks.push({ starts, moment, cursors }) - 1}`);
	}

	unsubscribed(topic: string): void {
		this.sink.note(`unsubscribed ${topic}`);
		this.sink.flush();
	}

	hear(told: Told): void {
		assert.ok(!this.gone, 'nothing is sent once the connection is closed');
		if (told.kind === 'note') this.#hearNote(told.note);
		else if (told.kind === 'message') this.#follow(told.topic).message(told.id, told.json, this.#truth.nowMs());
		else if (told.kind === 'gap') this.#hearGap(told.gap);
		else {
			const following = this.following.get(told.topic);
			assert.ok(following !== undefined, `${told.topic} is followed when its deletion is told`);
			assert.ok(this.#truth.topic(told.topic).deletions > following.deletionsBefore, `${told.topic} was deleted`);
			this.following.delete(told.topic);
		}
		if (told.kind === 'message') this.remembered.push({ topic: told.topic, id: told.id });
	}

	/** To be called when everything has come to rest. */
	checkComplete(): void {
		assert.deepEqual(new Set(this.session.topics), new Set(this.following.keys()), 'the session follows what the client thinks');
		for (const [topic, { trace, startGap }] of this.following) {
			assert.equal(startGap, null, 'the gap at the start was told');
			trace.reached(this.#truth.topic(topic).tip, 'at rest');
		}
	}

	#hearNote(note: string): void {
		const [verb, what = ''] = note.split(' ');
		if (verb === 'unsubscribed') {
			this.following.delete(what);
			return;
		}
		const ask = this.#asks[Number(what)];
		assert.ok(ask !== undefined);
		for (const [topic, start] of ask.starts) {
			const cursor = ask.cursors.get(topic) ?? ZERO_ID;
			const before = ask.moment.topics.get(topic);
			this.following.set(topic, {
				trace: new Trace(this.#truth, topic, cursor),
				startGap: checkStart(this.#truth, topic, start, cursor, ask.moment),
				deletionsBefore: before?.deletionsHeard ?? 0,
			});
		}
	}

	#hearGap(gap: Gap): void {
		const { startGap } = this.following.get(gap.topic) ?? {};
		if (startGap === null || startGap === undefined) {
			this.#follow(gap.topic).gap(gap);
			return;
		}
		const following = this.following.get(gap.topic) as Following;
		assert.deepEqual({ reason: gap.reason, from: gap.from }, startGap);
		assert.deepEqual(gap.to, following.trace.cursor, 'delivery goes on after the cursor that was told');
		following.startGap = null;
	}

	#follow(topic: string): Trace {
		const following = this.following.get(topic);
		assert.ok(following !== undefined, `${topic} is followed when something of it is told`);
		assert.equal(following.startGap, null, 'the gap at the start comes first');
		return following.trace;
	}
}

/** Checks where a reader was put against where it asked to start. Returns the gap it has to be told of, if any. */
function checkStart(truth: Truth, name: string, start: Start, cursor: MessageId, moment: Moment): Following['startGap'] {
	const topic = truth.topic(name);
	const before = moment.topics.get(name) ?? { tip: ZERO_ID, acked: ZERO_ID };
	const what = `${name} from ${typeof start === 'string' ? start : formatMessageId(start)}: ${formatMessageId(cursor)}`;
	assert.ok(compareMessageIds(cursor, topic.tip) <= 0, `${what} is not beyond the tip`);
	if (start === 'earliest') {
		assert.ok(compareMessageIds(cursor, topic.floor) <= 0, `${what} skips nothing that is kept`);
		return null;
	}
	if (typeof start !== 'string' && compareMessageIds(cursor, start) === 0) return null;
	if (!moment.lossy) assert.ok(compareMessageIds(cursor, before.acked) >= 0, `${what} begins with what comes now`);
	if (start === 'last') return null;
	if (start === 'unknown') return { reason: 'unknown', from: null };
	assert.ok(compareMessageIds(start, before.tip) > 0, `${what} is really ahead`);
	return { reason: 'ahead', from: start };
}

/** Checks the part of a poll's answer that is about one topic. */
export function checkPollAnswer(
	truth: Truth,
	name: string,
	{ start, answer, moment, oldestMs }: { start: Start; answer: PollAnswer; moment: Moment; oldestMs: number },
): void {
	const topic = truth.topic(name);
	const end = answer.cursors.get(name);
	assert.ok(end !== undefined);
	const gaps = answer.gaps.filter((gap) => gap.topic === name);
	const messages = messagesOf(answer, name);
	const [first] = messages;
	const [firstGap] = gaps;
	// Where it began is not told; the earliest place that its first item allows is as strict as can be.
	const beforeFirst = first === undefined ? end : { ms: first.id.ms, n: first.id.n - 1 };
	let cursor = beforeFirst;
	if (firstGap?.reason === 'ahead' || firstGap?.reason === 'unknown') cursor = (gaps.shift() as Gap).to;
	else if (typeof start !== 'string') cursor = start;
	else if (start === 'earliest') cursor = lowest(topic.floor, beforeFirst, firstGap?.from ?? end);
	else if (firstGap !== undefined && firstGap.from !== null) cursor = lowest(beforeFirst, firstGap.from);
	const expected = typeof start === 'string' && start !== 'unknown' ? null : checkStart(truth, name, start, cursor, moment);
	if (expected !== null) assert.deepEqual({ reason: firstGap?.reason, from: firstGap?.from }, expected);
	if (start === 'last' && !moment.lossy && first !== undefined) {
		assert.ok(compareMessageIds(first.id, moment.topics.get(name)?.acked ?? ZERO_ID) > 0, 'only what comes now');
	}
	const trace = new Trace(truth, name, cursor);
	while (messages.length > 0 || gaps.length > 0) {
		const [gap] = gaps;
		const [message] = messages;
		if (message !== undefined && (gap === undefined || compareMessageIds(message.id, gap.from ?? ZERO_ID) <= 0)) {
			messages.shift();
			trace.message(message.id, message.json, oldestMs);
			continue;
		}
		const taken = gaps.shift() as Gap;
		if (taken.reason === 'deleted') assert.ok(topic.deletions > (moment.topics.get(name)?.deletionsHeard ?? 0), 'it was deleted');
		// A deletion is told also to a reader that misses nothing by it.
		if (taken.reason === 'deleted' && taken.from !== null && compareMessageIds(taken.to, taken.from) === 0) {
			trace.reached(taken.to, 'at the deletion');
			continue;
		}
		trace.gap({ ...taken, reason: taken.reason === 'deleted' ? 'trimmed' : taken.reason });
	}
	trace.reached(end, 'where the poll says that it stands');
}

function messagesOf(answer: PollAnswer, topic: string): { readonly id: MessageId; readonly json: string }[] {
	const slices = answer.slices.filter((slice) => slice.topic === topic);
	return slices.flatMap(messagesIn).map(({ id, json }) => ({ id: parseMessageId(id) ?? ZERO_ID, json }));
}

function lowest(...ids: readonly MessageId[]): MessageId {
	return ids.reduce((a, b) => (compareMessageIds(a, b) <= 0 ? a : b));
}
