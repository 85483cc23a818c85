/** Topics as requests take them: at most 50 a request, and all of one begin in the same way (PROTOCOL.md, "Cursors"). */

import type { Position } from './link.ts';

const TOPICS_MAX = 50;
/** Names of these many characters in one URL; positions come on top, and 32 KiB is the limit of a request's head. */
const NAMES_LENGTH_MAX = 6000;

export interface Chunk {
	readonly topics: readonly string[];
}

/** Splits topics. Those that begin at `earliest` cannot share a request with the others: `since` would have no word for it. */
export function chunksOf(topics: Iterable<string>, positionOf: (topic: string) => Position): readonly Chunk[] {
	const chunks: Chunk[] = [];
	const open = new Map<string, { topics: string[]; length: number }>();
	const flush = (key: string) => {
		const chunk = open.get(key);
		if (chunk !== undefined) chunks.push(chunk);
		open.delete(key);
	};
	for (const topic of topics) {
		const position = positionOf(topic);
		const key = position === 'earliest' ? 'earliest' : 'rest';
		const before = open.get(key);
		if (before !== undefined && (before.topics.length === TOPICS_MAX || before.length + topic.length > NAMES_LENGTH_MAX))
			flush(key);
		const chunk = open.get(key) ?? { topics: [], length: 0 };
		open.set(key, chunk);
		chunk.topics.push(topic);
		chunk.length += topic.length;
	}
	for (const key of [...open.keys()]) flush(key);
	return chunks;
}

/** The query of a request for a chunk, from where its topics stand now. */
export function queryOf({ topics }: Chunk, positionOf: (topic: string) => Position): URLSearchParams {
	const query = new URLSearchParams({ topics: topics.join(',') });
	const positions = topics.map((topic) => [topic, positionOf(topic)] as const);
	const ids = positions.filter(([, position]) => position !== 'last' && position !== 'earliest');
	if (ids.length > 0) query.set('since', ids.map(([topic, id]) => `${topic}:${id}`).join(','));
	else if (positions.some(([, position]) => position === 'earliest')) query.set('since', 'earliest');
	return query;
}
