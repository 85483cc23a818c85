/** Rate limits as the transports ask for them (PROTOCOL.md, "Rate limits"). */

import { hash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { RelayError } from '@pulsar-relay/protocol/errors';
import type { FastifyReply } from 'fastify';
import { type Principal, partyOf } from '../../auth/principal.ts';
import { GuessGate } from '../../limits/guess-gate.ts';
import { rateLimited } from '../../limits/rate-limited.ts';
import type { GuessLimit, RateLimits } from '../../limits/rate-limits.ts';
import type { Balance } from '../../limits/token-buckets.ts';
import type { AddressOf } from './client-address.ts';

const TOO_MANY = 'too many requests';

/** What a client may try: a password for an account, a refresh token for a session. */
export type GuessKind = 'login' | 'refresh';

export class Limiting {
	readonly #limits: RateLimits;
	readonly #addressOf: AddressOf;
	readonly #userCodes: GuessGate;
	readonly #gates: Readonly<Record<GuessKind, readonly [narrow: GuessGate, wide: GuessGate]>>;

	constructor(limits: RateLimits, addressOf: AddressOf) {
		this.#limits = limits;
		this.#addressOf = addressOf;
		const gates = ({ narrow, wide }: GuessLimit) => [new GuessGate(narrow), new GuessGate(wide)] as const;
		this.#userCodes = new GuessGate(limits.userCode);
		this.#gates = { login: gates(limits.login), refresh: gates(limits.refresh) };
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
		return this.#limits[limit].take(this.#addressOf(request));
	}

	/** What a request with wrong credentials is answered with. Right ones are never refused for the wrong ones of the same address. */
	afterFailure(request: IncomingMessage, error: RelayError): RelayError {
		if (error.code !== 'invalid_credentials' && error.code !== 'not_authenticated') return error;
		const balance = this.askByAddress(request, 'addresses');
		return balance.allowed ? error : rateLimited(balance, 'too many requests with wrong credentials');
	}

	/** Tries what may be a wrong user code of a device: one that finds nothing. Rejects with `rate_limited`. */
	async tryUserCode<T>(request: IncomingMessage, find: () => Promise<T | null>): Promise<T | null> {
		const guess = await this.#userCodes.enter(this.#addressOf(request));
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
		const address = this.#addressOf(request);
		const [narrow, wide] = this.#gates[kind];
		// Not the subject itself, which may be of any length, and a secret that was typed into the wrong field.
		const atSubject = await narrow.enter(`${address} ${hash('sha256', subject, 'base64url')}`);
		let wrong = false;
		try {
			const atAll = await wide.enter(address);
			told(atSubject.balance);
			try {
				return await attempt();
			} catch (thrown) {
				wrong = thrown instanceof RelayError && thrown.code === 'invalid_credentials';
				throw thrown;
			} finally {
				atAll.settle(wrong);
			}
		} finally {
			atSubject.settle(wrong);
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
