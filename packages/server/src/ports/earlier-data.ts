/**
 * The data of pulsar-relay 0.2, as that server left it. Texts are as they were found: nothing about them has been checked. Every method
 * rejects with RelayError `storage_unavailable` when the data cannot be read now.
 */

/** A hash by its field names. */
export type EarlierHash = ReadonlyMap<string, string>;

/** An account, a session or a topic; `fields` is null when the key holds something else than a hash. */
export interface EarlierRecord {
	/** As it is there, for messages to the operator. */
	readonly key: string;
	/** What the key names: the account's id, the session's, `<owner>/<name>` of the topic. */
	readonly id: string;
	readonly fields: EarlierHash | null;
}

export interface EarlierTopic extends EarlierRecord {
	/** Ids of accounts that were let in, as servers before 0.2 kept them beside a topic. */
	readonly allowedAccountIds: readonly string[];
}

export interface EarlierMessage {
	readonly id: string;
	readonly payload: Uint8Array | null;
	readonly metadata: Uint8Array | null;
}

export interface EarlierData {
	/** Every account, in no order; one that is changed meanwhile may come twice. */
	accounts(): AsyncIterable<EarlierRecord>;
	/** One account; its fields are empty when there is none. */
	account(accountId: string): Promise<EarlierRecord>;
	/** Every session that has not ended of an account, in no order. */
	sessionsOf(accountId: string): AsyncIterable<EarlierRecord>;
	/** One session; its fields are empty when there is none. */
	session(jti: string): Promise<EarlierRecord>;
	/** Every topic, in no order. */
	topics(): AsyncIterable<EarlierTopic>;
	/** Messages of a topic after an id, oldest first, in pages of a bounded size; null when its key holds something else than a stream. */
	messages(topicId: string, after: string): AsyncIterable<readonly EarlierMessage[] | null>;
	/** Keys of servers before 0.2, whose topics had no owner in their name. They are not read. */
	countLegacyTopics(): Promise<number>;
	close(): void;
}
