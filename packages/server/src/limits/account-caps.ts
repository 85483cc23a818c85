/** How much of a node one account may hold open: connections, waiting polls, subscriptions. Each node counts for itself. */

import { RelayError } from '@pulsar-relay/protocol/errors';

export interface AccountCapsOptions {
	/** WebSockets and event streams. */
	readonly connectionsMax: number;
	readonly pollsMax: number;
	/** Topics followed by all connections together. */
	readonly subscriptionsMax: number;
}

/** What an account holds. */
export interface AccountHoldings {
	connections: number;
	polls: number;
	subscriptions: number;
	readonly subscriptionsMax: number;
}

/** Something that is held until it is released, once. */
export interface Held {
	readonly holdings: AccountHoldings;
	release(): void;
}

export class AccountCaps {
	readonly #options: AccountCapsOptions;
	/** Of accounts that hold anything. */
	readonly #accounts = new Map<string, AccountHoldings>();

	constructor(options: AccountCapsOptions) {
		this.#options = options;
	}

	/** Why the account may not open one more connection, or null. */
	connectionRefusal(accountId: string): RelayError | null {
		const { connectionsMax } = this.#options;
		if ((this.#accounts.get(accountId)?.connections ?? 0) < connectionsMax) return null;
		return new RelayError('account_limit', `an account may have at most ${connectionsMax} connections open at a node`);
	}

	/** Holds a connection. Throws `account_limit`. */
	openConnection(accountId: string): Held {
		const refusal = this.connectionRefusal(accountId);
		if (refusal !== null) throw refusal;
		return this.#hold(accountId, 'connections');
	}

	/** Holds a poll. Throws `account_limit`. */
	openPoll(accountId: string): Held {
		const { pollsMax } = this.#options;
		if ((this.#accounts.get(accountId)?.polls ?? 0) < pollsMax) return this.#hold(accountId, 'polls');
		throw new RelayError('account_limit', `an account may have at most ${pollsMax} polls waiting at a node`, {
			detail: 'Too many concurrent poll connections',
		});
	}

	#hold(accountId: string, what: 'connections' | 'polls'): Held {
		const { subscriptionsMax } = this.#options;
		const holdings = this.#accounts.get(accountId) ?? { connections: 0, polls: 0, subscriptions: 0, subscriptionsMax };
		this.#accounts.set(accountId, holdings);
		holdings[what]++;
		const release = () => {
			holdings[what]--;
			if (holdings.connections === 0 && holdings.polls === 0) this.#accounts.delete(accountId);
		};
		return { holdings, release };
	}
}
