/**
 * How many topics an account has, and how many bytes are kept in them. Counted in the store every few seconds while the account
 * publishes, so that a publish need not ask; what comes in between is let in. Nobody is refused by a count that is older than a second.
 * Where there are several accounts, none has more topics than it leaves to the others.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';
import type { Clock } from '../ports/clock.ts';
import type { Store } from '../ports/store.ts';

export interface AccountUsageOptions {
	readonly store: Pick<Store, 'listTopics' | 'stats'>;
	readonly clock: Clock;
	/** Of one account. */
	readonly topicsMax: number;
	readonly bytesMax: number;
	/** Of the store, for all accounts together. */
	readonly storeTopicsMax: number;
	/** Whether there are other accounts to leave topics to. */
	readonly severalAccounts: () => boolean;
}

const COUNT_INTERVAL_MS = 10_000;
const REFUSAL_AGE_MS_MAX = 1000;
const TOPICS_PER_PAGE = 1000;
/** Accounts that are remembered; of the others the count begins anew. */
const ACCOUNTS_MAX = 10_000;

interface Usage {
	/** As they are in the store, and those that publishes under way will make. */
	topics: Set<string>;
	/** Those that have been let in since the last count began, which may not have met them. */
	added: Set<string>;
	bytes: number;
	countedMs: number;
	counting: Promise<void> | null;
}

export class AccountUsage {
	readonly #options: AccountUsageOptions;
	readonly #accounts = new Map<string, Usage>();

	constructor(options: AccountUsageOptions) {
		this.#options = options;
	}

	/**
	 * Whether one more message may go to a topic, as it is in the store: at once, null, nearly always. Else rejects with `topic_limit`
	 * or `account_full`, or resolves when there is room after all.
	 */
	admit(topic: string): Promise<void> | null {
		// Of no account.
		if (!topic.includes('/')) return null;
		const accountId = topic.slice(0, topic.indexOf('/'));
		const usage = this.#usageOf(accountId);
		const ageMs = this.#options.clock.monotonicMs() - usage.countedMs;
		const unsure = ageMs > REFUSAL_AGE_MS_MAX && !usage.topics.has(topic) && this.#isScarce(usage);
		if (ageMs > COUNT_INTERVAL_MS) void this.#count(accountId, usage);
		if (unsure || this.#refusal(usage, topic) !== null) return this.#admitAfterCount(accountId, usage, topic);
		this.#add(usage, topic);
		return null;
	}

	async #admitAfterCount(accountId: string, usage: Usage, topic: string): Promise<void> {
		const isOld = this.#options.clock.monotonicMs() - usage.countedMs > REFUSAL_AGE_MS_MAX;
		if (isOld || usage.counting !== null) await this.#count(accountId, usage);
		const refusal = this.#refusal(usage, topic);
		if (refusal !== null) throw refusal;
		this.#add(usage, topic);
	}

	#add({ topics, added }: Usage, topic: string): void {
		if (topics.has(topic)) return;
		topics.add(topic);
		added.add(topic);
	}

	/** How many topics more the account may have for what it leaves to others. */
	#topicsLeft({ topics }: Usage): number {
		const { store, storeTopicsMax, severalAccounts } = this.#options;
		if (!severalAccounts()) return Number.POSITIVE_INFINITY;
		// Those that are being created are not in the store yet.
		const others = Math.max(0, store.stats().topics - topics.size);
		return storeTopicsMax - others - 2 * topics.size;
	}

	/** Whether a new topic may be one too many for what is left, so that an old count will not do. */
	#isScarce(usage: Usage): boolean {
		const { store, storeTopicsMax } = this.#options;
		if (usage.countedMs === Number.NEGATIVE_INFINITY) return 2 * store.stats().topics >= storeTopicsMax;
		return this.#topicsLeft(usage) < usage.topics.size;
	}

	#refusal(usage: Usage, topic: string): RelayError | null {
		const { topics, bytes } = usage;
		const { topicsMax, bytesMax } = this.#options;
		if (bytes >= bytesMax) return new RelayError('account_full', `the topics of an account may hold at most ${bytesMax} bytes`);
		if (topics.has(topic)) return null;
		if (topics.size >= topicsMax) return new RelayError('topic_limit', `an account may have at most ${topicsMax} topics`);
		if (topics.size === 0 || this.#topicsLeft(usage) > 0) return null;
		const message = `an account may have no more topics than it leaves to others: it has ${topics.size}`;
		return new RelayError('topic_limit', message);
	}

	/** Never rejects: while the store does not answer, what was counted last stands. */
	#count(accountId: string, usage: Usage): Promise<void> {
		usage.counting ??= this.#read(accountId, usage)
			.catch(() => {})
			.finally(() => {
				usage.counting = null;
			});
		return usage.counting;
	}

	async #read(accountId: string, usage: Usage): Promise<void> {
		const { store, clock, topicsMax } = this.#options;
		usage.countedMs = clock.monotonicMs();
		usage.added = new Set();
		const prefix = `${accountId}/`;
		const topics = new Set<string>();
		let bytes = 0;
		for (let after = prefix, more = true; more; ) {
			const page = await store.listTopics(after, TOPICS_PER_PAGE);
			const own = page.filter(({ name }) => name.startsWith(prefix));
			for (const topic of own) {
				topics.add(topic.name);
				bytes += topic.bytes;
			}
			after = own.at(-1)?.name ?? after;
			more = own.length === TOPICS_PER_PAGE && topics.size <= topicsMax;
		}
		usage.topics = new Set([...topics, ...usage.added]);
		usage.bytes = bytes;
	}

	#usageOf(accountId: string): Usage {
		const known = this.#accounts.get(accountId);
		if (known !== undefined) return known;
		for (const oldest of this.#accounts.keys()) {
			if (this.#accounts.size < ACCOUNTS_MAX) break;
			this.#accounts.delete(oldest);
		}
		const usage: Usage = { topics: new Set(), added: new Set(), bytes: 0, countedMs: Number.NEGATIVE_INFINITY, counting: null };
		this.#accounts.set(accountId, usage);
		return usage;
	}
}
