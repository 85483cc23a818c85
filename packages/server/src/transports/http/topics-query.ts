/** The query of the reading routes: `topics=a,b&since=<cursor>`; a `topics` that comes several times is joined. */

import { isCompactCursor, parseCompactCursor } from '@pulsar-relay/protocol/compact-cursor';
import { parseSince, type Since } from '@pulsar-relay/protocol/cursor';
import { RelayError } from '@pulsar-relay/protocol/errors';
import { TOPIC_NAME_PATTERN, TOPIC_REFERENCE_PATTERN } from '@pulsar-relay/protocol/topic-name';
import { Type } from 'typebox';
import type { TopicRights } from '../../auth/topic-access.ts';
import type { Start } from '../../relay/start.ts';
import { MESSAGE_ID_PATTERN } from './reading-schemas.ts';

/** Topics that one poll or event stream may name. */
const TOPICS_PER_REQUEST_MAX = 50;

/**
 * `topics` and `since` in the schema of a query. What is wrong with them is found below, where the answers are those that clients know.
 *
 * @param owners whether topics may be named with their owner
 */
export function readingParameters(owners: boolean) {
	const name = (owners ? TOPIC_REFERENCE_PATTERN : TOPIC_NAME_PATTERN).slice(1, -1);
	const position = `${name}:${MESSAGE_ID_PATTERN}`;
	return {
		// Once, or several times.
		topics: Type.Union([Type.String(), Type.Array(Type.String())], {
			description: `1 to ${TOPICS_PER_REQUEST_MAX} topic names, separated by commas or each in a \`topics\` of its own; they need not exist yet`,
			documented: { type: 'string', anyOf: undefined, pattern: `^${name}(,${name}){0,${TOPICS_PER_REQUEST_MAX - 1}}$` },
			examples: ['jobs,news'],
		}),
		since: Type.Optional(
			Type.String({
				description: '`last` (default), `earliest`, a message id, or a cursor over several topics, such as `next_offset`',
				documented: { pattern: `^(last|earliest|${MESSAGE_ID_PATTERN}|${position}(,${position})*)$` },
				examples: ['earliest'],
			}),
		),
	};
}

/** Reads `a,b`: topic names, at least one; duplicates count once. Throws `invalid_request`, `invalid_topic` or `subscription_limit`. */
export function readTopics(given: string | readonly string[], rights: TopicRights): readonly string[] {
	const text = typeof given === 'string' ? given : given.join(',');
	if (text === '') throw new RelayError('invalid_request', '`topics` names no topic');
	const names = [...new Set(text.split(','))];
	if (names.length > TOPICS_PER_REQUEST_MAX) {
		throw new RelayError('subscription_limit', `\`topics\` names ${names.length} topics, limit ${TOPICS_PER_REQUEST_MAX}`);
	}
	for (const name of names) {
		const problem = rights.problemOf(name);
		if (problem !== undefined) throw new RelayError('invalid_topic', problem);
	}
	return names;
}

/** A start position, or a cursor over the topics that are asked for; undefined for anything else, and for a short cursor over others. */
export function cursorOf(text: string, topics: readonly string[]): Since | undefined {
	if (!isCompactCursor(text)) return parseSince(text);
	const positions = parseCompactCursor(text, topics);
	return positions === undefined ? undefined : { kind: 'each', positions };
}

/** Reads `since` for topics. Throws `invalid_cursor`. */
export function readSince(text: string | undefined, topics: readonly string[]): Since {
	const since = text === undefined ? ({ kind: 'all', position: 'last' } as const) : cursorOf(text, topics);
	if (since === undefined) throw new RelayError('invalid_cursor', '`since` is not a cursor');
	return since;
}

/** Where each topic starts. A topic that a cursor over several does not name starts at the end: it was not followed before. */
export function startsOf(topics: readonly string[], since: Since): Map<string, Start> {
	return new Map(topics.map((topic) => [topic, since.kind === 'all' ? since.position : (since.positions.get(topic) ?? 'last')]));
}
