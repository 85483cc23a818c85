/**
 * The names of keys and channels. The log of a topic is `topic:<name>:stream`, as operators type it; what belongs to it has the whole
 * stream key in its hash tag, so that one topic is one slot of a Cluster. A prefix keeps the relays of one environment apart from those of
 * another on the same server.
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
	/** List: `<time in ms> <field of the hash>`, oldest first. On one server only what relays up to 0.3.0 have left. */
	readonly order: string;
	/** On one server, where each holder (log/key-holders.ts) has a list of its own, `<order>:of:<holder>`; null on a Cluster. */
	readonly holders: {
		/** Sorted set of the holders by how many records each has. */
		readonly counts: string;
		/** Sorted set of the holders by the time in ms of the oldest record of each. */
		readonly ages: string;
	} | null;
}

/** Every key and channel of the relays that share one prefix. */
export interface KeySpace {
	/** In front of every name; empty by default. */
	readonly prefix: string;
	/** Sorted set of the names of topics, all of one score and so in the order of their bytes. */
	readonly topics: string;
	/** Sorted set of deleted topics by the time of deletion. */
	readonly endings: string;
	/** What is stored of the records of ports/records.ts; all in one slot, as one write changes several. Names are `<kind>/<id>`. */
	readonly records: {
		/** Hash: name → the record; see scripts/records-write.lua. */
		readonly records: string;
		/** Sorted set of the names, all of one score and so in the order of their bytes. */
		readonly names: string;
		/** Sorted set of the names of those that expire, by the time in ms. */
		readonly expiries: string;
		/** Hash: the version of the last write, and who removes what has expired. */
		readonly meta: string;
	};
	/** Channel on which changes of the records are announced. */
	readonly recordsChannel: string;
	/** What the keys of rate limit buckets begin with. */
	readonly rates: string;
	/** Channel that nobody hears: what is published on it only goes to the replicas. */
	readonly replicated: string;
	/** String: the time in ms at which a relay last used the store, by its clock. */
	readonly clock: string;
	/** Key and channel of the check of permissions. */
	readonly probe: string;
	topic(name: string): TopicKeys;
	/** On one server the idempotency records of all topics; on a Cluster, where one step reaches one slot only, those of the topic (docs/adr/0004). */
	idempotency(topic: string | null): RecordKeys;
	/** The topic of a channel. */
	topicOf(channel: string): string;
}

export function keySpace(prefix: string): KeySpace {
	const shared = `{${prefix}relay}`;
	const topic = (name: string): TopicKeys => {
		const stream = `${prefix}topic:${name}:stream`;
		return { stream, meta: `{${stream}}:meta`, channel: `{${stream}}:live` };
	};
	const beforeTopic = `{${prefix}topic:`.length;
	return {
		prefix,
		topics: `${shared}:topics`,
		endings: `${shared}:endings`,
		records: {
			records: `${shared}:records`,
			names: `${shared}:records:names`,
			expiries: `${shared}:records:expiries`,
			meta: `${shared}:records:meta`,
		},
		recordsChannel: `${shared}:records:changed`,
		rates: `${shared}:rate:`,
		replicated: `${shared}:replicated`,
		clock: `${shared}:clock`,
		probe: `${shared}:probe`,
		topic,
		idempotency(name) {
			const tag = name === null ? shared : `{${topic(name).stream}}`;
			const order = `${tag}:keys:order`;
			// On a Cluster each list would be one more key that a server may not have while the topic moves.
			const holders = name === null ? { counts: `${order}:counts`, ages: `${order}:ages` } : null;
			return { records: `${tag}:keys`, order, holders };
		},
		topicOf: (channel) => channel.slice(beforeTopic, -':stream}:live'.length),
	};
}

/** The command that announces: on a Cluster one that stays within the shard of the channel. */
export function publishCommand(cluster: boolean): 'PUBLISH' | 'SPUBLISH' {
	return cluster ? 'SPUBLISH' : 'PUBLISH';
}
