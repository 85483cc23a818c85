/** Topics that belong to no account: those that were made while the relay asked nobody for credentials. */

import type { Store, Topic } from '../ports/store.ts';

const TOPICS_PER_PAGE = 1000;
/** Topics that are looked through for one answer, at most. */
const LOOKED_THROUGH_MAX = 1_000_000;

type Topics = Pick<Store, 'listTopics'>;

/** Topics without an owner in the order of their names, after the name `after`, at most `limit`. */
export async function listUnowned(topics: Topics, after: string | null, limit: number): Promise<readonly Topic[]> {
	const found: Topic[] = [];
	for await (const topic of unowned(topics, after)) {
		found.push(topic);
		if (found.length === limit) break;
	}
	return found;
}

/** How many topics have no owner, of the first million of all topics. */
export async function countUnowned(topics: Topics): Promise<number> {
	let count = 0;
	for await (const _topic of unowned(topics, null)) count++;
	return count;
}

async function* unowned(topics: Topics, after: string | null): AsyncGenerator<Topic> {
	let last = after;
	for (let lookedThrough = 0; lookedThrough < LOOKED_THROUGH_MAX; lookedThrough += TOPICS_PER_PAGE) {
		const page = await topics.listTopics(last, TOPICS_PER_PAGE);
		// In the store an owned topic has its owner in front.
		for (const topic of page) if (!topic.name.includes('/')) yield topic;
		if (page.length < TOPICS_PER_PAGE) return;
		last = page.at(-1)?.name ?? null;
	}
}
