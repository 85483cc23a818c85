/** The `topics` member of subscribe and unsubscribe frames. */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { TopicRights } from '../../../auth/topic-access.ts';

/** Topics that one frame may name. */
const TOPICS_PER_FRAME_MAX = 1000;

/** Reads a list of 1 to 1000 topic names, without duplicates. Throws `invalid_request` or `invalid_topic`. */
export function readTopics(value: unknown, rights: TopicRights): readonly string[] {
	if (!Array.isArray(value) || value.length === 0 || value.length > TOPICS_PER_FRAME_MAX) {
		throw new RelayError('invalid_request', `\`topics\` is not a list of 1 to ${TOPICS_PER_FRAME_MAX} topic names`);
	}
	for (const name of value as unknown[]) {
		if (typeof name !== 'string') throw new RelayError('invalid_topic', 'topic name is not a string');
		const problem = rights.problemOf(name);
		if (problem !== undefined) throw new RelayError('invalid_topic', problem);
	}
	return [...new Set(value as string[])];
}
