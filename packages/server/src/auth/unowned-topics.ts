/** Topics that belong to no account: those that were made while the relay asked nobody for credentials. */

import type { Store, Topic } from '../ports/store.ts';

const TOPICS_PER_PAGE = 1000;
/** Topics that are looked through for one answer, at most. */
const LOOKED_THROUGH_MAX = 1_000_000;
/** At each start without accounts, which nearly always finds nothing. */
const LOOKED_THROUGH_FOR_OWNED_MAX = 10_000;

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

/** Whether there is a topic that belongs to an account, among the first ten thousand. */
export async function hasOwned(topics: Topics): Promise<boolean> {
	for await (const topic of all(topics, null, LOOKED_THROUGH_FOR_OWNED_MAX)) if (isOwned(topic)) return true;
	return false;
}

async function* unowned(topics: Topics, after: string | null): AsyncGenerator<Topic> {
	for await (const topic of all(topics, after, LOOKED_THROUGH_MAX)) if (!isOwned(topic)) yield topic;
}

/** In the store an owned topic has its owner in front. */
function isOwned({ name }: Topic): boolean {
	return name.includes('/');
}

async function* all(topics: Topics, after: string | null, max: number): AsyncGenerator<Topic> {
	let last = after;
	for (let lookedThrough = 0; lookedThrough < max; lookedThrough += TOPICS_PER_PAGE) {
		const page = await topics.listTopics(last, TOPICS_PER_PAGE);
		yield* page;
		if (page.length < TOPICS_PER_PAGE) return;
		last = page.at(-1)?.name ?? null;
	}
}
