/**
 * How much of a node one account may hold open: connections, waiting polls, subscriptions. Each node counts for itself. One key or scoped token
 * of an account gets a part of that only, and all of them together leave some to the account itself. Of what the node has for all accounts
 * one account gets no more than it leaves to the others.
 */

import { RelayError } from '@pulsar-relay/protocol/errors';

/** What is counted: WebSockets and event streams, polls that wait, topics followed by all connections together. */
export type Counted = 'connections' | 'polls' | 'subscriptions';

type Counts = Record<Counted, number>;

/** On whose behalf something is held. */
export interface Holder {
	readonly accountId: string;
	/** The API key by which the account is used, or which minted the scoped token; null = none. */
	readonly keyId: string | null;
	/** The scoped token by which the account is used; null = none. */
	readonly tokenId: string | null;
}

/** A connection or poll that is held, and the topics that are followed over it. */
export interface Held {
	/** Why so many more topics may not be followed, or null. */
	refusal(topics: number): RelayError | null;
	/** So many more topics are followed; fewer when negative. */
	count(topics: number): void;
	/** It is closed. Called once. */
	release(): void;
}

export interface AccountCapsOptions {
	/** Of one account. */
	readonly max: Readonly<Counts>;
	/** Of the node, for all accounts together. */
	readonly nodeMax: Readonly<Pick<Counts, 'connections' | 'polls'>>;
	/** Whether the node has other accounts to leave something to. */
	readonly severalAccounts: () => boolean;
}

/** What a key, a scoped token, and all of these together may hold of what the account may. */
const SHARES = {
	key: { share: 1 / 2, words: 'an API key' },
	token: { share: 1 / 4, words: 'a scoped token' },
	delegates: { share: 9 / 10, words: 'the API keys and scoped tokens of an account' },
	account: { share: 1, words: 'an account' },
} as const;

type PartyKind = keyof typeof SHARES;

const WORDS: Readonly<Record<Counted, (max: number) => string>> = {
	connections: (max) => `have at most ${max} connections open at a node`,
	polls: (max) => `have at most ${max} polls waiting at a node`,
	subscriptions: (max) => `follow at most ${max} topics at a node`,
};

/** Somebody who holds something: an account, a part of it. */
interface Party {
	readonly name: string;
	readonly kind: PartyKind;
	readonly counts: Counts;
}

export class AccountCaps {
	readonly #options: AccountCapsOptions;
	/** Those that hold anything. */
	readonly #parties = new Map<string, Party>();
	readonly #node: Counts = { connections: 0, polls: 0, subscriptions: 0 };

	constructor(options: AccountCapsOptions) {
		this.#options = options;
	}

	/** Why one more connection may not be opened, or null. */
	connectionRefusal(holder: Holder): RelayError | null {
		return this.#refusal(this.#partiesOf(holder), 'connections', 1);
	}

	/** Holds a connection. Throws `account_limit`. */
	openConnection(holder: Holder): Held {
		return this.#hold(holder, 'connections');
	}

	/** Holds a poll. Throws `account_limit`. */
	openPoll(holder: Holder): Held {
		return this.#hold(holder, 'polls');
	}

	#hold(holder: Holder, what: 'connections' | 'polls'): Held {
		const parties = this.#partiesOf(holder);
		const refusal = this.#refusal(parties, what, 1);
		if (refusal !== null) throw refusal;
		this.#count(parties, what, 1);
		return {
			refusal: (topics) => this.#refusal(parties, 'subscriptions', topics),
			count: (topics) => this.#count(parties, 'subscriptions', topics),
			release: () => this.#count(parties, what, -1),
		};
	}

	#partiesOf({ accountId, keyId, tokenId }: Holder): readonly Party[] {
		const parties = [this.#party('account', accountId)];
		if (keyId === null && tokenId === null) return parties;
		parties.push(this.#party('delegates', accountId));
		if (keyId !== null) parties.push(this.#party('key', keyId));
		if (tokenId !== null) parties.push(this.#party('token', tokenId));
		return parties;
	}

	#party(kind: PartyKind, id: string): Party {
		const name = `${kind} ${id}`;
		return this.#parties.get(name) ?? { name, kind, counts: { connections: 0, polls: 0, subscriptions: 0 } };
	}

	#refusal(parties: readonly Party[], what: Counted, more: number): RelayError | null {
		if (more <= 0) return null;
		for (const { kind, counts } of parties) {
			const { share, words } = SHARES[kind];
			const max = Math.max(1, Math.floor(share * this.#options.max[what]));
			if (counts[what] + more > max) return refused(what, `${words} may ${WORDS[what](max)}`);
		}
		const own = parties[0]?.counts[what] ?? 0;
		if (what === 'subscriptions' || !this.#options.severalAccounts()) return null;
		if (own === 0 || own + more <= this.#options.nodeMax[what] - this.#node[what]) return null;
		return refused(what, `an account may have no more ${what} at a node than it leaves to others: it has ${own}`);
	}

	#count(parties: readonly Party[], what: Counted, change: number): void {
		this.#node[what] += change;
		for (const party of parties) {
			const { name, counts } = party;
			counts[what] += change;
			if (counts.connections + counts.polls === 0) this.#parties.delete(name);
			else this.#parties.set(name, party);
		}
	}
}

function refused(what: Counted, message: string): RelayError {
	return new RelayError('account_limit', message, what === 'polls' ? { detail: 'Too many concurrent poll connections' } : {});
}
