/** Rate limits as the transports ask for them (PROTOCOL.md, "Rate limits"). */

import { hash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyReply } from 'fastify';
import { type Principal, partyOf } from '../../auth/principal.ts';
import type { Network } from '../../limits/address-limit.ts';
import { rateLimited } from '../../limits/rate-limited.ts';
import type { RateLimits } from '../../limits/rate-limits.ts';
import type { Balance } from '../../limits/token-buckets.ts';
import { type AddressOf, networksOf } from './client-address.ts';

const TOO_MANY = 'too many requests';

/** What a client may try: a password for an account, a refresh token for a session. */
export type GuessKind = 'login' | 'refresh';

export class Limiting {
	readonly #limits: RateLimits;
	readonly #addressOf: AddressOf;

	constructor(limits: RateLimits, addressOf: AddressOf) {
		this.#limits = limits;
		this.#addressOf = addressOf;
	}

	/** Asks for tokens of a principal. */
	ask(principal: Principal, cost?: number): Balance {
		return this.#limits.principals.take(partyOf(principal), cost);
	}

	/** As {@link ask}; throws `rate_limited` when there are not as many. */
	take(principal: Principal, cost?: number): Balance {
		return allowed(this.ask(principal, cost));
	}

	/** Asks for a token of the address that a request without credentials is from. */
	askByAddress(request: IncomingMessage, limit: 'addresses' | 'device'): Balance {
		return this.#limits[limit].take(this.#networksOf(request));
	}

	/** The widest network that a client's address counts in: all that may be one and the same client. */
	siteOf(request: IncomingMessage): string {
		return this.#networksOf(request).at(-1)?.name ?? '';
	}

	#networksOf(request: IncomingMessage): readonly Network[] {
		return networksOf(this.#addressOf(request));
	}

	/** What a request with wrong credentials is answered with. Right ones are never refused for the wrong ones of the same address. */
	afterFailure(request: IncomingMessage, error: RelayError): RelayError {
		if (error.code !== 'invalid_credentials' && error.code !== 'not_authenticated') return error;
		const balance = this.askByAddress(request, 'addresses');
		return balance.allowed ? error : rateLimited(balance, 'too many requests with wrong credentials');
	}

	/** Tries what may be a wrong user code of a device: one that finds nothing. Rejects with `rate_limited`. */
	async tryUserCode<T>(request: IncomingMessage, find: () => Promise<T | null>): Promise<T | null> {
		const { limit, gate } = this.#limits.userCode;
		const guess = await gate.enter(limit.buckets(this.#networksOf(request)), this.siteOf(request));
		let wrong = false;
		try {
			const found = await find();
			wrong = found === null;
			return found;
		} finally {
			guess.settle(wrong);
		}
	}

	/**
	 * Tries what may be a wrong guess at something of the subject. Only wrong ones count.
	 *
	 * @param told is told how the limit stands
	 */
	async guess<T>(
		kind: GuessKind,
		{ request, subject }: { readonly request: IncomingMessage; readonly subject: string },
		attempt: () => Promise<T>,
		told: (balance: Balance) => void,
	): Promise<T> {
		const networks = this.#networksOf(request);
		const { oneSubject, allSubjects, gate } = this.#limits[kind];
		// Not the subject itself, which may be of any length, and a secret that was typed into the wrong field.
		const atSubject = oneSubject.buckets(networks, hash('sha256', subject, 'base64url'));
		const guess = await gate.enter([...atSubject, ...allSubjects.buckets(networks)], this.siteOf(request));
		told(guess.balance);
		let wrong = false;
		try {
			return await attempt();
		} catch (thrown) {
			wrong = thrown instanceof RelayError && thrown.code === 'invalid_credentials';
			throw thrown;
		} finally {
			guess.settle(wrong);
		}
	}
}

/** Throws `rate_limited` for a balance that does not allow it. */
export function allowed(balance: Balance): Balance {
	if (!balance.allowed) throw rateLimited(balance, TOO_MANY);
	return balance;
}

/** Tells a client how its limit stands. */
export function tellBalance(reply: FastifyReply, { perMinute, remaining, resetS }: Balance): void {
	reply
		.header('x-ratelimit-limit', String(perMinute))
		.header('x-ratelimit-remaining', String(remaining))
		.header('x-ratelimit-reset', String(resetS));
}
