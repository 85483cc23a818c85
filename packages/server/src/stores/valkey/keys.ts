/**
 * The names of keys and channels. The log of a topic is `topic:<name>:stream`, as operators type it; what belongs to it has the whole
 * stream key in its hash tag, so that one topic is one slot of a Cluster.
 */

/** What is stored of one topic. */
export interface TopicKeys {
	/** Stream: an entry per message. */
	readonly stream: string;
	/** Hash: where the topic stands, its settings; see scripts/standing.lua. */
	readonly meta: string;
	/** Channel on which the topic is announced. */
	readonly channel: string;
}

/** Where idempotency records are kept. */
export interface RecordKeys {
	/** Hash: `<item>:<key>` → `<message id> <fingerprint>`. */
	readonly records: string;
	/** List: `<time in ms> <field of the hash>`, oldest first. */
	readonly order: string;
}

/** Sorted set of the names of topics, all of one score and so in the order of their bytes. */
export const TOPICS_KEY = '{relay}:topics';
/** Sorted set of deleted topics by the time of deletion. */
export const ENDINGS_KEY = '{relay}:endings';

/** What is stored of the records of ports/records.ts; all in one slot, as one write changes several. Names are `<kind>/<id>`. */
export const RECORDS_KEYS = {
	/** Hash: name → the record; see scripts/records-write.lua. */
	records: '{relay}:records',
	/** Sorted set of the names, all of one score and so in the order of their bytes. */
	names: '{relay}:records:names',
	/** Sorted set of the names of those that expire, by the time in ms. */
	expiries: '{relay}:records:expiries',
	/** Hash: the version of the last write, and who removes what has expired. */
	meta: '{relay}:records:meta',
} as const;
/** Channel on which changes of the records are announced. */
export const RECORDS_CHANNEL = '{relay}:records:changed';

/** What the keys of rate limit buckets begin with. */
export const RATE_PREFIX = '{relay}:rate:';

/** Channel that nobody hears: what is published on it only goes to the replicas. */
export const REPLICATED_CHANNEL = '{relay}:replicated';

export function topicKeys(name: string): TopicKeys {
	const stream = `topic:${name}:stream`;
	return { stream, meta: `{${stream}}:meta`, channel: `{${stream}}:live` };
}

/** On one server the records of all topics; on a Cluster, where one step reaches one slot only, those of the topic (docs/adr/0004). */
export function recordKeys(topic: string | null): RecordKeys {
	const tag = topic === null ? '{relay}' : `{${topicKeys(topic).stream}}`;
	return { records: `${tag}:keys`, order: `${tag}:keys:order` };
}

/** The topic of a channel. */
export function topicOfChannel(channel: string): string {
	return channel.slice('{topic:'.length, -':stream}:live'.length);
}

/** The command that announces: on a Cluster one that stays within the shard of the channel. */
export function publishCommand(cluster: boolean): 'PUBLISH' | 'SPUBLISH' {
	return cluster ? 'SPUBLISH' : 'PUBLISH';
}
