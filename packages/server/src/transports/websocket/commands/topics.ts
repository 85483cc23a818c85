/** The `topics` and `since` members of subscribe and unsubscribe frames, read in steps: frames with a thousand topics are long. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import { scanArrayInSteps, scanMembersInSteps } from '@pulsar-relay/protocol/json-scan';
import { type MessageId, parseMessageId } from '@pulsar-relay/protocol/message-id';
import type { TopicRights } from '../../../auth/topic-access.ts';
import type { Steps } from '../../../limits/turns.ts';
import { parseShort, scanInSteps } from '../../http/json-body.ts';
import type { ClientFrame } from '../frame.ts';

/** Topics that one frame may name. */
const TOPICS_PER_FRAME_MAX = 1000;
/** Topics that `since` may name; of those that are not subscribed nothing is read. */
const SINCE_MEMBERS_MAX = 10_000;
/** JSON texts of these that are longer are none that is allowed. */
const TOPIC_TEXT_BYTES_MAX = 2048;
const ID_TEXT_BYTES_MAX = 512;
/** Texts that are parsed in one step. */
const TEXTS_PER_STEP = 1000;
/** The frame is well-formed, however deep a wrong member may nest. */
const ANY_DEPTH = 5000;

/** Reads a list of 1 to 1000 topic names, without duplicates. Throws `invalid_request` or `invalid_topic`. */
export function* readTopics(frame: ClientFrame, rights: TopicRights): Steps<readonly string[]> {
	const { bytes } = frame;
	const range = frame.member('topics');
	const limits = { depthMax: ANY_DEPTH, elementsMax: TOPICS_PER_FRAME_MAX };
	const scan =
		range === undefined ? null : yield* scanInSteps(scanArrayInSteps(bytes, range.start, range.end, limits), range.start);
	if (scan?.status !== 'ok' || scan.elements.length === 0) {
		throw new RelayError('invalid_request', `\`topics\` is not a list of 1 to ${TOPICS_PER_FRAME_MAX} topic names`);
	}
	const topics = new Set<string>();
	for (const element of scan.elements) {
		const name = parseShort(bytes, element, TOPIC_TEXT_BYTES_MAX);
		if (typeof name !== 'string') throw new RelayError('invalid_topic', 'topic name is not a string');
		const problem = rights.problemOf(name);
		if (problem !== undefined) throw new RelayError('invalid_topic', problem);
		topics.add(name);
	}
	return [...topics];
}

/** Reads the message ids of those of the topics that `since` names. Throws `invalid_request` or `invalid_cursor`. */
export function* readSince(frame: ClientFrame, topics: readonly string[]): Steps<ReadonlyMap<string, MessageId>> {
	const { bytes } = frame;
	const range = frame.member('since');
	const ids = new Map<string, MessageId>();
	if (range === undefined || bytes.toString('latin1', range.start, Math.min(range.end, range.start + 4)) === 'null') return ids;
	const limits = { depthMax: ANY_DEPTH, elementsMax: SINCE_MEMBERS_MAX };
	const scan = yield* scanInSteps(scanMembersInSteps(bytes, range.start, range.end, limits), range.start);
	if (scan.status !== 'ok') {
		throw new RelayError('invalid_request', `\`since\` is not an object of at most ${SINCE_MEMBERS_MAX} message ids`);
	}
	const wanted = new Set(topics);
	let texts = 0;
	for (const { name, value } of scan.members) {
		if (++texts % TEXTS_PER_STEP === 0) yield;
		const topic = parseShort(bytes, name, TOPIC_TEXT_BYTES_MAX) as string;
		if (!wanted.has(topic)) continue;
		const id = parseShort(bytes, value, ID_TEXT_BYTES_MAX);
		const position = typeof id === 'string' ? parseMessageId(id) : undefined;
		if (position === undefined) throw new RelayError('invalid_cursor', `\`since\` of topic ${topic} is not a message id`);
		ids.set(topic, position);
	}
	return ids;
}
