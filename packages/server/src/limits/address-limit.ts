/**
 * A limit of client addresses. An address also counts in the networks around it, with a larger bucket for each: whoever has a whole network
 * of addresses gets some times what one address gets, not that for each of them.
 */

import type { Clock } from '../ports/clock.ts';
import { type Bucket, RateLimit } from './rate-limit.ts';
import type { Balance } from './token-buckets.ts';

/** How many times the tokens of one address a network has. */
export type NetworkFactor = 1 | 4 | 16;

/** A network that an address counts in; of factor 1 it is the address itself, or what one client has at least. */
export interface Network {
	readonly name: string;
	readonly factor: NetworkFactor;
}

const FACTORS: readonly NetworkFactor[] = [1, 4, 16];

export interface AddressLimitOptions {
	readonly name: string;
	readonly clock: Clock;
	/** Tokens of one address. */
	readonly perMinute: number;
}

export class AddressLimit {
	readonly limits: readonly RateLimit[];

	constructor({ name, clock, perMinute }: AddressLimitOptions) {
		this.limits = FACTORS.map((factor) =>
			factor === 1
				? new RateLimit({ name, clock, perMinute })
				: new RateLimit({ name: `${name}-x${factor}`, clock, perMinute: factor * perMinute, of: 'networks' }),
		);
	}

	/**
	 * The buckets of an address, its own first.
	 *
	 * @param subject what the limit is about beside the address, if anything
	 */
	buckets(networks: readonly Network[], subject = ''): readonly Bucket[] {
		return networks.map(({ name, factor }) => ({
			limit: this.limits[FACTORS.indexOf(factor)] as RateLimit,
			key: subject === '' ? name : `${name} ${subject}`,
		}));
	}

	/** Takes a token of the address, if each of its networks has one. The balance is that of what refuses, or of the address. */
	take(networks: readonly Network[]): Balance {
		const buckets = this.buckets(networks);
		for (const { limit, key } of buckets) {
			const balance = limit.look(key);
			if (!balance.allowed) return balance;
		}
		const [own] = buckets.map(({ limit, key }) => limit.take(key));
		return own as Balance;
	}
}
